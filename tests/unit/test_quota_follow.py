"""Quota targets that follow requests: absolute, ordered, seldom written, at base when idle."""

from __future__ import annotations

import pytest

from tango.algorithms.quota.follow import NO_QUOTA, QuotaFollower
from tango.algorithms.quota.order import ordered_writes
from tango.algorithms.quota.rule import FollowRule, follow_rule, implied_stretch
from tango.model.cgroup import GroupTarget

GROUP = "lc/hello/hello-0"
OTHER = "lc/hello/hello-1"
PARENT = "lc/hello"


def quotas(writes: list[tuple[str, GroupTarget]]) -> list[tuple[str, int | None]]:
    return [(group, target.quota_millis) for group, target in writes]


def follower(*groups: str, base: int = 100, each: int = 100, limit: int = 4) -> QuotaFollower:
    made = QuotaFollower()
    rule = made.rule(base, each, limit)
    made.add(dict.fromkeys(groups or (GROUP,), rule), 0.0)
    return made


def window(made: QuotaFollower) -> float:
    level = made.level(GROUP)
    assert level is not None
    return level.rule.window_s


# ---- rules


def test_the_period_is_as_asked_where_the_base_is_a_millisecond() -> None:
    rule = follow_rule(100, 100, 4)
    assert (rule.period_us, rule.base_millis) == (10_000, 100)
    assert [rule.quota(n) for n in range(3)] == [100, 200, 300]


@pytest.mark.parametrize(
    ("base", "period_us", "kept"), [(50, 20_000, 50), (33, 30_304, 33), (10, 100_000, 10)]
)
def test_a_small_base_has_a_longer_period_and_stays_exact(
    base: int, period_us: int, kept: int
) -> None:
    rule = follow_rule(base, 100, 4)
    assert (rule.period_us, rule.base_millis) == (period_us, kept)
    assert rule.base_millis * rule.period_us >= 1_000_000


@pytest.mark.parametrize("base", [0, 1, 9])
def test_a_base_below_a_hundredth_core_is_a_hundredth(base: int) -> None:
    rule = follow_rule(base, 100, 4)
    assert (rule.period_us, rule.base_millis) == (100_000, 10)


def test_a_long_period_is_kept() -> None:
    assert follow_rule(1, 100, 4, period_us=500_000).base_millis == 2


def test_the_window_pays_for_growing_and_shrinking_in_the_worst_case() -> None:
    for base, each, limit in ((50, 100, 1), (100, 10, 50), (1000, 1000, 8), (10, 1, 3)):
        rule = follow_rule(base, each, limit)
        assert rule.window_s >= 0.5
        for level in range(1, limit + 1):
            unpaid = rule.cost_s(level) + rule.cost_s(level - 1)
            assert rule.earned_s(level, rule.window_s) >= unpaid * 0.999


def test_roomy_is_twice_the_quota_within_the_limit() -> None:
    rule = follow_rule(100, 100, 10)
    assert [rule.roomy(n) for n in (0, 1, 2, 4, 6, 10, 12)] == [1, 3, 5, 9, 10, 10, 12]
    assert FollowRule(100, 0, 4, 10_000, 0.5, 0.0).roomy(3) == 3


@pytest.mark.parametrize(
    ("millis", "factor"), [(200, 5.0), (500, 2.0), (1000, 1.0), (2500, 1.0), (0, 1000.0)]
)
def test_implied_stretch(millis: int, factor: float) -> None:
    assert implied_stretch(millis) == factor


# ---- writes


def test_a_new_group_is_limited_before_its_new_parent() -> None:
    made = QuotaFollower()
    rule = made.rule(100, 100, 4)
    writes = made.add({OTHER: rule, GROUP: rule}, 0.0)
    assert quotas(writes) == [(GROUP, 100), (OTHER, 100), (PARENT, 200)]


def test_another_child_grows_its_parent_first() -> None:
    made = follower()
    assert quotas(made.add({OTHER: made.rule(100, 100, 4)}, 0.0)) == [(PARENT, 200), (OTHER, 100)]


def test_grows_at_once_parent_first() -> None:
    made = follower()
    assert quotas(made.set_in_flight(GROUP, 3, 1.0)) == [(PARENT, 400), (GROUP, 400)]
    assert made.target(GROUP) == GroupTarget(quota_millis=400, period_us=10_000)


