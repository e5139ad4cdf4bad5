"""Means and ratios over repeats, and their intervals."""

from __future__ import annotations

import pytest

from tango.workload.intervals import Interval, mean_interval, paired_ratio, t_95


def test_the_interval_of_a_mean_is_students() -> None:
    # Mean 10, s 2, n 4: t(3) = 3.182, half 3.182 * 2 / 2.
    found = mean_interval([8.0, 12.0, 8.0, 12.0])
    half = 3.182 * (16 / 3) ** 0.5 / 2
    assert (found.mean, found.count) == (10.0, 4)
    assert (found.low, found.high) == pytest.approx((10 - half, 10 + half))
    assert found.half == pytest.approx(half)


def test_one_value_says_nothing_of_its_interval() -> None:
    assert mean_interval([3.0]) == Interval(3.0, None, None, 1)
    assert mean_interval([3.0]).half is None
    assert mean_interval([3.0]).to_dict() == {"mean": 3.0, "low": None, "high": None, "count": 1}
    assert paired_ratio([2.0], [1.0]) == Interval(2.0, None, None, 1)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_student_widens_small_samples_and_is_never_too_narrow() -> None:
    assert t_95(1) == 12.706
    assert t_95(10) == 2.228
    assert t_95(11) == 2.201  # a normal distribution's 1.96 would be too narrow
    assert t_95(30) == t_95(31) == t_95(1000) == 2.042
    values = [t_95(freedom) for freedom in range(1, 40)]
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="0 degrees"):
        t_95(0)


def test_paired_ratios_and_their_interval() -> None:
    same = paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert (same.mean, same.low, same.high) == pytest.approx((2.0, 2.0, 2.0))
    found = paired_ratio([1.0, 1.1, 0.9], [1.0, 1.0, 1.0])
    # By hand: logs 0, 0.0953, -0.1054; mean -0.0034, s 0.1004, t 4.303, half 0.2494.
    assert (found.low, found.high) == pytest.approx((0.7768, 1.2790), abs=2e-3)
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([1.0, 2.0], [1.0])


def test_the_half_of_a_ratio_is_the_wider_one() -> None:
    found = paired_ratio([1.0, 1.1, 0.9], [1.0, 1.0, 1.0])
    assert found.high is not None
    assert found.half == pytest.approx(found.high - found.mean)
