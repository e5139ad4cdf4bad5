"""The rules of `tango bench colocation`, and its statistics."""

from __future__ import annotations

import pytest

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
