"""Control groups of version 2: one hierarchy, controllers enabled from parent to child."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import ClassVar

from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_files import GroupFiles
from tango.adapters.cgroup_values import Bandwidth, check_name, keyed, parse_pressure
from tango.model.cgroup import (
    UNLIMITED,
    CgroupFeatures,
    GroupPressure,
    GroupUsage,
    Pressure,
)

CONTROLLERS = ("cpu", "cpuset", "memory")


class CgroupV2(CgroupDriver):
    """`tango.ports.Cgroups` on cgroup v2 (kernel doc admin-guide/cgroup-v2).

    base: the group delegated to Tango, e.g. /sys/fs/cgroup/tango.slice; it must not hold processes,
    since a group with controllers enabled for its children may not (put the supervisor in a leaf).
    base_is_ours: False leaves the base's cgroup.subtree_control alone, so that only what is enabled
    there already can be used; needed where the base is the whole machine's root.
    Errors: OSError where groups cannot be made, or where no group below has a CPU controller.
    """

    WEIGHT_FILE: ClassVar[str] = "cpu.weight"
    MEMORY_FILE: ClassVar[str] = "memory.max"

    def __init__(
        self,
        base: Path,
        root: str = "",
        files: GroupFiles | None = None,
        *,
        base_is_ours: bool = True,
    ) -> None:
        self._base_is_ours = base_is_ours
        self._wanted: tuple[str, ...] = ()
        # The hierarchy is one: every controller is found in the same directory.
        super().__init__(dict.fromkeys(CONTROLLERS, str(base)), root, files)

    def usage(self, group: str) -> GroupUsage:
        """See Cgroups. A controller that `features` does not list counts 0."""
        check_name(group)
        path = self._dir("cpu", group)
        read = self._files.read
        cpu = keyed(read(f"{path}/cpu.stat"))
        memory_bytes = n_oom_kills = 0
        if "memory" in self._features.controllers:
            memory_bytes = int(read(f"{path}/memory.current"))
            n_oom_kills = keyed(read(f"{path}/memory.events")).get("oom_kill", 0)
        return GroupUsage(
            cpu_s=cpu.get("usage_usec", 0) / 1e6,
            memory_bytes=memory_bytes,
            n_periods=cpu.get("nr_periods", 0),
            n_throttled=cpu.get("nr_throttled", 0),
            throttled_s=cpu.get("throttled_usec", 0) / 1e6,
            n_oom_kills=n_oom_kills,
        )

    def pressure(self, group: str) -> GroupPressure:
        """See Cgroups. None where the kernel was built or started without PSI."""
        path = self._dir("cpu", check_name(group))
        if not self._files.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        cpu, memory, io = (self._pressure(path, name) for name in ("cpu", "memory", "io"))
        return GroupPressure(cpu, memory, io)

    def kill(self, group: str) -> None:
        """SIGKILL to every process in the group and below, in one write where the kernel can."""
        check_name(group)
        switch = f"{self._dir('cpu', group)}/cgroup.kill"
        if self._files.exists(switch):
            self._files.write(switch, "1")
        else:
            super().kill(group)

    def _look(self) -> CgroupFeatures:
        base, root = self._bases["cpu"], self._dir("cpu", "")
        # One at a time, since a controller may be missing or in use elsewhere; without the first,
        # cpu, there is nothing to gain here.
        for controller in CONTROLLERS:
            self._wanted = (controller,)
            try:
                self._make_path(base, self._root)
                self._before_child(base, root)
            except OSError as error:
                if controller == "cpu":
                    self._remove_if_unused(base, root)
                    raise
                self._refused[controller] = str(error)
        self._wanted = tuple(name for name in CONTROLLERS if name not in self._refused)
        # What children have is what counts, so look at one.
        probe = f"{root}/tango-probe-{os.getpid()}"
        self._files.make_dir(probe)
        try:
            return CgroupFeatures(
                version=2,
                controllers=frozenset(self._wanted),
                burst=self._files.exists(f"{probe}/cpu.max.burst"),
                idle=self._files.exists(f"{probe}/cpu.idle"),
                pressure=self._can_read(f"{probe}/cpu.pressure"),
                oom_group=self._files.exists(f"{probe}/memory.oom.group"),
            )
        finally:
            self._files.remove_dir(probe)

    def _remove_if_unused(self, base: str, root: str) -> None:
        if root != base:
            with contextlib.suppress(OSError):
                self._files.remove_dir(root)
                self._remove_own_parents(base)

    def _before_child(self, base: str, parent: str) -> None:
        control = f"{parent}/cgroup.subtree_control"
        missing = [name for name in self._wanted if name not in self._files.read(control).split()]
        if not missing:
            return
        if parent == base and not self._base_is_ours:
            told = f"{missing[0]} is not enabled, and this group is not ours to change"
            raise PermissionError(errno.EPERM, told, control)
        # The kernel itself refuses only memory here: with cpu alone it makes the group the root of
        # a threaded subtree, whose children take no processes. Only the mount has no type.
        if self._files.exists(f"{parent}/cgroup.type") and self._files.read_long(
            f"{parent}/cgroup.procs"
        ):
            told = "holds processes, so it can have no children with controllers; use a leaf"
            raise OSError(errno.EBUSY, told, parent)
        offered = self._files.read(f"{parent}/cgroup.controllers").split()
        for controller in missing:
            if controller not in offered:
                raise OSError(errno.EOPNOTSUPP, f"{controller} is not offered here", parent)
            self._files.write(control, f"+{controller}")

    def _read_bandwidth(self, cpu: str) -> Bandwidth:
        quota, period = self._files.read(f"{cpu}/cpu.max").split()
        burst = int(self._files.read(f"{cpu}/cpu.max.burst")) if self._features.burst else 0
        return Bandwidth(UNLIMITED if quota == "max" else int(quota), int(period), burst)

    def _write_bandwidth(self, cpu: str, now: Bandwidth, goal: Bandwidth) -> None:
        quota = "max" if goal.quota_us == UNLIMITED else str(goal.quota_us)
        self._files.write(f"{cpu}/cpu.max", f"{quota} {goal.period_us}")

    def _write_burst(self, cpu: str, burst_us: int) -> None:
        self._files.write(f"{cpu}/cpu.max.burst", str(burst_us))

    def _weight_to(self, weight: int) -> int:
        return weight

    def _weight_from(self, value: int) -> int:
        # An idle group reads 0.
        return max(1, value)

    def _memory_text(self, limit: int) -> str:
        return "max" if limit == UNLIMITED else str(limit)

    def _cpus_in_force(self, path: str) -> str:
        return self._files.read(f"{path}/cpuset.cpus.effective")

    def _pressure(self, path: str, resource: str) -> Pressure | None:
        if not self._features.pressure:
            return None
        # Pressure can be switched off for one group (cgroup.pressure); its files are hidden then.
        with contextlib.suppress(OSError):
            return parse_pressure(self._files.read(f"{path}/{resource}.pressure"))
        return None

    def _can_read(self, path: str) -> bool:
        try:
            self._files.read(path)
        except OSError:
            return False
        return True
