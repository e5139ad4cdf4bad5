"""The simulated CPU against a plain one, and what must hold whatever happens on it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_reference import PlainCpu

from tango.adapters.cgroup_values import shares_of
from tango.model.cgroup import GroupTarget
from tango.sim.node_cpu import NodeCpu

LEAVES = ("lc/a/1", "lc/a/2", "lc/b/1", "be/1", "be/2", "be/3", "be/4")
LIMITED = ("", "lc/a", "lc/a/1", "be", "be/2")
WEIGHTED = ("lc/a", "lc/b", "be/1", "be/3", "lc")
PERIOD_US = 10_000
CLOSE = 1e-7


class Both:
    """The same done to both."""

    def __init__(self, cores_millis: int) -> None:
        self.now = 0.0
        self.cpu = NodeCpu(cores_millis, 0.0)
        self.plain = PlainCpu(cores_millis / 1000)
        self.ended: dict[str, float] = {}
        self.started = 0
        for leaf in LEAVES:
            self.cpu.set_group(leaf, GroupTarget(), 0.0)
            self.plain.add(leaf)
        self.cpu.set_group("be", GroupTarget(idle=True), 0.0)
        self.plain.groups["be"].weight = 3

    def wait(self, gap_s: float) -> None:
        self.now += gap_s
        while self.cpu.next_at <= self.now:
            at = self.cpu.next_at
            for work_id in self.cpu.advance(at):
                self.ended[work_id] = at
        self.plain.advance(self.now)

    def start(self, leaf: str, cpu_s: float, threads: float) -> None:
        self.started += 1
        work_id = str(self.started)
        self.cpu.start(work_id, leaf, cpu_s, self.now, threads=threads)
        self.plain.work[work_id] = (leaf, cpu_s, threads)

    def stop(self, number: int) -> None:
        running = sorted(self.plain.work)
        if not running:
            return
        work_id = running[number % len(running)]
        # One may have ended where the other is a rounding away from it.
        _, left_s, _ = self.plain.work.pop(work_id)
        if work_id in self.ended:
            assert left_s < CLOSE
            self.plain.ended.append((self.now, work_id))
        else:
            assert self.cpu.stop(work_id, self.now) == pytest.approx(left_s, abs=CLOSE)

    def weigh(self, group: str, weight: int) -> None:
        self.cpu.set_group(group, GroupTarget(weight=weight), self.now)
        self.plain.groups[group].weight = shares_of(weight)

    def limit(self, group: str, millis: int, burst_us: int) -> None:
        old = self.plain.groups[group]
        if old.quota_s < math.inf:
            burst_us = round(old.burst_s * 1e6)
            if millis * 10 < burst_us:
                return
        quota_s = millis * PERIOD_US / 1e9
        if quota_s == old.quota_s:
            return
        target = GroupTarget(millis, PERIOD_US, min(burst_us, millis * 10))
        self.cpu.set_group(group, target, self.now)
        self.plain.write_quota(group, quota_s, PERIOD_US / 1e6, target.burst_us / 1e6)

    def compare(self) -> None:
        ended = {work_id: at for at, work_id in self.plain.ended}
        late = {w: at for w, at in ended.items() if w not in self.ended}
        early = {w: at for w, at in self.ended.items() if w not in ended}
        assert all(at > self.now - CLOSE for at in (*late.values(), *early.values()))
        for work_id in ended.keys() & self.ended.keys():
            assert self.ended[work_id] == pytest.approx(ended[work_id], abs=CLOSE)
        limited = [path for path, group in self.plain.groups.items() if group.quota_s < math.inf]
        for path, group in self.plain.groups.items():
            cpu_s, _, throttled_s = self.cpu.usage(path, self.now)
            assert cpu_s == pytest.approx(group.cpu_s, abs=CLOSE), path
            # Two that are empty at once, one in the other: either may be the one that is counted.
            if not any(_nested(path, other) for other in limited if path in limited):
                assert throttled_s == pytest.approx(group.throttled_s, abs=100 * CLOSE), path


def _nested(one: str, other: str) -> bool:
    return one != other and (f"{one}/".startswith(f"{other}/") or not one or not other)


GAPS = st.integers(0, 50_000).map(lambda us: us / 1e6)
OPS = st.one_of(
    st.tuples(
        st.just("start"),
        st.sampled_from(LEAVES),
        st.one_of(st.integers(500, 200_000).map(lambda us: us / 1e6), st.just(math.inf)),
        st.sampled_from((1.0, 1.0, 1.0, 2.0, 0.5)),
    ),
    st.tuples(st.just("stop"), st.integers(0, 30)),
    st.tuples(st.just("weigh"), st.sampled_from(WEIGHTED), st.integers(1, 400)),
    st.tuples(
        st.just("limit"),
        st.sampled_from(LIMITED),
        st.integers(100, 3000),
        st.sampled_from((0, 0, 500, 1000)),
    ),
)


@settings(deadline=None, max_examples=60)
@given(
    cores=st.sampled_from((500, 1000, 2500, 4000)),
    ops=st.lists(st.tuples(GAPS, OPS), max_size=30),
)
def test_it_does_what_the_plain_one_does(
    cores: int, ops: list[tuple[float, tuple[object, ...]]]
) -> None:
    both = Both(cores)
    for gap_s, (name, *arguments) in ops:
        both.wait(gap_s)
        getattr(both, str(name))(*arguments)
    both.wait(0.1)
    both.compare()


def drive(seed: int, n_ops: int, limits: bool) -> tuple[NodeCpu, list[tuple[float, str]], float]:
    """Random work on a four-core node: every end with its time, and CPU time asked for and ended.

    Once in a while a piece is stopped; what it had not got is not asked for.
    """
    rng = random.Random(seed)
    cpu = NodeCpu(4000, 0.0)
    cpu.set_group("be", GroupTarget(weight=1, idle=True), 0.0)
    for leaf in LEAVES:
        cpu.set_group(leaf, GroupTarget(weight=rng.randint(1, 300)), 0.0)
    if limits:
        cpu.set_group("lc/a", GroupTarget(1500, PERIOD_US, 5000), 0.0)
        cpu.set_group("be", GroupTarget(800, 50_000), 0.0)
    asked: dict[str, float] = {}
    ends: list[tuple[float, str]] = []
    now = done_s = 0.0

    def to(at: float) -> None:
        nonlocal done_s
        while cpu.next_at <= at:
            when = cpu.next_at
            for work_id in cpu.advance(when):
                done_s += asked.pop(work_id)
                ends.append((when, work_id))

    for number in range(n_ops):
        now += rng.expovariate(220.0)
        to(now)
        leaf = LEAVES[int(rng.random() * len(LEAVES))]
        if number % 40 == 39 and asked:
            work_id = next(iter(asked))
            done_s += asked.pop(work_id) - cpu.stop(work_id, now)
        cpu_s = rng.expovariate(1 / 0.015)
        asked[str(number)] = cpu_s
        cpu.start(str(number), leaf, cpu_s, now, threads=rng.choice((1.0, 1.0, 2.0)))
    while cpu.next_at < math.inf:
        to(cpu.next_at)
        if not asked:
            break
    return cpu, ends, done_s


def test_no_work_is_lost_or_made_over_a_million_events() -> None:
    cpu, ends, done_s = drive(5, 500_000, limits=False)
    assert len(ends) > 480_000
    used_s = cpu.usage("", ends[-1][0]).cpu_s
    assert used_s == pytest.approx(done_s, rel=1e-9)
    leaves_s = sum(cpu.usage(leaf, ends[-1][0]).cpu_s for leaf in LEAVES)
    assert leaves_s == pytest.approx(done_s, rel=1e-9)


@pytest.mark.parametrize("limits", [False, True])
def test_the_same_is_done_again(limits: bool) -> None:
    first, second = (drive(9, 5000, limits) for _ in range(2))
    assert first[1] == second[1]
    assert first[0].usage("", first[1][-1][0]) == second[0].usage("", second[1][-1][0])


def test_nothing_is_lost_under_limits_either() -> None:
    cpu, ends, done_s = drive(6, 50_000, limits=True)
    at = ends[-1][0]
    assert cpu.usage("", at).cpu_s == pytest.approx(done_s, rel=1e-9)
    assert cpu.usage("lc/a", at).n_throttled > 10
    assert cpu.usage("be", at).n_throttled > 10


@settings(deadline=None, max_examples=60)
@given(
    quota=st.integers(100, 1900),
    burst_percent=st.integers(0, 100),
    seed=st.integers(0, 999),
    start_us=st.integers(0, 30_000),
    window_us=st.integers(1000, 200_000),
)
def test_never_more_than_quota_and_burst_in_any_window(
    quota: int, burst_percent: int, seed: int, start_us: int, window_us: int
) -> None:
    rng = random.Random(seed)
    quota_us = quota * PERIOD_US // 1000
    burst_us = quota_us * burst_percent // 100
    cpu = NodeCpu(4000, 0.0)
    cpu.set_group("lc/a", GroupTarget(quota, PERIOD_US, burst_us), 0.0)
    start, end = start_us / 1e6, (start_us + window_us) / 1e6
    seen: list[float] = []
    arrivals = sorted(rng.uniform(0.0, end) for _ in range(200))
    for at, name in sorted(
        [*((t, str(n)) for n, t in enumerate(arrivals)), (start, ""), (end, "")]
    ):
        cpu_before = -1.0
        while cpu.next_at <= at:
            assert cpu.advance(cpu.next_at) is not None
            used = cpu.usage("lc/a", min(cpu.next_at, at)).cpu_s
            assert used >= cpu_before
            cpu_before = used
        assert cpu.busy_cores <= 4.0
        if name:
            cpu.start(name, "lc/a", rng.expovariate(1 / 0.004), at, threads=rng.choice((1, 2, 4)))
        else:
            seen.append(cpu.usage("lc/a", at).cpu_s)
    # The window touches that many periods, each of which brings a quota; what was saved is extra.
    periods = math.floor(end * 1e6 / PERIOD_US) - math.floor(start * 1e6 / PERIOD_US) + 1
    assert seen[1] - seen[0] <= (periods * quota_us + burst_us) / 1e6 + 1e-8


@settings(deadline=None, max_examples=60)
@given(weights=st.lists(st.integers(1, 10_000), min_size=2, max_size=6), cores=st.integers(1, 4))
def test_burners_share_by_weight_and_none_gets_more_than_its_thread(
    weights: list[int], cores: int
) -> None:
    cpu = NodeCpu(cores * 1000, 0.0)
    for number, weight in enumerate(weights):
        cpu.set_group(f"g{number}", GroupTarget(weight=weight), 0.0)
        cpu.start(str(number), f"g{number}", math.inf, 0.0)
    used = [cpu.usage(f"g{number}", 10.0).cpu_s / 10.0 for number in range(len(weights))]
    assert sum(used) == pytest.approx(min(cores, len(weights)), rel=1e-9)
    assert max(used) <= 1 + 1e-12
    # Who has less than a core has it by weight, and nobody with more weight has less.
    levels = [share / shares_of(weight) for share, weight in zip(used, weights, strict=True)]
    below = [level for level, share in zip(levels, used, strict=True) if share < 1 - 1e-9]
    assert max(below, default=0.0) == pytest.approx(min(below, default=0.0), rel=1e-9)
    assert all(level <= max(below, default=math.inf) * (1 + 1e-9) for level in levels)
