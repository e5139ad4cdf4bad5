"""A cgroup v2 tree of plain files in a directory, with the kernel's defaults and refusals.

The driver's own file code runs on it unchanged (KernelFiles, descriptors and all); only what the
kernel would do at mkdir, rmdir and write is done here.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tango.adapters.cgroup_files import KernelFiles
from tango.adapters.cgroup_values import format_cpus, parse_cpus

CORES = 4
CPU_STAT = "usage_usec 0\nuser_usec 0\nsystem_usec 0\n"
CPU_STAT_BANDWIDTH = "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\nnr_bursts 0\nburst_usec 0\n"
PRESSURE = "".join(
    f"{kind} avg10=0.00 avg60=0.00 avg300=0.00 total=0\n" for kind in ("some", "full")
)
CONTROLLER_FILES = {
    "cpu": {"cpu.max": "max 100000", "cpu.max.burst": "0", "cpu.weight": "100", "cpu.idle": "0"},
    "cpuset": {"cpuset.cpus": "", "cpuset.cpus.effective": f"0-{CORES - 1}", "cpuset.mems": ""},
    "memory": {
        "memory.max": "max",
        "memory.oom.group": "0",
        "memory.current": "0",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0",
    },
    "pids": {"pids.max": "max"},
}


class V2Tree(KernelFiles):
    """`base` becomes a group delegated to us; `offered` are the controllers its parent enables.

    without: files that this kernel does not have, such as cpu.idle before 5.15.
    """

    def __init__(
        self,
        base: Path,
        offered: str = "cpu cpuset memory pids",
        *,
        pressure: bool = True,
        without: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._base = base
        self._with_pressure = pressure
        self._without = without
        self.n_writes = 0
        base.mkdir(exist_ok=True)
        self._populate(base, offered)

    def make_dir(self, path: str) -> bool:
        made = super().make_dir(path)
        if made:
            folder = Path(path)
            self._populate(folder, _text(folder.parent / "cgroup.subtree_control"))
        return made

    def remove_dir(self, path: str) -> None:
        folder = Path(path)
        if folder.is_dir():
            if self.subdirs(path) or _text(folder / "cgroup.procs"):
                raise _error(errno.EBUSY, path)
            for file in folder.iterdir():
                file.unlink()
        super().remove_dir(path)

    def write(self, path: str, value: str) -> None:
        file = Path(path)
        if not file.exists():
            raise _error(errno.ENOENT, path)
        rule = getattr(self, "_" + file.name.replace(".", "_"), None)
        if rule is None:
            raise _error(errno.EACCES, path)
        stored = rule(file.parent, value.strip())
        self.n_writes += 1
        if stored is not None:
            file.write_text(f"{stored}\n")

    def put(self, path: Path, text: str) -> None:
        """What the kernel itself counts."""
        path.write_text(text)

    def _populate(self, folder: Path, controllers: str) -> None:
        files = {
            "cgroup.controllers": controllers,
            "cgroup.subtree_control": "",
            "cgroup.procs": "",
            "cgroup.type": "domain",
            "cgroup.kill": "",
            "cpu.stat": CPU_STAT,
        }
        if self._with_pressure:
            files |= {f"{name}.pressure": PRESSURE for name in ("cpu", "memory", "io")}
        for name, text in files.items():
            (folder / name).write_text(text)
        for controller in controllers.split():
            self._enable(folder, controller)

    def _enable(self, folder: Path, controller: str) -> None:
        for name, text in CONTROLLER_FILES[controller].items():
            if name not in self._without:
                (folder / name).write_text(text)
        if controller == "cpu":
            (folder / "cpu.stat").write_text(CPU_STAT + CPU_STAT_BANDWIDTH)

    def _cgroup_subtree_control(self, folder: Path, value: str) -> str:
        enabled = _text(folder / "cgroup.subtree_control").split()
        for word in value.split():
            controller = word.lstrip("+")
            if controller not in _text(folder / "cgroup.controllers").split():
                raise _error(errno.ENOENT, folder)
            if _text(folder / "cgroup.procs") and controller == "memory":
                # The "no internal process" rule; cpu alone makes a threaded subtree instead.
                threaded = _text(folder / "cgroup.type") != "domain"
                raise _error(errno.EOPNOTSUPP if threaded else errno.EBUSY, folder)
            if _text(folder / "cgroup.procs"):
                (folder / "cgroup.type").write_text("domain threaded")
            if controller not in enabled:
                enabled.append(controller)
                for child in self.subdirs(str(folder)):
                    self._enable(folder / child, controller)
                    (folder / child / "cgroup.controllers").write_text(" ".join(enabled))
        return " ".join(enabled)

    def _cgroup_procs(self, folder: Path, value: str) -> str:
        if _text(folder / "cgroup.subtree_control"):
            raise _error(errno.EBUSY, folder)
        for file in self._base.rglob("cgroup.procs"):
            left = [pid for pid in _text(file).split() if pid != value]
            file.write_text("\n".join(left))
        return "\n".join([*_text(folder / "cgroup.procs").split(), value])

    def _cgroup_kill(self, folder: Path, value: str) -> None:
        if value != "1":
            raise _error(errno.ERANGE, folder)
        for file in folder.rglob("cgroup.procs"):
            file.write_text("")

    def _cpu_max(self, folder: Path, value: str) -> str:
        quota, _, period = value.partition(" ")
        period = period or _text(folder / "cpu.max").split()[1]
        if not 1_000 <= int(period) <= 1_000_000:
            raise _error(errno.EINVAL, folder)
        burst = int(_text(folder / "cpu.max.burst", "0"))
        if quota != "max" and int(quota) < max(1_000, burst):
            raise _error(errno.EINVAL, folder)
        return f"{quota} {period}"

    def _cpu_max_burst(self, folder: Path, value: str) -> str:
        quota = _text(folder / "cpu.max").split()[0]
        if quota != "max" and int(value) > int(quota):
            raise _error(errno.EINVAL, folder)
        return value

    def _cpu_weight(self, folder: Path, value: str) -> str:
        if not 1 <= int(value) <= 10_000:
            raise _error(errno.ERANGE, folder)
        if _text(folder / "cpu.idle") == "1":
            raise _error(errno.EINVAL, folder)
        return value

    def _cpu_idle(self, folder: Path, value: str) -> str:
        if value not in ("0", "1"):
            raise _error(errno.EINVAL, folder)
        if value != _text(folder / "cpu.idle"):
            (folder / "cpu.weight").write_text("0" if value == "1" else "100")
        return value

    def _memory_max(self, folder: Path, value: str) -> str:
        if value == "max":
            return value
        if int(value) < 0:
            raise _error(errno.EINVAL, folder)
        return str(int(value) - int(value) % os.sysconf("SC_PAGE_SIZE"))

    def _memory_oom_group(self, folder: Path, value: str) -> str:
        if value not in ("0", "1"):
            raise _error(errno.EINVAL, folder)
        return value

    def _cpuset_cpus(self, folder: Path, value: str) -> str:
        cores = parse_cpus(value)
        if cores is None or any(core >= CORES for core in cores):
            raise _error(errno.EINVAL, folder)
        above = parse_cpus(_text(folder.parent / "cpuset.cpus.effective")) or frozenset()
        granted = (cores & above) or above
        (folder / "cpuset.cpus.effective").write_text(format_cpus(granted))
        return format_cpus(cores)


def _text(file: Path, default: str = "") -> str:
    return file.read_text().strip() if file.exists() else default


def _error(number: int, path: Path | str) -> OSError:
    return OSError(number, os.strerror(number), str(path))
