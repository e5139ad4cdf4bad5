"""A group whose quota follows its requests uses no more than 1.1 times that quota, on average.

The kernel's side is simulated as measured: a bucket that is filled to the quota at each period and
at each write of it, and threads that run on to the next scheduler tick when it is empty. What they
overran is paid from the next period, or forgiven by a write.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.algorithms.quota.follow import QuotaFollower
from tango.algorithms.quota.level import Level
from tango.algorithms.quota.rule import EXCESS, FollowRule, follow_rule
from tango.model.cgroup import GroupTarget

GROUP = "lc/hello/hello-0"
STEP_S = 0.001
TICK_STEPS = 4  # 250 Hz
CHANGE_S = 0.005  # 200 changes a second
CPUS = 2


class Bucket:
    """CFS bandwidth of one group that would use every core: kernel/sched/fair.c in few words."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.period_s = 0.1
        self.left_s = 0.0
        self.burst_s = 0.0
        self.used_s = 0.0
        self.granted_s = 0.0
        self._refill_at = 0.0
        self._throttled = False

    def write(self, target: GroupTarget) -> None:
        assert target.quota_millis is not None
        assert target.period_us is not None
        self.rate = target.quota_millis / 1000
        self.period_s = target.period_us / 1e6
        # The burst's own write refills once more, at worst to the top.
        self.burst_s = (target.burst_us or 0) / 1e6
        self.left_s = self.rate * self.period_s + self.burst_s
        self._throttled = False

    def run(self, step: int) -> None:
        if step * STEP_S >= self._refill_at - 1e-9:
            self._refill_at += self.period_s
            quota_s = self.rate * self.period_s
            self.left_s = min(self.left_s + quota_s, quota_s + self.burst_s)
            if self.left_s > 0:
                self._throttled = False
        if step % TICK_STEPS == 0 and self.left_s <= 0:
            self._throttled = True
        if not self._throttled:
            self.left_s -= STEP_S * CPUS
            self.used_s += STEP_S * CPUS
        self.granted_s += self.rate * STEP_S


def alternating(limit: int, rng: random.Random) -> Iterator[int]:
    while True:
        yield 0
        yield limit


def sawtooth(limit: int, rng: random.Random) -> Iterator[int]:
    while True:
        yield from range(limit + 1)
        yield from range(limit, -1, -1)


def random_walk(limit: int, rng: random.Random) -> Iterator[int]:
    count = 0
    while True:
        count = min(limit, max(0, count + rng.choice((-1, 1))))
        yield count


def low_walk(limit: int, rng: random.Random) -> Iterator[int]:
    """Far below the limit."""
    return random_walk(min(limit, 5), rng)


def anything(limit: int, rng: random.Random) -> Iterator[int]:
    while True:
        yield rng.randint(0, limit)


def bursts(limit: int, rng: random.Random) -> Iterator[int]:
    """Made to hurt: as many growths as there are requests, again and again after a shrink."""
    while True:
        yield from range(rng.randint(1, limit) + 1)
        yield from [0] * rng.randint(50, 400)


Pattern = Callable[[int, random.Random], Iterator[int]]
PATTERNS: tuple[Pattern, ...] = (alternating, sawtooth, random_walk, low_walk, anything, bursts)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
@pytest.mark.parametrize(
    ("base", "each", "limit", "burst"),
    [
        (50, 100, 1, False),
        (50, 100, 4, False),
        (100, 20, 50, False),
        (50, 50, 500, False),
        (300, 250, 4, False),
        (10, 20, 3, False),
        (50, 100, 4, True),
        (300, 250, 4, True),
        (100, 20, 50, True),
    ],
)
def test_a_saturating_group_stays_within_its_quota(
    pattern: Pattern, base: int, each: int, limit: int, *, burst: bool
) -> None:
    follower = QuotaFollower(cpus=CPUS, burst=burst)
    bucket = Bucket()
    counts = pattern(limit, random.Random(3))
    writes = follower.add({GROUP: follower.rule(base, each, limit)}, 0.0)
    for step in range(round(10 / STEP_S)):
        now = step * STEP_S
        if step % round(CHANGE_S / STEP_S) == 0:
            writes += follower.set_in_flight(GROUP, next(counts), now)
        wake_at = follower.wake_at
        if wake_at is not None and wake_at <= now:
            writes += follower.due(now)
        for group, target in writes:
            if group == GROUP:
                bucket.write(target)
        writes = []
        bucket.run(step)
    assert bucket.used_s <= 1.1 * bucket.granted_s


