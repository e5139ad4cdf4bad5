"""A kernel's cgroup v1 files in memory, with its rules: what the fake driver stands on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from tango.adapters.cgroup_values import (
    MAX_PERIOD_US,
    MIN_PERIOD_US,
    MIN_QUOTA_US,
    MIN_SHARES,
    format_cpus,
    parse_cpus,
)

BASE = "/fake"
_NO_LIMIT = 9223372036854771712
_MAX_SHARES = 262_144
_IDLE_SHARES = 3
_DEFAULT_SHARES = 1024
_FILES: dict[str, dict[str, str]] = {
    "cpu": {
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_burst_us": "0",
        "cpu.shares": str(_DEFAULT_SHARES),
        "cpu.idle": "0",
        "cpu.stat": "",
    },
    "cpuacct": {"cpuacct.usage": "0"},
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "memory": {
        "memory.limit_in_bytes": str(_NO_LIMIT),
        "memory.usage_in_bytes": "0",
        "memory.oom_control": "",
        "memory.use_hierarchy": "1",
    },
}


class FakeKernel:
    """`tango.adapters.cgroup_files.GroupFiles` in memory, refusing what the v1 kernel refuses.

    Behaves as kernel/sched/core.c and cgroup-v1 do for the files that the driver uses: a child's
    quota above its parent's, a quota below the burst or 1 ms, shares of an idle group, a cpuset
    beyond its parent's, a process into an empty cpuset, removal of a group in use. Any process id
    counts as alive. Nothing runs: usage grows only by what the test or simulator adds.
    """

    def __init__(self, cores: int) -> None:
        self._dirs: dict[str, dict[str, str]] = {}
        self._procs: dict[str, set[int]] = {}
        self.n_writes = 0
        self._rules: dict[str, Callable[[str, str], str]] = {
            "cpu.cfs_quota_us": self._set_quota,
            "cpu.cfs_period_us": self._set_period,
            "cpu.cfs_burst_us": self._set_burst,
            "cpu.shares": self._set_shares,
            "cpu.idle": self._set_idle,
            "memory.limit_in_bytes": self._set_memory,
            "cpuset.cpus": self._set_cpus,
            "cpuset.mems": lambda _path, value: value,
            "cgroup.procs": self._enter,
        }
        for controller in _FILES:
            self._add(f"{BASE}/{controller}")
        top = self._dirs[f"{BASE}/cpuset"]
        top["cpuset.cpus"], top["cpuset.mems"] = f"0-{cores - 1}" if cores > 1 else "0", "0"

    def read(self, path: str) -> str:
        """See GroupFiles."""
        folder, name = path.rsplit("/", 1)
        try:
            if name == "cgroup.procs":
                return "\n".join(map(str, sorted(self._procs[folder])))
            return self._dirs[folder][name]
        except KeyError:
            raise _error(errno.ENOENT, path) from None

    def read_long(self, path: str) -> str:
        """See GroupFiles."""
        return self.read(path)

    def write(self, path: str, value: str) -> None:
        """See GroupFiles."""
        self.read(path)
        folder, name = path.rsplit("/", 1)
        rule = self._rules.get(name)
        if rule is None:
            raise _error(errno.EACCES, path)
        self._dirs[folder][name] = rule(folder, value)
        self.n_writes += 1

    def exists(self, path: str) -> bool:
        """See GroupFiles."""
        folder, name = path.rsplit("/", 1)
        return path in self._dirs or name in self._dirs.get(folder, ())

    def make_dir(self, path: str) -> bool:
        """See GroupFiles."""
        folder, name = path.rsplit("/", 1)
        if path in self._dirs:
            return False
        if folder not in self._dirs:
            raise _error(errno.ENOENT, path)
        if name in self._dirs[folder] or name == "cgroup.procs":
            raise _error(errno.ENOTDIR, path)
        self._add(path)
        return True

    def remove_dir(self, path: str) -> None:
        """See GroupFiles."""
        if path not in self._dirs:
            raise _error(errno.ENOENT, path)
        if self._procs[path] or self.subdirs(path):
            raise _error(errno.EBUSY, path)
        del self._dirs[path], self._procs[path]

    def subdirs(self, path: str) -> tuple[str, ...]:
        """See GroupFiles."""
        start = len(path) + 1
        return tuple(
            sorted(
                name[start:]
                for name in self._dirs
                if name.startswith(path + "/") and "/" not in name[start:]
            )
        )

    def close(self) -> None:
        """See GroupFiles; there is nothing to close."""

    def leave(self, pid: int) -> None:
        """The process has ended: it is in no group any more."""
        for pids in self._procs.values():
            pids.discard(pid)

    def put(self, path: str, value: str) -> None:
        """What the kernel itself counts, such as usage."""
        folder, name = path.rsplit("/", 1)
        self._dirs[folder][name] = value

    def _add(self, path: str) -> None:
        controller = path.split("/")[2]
        self._dirs[path] = dict(_FILES[controller])
        self._procs[path] = set()

    def _int(self, folder: str, name: str) -> int:
        return int(self._dirs[folder][name])

    def _set_quota(self, folder: str, value: str) -> str:
        quota = _number(value)
        return self._bandwidth(folder, max(quota, -1), self._int(folder, "cpu.cfs_period_us"))

    def _set_period(self, folder: str, value: str) -> str:
        self._bandwidth(folder, self._int(folder, "cpu.cfs_quota_us"), _number(value))
        return value

    def _set_burst(self, folder: str, value: str) -> str:
        quota, burst = self._int(folder, "cpu.cfs_quota_us"), _number(value)
        if burst < 0 or 0 <= quota < burst:
            raise _error(errno.EINVAL, folder)
        return value

    def _bandwidth(self, folder: str, quota: int, period: int) -> str:
        if not MIN_PERIOD_US <= period <= MAX_PERIOD_US:
            raise _error(errno.EINVAL, folder)
        if quota != -1 and quota < max(MIN_QUOTA_US, self._int(folder, "cpu.cfs_burst_us")):
            raise _error(errno.EINVAL, folder)
        cap = self._cap(folder.rsplit("/", 1)[0])
        own = cap if quota == -1 else (quota << 20) // period
        if cap is not None and (own is None or own > cap):
            raise _error(errno.EINVAL, folder)
        if own is not None and self._largest_below(folder) > own:
            raise _error(errno.EINVAL, folder)
        return str(quota)

    def _cap(self, folder: str) -> int | None:
        """The quota ratio in force at a group, inherited where it has none of its own."""
        while folder in self._dirs:
            quota = self._int(folder, "cpu.cfs_quota_us")
            if quota != -1:
                return (quota << 20) // self._int(folder, "cpu.cfs_period_us")
            folder = folder.rsplit("/", 1)[0]
        return None

    def _largest_below(self, folder: str) -> int:
        ratios = [0]
        for name in self.subdirs(folder):
            child = f"{folder}/{name}"
            quota = self._int(child, "cpu.cfs_quota_us")
            if quota != -1:
                ratios.append((quota << 20) // self._int(child, "cpu.cfs_period_us"))
            else:
                ratios.append(self._largest_below(child))
        return max(ratios)

    def _set_shares(self, folder: str, value: str) -> str:
        if self._dirs[folder]["cpu.idle"] == "1":
            raise _error(errno.EINVAL, folder)
        return str(min(_MAX_SHARES, max(MIN_SHARES, _number(value))))

    def _set_idle(self, folder: str, value: str) -> str:
        if value not in ("0", "1"):
            raise _error(errno.EINVAL, folder)
        if value != self._dirs[folder]["cpu.idle"]:
            shares = _IDLE_SHARES if value == "1" else _DEFAULT_SHARES
            self._dirs[folder]["cpu.shares"] = str(shares)
        return value

    def _set_memory(self, folder: str, value: str) -> str:
        limit = _number(value)
        if limit == -1:
            return str(_NO_LIMIT)
        if limit < -1:
            raise _error(errno.EINVAL, folder)
        if limit < self._int(folder, "memory.usage_in_bytes"):
            raise _error(errno.EBUSY, folder)
        return str(limit - limit % os.sysconf("SC_PAGE_SIZE"))

    def _set_cpus(self, folder: str, value: str) -> str:
        cores = parse_cpus(value)
        if cores is None:
            raise _error(errno.EINVAL, folder)
        above = self._cpus(folder.rsplit("/", 1)[0])
        below = [self._cpus(f"{folder}/{name}") for name in self.subdirs(folder)]
        if any(not child <= cores for child in below):
            raise _error(errno.EBUSY, folder)
        if not cores <= above:
            raise _error(errno.EACCES, folder)
        if not cores and self._procs[folder]:
            raise _error(errno.ENOSPC, folder)
        return format_cpus(cores)

    def _cpus(self, folder: str) -> frozenset[int]:
        return parse_cpus(self._dirs[folder]["cpuset.cpus"]) or frozenset()

    def _enter(self, folder: str, value: str) -> str:
        if folder.startswith(f"{BASE}/cpuset") and not self._cpus(folder):
            raise _error(errno.ENOSPC, folder)
        controller = "/".join(folder.split("/")[:3])
        for other, pids in self._procs.items():
            if f"{other}/".startswith(f"{controller}/"):
                pids.discard(int(value))
        self._procs[folder].add(int(value))
        return ""


def _number(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise _error(errno.EINVAL, value) from None


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