def test_shrinks_after_a_window_child_first() -> None:
    made = follower()
    made.set_in_flight(GROUP, 3, 1.0)
    assert made.set_in_flight(GROUP, 0, 2.0) == []
    wake_at = made.wake_at
    assert wake_at == 2.0 + window(made)
    assert made.due(wake_at - 0.001) == []
    assert quotas(made.due(wake_at)) == [(GROUP, 100), (PARENT, 100)]
    assert made.wake_at is None
    assert made.due(wake_at + 100) == []


def test_the_same_number_again_writes_nothing() -> None:
    made = follower()
    made.set_in_flight(GROUP, 2, 1.0)
    assert made.set_in_flight(GROUP, 2, 1.1) == []
    assert made.set_in_flight(GROUP, 1, 1.2) == []
    assert made.set_in_flight(GROUP, 2, 1.3) == []


def test_shrinks_to_the_maximum_of_the_window_while_busy() -> None:
    made = follower()
    width = window(made)
    made.set_in_flight(GROUP, 4, 1.0)
    made.set_in_flight(GROUP, 1, 1.1)
    made.set_in_flight(GROUP, 2, 1.1 + width / 2)
    made.set_in_flight(GROUP, 1, 1.2 + width / 2)
    assert quotas(made.due(1.1 + width)) == [(GROUP, 300), (PARENT, 300)]
    at = made.wake_at
    assert at is not None
    assert quotas(made.due(at)) == [(GROUP, 200), (PARENT, 200)]
    assert at >= 1.1 + 2 * width


def test_an_idle_replica_goes_to_base_in_one_write_after_its_window() -> None:
    made = follower()
    width = window(made)
    made.set_in_flight(GROUP, 4, 1.0)
    for step in range(4):
        made.set_in_flight(GROUP, 3 - step, 1.0 + 0.2 * (step + 1))
    assert made.due(1.8 + width - 0.01) == []
    assert quotas(made.due(1.8 + width)) == [(GROUP, 100), (PARENT, 100)]


def test_children_grow_and_shrink_on_their_own() -> None:
    made = follower(GROUP, OTHER)
    assert quotas(made.update({OTHER: 2, GROUP: 1}, 1.0)) == [
        (PARENT, 500),
        (GROUP, 200),
        (OTHER, 300),
    ]
    made.set_in_flight(GROUP, 0, 1.0)
    at = made.wake_at
    assert at is not None
    assert quotas(made.due(at)) == [(GROUP, 100), (PARENT, 400)]


def test_removing_a_child_shrinks_its_parent_and_the_last_one_forgets_it() -> None:
    made = follower(GROUP, OTHER)
    made.set_in_flight(OTHER, 2, 1.0)
    assert quotas(made.remove(OTHER)) == [(PARENT, 100)]
    assert made.remove(OTHER) == []
    assert made.remove(GROUP) == []
    with pytest.raises(KeyError):
        made.target(PARENT)
    made.validate({})
    assert made.wake_at is None


def test_one_child_without_quota_frees_the_parent() -> None:
    made = follower()
    assert made.add({OTHER: None}, 0.0) == [(PARENT, NO_QUOTA), (OTHER, NO_QUOTA)]
    assert quotas(made.set_in_flight(GROUP, 1, 1.0)) == [(GROUP, 200)]
    assert made.set_in_flight(OTHER, 5, 1.0) == []
    assert quotas(made.remove(OTHER)) == [(PARENT, 200)]


def test_a_new_rule_keeps_what_is_in_flight() -> None:
    made = follower()
    made.set_in_flight(GROUP, 2, 1.0)
    assert quotas(made.add({GROUP: made.rule(200, 150, 4)}, 1.0)) == [(PARENT, 500), (GROUP, 500)]
    assert made.add({GROUP: made.rule(200, 150, 4)}, 1.0) == []
    made.validate({GROUP: 2})


def test_parents_period_is_the_longest_of_its_children() -> None:
    made = QuotaFollower()
    made.add({GROUP: made.rule(100, 100, 1), OTHER: made.rule(20, 100, 1)}, 0.0)
    assert made.target(PARENT) == GroupTarget(quota_millis=120, period_us=50_000)


