"""Arrival patterns of LC requests: lazy, seeded, open loop (nothing waits for an answer).

All are Poisson processes whose rate r(t) has the mean `rate_per_s` = r; s is `swing`:

steady       r(t) = r; with `evenly` not Poisson but one arrival each 1/r seconds, from t = 0
bursty       on/off modulated Poisson (Markov-modulated with two states, MMPP-2): r(t) = f r while
             on and r (1 - p f) / (1 - p) while off, p = on / (on + off) the share of time on and
             f the burst factor; both states last exponentially long with means `burst_on_s` and
             `burst_off_s`; the first state is drawn with probability p
incremental  r(t) = b + a t, linear from (1 - s) r at 0 to (1 + s) r at the end
random       redrawn each second, uniform in [(1 - s) r, (1 + s) r]
diurnal      r(t) = r (1 - s cos(2 pi t / period)): the trough at 0, the peak half a period later;
             the mean is r over whole periods

Rates that change all the time are made by thinning: candidates of a Poisson process at the peak
rate are kept with probability r(t) / peak (Lewis & Shedler, "Simulation of nonhomogeneous Poisson
processes by thinning", Naval Research Logistics Quarterly 26(3), 1979). Where the rate is constant
for a while, a fresh exponential gap is drawn at each change, which is exact as such gaps have no
memory.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.workload.arrival import Arrival
from tango.workload.bounds import require_number

PATTERN_NAMES = ("steady", "bursty", "incremental", "random", "diurnal")
MAX_RATE_PER_S = 100_000.0
MAX_DURATION_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class PatternSpec:
    """Which load, how much and for how long; formulas are in the module's docstring.

    rate_per_s: mean arrivals per second over the run, (0, 100,000].
    duration_s: all arrivals are in [0, duration_s), (0, 30 days].
    evenly: steady only: equal gaps instead of Poisson's.
    swing: how far incremental, random and diurnal stray from the mean rate, 0..1 of it.
    period_s: diurnal's period; None = the duration.
    burst_factor: bursty's rate while on, as a multiple of the mean; 1..(on + off) / on.
    burst_on_s, burst_off_s: mean length of bursty's two states.

    Raises InvalidField for an unknown name and for values out of range.
    """

    name: str
    rate_per_s: float
    duration_s: float
    evenly: bool = False
    swing: float = 0.8
    period_s: float | None = None
    burst_factor: float = 3.0
    burst_on_s: float = 2.0
    burst_off_s: float = 6.0

    def __post_init__(self) -> None:
        if self.name not in PATTERN_NAMES:
            fix = f"choose one of {', '.join(PATTERN_NAMES)}"
            raise InvalidField("name", f"{self.name!r} is not a load pattern", fix)
        require_number("rate_per_s", self.rate_per_s, 0, MAX_RATE_PER_S, above=True)
        require_number("duration_s", self.duration_s, 0, MAX_DURATION_S, above=True)
        require_number("swing", self.swing, 0, 1)
        if self.evenly and self.name != "steady":
            problem = f"{self.name} has no even spacing"
            raise InvalidField("evenly", problem, 'leave it out, or use the pattern "steady"')
        if self.period_s is not None:
            require_number("period_s", self.period_s, 0.1, MAX_DURATION_S)
        for field in ("burst_on_s", "burst_off_s"):
            require_number(field, getattr(self, field), 0.001, MAX_DURATION_S)
        # Beyond this the rate while off would have to be negative to keep the mean.
        highest = (self.burst_on_s + self.burst_off_s) / self.burst_on_s
        require_number("burst_factor", self.burst_factor, 1, highest)


def arrivals(spec: PatternSpec, rng: random.Random) -> Iterator[Arrival]:
    """The load's arrivals in order of time, each with work 1.0; the same seed, the same load."""
    return map(Arrival, _TIMES[spec.name](spec, rng))


def _steady(spec: PatternSpec, rng: random.Random) -> Iterator[float]:
    if spec.evenly:
        return _even(spec)
    return _by_segments(iter([(spec.duration_s, spec.rate_per_s)]), spec.duration_s, rng)


def _even(spec: PatternSpec) -> Iterator[float]:
    count = 0
    # Divided afresh each time: adding up 1/rate would drift.
    while (at_s := count / spec.rate_per_s) < spec.duration_s:
        yield at_s
        count += 1


def _bursty(spec: PatternSpec, rng: random.Random) -> Iterator[float]:
    share_on = spec.burst_on_s / (spec.burst_on_s + spec.burst_off_s)
    rate_on = spec.burst_factor * spec.rate_per_s
    rate_off = spec.rate_per_s * max(0.0, 1 - share_on * spec.burst_factor) / (1 - share_on)

    # Of its own: at another rate the bursts come at the same times.
    drawn = random.Random(rng.random())

    def states() -> Iterator[tuple[float, float]]:
        on = drawn.random() < share_on
        while True:
            mean_s = spec.burst_on_s if on else spec.burst_off_s
            yield drawn.expovariate(1 / mean_s), rate_on if on else rate_off
            on = not on

    return _by_segments(states(), spec.duration_s, rng)


def _random(spec: PatternSpec, rng: random.Random) -> Iterator[float]:
    low, high = (1 - spec.swing) * spec.rate_per_s, (1 + spec.swing) * spec.rate_per_s

    drawn = random.Random(rng.random())

    def seconds() -> Iterator[tuple[float, float]]:
        while True:
            yield 1.0, drawn.uniform(low, high)

    return _by_segments(seconds(), spec.duration_s, rng)


def _incremental(spec: PatternSpec, rng: random.Random) -> Iterator[float]:
    first = (1 - spec.swing) * spec.rate_per_s
    slope = 2 * spec.swing * spec.rate_per_s / spec.duration_s
    return _thinned(lambda t: first + slope * t, spec, rng)


def _diurnal(spec: PatternSpec, rng: random.Random) -> Iterator[float]:
    turn = 2 * math.pi / (spec.period_s or spec.duration_s)
    rate, swing = spec.rate_per_s, spec.swing
    return _thinned(lambda t: rate * (1 - swing * math.cos(turn * t)), spec, rng)


def _by_segments(
    segments: Iterator[tuple[float, float]], duration_s: float, rng: random.Random
) -> Iterator[float]:
    """Poisson arrivals for (length in seconds, constant rate) segments, up to the duration."""
    start = 0.0
    draw, log = rng.random, math.log
    for length_s, rate in segments:
        end = min(start + length_s, duration_s)
        # As rng.expovariate(rate) draws them, at half of its cost.
        at_s = start - log(1.0 - draw()) / rate if rate > 0 else end
        while at_s < end:
            yield at_s
            at_s -= log(1.0 - draw()) / rate
        if end >= duration_s:
            return
        start = end


def _thinned(
    rate_at: Callable[[float], float], spec: PatternSpec, rng: random.Random
) -> Iterator[float]:
    peak = (1 + spec.swing) * spec.rate_per_s
    at_s = rng.expovariate(peak)
    while at_s < spec.duration_s:
        if rng.random() * peak < rate_at(at_s):
            yield at_s
        at_s += rng.expovariate(peak)


_TIMES: dict[str, Callable[[PatternSpec, random.Random], Iterator[float]]] = {
    "steady": _steady,
    "bursty": _bursty,
    "incremental": _incremental,
    "random": _random,
    "diurnal": _diurnal,
}
