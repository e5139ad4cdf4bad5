"""Arrival patterns of BE jobs: so many jobs at t = 0, D, 2D ..., as in RESTfulSwarm.

steady       a jobs each time
bursty       ceil(Exp(lambda)) jobs, lambda the exponential distribution's rate: at least one, and
             1 / (1 - e^-lambda) in the mean
incremental  floor(a t + b) jobs, t in seconds since the start
random       a whole number drawn uniformly from lo..hi, both ends included
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.workload.arrival import Arrival
from tango.workload.bounds import require_number, require_whole
from tango.workload.patterns import MAX_DURATION_S

JOB_PATTERN_NAMES = ("steady", "bursty", "incremental", "random")
MAX_JOBS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class JobPatternSpec:
    """How many jobs arrive each `interval_s` (D) within [0, duration_s).

    a: jobs per arrival (steady), or jobs more per second (incremental; may be a fraction).
    b: jobs at t = 0 (incremental).
    burst_lambda: lambda of bursty, 0.001 and more: the smaller, the larger the bursts.
    lo, hi: the ends of random's range.

    Raises InvalidField for an unknown name and for values out of range; no time may bring more
    than 10,000 jobs.
    """

    name: str
    interval_s: float
    duration_s: float
    a: float = 1
    b: float = 1
    burst_lambda: float = 0.5
    lo: int = 0
    hi: int = 4

    def __post_init__(self) -> None:
        if self.name not in JOB_PATTERN_NAMES:
            fix = f"choose one of {', '.join(JOB_PATTERN_NAMES)}"
            raise InvalidField("name", f"{self.name!r} is not a job pattern", fix)
        require_number("interval_s", self.interval_s, 0.001, MAX_DURATION_S)
        require_number("duration_s", self.duration_s, 0, MAX_DURATION_S, above=True)
        require_number("a", self.a, 0, MAX_JOBS_AT_ONCE)
        require_number("b", self.b, 0, MAX_JOBS_AT_ONCE)
        require_number("burst_lambda", self.burst_lambda, 0.001, 1000)
        require_whole("lo", self.lo, 0, MAX_JOBS_AT_ONCE)
        require_whole("hi", self.hi, self.lo, MAX_JOBS_AT_ONCE)
        if self.name == "steady" and self.a != int(self.a):
            raise InvalidField("a", f"{self.a:g} jobs at a time", "write a whole number")
        if self.name == "incremental" and self.a * self.duration_s + self.b > MAX_JOBS_AT_ONCE:
            problem = f"grows beyond {MAX_JOBS_AT_ONCE} jobs at once"
            raise InvalidField("a", problem, "make it or duration_s smaller")


def job_arrivals(spec: JobPatternSpec, rng: random.Random) -> Iterator[Arrival]:
    """One arrival per job in order of time; jobs that come together share `at_s`."""
    step = 0
    while (at_s := step * spec.interval_s) < spec.duration_s:
        for _ in range(_count(spec, at_s, rng)):
            yield Arrival(at_s)
        step += 1


def _count(spec: JobPatternSpec, at_s: float, rng: random.Random) -> int:
    match spec.name:
        case "steady":
            return int(spec.a)
        case "bursty":
            return min(MAX_JOBS_AT_ONCE, math.ceil(rng.expovariate(spec.burst_lambda)))
        case "incremental":
            return math.floor(spec.a * at_s + spec.b)
        case _:
            return rng.randint(spec.lo, spec.hi)