def test_the_bucket_shows_what_naive_following_does() -> None:
    """The same load with every change written: why there is a window at all."""
    rule = follow_rule(50, 100, 4)
    bucket = Bucket()
    counts = alternating(4, random.Random(3))
    for step in range(round(5 / STEP_S)):
        if step % round(CHANGE_S / STEP_S) == 0:
            bucket.write(GroupTarget(rule.quota(next(counts)), rule.period_us))
        bucket.run(step)
    assert bucket.used_s > 3 * bucket.granted_s


EVENTS = st.lists(
    st.tuples(st.sampled_from((0.0, 0.001, 0.005, 0.02, 0.3, 1.0, 5.0)), st.integers(0, 12)),
    max_size=80,
)
RULES = st.builds(
    follow_rule,
    st.sampled_from((10, 50, 100, 1000)),
    st.sampled_from((1, 20, 100, 1000)),
    st.sampled_from((1, 4, 12)),
    burst=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(rule=RULES, events=EVENTS)
def test_writes_are_paid_for_and_shrinks_are_a_window_apart(
    rule: FollowRule, events: list[tuple[float, int]]
) -> None:
    level = Level(rule, 0.0)
    now = 0.0
    spent = granted = 0.0
    highest = rule.quota(0)
    shrunk_at = -math.inf
    for gap, count in [*events, (0.0, 0), (rule.window_s, 0)]:
        end = now + gap
        while (due := level.due_at()) is not None and due <= end:
            held = level.held
            granted += rule.quota(held) / 1000 * (due - now)
            now = due
            assert level.shrink(now)
            assert max(level.in_flight, 0) <= level.held < held
            assert now >= shrunk_at + rule.window_s
            shrunk_at = now
            spent += rule.cost_s(level.held)
        granted += rule.quota(level.held) / 1000 * (end - now)
        now = end
        held = level.held
        grew = level.move(min(count, rule.limit), now)
        assert grew == (level.held > held)
        assert level.in_flight <= level.held <= rule.limit
        if grew:
            spent += rule.cost_s(level.held)
        highest = max(highest, rule.quota(level.held))
        unpaid = 4 * highest * rule.period_us / 1e9 + rule.overrun_s * (
            math.log2(highest / rule.quota(1)) + 2 if highest > rule.quota(1) else 2
        )
        start = rule.credit_cap_s(0)
        assert spent <= EXCESS * granted + start + unpaid + 1e-9
    assert level.held == 0


@settings(deadline=None, max_examples=60)
@given(
    events=st.lists(
        st.tuples(st.sampled_from((0.0, 0.004, 0.4, 2.0)), st.integers(0, 3), st.integers(0, 6)),
        max_size=60,
    )
)
def test_fact_3_no_child_is_ever_above_its_parent_and_idle_is_base(
    events: list[tuple[float, int, int]],
) -> None:
    follower = QuotaFollower()
    groups = [f"lc/s{number % 2}/r{number}" for number in range(4)]
    rules = {group: follower.rule(100, 50 * (number + 1), 6) for number, group in enumerate(groups)}
    kernel: dict[str, int] = {}
    counts = dict.fromkeys(groups, 0)

    def write(writes: list[tuple[str, GroupTarget]]) -> None:
        for group, target in writes:
            assert target.quota_millis is not None
            assert kernel.get(group) != target.quota_millis, "written unchanged"
            kernel[group] = target.quota_millis
            parent = group.rpartition("/")[0]
            if parent in kernel and parent != "lc":
                assert kernel[group] <= kernel[parent]
            for name, quota in kernel.items():
                assert name.rpartition("/")[0] != group or quota <= kernel[group]

    write(follower.add(rules, 0.0))
    now = 0.0
    for gap, number, count in [*events, *((0.0, number, 0) for number in range(4))]:
        end = now + gap
        while (wake_at := follower.wake_at) is not None and wake_at <= end:
            now = max(now, wake_at)
            write(follower.due(now))
            follower.validate(counts)
        now = end
        counts[groups[number]] = count
        write(follower.set_in_flight(groups[number], count, now))
        follower.validate(counts)
    while (wake_at := follower.wake_at) is not None:
        assert wake_at <= now + max(rule.window_s for rule in rules.values())
        write(follower.due(wake_at))
    assert kernel == {"lc/s0": 200, "lc/s1": 200, **dict.fromkeys(groups, 100)}
