"""BE's cap and satisfaction on simulated loads: down at once, up smoothly, and no oscillation."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tango.algorithms.quota.suppression import (
    BAND,
    PEAK_S,
    RISE,
    BeCap,
    CapChange,
    Satisfaction,
)

CAPACITY, LEAST, TICK_S = 2000, 20, 0.1


def run(cap: BeCap, load: list[int], begun: float = 0.0) -> list[CapChange | None]:
    """One update each 100 ms."""
    return [cap.update(lc, begun + index * TICK_S) for index, lc in enumerate(load)]


@settings(deadline=None)
@given(
    level=st.integers(0, CAPACITY),
    noise=st.integers(0, int(BAND * CAPACITY)),
    seed=st.integers(0, 50),
)
def test_a_steady_load_with_noise_moves_nothing_once_it_is_known(
    level: int, noise: int, seed: int
) -> None:
    drawn = random.Random(seed)
    load = [max(0, level + drawn.randint(-noise, 0)) for _ in range(600)]
    cap = BeCap(CAPACITY, LEAST)
    changes = [change for change in run(cap, load)[100:] if change is not None]
    assert changes == []


@settings(deadline=None)
@given(
    load=st.lists(st.integers(0, CAPACITY + 300), min_size=5, max_size=200),
)
def test_lc_and_cap_never_take_more_than_the_node_but_for_the_least(load: list[int]) -> None:
    cap = BeCap(CAPACITY, LEAST)
    for index, lc in enumerate(load):
        before = cap.millis
        change = cap.update(lc, index * TICK_S)
        assert cap.millis is not None
        assert cap.millis <= max(LEAST, CAPACITY - lc + BAND * CAPACITY)
        assert cap.millis >= LEAST
        if change is not None and before is not None:
            assert change.after_millis - before <= RISE * CAPACITY
            assert change.after_millis != before


def test_a_swing_within_the_peaks_time_is_one_level() -> None:
    wave = [1000 + round(400 * math.sin(index * TICK_S * 2 * math.pi / 2)) for index in range(600)]
    cap = BeCap(CAPACITY, LEAST)
    changes = [one for one in run(cap, wave)[int(2 * PEAK_S / TICK_S) :] if one is not None]
    assert changes == []
    assert cap.millis is not None
    assert abs(cap.millis - 600) <= BAND * CAPACITY


def test_down_at_once_and_up_by_steps() -> None:
    cap = BeCap(CAPACITY, LEAST)
    run(cap, [200] * 100)
    assert cap.millis == 1800
    change = cap.update(1500, 10.0)
    assert change is not None
    assert cap.millis == 500
    assert "down at once" in change.why
    caps = []
    for index in range(250):
        cap.update(200, 10.1 + index * TICK_S)
        caps.append(cap.millis)
    assert caps[int(PEAK_S / TICK_S) - 2] == 500, "the peak is not forgotten early"
    assert caps == sorted(caps)
    assert caps[-1] is not None
    assert caps[-1] >= 1800 - BAND * CAPACITY
    # 500 to 1700 in steps of 200, one a second; the rest is within the band.
    assert len(set(caps)) == 7


@settings(deadline=None)
@given(seed=st.integers(0, 30))
def test_lc_that_is_slowed_by_be_does_not_make_it_swing(seed: int) -> None:
    """LC takes less where BE takes much: a loop through the cap, damped by peak and band."""
    drawn = random.Random(seed)
    demand = drawn.randint(400, 1600)
    cap = BeCap(CAPACITY, LEAST)
    directions = []
    lc = demand
    for index in range(1200):
        be = cap.millis if cap.millis is not None else CAPACITY
        lc = min(demand, CAPACITY - round(0.3 * be))
        change = cap.update(lc, index * TICK_S)
        if change is not None and change.before_millis is not None and index > 200:
            directions.append(change.after_millis > change.before_millis)
    assert len(directions) <= 1


def test_satisfaction_is_the_share_that_be_gets_where_cpu_is_short() -> None:
    made = Satisfaction(CAPACITY)
    assert made.update(100, 900, 1000, 0.0) == 1.0, "CPU is to be had"
    assert made.update(0, 500, 4000, 0.1) == 1.0, "what asks for much and uses little is content"
    for tick in range(1, 300):
        share = made.update(1900, 100, 1000, 0.1 + tick * TICK_S)
    assert 0.09 < share < 0.12
    for tick in range(300):
        share = made.update(500, 1000, 1000, 30.1 + tick * TICK_S)
    assert share > 0.99
    assert made.update(2000, 0, 0, 90.0) == 1.0, "nobody is there to be held down"


def test_a_moment_of_contention_is_not_starving() -> None:
    made = Satisfaction(CAPACITY)
    made.update(0, 1000, 1000, 0.0)
    for tick in range(5):
        share = made.update(2000, 0, 1000, 0.1 + tick * TICK_S)
    assert share > 0.85
