"""When a trace's tasks come in a replay: which part of it, how fast, where its first ones go."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.workload.bounds import require_number, require_whole
from tango.workload.trace_tasks import TraceTask

INITIAL = ("spread", "at-once", "leave-out")
BORG_START_S = 600.0  # of both Borg traces; what came before it stands at time 0


@dataclass(frozen=True, slots=True)
class ReplayRule:
    """Part and pace. Where LC and BE of one trace take the same rule, they stay in step.

    start_s, end_s: of the trace's time, [start_s, end_s). speed_up: arrivals come so many times as
    fast; how long a task runs stays, so the load rises by it.
    initial: tasks that were there before the trace began, at an unknown time: "spread" (uniform
    over the first initial_s seconds of trace time, seeded), "at-once", "leave-out". Spreading holds
    them all for a moment, max_initial at most.
    """

    start_s: float = 0.0
    end_s: float = math.inf
    speed_up: float = 1.0
    initial: str = "spread"
    initial_s: float = BORG_START_S
    max_initial: int = 500_000

    def __post_init__(self) -> None:
        require_number("start_s", self.start_s, 0, 2.0**53)
        if self.end_s != math.inf:
            require_number("end_s", self.end_s, self.start_s, 2.0**53, above=True)
        require_number("speed_up", self.speed_up, 0, 1e6, above=True)
        if self.initial not in INITIAL:
            fix = f"choose one of {', '.join(INITIAL)}"
            raise InvalidField("initial", f"{self.initial!r} is no way to begin", fix)
        require_number("initial_s", self.initial_s, 0, 2.0**53, above=True)
        require_whole("max_initial", self.max_initial, 1, 100_000_000)


def replayed(
    tasks: Iterable[TraceTask], rule: ReplayRule, rng: random.Random
) -> Iterator[tuple[float, TraceTask]]:
    """(at_s, task) in order of time; 0 is the trace's start_s. `tasks` come in order of submission.

    Stops reading at end_s. Raises InvalidField where more than max_initial tasks would be spread.
    """
    for submitted_s, task in _placed(tasks, rule, rng):
        if submitted_s >= rule.end_s:
            return
        if submitted_s >= rule.start_s:
            yield (submitted_s - rule.start_s) / rule.speed_up, task


def _placed(
    tasks: Iterable[TraceTask], rule: ReplayRule, rng: random.Random
) -> Iterator[tuple[float, TraceTask]]:
    """Tasks with their time in the trace, the initial ones where the rule puts them."""
    waiting: list[tuple[float, int, TraceTask]] = []  # drawn time, order in the trace; latest first
    spreading = True
    for number, task in enumerate(tasks):
        if task.initial and rule.initial != "at-once":
            if rule.initial == "spread":
                if len(waiting) == rule.max_initial:
                    problem = f"more than {rule.max_initial} tasks are there when the trace begins"
                    raise InvalidField("initial", problem, 'choose "leave-out", or max_initial')
                waiting.append((rng.uniform(0, rule.initial_s), number, task))
            continue
        if spreading:  # the initial ones all come first
            spreading = False
            waiting.sort(key=lambda each: each[:2], reverse=True)
        while waiting and waiting[-1][0] <= task.submitted_s:
            drawn_s, _, earlier = waiting.pop()
            yield drawn_s, earlier
        yield task.submitted_s, task
    waiting.sort(key=lambda each: each[:2], reverse=True)
    while waiting:
        drawn_s, _, earlier = waiting.pop()
        yield drawn_s, earlier
