"""What of its traces a run will use: read once before it, and told to people."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.sim.loads import JobArrival, JobLoad, TracedRequest, TraceLoad
from tango.sim.scenario import Scenario
from tango.sim.trace_pace import Told
from tango.sim.trace_sources import TracedJobs, TracedUsers

_UNKNOWN = Told("loads", "a trace")


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What a run takes of one trace. counted: of `count`, those after the warm-up. last_s: when the
    last comes, in the run. cpu_s: work of its jobs, 0 of requests."""

    told: Told
    jobs: bool
    count: int
    counted: int
    last_s: float
    cpu_s: float

    def words(self, scenario: Scenario) -> str:
        """A line for people."""
        cores = sum(node.cpu_millis for _, node in scenario.topology.nodes()) / 1000
        if self.jobs:
            share = self.cpu_s / scenario.duration_s / cores
            amount = f"{self.count:,} jobs of {100 * share:.3g} % of all CPU"
        else:
            amount = f"{self.count:,} requests, {self.count / scenario.duration_s:,.4g}/s"
        asked = f"; {self.told.asked}" if self.told.asked else ""
        return f"{self.told.who}: {amount}, in {scenario.duration_s:g} s{asked}"

    def problem(self, scenario: Scenario) -> InvalidField | None:
        """What is wrong with it, without a place; None for nothing."""
        field, what = self.told.field, "jobs" if self.jobs else "requests"
        if not self.count:
            return InvalidField(field, f"has no {what} for this run", "choose another part of it")
        if not self.counted:
            problem = (
                f"ends {self.last_s:,.3g} s after the start of the load, within the warm-up of "
                f"{scenario.warmup_s:g} s: none of its {what} counts"
            )
            return InvalidField(field, problem, "make warmup_s shorter, or replay it slower")
        return None


def survey(scenario: Scenario) -> tuple[Surveyed, ...]:
    """Read what would be replayed of every trace once, in memory that does not grow.

    Raises RowError for the first broken row, before anything is simulated.
    """
    return tuple(_surveyed(*each, scenario) for each in _sources(scenario))


Items = Iterator[TracedRequest] | Iterator[JobArrival]


def _sources(scenario: Scenario) -> Iterator[tuple[Told, Items, bool]]:
    """Of each trace what is told of it, what comes, and whether these are jobs."""
    for index, load in enumerate((*scenario.loads, *scenario.jobs)):
        rng = random.Random(f"{scenario.seed} survey {index}")
        if isinstance(load, TraceLoad):
            told = load.source.told if isinstance(load.source, TracedUsers) else _UNKNOWN
            yield told, load.source(rng), False
        elif isinstance(load, JobLoad) and load.shape is None:
            assert callable(load.source)
            told = load.source.told if isinstance(load.source, TracedJobs) else _UNKNOWN
            yield told, load.source(rng), True


def _surveyed(told: Told, source: Items, jobs: bool, scenario: Scenario) -> Surveyed:
    count = counted = 0
    last_s = cpu_s = 0.0
    for arrival in source:
        if arrival.at_s >= scenario.duration_s:
            break
        count, last_s = count + 1, arrival.at_s
        counted += arrival.at_s >= scenario.warmup_s
        if isinstance(arrival, JobArrival):
            cpu_s += arrival.shape.work_cpu_s * arrival.shape.tasks
    return Surveyed(told, jobs, count, counted, last_s, cpu_s)
