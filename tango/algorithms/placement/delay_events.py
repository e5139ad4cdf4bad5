"""Delay bounds as a machine: events in, what is to be stored and done out.

`writes` are committed first, as one; only then the steps are done, one after another. A crash in
between leaves books that are ahead of the nodes: `DelayBound.resume` takes running pods from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.algorithms.placement.delay_books import Bound
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_records import BoundJournal
from tango.algorithms.placement.delay_replan import replan
from tango.algorithms.placement.delay_shifts import BoundState, changed, state_of, steps_between
from tango.algorithms.placement.delays import Delays
from tango.algorithms.placement.move_plan import Step
from tango.algorithms.placement.pod import Pod
from tango.model.commands import Delete, Put


@dataclass(frozen=True, slots=True)
class Asked:
    """A pod wants a node."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Ended:
    """The pod is done, or is wanted no more."""

    pod: str


@dataclass(frozen=True, slots=True)
class Failed:
    """These nodes are gone with all that ran there, at once."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Returned:
    """These nodes are back, empty."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remeasured:
    """Round trips are these from now on."""

    delays: Delays


@dataclass(frozen=True, slots=True)
class Improve:
    """Apply the offline plan of all pods that are there, if it is better; takes its time."""


BoundEvent = Improve | Asked | Ended | Failed | Returned | Remeasured


@dataclass(frozen=True, slots=True)
class Instructions:
    """What follows from an event. steps: in order. said: (pod, what became of it, for people).

    reason: why the pod that asked was rejected, or why there is no better plan; "" otherwise.
    """

    writes: tuple[Put | Delete, ...]
    steps: tuple[Step, ...]
    said: tuple[tuple[str, str], ...]
    reason: str = ""


class DelayMachine:
    """One event after the other. here: nothing else changes it; other books after `Improve`."""

    def __init__(self, here: DelayBound, journal: BoundJournal | None = None) -> None:
        self.here = here
        self._journal = journal or BoundJournal(here)

    def handle(self, event: BoundEvent) -> Instructions:
        """Raises what DelayBound does, and nothing has changed then."""
        before, reason = state_of(self.here), ""
        match event:
            case Asked(pod):
                reason = self.here.schedule(pod).reason
            case Ended(name):
                self.here.delete(name)
            case Failed(nodes):
                self.here.fail(nodes)
            case Returned(nodes):
                self.here.join(nodes)
            case Remeasured(delays):
                self.here.delays_changed(delays)
            case Improve():
                plan = replan(self.here)
                self.here, reason = plan.here, plan.why_not
                self._journal.follow(self.here)
        after = state_of(self.here)
        return Instructions(
            self._journal.writes(),
            steps_between(before, self.here, after),
            _said(before, after, event),
            reason,
        )


def _said(before: BoundState, after: BoundState, event: BoundEvent) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, _what(before.bound.get(name), after.bound[name], event))
        for name in changed(before, after)
        if name in after.bound
    )


def _what(old: Bound | None, new: Bound, event: BoundEvent) -> str:
    """In one clause, and what is not as it should be after it."""
    dead = event.nodes if isinstance(event, Failed) else ()
    backup = f"backup on {new.backup}" if new.backup else ""
    if not new.node:
        said = f"{old.node} failed" if old is not None and old.node in dead else ""
    elif old is None or not old.node:
        said = f"placed on {new.node}"
    elif old.node == new.node:
        said = "backup gone" if old.backup and not new.backup else ""
    elif old.node in dead:
        where = f"its backup {new.node}" if new.node == old.backup else new.node
        said = f"{old.node} failed: restarted on {where}"
    elif isinstance(event, Remeasured):
        said = f"delays changed: moved from {old.node} to {new.node}"
    else:
        said = f"moved from {old.node} to {new.node}"
    return ", ".join(filter(None, (said, backup, new.warning)))
