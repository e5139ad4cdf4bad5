"""Control groups of version 1: one hierarchy for each controller, on the real kernel."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_files import GroupFiles
from tango.adapters.cgroup_values import (
    Bandwidth,
    check_name,
    keyed,
    quota_and_period_steps,
    shares_of,
    weight_of,
)
from tango.model.cgroup import CgroupFeatures, GroupPressure, GroupUsage

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory")


class CgroupV1(CgroupDriver):
    """`tango.ports.Cgroups` on cgroup v1 (kernel doc admin-guide/cgroup-v1, scheduler/sched-bwc).

    mounts: directory of each controller, e.g. {"cpu": Path("/sys/fs/cgroup/cpu"), ...}; "cpu" is
    needed, the rest of CONTROLLERS is used where given and permitted, others are left alone. A
    directory may be a group below the mount point that was delegated to Tango.
    n_oom_kills counts kills in the group itself, not below it: v1 counts no other way.
    Errors: KeyError without "cpu"; OSError where a group cannot be made there.
    """

    WEIGHT_FILE: ClassVar[str] = "cpu.shares"
    MEMORY_FILE: ClassVar[str] = "memory.limit_in_bytes"

    def __init__(
        self, mounts: Mapping[str, Path], root: str, files: GroupFiles | None = None
    ) -> None:
        bases = {name: str(mounts[name]) for name in CONTROLLERS if name in mounts}
        if "cpu" not in bases:
            raise KeyError("cpu")
        super().__init__(bases, root, files)

    def usage(self, group: str) -> GroupUsage:
        """See Cgroups. A controller that `features` does not list counts 0; pressure is None."""
        check_name(group)
        here = self._features.controllers
        read = self._files.read
        cpu = keyed(read(f"{self._dir('cpu', group)}/cpu.stat"))
        cpu_ns = memory_bytes = n_oom_kills = 0
        if "cpuacct" in here:
            cpu_ns = int(read(f"{self._dir('cpuacct', group)}/cpuacct.usage"))
        if "memory" in here:
            memory = self._dir("memory", group)
            memory_bytes = int(read(f"{memory}/memory.usage_in_bytes"))
            n_oom_kills = keyed(read(f"{memory}/memory.oom_control")).get("oom_kill", 0)
        return GroupUsage(
            cpu_s=cpu_ns / 1e9,
            memory_bytes=memory_bytes,
            n_periods=cpu.get("nr_periods", 0),
            n_throttled=cpu.get("nr_throttled", 0),
            throttled_s=cpu.get("throttled_time", 0) / 1e9,
            n_oom_kills=n_oom_kills,
        )

    def pressure(self, group: str) -> GroupPressure:
        """See Cgroups: version 1 has no such files."""
        path = self._dir("cpu", check_name(group))
        if not self._files.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return GroupPressure()

    def _look(self) -> CgroupFeatures:
        for controller in tuple(self._bases):
            try:
                self._make_path(self._bases[controller], self._root)
            except OSError as error:
                if controller == "cpu":
                    raise
                self._refused[controller] = str(error)
                del self._bases[controller]
        cpu = self._dir("cpu", "")
        return CgroupFeatures(
            version=1,
            controllers=frozenset(self._bases),
            burst=self._files.exists(f"{cpu}/cpu.cfs_burst_us"),
            idle=self._files.exists(f"{cpu}/cpu.idle"),
            pressure=False,
        )

    def _after_make(self, base: str, parent: str, path: str) -> None:
        if base == self._bases.get("cpuset"):
            # No process may enter before both are set. A group in use keeps what it has.
            for name, fallback in (("cpus", "effective_cpus"), ("mems", "effective_mems")):
                if not self._files.read(f"{path}/cpuset.{name}"):
                    inherited = self._files.read(f"{parent}/cpuset.{name}")
                    if not inherited:
                        inherited = self._files.read(f"{parent}/cpuset.{fallback}")
                    self._files.write(f"{path}/cpuset.{name}", inherited)
        if base == self._bases.get("memory"):
            # Kernels before 5.11 count children apart unless told; later ones always say 1.
            with contextlib.suppress(OSError):
                if self._files.read(f"{path}/memory.use_hierarchy") == "0":
                    self._files.write(f"{path}/memory.use_hierarchy", "1")

    def _read_bandwidth(self, cpu: str) -> Bandwidth:
        read = self._files.read
        burst = int(read(f"{cpu}/cpu.cfs_burst_us")) if self._features.burst else 0
        return Bandwidth(
            int(read(f"{cpu}/cpu.cfs_quota_us")), int(read(f"{cpu}/cpu.cfs_period_us")), burst
        )

    def _write_bandwidth(self, cpu: str, now: Bandwidth, goal: Bandwidth) -> None:
        passed = [now]
        try:
            for step in quota_and_period_steps(now, goal):
                self._write_step(cpu, passed[-1], step)
                passed.append(step)
        except OSError:
            # Back along the way we came: each of those states was valid a moment ago.
            while len(passed) > 1:
                last = passed.pop()
                with contextlib.suppress(OSError):
                    self._write_step(cpu, last, passed[-1])
            raise

    def _write_step(self, cpu: str, now: Bandwidth, step: Bandwidth) -> None:
        if step.quota_us != now.quota_us:
            self._files.write(f"{cpu}/cpu.cfs_quota_us", str(step.quota_us))
        if step.period_us != now.period_us:
            self._files.write(f"{cpu}/cpu.cfs_period_us", str(step.period_us))

    def _write_burst(self, cpu: str, burst_us: int) -> None:
        self._files.write(f"{cpu}/cpu.cfs_burst_us", str(burst_us))

    def _weight_to(self, weight: int) -> int:
        return shares_of(weight)

    def _weight_from(self, value: int) -> int:
        return weight_of(value)

    def _memory_text(self, limit: int) -> str:
        return str(limit)

    def _cpus_in_force(self, path: str) -> str:
        return self._files.read(f"{path}/cpuset.cpus")
