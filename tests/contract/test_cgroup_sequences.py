"""Property: whatever targets came before, the last one is in force; what is not is told."""

from __future__ import annotations

import pytest
from cgroup_places import emulated_v2, fake
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_values import (
    MIN_QUOTA_US,
    Bandwidth,
    quota_and_period_steps,
    quota_us_of,
    shares_of,
    weight_of,
)
from tango.model.cgroup import UNLIMITED, GroupTarget

MAYBE = st.none()
PERIODS = st.one_of(st.sampled_from([1_000, 5_000, 100_000, 1_000_000]), st.integers(1_000, 10**6))
TARGETS = st.builds(
    GroupTarget,
    quota_millis=st.one_of(MAYBE, st.just(UNLIMITED), st.integers(0, 8_000)),
    period_us=st.one_of(MAYBE, PERIODS),
    burst_us=st.one_of(MAYBE, st.integers(0, 200_000)),
    weight=st.one_of(MAYBE, st.integers(1, 10_000)),
    idle=st.one_of(MAYBE, st.booleans()),
    memory_max_bytes=st.one_of(
        MAYBE, st.just(UNLIMITED), st.integers(1, 1 << 20).map(lambda n: n * 65_536)
    ),
    cpuset=st.sampled_from([None, "0", "1-2", "0-3", "0,3"]),
)
FIELDS = tuple(GroupTarget.__dataclass_fields__)


def check_in_force(cgroups: CgroupDriver, group: str, targets: list[GroupTarget]) -> None:
    weight_asked = 100
    for target in targets:
        before = cgroups.read(group)
        misses = {miss.field: miss for miss in cgroups.apply(group, target)}
        found = cgroups.read(group)
        weight_asked = weight_asked if target.weight is None else target.weight
        for field in FIELDS:
            wanted = getattr(target, field)
            if wanted is None:
                wanted = getattr(before, field)
            if field == "weight":
                wanted = 1 if found.idle else weight_asked
            if getattr(found, field) != wanted:
                assert field in misses, (field, wanted, found)
        # What is told is only what the kernel cannot do.
        quota_us = (found.quota_millis or 0) * (found.period_us or 0) / 1000
        if "quota_millis" in misses:
            assert quota_us == pytest.approx(MIN_QUOTA_US, abs=(found.period_us or 0) / 2000)
        if "burst_us" in misses:
            assert found.burst_us == pytest.approx(quota_us, abs=(found.period_us or 0) / 2000)
        assert set(misses) <= {"quota_millis", "burst_us"}
        # Asking again changes nothing and writes nothing.
        n_writes = cgroups._files.n_writes
        cgroups.apply(group, target)
        assert cgroups._files.n_writes == n_writes
        assert cgroups.read(group) == found


@settings(max_examples=100, deadline=None)
@given(st.lists(TARGETS, min_size=1, max_size=6))
def test_the_last_target_is_in_force_on_the_fake(targets: list[GroupTarget]) -> None:
    with fake() as cgroups:
        cgroups.create("g")
        check_in_force(cgroups, "g", targets)


@settings(max_examples=25, deadline=None)
@given(st.lists(TARGETS, min_size=1, max_size=5))
def test_the_last_target_is_in_force_on_v2(targets: list[GroupTarget]) -> None:
    with emulated_v2() as cgroups:
        cgroups.create("g")
        check_in_force(cgroups, "g", targets)


@given(st.integers(0, 1_000_000), PERIODS)
def test_millicores_survive_the_way_through_microseconds(millis: int, period: int) -> None:
    quota = quota_us_of(millis, period)
    found = Bandwidth(quota, period, 0).millis
    assert found == millis or (quota == MIN_QUOTA_US and found > millis)


@given(st.integers(1, 10_000))
def test_weights_survive_the_way_through_shares(weight: int) -> None:
    assert weight_of(shares_of(weight)) == weight
    assert 2 <= shares_of(weight) <= 262_144


@pytest.mark.parametrize(("weight", "shares"), [(1, 2), (2, 20), (100, 1024), (10_000, 102_400)])
def test_shares_of_known_weights(weight: int, shares: int) -> None:
    assert shares_of(weight) == shares


BANDWIDTHS = st.builds(
    Bandwidth,
    quota_us=st.one_of(st.just(UNLIMITED), st.integers(1_000, 4_000_000)),
    period_us=PERIODS,
    burst_us=st.just(0),
)


@given(BANDWIDTHS, BANDWIDTHS)
def test_steps_change_one_file_each_and_stay_between_the_ratios(
    now: Bandwidth, goal: Bandwidth
) -> None:
    steps = quota_and_period_steps(now, goal)
    assert (steps[-1] if steps else now) == goal
    ratios = sorted(b.quota_us / b.period_us for b in (now, goal))
    for before, after in zip((now, *steps), steps, strict=False):
        assert (before.quota_us != after.quota_us) + (before.period_us != after.period_us) == 1
        limited = UNLIMITED not in (now.quota_us, goal.quota_us, after.quota_us)
        if limited:
            ratio = after.quota_us / after.period_us
            assert ratios[0] * 0.999 - 1e-6 <= ratio <= ratios[1] * 1.001 + 1e-6
