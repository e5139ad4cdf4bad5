"""Arrival patterns: their shape, their mean, their validation."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from tango.model.errors import InvalidField
from tango.workload.arrival import Arrival
from tango.workload.job_patterns import JOB_PATTERN_NAMES, JobPatternSpec, job_arrivals
from tango.workload.patterns import PATTERN_NAMES, PatternSpec, arrivals


def times(spec: PatternSpec, seed: int = 1) -> list[float]:
    return [arrival.at_s for arrival in arrivals(spec, random.Random(seed))]


def per_second(spec: PatternSpec, seed: int = 1) -> list[int]:
    counts = [0] * math.ceil(spec.duration_s)
    for at_s in times(spec, seed):
        counts[int(at_s)] += 1
    return counts


def test_even_steady_starts_at_zero_and_does_not_drift() -> None:
    found = times(PatternSpec("steady", 10, 100, evenly=True))
    assert len(found) == 1000
    assert found[0] == 0
    assert found[-1] == 99.9


def test_default_steady_is_poisson() -> None:
    counts = per_second(PatternSpec("steady", 20, 400))
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    assert variance / mean == pytest.approx(1, abs=0.3)  # a Poisson count's variance is its mean


def test_bursty_is_burstier_than_poisson_with_the_same_mean() -> None:
    counts = per_second(PatternSpec("bursty", 20, 2000))
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    assert mean == pytest.approx(20, rel=0.15)
    assert variance / mean > 5


def test_bursty_at_its_largest_factor_is_silent_between_bursts() -> None:
    spec = PatternSpec("bursty", 50, 100, burst_factor=4, burst_on_s=2, burst_off_s=6)
    counts = per_second(spec)
    assert sum(count == 0 for count in counts) > 20
    assert max(counts) > 120


@pytest.mark.parametrize("name", ["bursty", "random"])
def test_at_another_rate_the_bursts_come_at_the_same_times(name: str) -> None:
    # In a sweep over load everything else stays as it was.
    once, twice = (per_second(PatternSpec(name, rate, 60)) for rate in (200, 400))
    ratios = [b / a for a, b in zip(once, twice, strict=True) if a >= 100]
    assert len(ratios) > 5
    assert all(1.4 < ratio < 2.8 for ratio in ratios)


def test_incremental_rises_linearly() -> None:
    counts = per_second(PatternSpec("incremental", 100, 100, swing=1))
    first, second = sum(counts[:50]), sum(counts[50:])
    assert first == pytest.approx(2500, rel=0.1)  # a quarter of 10,000
    assert second == pytest.approx(7500, rel=0.1)


def test_diurnal_has_its_trough_at_zero_and_its_peak_half_a_period_later() -> None:
    counts = per_second(PatternSpec("diurnal", 100, 80, swing=0.9, period_s=40))
    assert sum(counts) == pytest.approx(8000, rel=0.06)
    for start in (0, 40):
        trough = counts[start] + counts[start + 39]
        peak = counts[start + 19] + counts[start + 20]
        assert trough < 50
        assert peak == pytest.approx(380, rel=0.25)


def test_random_holds_a_rate_for_a_second_within_its_swing() -> None:
    counts = per_second(PatternSpec("random", 1000, 60, swing=0.5))
    assert min(counts) > 400
    assert max(counts) < 1650
    assert max(counts) - min(counts) > 600


def test_arrivals_are_lazy() -> None:
    spec = PatternSpec("diurnal", 100_000, 30 * 86_400)
    first = list(itertools.islice(arrivals(spec, random.Random(1)), 3))
    assert len(first) == 3
    assert all(arrival.work == 1.0 for arrival in first)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("name", {"name": "stedy"}),
        ("rate_per_s", {"rate_per_s": 0}),
        ("rate_per_s", {"rate_per_s": -1}),
        ("rate_per_s", {"rate_per_s": math.nan}),
        ("rate_per_s", {"rate_per_s": 1e9}),
        ("rate_per_s", {"rate_per_s": "5"}),
        ("rate_per_s", {"rate_per_s": True}),
        ("duration_s", {"duration_s": 0}),
        ("duration_s", {"duration_s": math.inf}),
        ("swing", {"swing": 1.1}),
        ("period_s", {"period_s": 0}),
        ("burst_factor", {"burst_factor": 4.1}),
        ("burst_factor", {"burst_factor": 0.5}),
        ("burst_on_s", {"burst_on_s": 0}),
        ("burst_off_s", {"burst_off_s": -1}),
        ("evenly", {"name": "diurnal", "evenly": True}),
    ],
)
def test_bad_field_is_named(field: str, changes: dict[str, object]) -> None:
    good: dict[str, object] = {"name": "steady", "rate_per_s": 5, "duration_s": 10}
    with pytest.raises(InvalidField) as caught:
        PatternSpec(**(good | changes))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert caught.value.fix


@pytest.mark.parametrize("name", PATTERN_NAMES)
def test_every_name_has_a_generator(name: str) -> None:
    assert times(PatternSpec(name, 50, 4))


def jobs_at(spec: JobPatternSpec, seed: int = 1) -> dict[float, int]:
    counts: dict[float, int] = {}
    for arrival in job_arrivals(spec, random.Random(seed)):
        counts[arrival.at_s] = counts.get(arrival.at_s, 0) + 1
    return counts


def test_steady_jobs() -> None:
    assert jobs_at(JobPatternSpec("steady", 5, 15, a=3)) == {0: 3, 5: 3, 10: 3}


def test_incremental_jobs_follow_a_t_plus_b() -> None:
    assert jobs_at(JobPatternSpec("incremental", 2, 8, a=0.5, b=1)) == {0: 1, 2: 2, 4: 3, 6: 4}


def test_bursty_jobs_are_at_least_one_with_the_known_mean() -> None:
    found = jobs_at(JobPatternSpec("bursty", 1, 4000, burst_lambda=0.5))
    assert len(found) == 4000
    assert sum(found.values()) / 4000 == pytest.approx(1 / (1 - math.exp(-0.5)), rel=0.05)


def test_random_jobs_use_both_ends_of_their_range() -> None:
    found = jobs_at(JobPatternSpec("random", 1, 300, lo=1, hi=3))
    assert set(found.values()) == {1, 2, 3}


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("name", {"name": "diurnal"}),
        ("interval_s", {"interval_s": 0}),
        ("duration_s", {"duration_s": math.nan}),
        ("a", {"a": 1.5}),
        ("a", {"a": -1}),
        ("a", {"name": "incremental", "a": 1000, "duration_s": 100}),
        ("b", {"b": math.inf}),
        ("burst_lambda", {"burst_lambda": 0}),
        ("lo", {"lo": 1.5}),
        ("hi", {"lo": 5, "hi": 4}),
    ],
)
def test_bad_job_field_is_named(field: str, changes: dict[str, object]) -> None:
    good: dict[str, object] = {"name": "steady", "interval_s": 1, "duration_s": 10}
    with pytest.raises(InvalidField) as caught:
        JobPatternSpec(**(good | changes))  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("name", JOB_PATTERN_NAMES)
def test_the_same_seed_gives_the_same_jobs(name: str) -> None:
    spec = JobPatternSpec(name, 0.5, 20)
    again = [list(job_arrivals(spec, random.Random(7))) for _ in range(2)]
    assert again[0] == again[1]
    assert again[0][0] == Arrival(0.0) or name == "random"
