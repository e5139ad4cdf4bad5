"""Groups of a node that shares its cores with other nodes: its BE side stands with theirs.

    <root of the node>/lc/...        beside the other nodes' roots
    <common BE root>/<node>/...      what the node calls "be", below the BE of all nodes

Weights count between siblings: with BE inside each node's group, a node's BE would get as much CPU
as another node's LC. Here the BE of every node yields to the LC of every node.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import TracebackType
from typing import Self

from tango.adapters.cgroup_driver import CgroupDriver
from tango.model.cgroup import (
    CgroupFeatures,
    GroupPressure,
    GroupTarget,
    GroupUsage,
    Mismatch,
)

BE = "be"


class SharedBe:
    """`tango.ports.Cgroups` on two drivers: the node's own, and one whose root is its part of BE.

    common: driver of the BE of all nodes; it gets the weight and idleness of each node's BE, for it
    is what stands against their LC. A quota of BE stays the node's own.
    """

    def __init__(self, node: CgroupDriver, be: CgroupDriver, common: CgroupDriver) -> None:
        self._node = node
        self._be = be
        self._common = common

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
        for driver in (self._node, self._be, self._common):
            driver.close()

    def features(self) -> CgroupFeatures:
        """See Cgroups."""
        return self._node.features()

    def create(self, group: str) -> None:
        """See Cgroups."""
        driver, name = self._at(group)
        driver.create(name)

    def remove(self, group: str) -> None:
        """See Cgroups; the common BE root goes with the last node's part of it."""
        if group == "":
            self._be.remove("")
        driver, name = self._at(group)
        driver.remove(name)

    def apply(self, group: str, target: GroupTarget) -> tuple[Mismatch, ...]:
        """See Cgroups."""
        driver, name = self._at(group)
        misses = driver.apply(name, target)
        if group == BE and (target.weight is not None or target.idle is not None):
            common = GroupTarget(weight=target.weight, idle=target.idle)
            misses += self._common.apply("", common)
        return tuple(replace(miss, group=group) for miss in misses)

    def read(self, group: str) -> GroupTarget:
        """See Cgroups."""
        driver, name = self._at(group)
        return driver.read(name)

    def usage(self, group: str) -> GroupUsage:
        """See Cgroups; of the root: both sides."""
        driver, name = self._at(group)
        used = driver.usage(name)
        if group:
            return used
        be = self._be.usage("")
        return GroupUsage(
            used.cpu_s + be.cpu_s,
            used.memory_bytes + be.memory_bytes,
            used.n_periods + be.n_periods,
            used.n_throttled + be.n_throttled,
            used.throttled_s + be.throttled_s,
            used.n_oom_kills + be.n_oom_kills,
        )

    def pressure(self, group: str) -> GroupPressure:
        """See Cgroups; of the root: of all but BE."""
        driver, name = self._at(group)
        return driver.pressure(name)

    def procs(self, group: str) -> tuple[int, ...]:
        """See Cgroups."""
        driver, name = self._at(group)
        return driver.procs(name)

    def kill(self, group: str) -> None:
        """See Cgroups."""
        if group == "":
            self._be.kill("")
        driver, name = self._at(group)
        driver.kill(name)

    def move(self, group: str, pid: int) -> None:
        """See Cgroups."""
        driver, name = self._at(group)
        driver.move(name, pid)

    def procs_files(self, group: str) -> tuple[str, ...]:
        """See Cgroups."""
        driver, name = self._at(group)
        return driver.procs_files(name)

    def groups(self) -> tuple[str, ...]:
        """See Cgroups; the BE side is listed once anything was made in it."""
        found = [name for name in self._node.groups() if name != BE]
        below = self._be.groups()
        with contextlib.suppress(OSError):
            self._be.procs("")
            found += [BE, *(f"{BE}/{name}" for name in below)]
        return tuple(sorted(found, key=lambda name: name.split("/")))

    def _at(self, group: str) -> tuple[CgroupDriver, str]:
        """The driver of a group, and its name there."""
        if group == BE:
            return self._be, ""
        if group.startswith(f"{BE}/"):
            return self._be, group[len(BE) + 1 :]
        return self._node, group
