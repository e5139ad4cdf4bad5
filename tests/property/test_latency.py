"""The latency histogram against exact percentiles of the same values."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.workload.latency import HIGHEST_MS, LOWEST_MS, RELATIVE_ERROR, LatencyHistogram

LATENCIES = st.lists(st.floats(LOWEST_MS, HIGHEST_MS), min_size=1, max_size=300)
RANKS = (0, 1, 25, 50, 90, 95, 99, 99.9, 100)


def exact(values: list[float], rank: float) -> float:
    return sorted(values)[max(1, math.ceil(rank / 100 * len(values))) - 1]


def counted(values: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(LATENCIES)
@settings(max_examples=150, deadline=None)
def test_percentiles_are_within_the_error_bound(values: list[float]) -> None:
    histogram = counted(values)
    for rank, found in zip(RANKS, histogram.percentiles(*RANKS), strict=True):
        assert found == pytest.approx(exact(values, rank), rel=RELATIVE_ERROR * 1.0001)
    assert histogram.summary().max == max(values)


@given(LATENCIES, LATENCIES)
@settings(max_examples=50, deadline=None)
def test_merging_is_counting_together(one: list[float], two: list[float]) -> None:
    merged = counted(one)
    merged.merge(counted(two))
    together = counted(one + two)
    assert merged.summary() == together.summary()
    assert merged.count == together.count
    assert merged.min_ms == together.min_ms


@given(st.lists(st.floats(LOWEST_MS, HIGHEST_MS), max_size=300), LATENCIES)
@settings(max_examples=50, deadline=None)
def test_what_is_packed_is_the_same(one: list[float], two: list[float]) -> None:
    unpacked = LatencyHistogram()
    unpacked.merge(counted(one).packed())
    assert unpacked.summary() == counted(one).summary()
    assert (unpacked.count, unpacked.total_ms) == (len(one), counted(one).total_ms)
    unpacked.merge(counted(two).packed())
    assert unpacked.percentiles(*RANKS) == counted(one + two).percentiles(*RANKS)
    assert (unpacked.min_ms, unpacked.max_ms) == (min(one + two), max(one + two))


def test_memory_is_bounded_and_long_tails_are_told() -> None:
    rng = random.Random(5)
    values = [rng.lognormvariate(3, 3) for _ in range(50_000)]
    histogram = counted(values)
    assert len(histogram._buckets) < 2600
    for rank in (50, 95, 99):
        found = histogram.percentiles(rank)[0]
        assert found == pytest.approx(exact(values, rank), rel=RELATIVE_ERROR * 1.0001)
