"""A node's memory: limits of groups, what is left of the machine, and whom the kernel kills.

After mm/memcontrol.c and mm/oom_kill.c: use counts in a group and all above it; where a limit is
exceeded, or the machine's memory, the process within it with the most badness dies, again until it
fits. Badness is use + oom_score_adj / 1000 of what the limit allows, so BE (1000) goes first. Use
is what a process has touched, told by the caller; page cache, swap and reclaim are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.adapters.cgroup_values import check_name
from tango.model.cgroup import UNLIMITED, GroupTarget

# What Tango gives BE (architecture page); LC keeps 0.
BE_OOM_SCORE_ADJ = 1000
# The kernel never picks these.
_NEVER = -1000


@dataclass(frozen=True, slots=True)
class Killed:
    """A process that the OOM killer took, for the limit of a group or (None) the machine's end."""

    process: str
    group: str
    limit: str | None


class _Process:
    __slots__ = ("group", "oom_score_adj", "process", "use_bytes")

    def __init__(self, process: str, group: _Group, oom_score_adj: int) -> None:
        self.process = process
        self.group = group
        self.oom_score_adj = oom_score_adj
        self.use_bytes = 0


class _Group:
    __slots__ = ("limit_bytes", "n_oom_kills", "name", "oom_group", "parent", "use_bytes")

    def __init__(self, name: str, parent: _Group | None) -> None:
        self.name = name
        self.parent = parent
        self.limit_bytes = UNLIMITED
        self.oom_group = False
        self.use_bytes = 0
        self.n_oom_kills = 0


class NodeMemory:
    """The state machine; it knows no time.

    other_bytes: what the rest of the machine holds, which nobody can kill.
    """

    __slots__ = ("_groups", "_other_bytes", "_processes", "_total_bytes")

    def __init__(self, total_bytes: int, *, other_bytes: int = 0) -> None:
        self._total_bytes = total_bytes
        self._other_bytes = other_bytes
        self._groups: dict[str, _Group] = {"": _Group("", None)}
        self._processes: dict[str, _Process] = {}

    @property
    def available_bytes(self) -> int:
        """What the machine still has (MemAvailable)."""
        return self._total_bytes - self._other_bytes - self._groups[""].use_bytes

    def set_group(self, group: str, target: GroupTarget) -> tuple[Killed, ...]:
        """Make the group and its parents if need be; set its memory limit and oom_group.

        As on cgroup v2, a limit below what is used kills until it fits; v1 refuses it (EBUSY).
        """
        node = self._groups.get(group) or self._make(check_name(group))
        if target.oom_group is not None:
            node.oom_group = target.oom_group
        if target.memory_max_bytes is None:
            return ()
        node.limit_bytes = target.memory_max_bytes
        return self._kill_until_fit(node, None)

    def remove_group(self, group: str) -> None:
        """Remove the group and all below it; fine if absent. ValueError while processes are in."""
        below = [name for name in self._groups if name == group or name.startswith(f"{group}/")]
        if not group:
            raise ValueError("the root cannot be removed")
        for process in self._processes.values():
            if process.group.name in below:
                raise ValueError(f"{process.process!r} is still in {process.group.name!r}")
        for name in below:
            del self._groups[name]

    def use(
        self, process: str, group: str, use_bytes: int, *, oom_score_adj: int = 0
    ) -> tuple[Killed, ...]:
        """The process uses this much from now on; who is killed for it, maybe the process itself.

        A new process enters the group (KeyError if there is none), a known one stays in its own.
        """
        known = self._processes.get(process)
        if known is None:
            known = self._processes[process] = _Process(process, self._groups[group], oom_score_adj)
        elif known.group.name != group:
            raise ValueError(f"{process!r} is in {known.group.name!r}, not in {group!r}")
        self._charge(known, use_bytes - known.use_bytes)
        return self._kill_until_fit(known.group, known)

    def end(self, process: str) -> None:
        """The process has ended and gives back what it used; fine if unknown."""
        known = self._processes.pop(process, None)
        if known is not None:
            self._charge(known, -known.use_bytes)

    def usage(self, group: str) -> tuple[int, int]:
        """Bytes in use in the group and below, and OOM kills in the group itself (as v1 counts)."""
        node = self._groups[group]
        return node.use_bytes, node.n_oom_kills

    def _make(self, name: str) -> _Group:
        above = name.rpartition("/")[0]
        group = _Group(name, self._groups.get(above) or self._make(above))
        self._groups[name] = group
        return group

    def _charge(self, process: _Process, change: int) -> None:
        process.use_bytes += change
        group: _Group | None = process.group
        while group is not None:
            group.use_bytes += change
            group = group.parent

    def _kill_until_fit(self, group: _Group, grower: _Process | None) -> tuple[Killed, ...]:
        killed: list[Killed] = []
        while True:
            over_bytes, limit = self._most_exceeded(group)
            if over_bytes <= 0:
                return tuple(killed)
            victim = self._worst(limit, grower, over_bytes)
            if victim is None:
                # Nobody may be killed: the kernel would panic, or let the allocation fail.
                return tuple(killed)
            name = None if limit is None else limit.name
            for process in self._dies_with(victim, limit):
                process.group.n_oom_kills += 1
                self.end(process.process)
                killed.append(Killed(process.process, process.group.name, name))

    def _most_exceeded(self, group: _Group) -> tuple[int, _Group | None]:
        """By how much, and whose limit: the one that growing memory came to first."""
        most, limit = -self.available_bytes, None
        above: _Group | None = group
        found: list[tuple[int, _Group]] = []
        while above is not None:
            if above.limit_bytes != UNLIMITED:
                found.append((above.use_bytes - above.limit_bytes, above))
            above = above.parent
        # The kernel charges from the inside to the outside.
        for over_bytes, each in reversed(found):
            if over_bytes >= most:
                most, limit = over_bytes, each
        return most, limit

    def _worst(
        self, limit: _Group | None, grower: _Process | None, over_bytes: int
    ) -> _Process | None:
        allowed = self._total_bytes if limit is None else limit.limit_bytes
        worst: _Process | None = None
        most = 0.0
        for process in self._processes.values():
            if process.oom_score_adj <= _NEVER or not _within(process.group, limit):
                continue
            use_bytes = process.use_bytes
            if process is grower:
                # It has got what there was, not what it wanted.
                use_bytes -= min(over_bytes, use_bytes)
            badness = use_bytes + process.oom_score_adj * allowed / 1000
            # Of equals the kernel takes the last that it looks at, the youngest.
            if worst is None or badness >= most:
                worst, most = process, badness
        return worst

    def _dies_with(self, victim: _Process, limit: _Group | None) -> list[_Process]:
        """The victim, or all in the outermost group within the limit that asks for that."""
        whole: _Group | None = None
        group: _Group | None = victim.group
        while group is not None:
            if group.oom_group:
                whole = group
            if group is limit:
                break
            group = group.parent
        if whole is None:
            return [victim]
        return [each for each in self._processes.values() if _within(each.group, whole)]


def _within(group: _Group, limit: _Group | None) -> bool:
    if limit is None:
        return True
    above: _Group | None = group
    while above is not None:
        if above is limit:
            return True
        above = above.parent
    return False
