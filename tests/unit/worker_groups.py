"""Control groups as the kernel has them, with what cgroup v1 refuses turned into errors."""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.cgroup import UNLIMITED, GroupTarget
from tango.model.events import GroupUsed


@dataclass
class Group:
    """A group without limits, as the kernel makes it."""

    quota: int = UNLIMITED
    period_us: int = 100_000
    memory: int = UNLIMITED
    weight: int = 100
    idle: bool = False
    cpu_s: float = 0.0
    oom_kills: int = 0


class Groups(dict[str, Group]):
    """Groups by name. quota_writes: (now, group, quota) of each write that changed one."""

    def __init__(self) -> None:
        super().__init__()
        self.quota_writes: list[tuple[float, str, int]] = []

    def make(self, name: str) -> None:
        if name:
            assert parent_of(name) in self, f"{name}: made before its parent"
        self.setdefault(name, Group())

    def set(self, name: str, goal: GroupTarget, now: float) -> None:
        assert name in self, f"{name}: set before it was made"
        group = self[name]
        if goal.memory_max_bytes is not None:
            group.memory = goal.memory_max_bytes
        group.weight = goal.weight if goal.weight is not None else group.weight
        group.idle = goal.idle if goal.idle is not None else group.idle
        if goal.quota_millis is not None:
            period_us = goal.period_us or group.period_us
            if (goal.quota_millis, period_us) != (group.quota, group.period_us):
                group.quota, group.period_us = goal.quota_millis, period_us
                self.quota_writes.append((now, name, goal.quota_millis))
            self._check_quotas(name)

    def drop(self, name: str, in_use: list[str]) -> None:
        """in_use: groups of live processes."""
        for group in in_use:
            assert not f"{group}/".startswith(f"{name}/"), f"{name}: not empty"
        assert not any(below.startswith(f"{name}/") for below in self), f"{name}: has groups"
        del self[name]

    def used(self, name: str) -> GroupUsed:
        group = self[name]
        return GroupUsed(name, group.cpu_s, 7 * 2**20, 0, 0.0, group.oom_kills)

    def _check_quotas(self, name: str) -> None:
        """After each single write, no child may be above its parent."""
        group = self[name]
        if group.quota == UNLIMITED:
            return
        assert group.quota * group.period_us >= 1_000_000, f"{name}: below the smallest quota"
        parent = self.get(parent_of(name)) if name else None
        if parent is not None and parent.quota != UNLIMITED:
            assert group.quota <= parent.quota, f"{name}: above its parent"
        for below, child in self.items():
            if below and parent_of(below) == name:
                assert child.quota <= group.quota, f"{name}: below its child {below}"


def parent_of(name: str) -> str:
    return name.rpartition("/")[0]
