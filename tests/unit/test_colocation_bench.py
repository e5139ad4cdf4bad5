"""The rules of `tango bench colocation`, and its statistics."""

from __future__ import annotations

import math

import pytest

from tango.cli.benches.colocation import paired_ratio
from tango.cli.benches.colocation_modes import MODES, koordinator_quota, rule
from tango.model.cgroup import UNLIMITED


def test_koordinator_gives_be_what_lc_leaves_of_two_thirds() -> None:
    assert koordinator_quota(1000, 300, 340) == pytest.approx(350)
    assert koordinator_quota(1000, 100, 550) == pytest.approx(550)


def test_koordinator_rises_a_tenth_of_the_node_a_step_and_falls_at_once() -> None:
    assert koordinator_quota(1000, 0, 200) == pytest.approx(300)
    assert koordinator_quota(1000, 500, 650) == pytest.approx(150)


def test_koordinator_has_a_floor() -> None:
    assert koordinator_quota(1000, 900, 100) == pytest.approx(62.5)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "tango"])
def test_every_rule_says_all_that_another_may_have_left(mode: str) -> None:
    found = rule(mode, 1000, 0.6)
    for side in (found.lc, found.be):
        assert None not in (side.quota_millis, side.period_us, side.burst_us, side.weight)
        assert side.idle is False


def test_only_a_static_partition_limits_lc() -> None:
    limits = {mode: rule(mode, 1000, 0.6).lc.quota_millis for mode in MODES[:-1]}
    assert limits.pop("static-partition") == 600
    assert set(limits.values()) == {UNLIMITED}
    assert rule("static-partition", 1000, 0.6).be.quota_millis == 400


def test_paired_ratios_and_their_interval() -> None:
    mean, low, high = paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert (mean, low, high) == pytest.approx((2.0, 2.0, 2.0))
    mean, low, high = paired_ratio([1.0, 1.1, 0.9], [1.0, 1.0, 1.0])
    assert low < mean < high
    # By hand: logs 0, 0.0953, -0.1054; mean -0.0034, s 0.1004, t 4.30, half 0.2493.
    assert (low, high) == pytest.approx((0.7768, 1.2790), abs=2e-3)
    assert paired_ratio([2.0], [1.0]) == (2.0, 0.0, math.inf)
