"""What holds for every load pattern, whatever its parameters."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tango.workload.patterns import PATTERN_NAMES, PatternSpec, arrivals


@st.composite
def specs(draw: st.DrawFn) -> PatternSpec:
    name = draw(st.sampled_from(PATTERN_NAMES))
    on_s = draw(st.floats(0.1, 5))
    off_s = draw(st.floats(0.1, 5))
    return PatternSpec(
        name,
        draw(st.floats(0.5, 60)),
        draw(st.floats(0.1, 60)),
        evenly=name == "steady" and draw(st.booleans()),
        swing=draw(st.floats(0, 1)),
        burst_factor=1 + draw(st.floats(0, 0.999)) * off_s / on_s,
        burst_on_s=on_s,
        burst_off_s=off_s,
    )


def deviation(spec: PatternSpec) -> float:
    """Standard deviation of the number of arrivals: Poisson's, and that of the rate itself."""
    rate, duration_s = spec.rate_per_s, spec.duration_s
    variance = rate * duration_s
    if spec.name == "random":
        variance += (duration_s + 1) * (spec.swing * rate) ** 2 / 3
    if spec.name == "bursty":
        # A two-state process: variance of its time integral is at most 2 p q (on - off)^2 tau T.
        share = spec.burst_on_s / (spec.burst_on_s + spec.burst_off_s)
        tau_s = 1 / (1 / spec.burst_on_s + 1 / spec.burst_off_s)
        step = rate * (spec.burst_factor - 1) / (1 - share)
        variance += 2 * share * (1 - share) * step**2 * tau_s * duration_s
    return math.sqrt(variance)


@given(specs(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_arrivals_rise_within_the_duration_and_repeat_with_the_seed(
    spec: PatternSpec, seed: int
) -> None:
    found = [arrival.at_s for arrival in arrivals(spec, random.Random(seed))]
    assert found == sorted(found)
    assert all(0 <= at_s < spec.duration_s for at_s in found)
    assert found == [arrival.at_s for arrival in arrivals(spec, random.Random(seed))]


@given(specs(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_number_of_arrivals_is_near_rate_times_duration(spec: PatternSpec, seed: int) -> None:
    count = sum(1 for _ in arrivals(spec, random.Random(seed)))
    # Eight deviations, and some room for the skew of small and bursty counts.
    assert abs(count - spec.rate_per_s * spec.duration_s) <= 8 * deviation(spec) + 10
