"""Targets of groups, the same for cgroup v1 and v2: what is written, in which order, and told."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import ClassVar, Self

from tango.adapters.cgroup_files import GroupFiles
from tango.adapters.cgroup_tree import GroupTree, within
from tango.adapters.cgroup_values import (
    MAX_WEIGHT,
    MIN_WEIGHT,
    UNAVAILABLE,
    Bandwidth,
    amount,
    bandwidth_goal,
    bandwidth_mismatches,
    check_name,
    memory_limit,
    parse_cpus,
)
from tango.model.cgroup import (
    UNLIMITED,
    CgroupFeatures,
    GroupPressure,
    GroupTarget,
    GroupUsage,
    Mismatch,
)

_OOM_GROUP_FILE = "memory.oom.group"


class CgroupDriver(GroupTree, ABC):
    """`tango.ports.Cgroups` on a kernel's files; the versions differ in file names and rules.

    Every value is compared with what the kernel says now, not with what was written last, so that
    nothing unchanged is ever written and a change from outside is put right. Reading costs 2 us on
    a kept descriptor.
    An idle group has no weight (the kernel holds it at 3 shares and refuses writes): a weight asked
    for meanwhile is kept here, and written when idle is cleared.
    For one thread at a time. The constructor makes the root: OSError where it may not, ValueError
    for a root that would leave its base.
    """

    WEIGHT_FILE: ClassVar[str]
    MEMORY_FILE: ClassVar[str]

    def __init__(self, bases: Mapping[str, str], root: str, files: GroupFiles | None) -> None:
        super().__init__(bases, root, files)
        self._refused: dict[str, str] = {}
        self._held_weights: dict[str, int] = {}
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._features = self._look()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors kept; the groups stay as they are."""
        self._files.close()

    @property
    def refused(self) -> Mapping[str, str]:
        """Controllers that are here but not usable under our root, with the reason."""
        return self._refused

    def features(self) -> CgroupFeatures:
        """See Cgroups: found when the root was made."""
        return self._features

    def remove(self, group: str) -> None:
        """See Cgroups: deepest first, in every hierarchy. Does not wait: EBUSY is the caller's."""
        super().remove(group)
        for name in [name for name in self._held_weights if within(name, group)]:
            del self._held_weights[name]

    def apply(self, group: str, target: GroupTarget) -> tuple[Mismatch, ...]:
        """See Cgroups. A value out of range is not written, and comes back as Mismatch too.

        A Mismatch also names a value that had to change though nobody asked: a burst above the new
        quota. A refused quota leaves the old quota and period in force.
        """
        check_name(group)
        misses: list[Mismatch] = []
        if not (target.quota_millis is target.period_us is target.burst_us is None):
            misses += self._apply_bandwidth(group, target)
        if target.idle is not None or target.weight is not None:
            misses += self._apply_weight(group, target)
        if target.memory_max_bytes is not None:
            misses += self._apply_memory(group, target.memory_max_bytes)
        if target.cpuset is not None:
            misses += self._apply_cpuset(group, target.cpuset)
        if target.oom_group is not None:
            misses += self._apply_oom_group(group, target.oom_group)
        return tuple(misses)

    def read(self, group: str) -> GroupTarget:
        """See Cgroups. An idle group reads as weight 1."""
        check_name(group)
        features = self._features
        quota = period = burst = weight = memory = None
        idle = None
        cpuset = None
        oom_group = None
        if "cpu" in features.controllers:
            cpu = self._dir("cpu", group)
            bandwidth = self._read_bandwidth(cpu)
            quota, period = bandwidth.millis, bandwidth.period_us
            burst = bandwidth.burst_us if features.burst else None
            weight = self._weight_from(int(self._files.read(f"{cpu}/{self.WEIGHT_FILE}")))
            idle = self._is_idle(cpu) if features.idle else None
        if "memory" in features.controllers:
            path = f"{self._dir('memory', group)}/{self.MEMORY_FILE}"
            memory = memory_limit(self._files.read(path))
            oom_group = self._is_oom_group(group) if features.oom_group else None
        if "cpuset" in features.controllers:
            cpuset = self._cpus_in_force(self._dir("cpuset", group))
        return GroupTarget(quota, period, burst, weight, idle, memory, cpuset, oom_group)

    @abstractmethod
    def usage(self, group: str) -> GroupUsage:
        """See Cgroups."""

    @abstractmethod
    def pressure(self, group: str) -> GroupPressure:
        """See Cgroups."""

    # What the versions do in their own way; `cpu` and `path` are directories.

    @abstractmethod
    def _look(self) -> CgroupFeatures:
        """Make the root and find out what can be used under it."""

    @abstractmethod
    def _read_bandwidth(self, cpu: str) -> Bandwidth: ...

    @abstractmethod
    def _write_bandwidth(self, cpu: str, now: Bandwidth, goal: Bandwidth) -> None:
        """Write quota and period (not the burst); on OSError leave both as they were."""

    @abstractmethod
    def _write_burst(self, cpu: str, burst_us: int) -> None: ...

    @abstractmethod
    def _weight_to(self, weight: int) -> int: ...

    @abstractmethod
    def _weight_from(self, value: int) -> int: ...

    @abstractmethod
    def _memory_text(self, limit: int) -> str: ...

    @abstractmethod
    def _cpus_in_force(self, path: str) -> str:
        """The cores that the group has, which may be fewer than it asks for."""

    def _apply_bandwidth(self, group: str, target: GroupTarget) -> list[Mismatch]:
        if "cpu" not in self._features.controllers:
            wanted = ("quota_millis", "period_us", "burst_us")
            return _unavailable(group, target, wanted)
        cpu = self._dir("cpu", group)
        has_burst = self._features.burst
        now = found = self._read_bandwidth(cpu)
        goal = bandwidth_goal(now, target, burst=has_burst)
        if goal != now:
            # The kernel refuses a quota below the burst: burst goes down first and up last. A burst
            # that went down stays down where the quota is then refused: putting it back would
            # refill the bucket at every repeat.
            with _refusals():
                if goal.burst_us < now.burst_us:
                    self._write_burst(cpu, goal.burst_us)
            with _refusals():
                if (goal.quota_us, goal.period_us) != (now.quota_us, now.period_us):
                    self._write_bandwidth(cpu, now, goal)
            with _refusals():
                if goal.burst_us > now.burst_us:
                    self._write_burst(cpu, goal.burst_us)
            found = self._read_bandwidth(cpu)
        return bandwidth_mismatches(group, now, target, found, burst=has_burst)

    def _apply_weight(self, group: str, target: GroupTarget) -> list[Mismatch]:
        if "cpu" not in self._features.controllers:
            return _unavailable(group, target, ("weight", "idle"))
        cpu = self._dir("cpu", group)
        path = f"{cpu}/{self.WEIGHT_FILE}"
        misses: list[Mismatch] = []
        weight = target.weight
        valid = weight is not None and MIN_WEIGHT <= weight <= MAX_WEIGHT
        goal = self._weight_to(weight) if weight is not None and valid else None
        found = before = int(self._files.read(path))
        was_idle = self._is_idle(cpu)
        idle = was_idle
        if target.idle is not None and target.idle != was_idle:
            idle = self._set_idle(cpu, target.idle)
            if idle != target.idle:
                shown = str(idle) if self._features.idle else UNAVAILABLE
                misses.append(Mismatch(group, "idle", str(target.idle), shown))
            # The kernel sets a weight of its own at both changes, not the last one.
            found = int(self._files.read(path))
        if idle:
            if goal is not None:
                self._held_weights[group] = goal
            elif not was_idle:
                self._held_weights[group] = before
        else:
            held = self._held_weights.pop(group, None)
            goal = held if goal is None else goal
            if goal is not None and goal != found:
                with _refusals():
                    self._files.write(path, str(goal))
                found = int(self._files.read(path))
        if weight is not None and (not valid or (not idle and goal != found)):
            misses.append(Mismatch(group, "weight", str(weight), str(self._weight_from(found))))
        return misses

    def _is_idle(self, cpu: str) -> bool:
        return self._features.idle and self._files.read(f"{cpu}/cpu.idle") == "1"

    def _set_idle(self, cpu: str, idle: bool) -> bool:
        if self._features.idle:
            with _refusals():
                self._files.write(f"{cpu}/cpu.idle", str(int(idle)))
        return self._is_idle(cpu)

    def _apply_memory(self, group: str, wanted: int) -> list[Mismatch]:
        if "memory" not in self._features.controllers:
            return _unavailable(group, GroupTarget(memory_max_bytes=wanted), ("memory_max_bytes",))
        path = f"{self._dir('memory', group)}/{self.MEMORY_FILE}"
        # The kernel counts in pages and rounds down.
        goal = wanted if wanted < 0 else wanted - wanted % self._page
        found = memory_limit(self._files.read(path))
        if found != goal and wanted >= UNLIMITED:
            with _refusals():
                self._files.write(path, self._memory_text(goal))
            found = memory_limit(self._files.read(path))
        if found == goal:
            return []
        return [Mismatch(group, "memory_max_bytes", amount(wanted), amount(found))]

    def _apply_oom_group(self, group: str, wanted: bool) -> list[Mismatch]:
        if not self._features.oom_group:
            return _unavailable(group, GroupTarget(oom_group=wanted), ("oom_group",))
        if self._is_oom_group(group) != wanted:
            with _refusals():
                path = f"{self._dir('memory', group)}/{_OOM_GROUP_FILE}"
                self._files.write(path, str(int(wanted)))
        found = self._is_oom_group(group)
        return [] if found == wanted else [Mismatch(group, "oom_group", str(wanted), str(found))]

    def _is_oom_group(self, group: str) -> bool:
        return self._files.read(f"{self._dir('memory', group)}/{_OOM_GROUP_FILE}") == "1"

    def _apply_cpuset(self, group: str, wanted: str) -> list[Mismatch]:
        if "cpuset" not in self._features.controllers:
            return _unavailable(group, GroupTarget(cpuset=wanted), ("cpuset",))
        path = self._dir("cpuset", group)
        goal = parse_cpus(wanted)
        if goal and goal != parse_cpus(self._files.read(f"{path}/cpuset.cpus")):
            with _refusals():
                self._files.write(f"{path}/cpuset.cpus", wanted.strip())
        found = self._cpus_in_force(path)
        return [] if parse_cpus(found) == goal else [Mismatch(group, "cpuset", wanted, found)]


def _unavailable(group: str, target: GroupTarget, fields: tuple[str, ...]) -> list[Mismatch]:
    misses = []
    for field in fields:
        value = getattr(target, field)
        if value is not None:
            wanted = amount(value) if value == UNLIMITED else str(value)
            misses.append(Mismatch(group, field, wanted, UNAVAILABLE))
    return misses


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Around a write: the read back tells of a refusal, only a group that is gone is an error."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError:
        return
