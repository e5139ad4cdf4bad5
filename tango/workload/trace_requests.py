"""Latency-critical tasks of a trace to arrivals of requests.

An LC task of these traces is a server, and no trace has its requests; their stream is modelled, by
one of two rules:

task  each LC task that is submitted is one request: real, bursty arrival times, as evaluations with
      cluster traces do it. Its work comes from its CPU request (how heavy the service is), or from
      request times run (heavy-tailed), over `reference`.
live  a Poisson process whose rate at t is per_core_s times the cores that live LC tasks hold at t:
      real rises and falls of the LC load, as many requests as are wanted. Work is 1.0.
"""

from __future__ import annotations

import heapq
import math
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tango.model.errors import InvalidField
from tango.workload.arrival import Arrival
from tango.workload.bounds import require_number, require_whole
from tango.workload.patterns import MAX_RATE_PER_S
from tango.workload.trace_jobs import RunRule, Runs
from tango.workload.trace_replay import ReplayRule, replayed
from tango.workload.trace_scale import NodeScale
from tango.workload.trace_tasks import TraceTask

REQUESTS = ("task", "live")
WORK = ("cpu", "cpu-time")


@dataclass(frozen=True, slots=True)
class RequestRule:
    """How LC tasks become requests; see the module's docstring.

    requests: "task" or "live". work: "cpu" or "cpu-time", of task only. reference: what counts as
    work 1.0, in cores on the edge (cpu) or core seconds (cpu-time); the mean of a first pass
    (`mean_demand`) makes the mean work 1.0 but for the bounds. min_work, max_work: bounds, so that
    one server of weeks is not a request of hours. per_core_s: requests per second and core, of
    live. runs: how long tasks run, for live and cpu-time.
    """

    requests: str = "task"
    work: str = "cpu"
    reference: float = 0.25
    min_work: float = 0.1
    max_work: float = 10.0
    per_core_s: float = 10.0
    replay: ReplayRule = field(default_factory=ReplayRule)
    runs: RunRule = field(default_factory=RunRule)

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("requests", self.requests, REQUESTS),
            ("work", self.work, WORK),
        ):
            if value not in allowed:
                fix = f"choose one of {', '.join(allowed)}"
                raise InvalidField(name, f"{value!r} is no rule", fix)
        require_number("reference", self.reference, 0, 1e9, above=True)
        require_number("min_work", self.min_work, 0, 1e6)
        require_number("max_work", self.max_work, self.min_work, 1e6)
        require_number("per_core_s", self.per_core_s, 0, MAX_RATE_PER_S, above=True)


def request_arrivals(
    tasks: Iterable[TraceTask], scale: NodeScale, rule: RequestRule, rng: random.Random
) -> Iterator[Arrival]:
    """Requests of the LC tasks among `tasks`, in order of time; same tasks, rule and seed, same
    requests. Memory follows the number of LC tasks that live at one time."""
    if rule.requests == "live":
        return _live(_lives(tasks, scale, rule, rng), rule, rng)
    return (
        Arrival(at_s, min(rule.max_work, max(rule.min_work, demand / rule.reference)))
        for at_s, demand in _demands(tasks, scale, rule, rng)
    )


def mean_demand(
    tasks: Iterable[TraceTask], scale: NodeScale, rule: RequestRule, rng: random.Random
) -> float:
    """The mean of what `rule.work` measures, over the LC tasks; for `reference`.

    Raises InvalidField where no task is LC.
    """
    count, total = 0, 0.0
    for _, demand in _demands(tasks, scale, rule, rng):
        count, total = count + 1, total + demand
    if not count:
        raise InvalidField("trace", "none of its tasks is LC", "choose another part, or rule")
    return total / count


def of_service(tasks: Iterable[TraceTask], index: int, count: int) -> Iterator[TraceTask]:
    """The tasks of service `index` where a trace is shared out among `count` services: all tasks of
    one trace job belong to one (CRC-32 of the job's name, the same in every process)."""
    require_whole("count", count, 1, 1_000_000)
    require_whole("index", index, 0, count - 1)
    return (task for task in tasks if zlib.crc32(task.job.encode()) % count == index)


def _demands(
    tasks: Iterable[TraceTask], scale: NodeScale, rule: RequestRule, rng: random.Random
) -> Iterator[tuple[float, float]]:
    if rule.work == "cpu-time":
        for at_s, run_s, cpu_millis in _lives(tasks, scale, rule, rng):
            yield at_s, run_s * cpu_millis / 1000
        return
    for at_s, task in replayed(_critical(tasks), rule.replay, rng):
        yield at_s, scale.request_cpu_millis(task.cpu) / 1000


def _lives(
    tasks: Iterable[TraceTask], scale: NodeScale, rule: RequestRule, rng: random.Random
) -> Iterator[tuple[float, float, int]]:
    """(at_s, run_s, cpu_millis) of each LC task that runs."""
    runs = Runs(rule.runs, rng)
    for at_s, task in replayed(_critical(tasks), rule.replay, rng):
        run_s = runs.run_s(task)
        if run_s is not None:
            yield at_s, run_s, scale.request_cpu_millis(task.cpu)


def _critical(tasks: Iterable[TraceTask]) -> Iterator[TraceTask]:
    return (task for task in tasks if task.latency_critical)


def _live(
    lives: Iterator[tuple[float, float, int]], rule: RequestRule, rng: random.Random
) -> Iterator[Arrival]:
    """A Poisson process, piece by piece between comings and goings, where its rate is constant; a
    fresh exponential gap at each piece is exact, as such gaps have no memory."""
    until_s = (rule.replay.end_s - rule.replay.start_s) / rule.replay.speed_up
    ends: list[tuple[float, int]] = []
    now_s, millis = 0.0, 0
    while True:
        coming = next(lives, None)
        to_s = until_s if coming is None else coming[0]
        while now_s < to_s and (ends or coming is not None):
            piece_s = min(to_s, ends[0][0]) if ends else to_s
            rate = millis / 1000 * rule.per_core_s
            at_s = now_s + rng.expovariate(rate) if rate > 0 else math.inf
            while at_s < piece_s:
                yield Arrival(at_s)
                at_s += rng.expovariate(rate)
            now_s = piece_s
            while ends and ends[0][0] <= now_s:
                millis -= heapq.heappop(ends)[1]
        if coming is None:
            return
        at_s, run_s, cpu_millis = coming
        heapq.heappush(ends, (at_s + run_s, cpu_millis))
        millis += cpu_millis
