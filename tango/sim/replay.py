"""Drives a fresh controller with what a daemon recorded; the same decisions come out.

Policies are asked again where the controller asks them, as they are installed here, and answer at
the moment at which the recorded answer came: a changed policy shows. As long as all answers are as
they were, so is everything else. After the first that differs, what is asked is answered at once,
for the recorded answers are to other questions; the world, however, still does what it did to the
recorded decisions. So what follows shows that a policy decides otherwise, not what would have come
of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from tango.adapters.bound_rules import bound_rule
from tango.adapters.replica_rules import replica_rule
from tango.controllers.central.begin import begin as begin_central
from tango.controllers.decisions import Decisions
from tango.controllers.edge.begin import begin as begin_edge
from tango.controllers.worker.begin import begin as begin_worker
from tango.model.bounds import BoundPlan, BoundSnapshot, ImproveSnapshot
from tango.model.commands import Persist, Solve
from tango.model.decision import Decision
from tango.model.errors import TangoError
from tango.model.events import (
    BatchSolved,
    BoundsSolved,
    ImproveSolved,
    Persisted,
    PersistFailed,
    RouteSolved,
    SolveFailed,
)
from tango.model.improvement import BoundTotals, Improvement
from tango.model.plan import BatchPolicy, marks_of
from tango.model.starts import CentralStart, EdgeStart, Start
from tango.sim.policies import Answer, OfBounds, Policies, Policy

# Of the controller's ring: more than one event can add.
RING = 65_536
Answers = Answer | SolveFailed | Persisted | PersistFailed


class Controller(Protocol):
    """What all three offer."""

    @property
    def decisions(self) -> Decisions:
        """Its records."""
        ...

    def handle(self, event: Any, now: float) -> Sequence[object]:
        """Take one event, say what is to be done."""
        ...


@dataclass(slots=True)
class Replayed:
    """How it went. begun, ended: `now` of the first and the last event.

    solves: questions to policies that were asked again; differing: plans that are other ones than
    recorded; first: the line of the recording where the first of them came, or an answer to what
    the controller has not asked, 0 for none.
    missing: policies that cannot be asked here, and why; their recorded plans were taken.
    """

    events: int = 0
    decisions: int = 0
    begun: float = 0.0
    ended: float = 0.0
    solves: int = 0
    differing: int = 0
    first: int = 0
    missing: dict[str, str] = field(default_factory=dict)


class ReplayBroke(TangoError):
    """The controller raised, as that of the daemon did where its recording ends there.

    line: of the recording.
    """

    def __init__(self, line: int, event: object, error: Exception) -> None:
        self.line = line
        super().__init__(f"the controller raised at a {type(event).__name__}: {error!r}")


class Replay:
    """One life of one daemon, again. sink: takes its decisions as they are made.

    policy: answers in place of those that did. `result` is current whenever `run` returns or raises
    ReplayBroke, or what reading the events raises.
    """

    def __init__(
        self, start: Start, sink: Callable[[Sequence[Decision]], object], policy: Policy | None
    ) -> None:
        self.result = Replayed()
        self._sink = sink
        self._policies = Policies(start, policy)
        self.result.missing = self._policies.missing
        self._controller = _controller(start, policy)
        self._written = 0
        # Questions and writes that have no answer yet.
        self._asked: dict[int, Solve] = {}
        self._writing: dict[int, None] = {}
        self._latest: RouteSolved | BatchSolved | None = None
        self._wall = 0.0
        self._line = 0
        self._due: deque[Any] = deque()

    def run(self, events: Iterable[tuple[int, float, Any]]) -> Replayed:
        """Handle them all: (line, now, event), in order."""
        result = self.result
        for line, now, event in events:
            self._line = line
            if not result.events:
                result.begun = now
            result.events += 1
            result.ended = now
            self._wall = getattr(event, "wall", 0.0) or self._wall
            self._take(event)
            while self._due:
                self._handle(self._due.popleft(), now)
        return result

    def _handle(self, event: Any, now: float) -> None:
        try:
            commands = self._controller.handle(event, now)
        except Exception as error:
            raise ReplayBroke(self._line, event, error) from error
        for command in commands:
            if isinstance(command, Solve):
                self._asked[command.solve_id] = command
            elif isinstance(command, Persist):
                self._writing[command.persist_id] = None
        decisions = self._controller.decisions
        last = decisions.last
        if last > self._written:
            self._sink(decisions.since(self._written))
            self._written = self.result.decisions = last
        if self.result.first:
            self._due.extend(self._answer_now(solve) for solve in self._asked.values())
            self._due.extend(Persisted(persist_id) for persist_id in self._writing)
            self._asked.clear()
            self._writing.clear()

    # ---- answers

    def _take(self, event: Any) -> None:
        """The event is next, or what it is here, or nothing in its place."""
        if not isinstance(event, Answers):
            self._due.append(event)
        elif self.result.first:
            pass  # an answer to what another story asked
        elif isinstance(event, Answer):
            if not isinstance(event, OfBounds):
                self._latest = event
            self._solved(event)
        else:
            if isinstance(event, SolveFailed):
                self._asked.pop(event.solve_id, None)
            else:
                self._writing.pop(event.persist_id, None)
            self._due.append(event)

    def _solved(self, event: Answer) -> None:
        solve = self._asked.pop(event.solve_id, None)
        if solve is None:
            # The controller is not the one that was recorded.
            self.result.first = self._line
            return
        found = self._policies.answer(solve.snapshot, event)
        if found is None:
            self._due.append(event)
            return
        self.result.solves += 1
        if not isinstance(found, type(event)) or found.plan != event.plan:
            self.result.differing += 1
            self.result.first = self._line
        self._due.append(found)

    def _answer_now(self, solve: Solve) -> Answer | SolveFailed:
        """What was not asked when this was recorded: at the cost of the last that was."""
        like: Answer | None = self._latest
        if isinstance(solve.snapshot, BoundSnapshot):
            like = BoundsSolved(solve.solve_id, BoundPlan(), 0.0, self._wall)
        elif isinstance(solve.snapshot, ImproveSnapshot):
            none = Improvement(BoundTotals(), BoundTotals())
            like = ImproveSolved(solve.solve_id, none, 0.0, self._wall)
        elif like is None:
            return SolveFailed(solve.solve_id, "nobody answered such a question before")
        like = replace(like, solve_id=solve.solve_id)
        if isinstance(like, BatchSolved):
            like = replace(like, wall=self._wall)
        self.result.solves += 1
        self.result.differing += 1
        found = self._policies.answer(solve.snapshot, like)
        return found or SolveFailed(solve.solve_id, "its policy cannot be asked here")


def _controller(start: Start, policy: Policy | None) -> Controller:
    kept = replace(start.settings.decisions, ring=RING)
    # Each kind by itself, for the types.
    if isinstance(start, EdgeStart):
        rule = replica_rule(start.settings.placement)
        return begin_edge(replace(start, settings=replace(start.settings, decisions=kept)), rule)
    if isinstance(start, CentralStart):
        if policy is not None:
            # As the daemon of that policy would begin it.
            named = replace(start.settings, batch_policy=policy.name)
            marks = marks_of(cast("BatchPolicy", policy))
            start = replace(start, settings=named, **marks)
        start = replace(start, settings=replace(start.settings, decisions=kept))
        return begin_central(start, bound_rule(start.settings.placement))
    return begin_worker(replace(start, settings=replace(start.settings, decisions=kept)))
