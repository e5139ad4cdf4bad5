"""The latest kernel counters of each group, and the asking for them."""

from __future__ import annotations

from typing import Final

from tango.algorithms.quota.sides import BE, LC
from tango.controllers.worker.outbox import Outbox
from tango.model.commands import SampleUsage
from tango.model.events import GroupUsed

SIDES = (LC, BE)
_LC_PREFIX: Final = f"{LC}/"


class Counters:
    """What was read last. Every sample has the two sides in it, so each can make a report.

    Without cgroups a sample asks for no group: its answer still tells the wall clock, and makes the
    report that says that this node is alive.

    changed: whether counters of groups have, sides apart, since whoever adds them up took it back.
    """

    def __init__(self, out: Outbox, *, enabled: bool) -> None:
        self._out = out
        self._enabled = enabled
        # What is asked for most.
        self._only_sides = SampleUsage(SIDES if enabled else ())
        self.changed = False
        self._last: dict[str, GroupUsed] = {}
        # By side; CPU time needs no such place, since the kernel keeps it in the side's own group.
        self.gone_throttled_s = {LC: 0.0, BE: 0.0}

    def ask(self, groups: tuple[str, ...] = ()) -> None:
        """Read the sides and these groups now."""
        if groups and self._enabled:
            self._out.add(SampleUsage((*SIDES, *groups)))
        else:
            self._out.add(self._only_sides)

    def keep(self, used: GroupUsed) -> None:
        """A group was read."""
        self._last[used.group] = used
        self.changed = True

    def get(self, group: str) -> GroupUsed | None:
        """What was read last of a group; None if nothing was."""
        return self._last.get(group)

    def oom_kills(self, group: str) -> int:
        """Processes that the kernel killed in the group for memory, as far as was read."""
        used = self._last.get(group)
        return used.n_oom_kills if used is not None else 0

    def drop(self, group: str) -> None:
        """The group is gone; for how long it was throttled stays in its side's sum."""
        used = self._last.pop(group, None)
        if used is not None:
            self.gone_throttled_s[side_of(group)] += used.throttled_s
            self.changed = True


def side_of(group: str) -> str:
    """The side that a replica's or attempt's group is on."""
    return LC if group.startswith(_LC_PREFIX) else BE