@pytest.mark.parametrize(("base", "each", "limit"), [(50, 100, 4), (100, 250, 8), (10, 10, 4)])
def test_four_requests_after_another_are_followed_exactly(base: int, each: int, limit: int) -> None:
    made = follower(base=base, each=each, limit=limit)
    for count in range(1, 5):
        made.set_in_flight(GROUP, count, 1.0 + count * 0.01)
        assert made.target(GROUP).quota_millis == base + count * each


def test_a_long_ramp_without_credit_takes_few_writes() -> None:
    made = follower(limit=500)
    writes = 0
    for step in range(1, 501):
        writes += len(made.set_in_flight(GROUP, step, step * 0.005))
        quota = made.target(GROUP).quota_millis
        assert quota is not None
        assert quota >= 100 + 100 * step
    assert made.target(GROUP).quota_millis == 50_100
    assert writes / 2 < 40


def test_more_than_the_limit_is_still_granted() -> None:
    made = follower(limit=1)
    made.set_in_flight(GROUP, 3, 1.0)
    assert made.target(GROUP).quota_millis == 400
    made.validate({GROUP: 3})


def test_validate_finds_another_count() -> None:
    made = follower()
    made.set_in_flight(GROUP, 1, 1.0)
    with pytest.raises(AssertionError, match="in flight"):
        made.validate({GROUP: 2})


# ---- order


def limit(millis: int) -> GroupTarget:
    return GroupTarget(quota_millis=millis, period_us=10_000)


def test_children_that_shrink_go_before_those_that_grow_each_by_name() -> None:
    children = [
        ("p/d", limit(100), limit(300)),
        ("p/c", limit(300), limit(100)),
        ("p/b", None, limit(100)),
        ("p/a", limit(100), limit(200)),
        ("p/e", limit(100), limit(100)),
    ]
    names = ["p/b", "p/c", "p/a", "p/d"]
    same = ordered_writes(("p", limit(500), limit(500)), children)
    assert [group for group, _ in same] == names
    grown = ordered_writes(("p", limit(500), limit(700)), children)
    assert [group for group, _ in grown] == ["p", *names]
    shrunk = ordered_writes(("p", NO_QUOTA, limit(700)), children)
    assert [group for group, _ in shrunk] == [*names, "p"]
    lifted = ordered_writes(("p", limit(500), NO_QUOTA), children)
    assert [group for group, _ in lifted] == ["p", *names]


def test_a_retuned_rule_keeps_what_is_held_and_writes_once() -> None:
    follower = QuotaFollower()
    follower.add({"lc/s/r": follower.rule(100, 100, 4)}, 0.0)
    follower.set_in_flight("lc/s/r", 3, 1.0)
    assert follower.target("lc/s/r").quota_millis == 400
    dearer = follower.rule(100, 130, 4)
    writes = follower.retune("lc/s/r", dearer, 1.1)
    assert [(group, target.quota_millis) for group, target in writes] == [
        ("lc/s", 490),
        ("lc/s/r", 490),
    ]
    assert follower.retune("lc/s/r", dearer, 1.2) == []
    cheaper = follower.rule(100, 90, 4)
    writes = follower.retune("lc/s/r", cheaper, 2.0)
    assert [group for group, _ in writes] == ["lc/s/r", "lc/s"]
    follower.validate({"lc/s/r": 3})
    follower.set_in_flight("lc/s/r", 0, 2.1)
    follower.due(60.0)
    assert follower.target("lc/s/r").quota_millis == 100


def test_a_resize_says_its_inputs_and_why() -> None:
    follower = QuotaFollower()
    follower.add({GROUP: follower.rule(100, 100, 8), OTHER: None}, 0.0)
    assert follower.resize(GROUP).why == "its base: it is idle"
    follower.set_in_flight(GROUP, 2, 1.0)
    made = follower.resize(GROUP)
    assert (made.in_flight, made.held, made.quota_millis) == (2, 2, 300)
    assert made.why == "what its requests in flight need"
    follower.set_in_flight(GROUP, 0, 1.1)
    assert "2 requests were in flight within the last" in follower.resize(GROUP).why
    assert follower.resize(OTHER).quota_millis == -1
    for step in range(3, 8):
        follower.set_in_flight(GROUP, step, 1.2 + step / 1000)
    assert "few writes" in follower.resize(GROUP).why
