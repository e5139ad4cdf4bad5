"""The simulated CPU against queueing theory and a token bucket, in closed form."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest

from tango.model.cgroup import GroupTarget
from tango.sim.node_cpu import NodeCpu

BATCHES = 30
GROUP = "lc/hello/r-1"
PERIOD_US = 10_000
PERIOD_S = 0.01
QUOTA_S = 0.002


def exponential(rng: random.Random) -> float:
    return rng.expovariate(1.0)


def fixed(_: random.Random) -> float:
    return 1.0


def mostly_short(rng: random.Random) -> float:
    """Hyperexponential, mean 1, squared coefficient of variation 5.1."""
    return rng.expovariate(2.0) if rng.random() < 0.9 else rng.expovariate(1 / 5.5)


def sojourns(
    cpu: NodeCpu, rate: float, works: int, draw: Callable[[random.Random], float]
) -> list[tuple[float, float]]:
    """Poisson arrivals of work in one group: (CPU time, time there) of each, by arrival."""
    rng = random.Random(20)
    cpu.set_group(GROUP, GroupTarget(), 0.0)
    begun: list[tuple[float, float]] = []
    took = [0.0] * works
    now = 0.0

    def end() -> None:
        at = cpu.next_at
        for work_id in cpu.advance(at):
            took[int(work_id)] = at - begun[int(work_id)][0]

    for number in range(works):
        now += rng.expovariate(rate)
        while cpu.next_at <= now:
            end()
        cpu_s = draw(rng)
        begun.append((now, cpu_s))
        cpu.start(str(number), GROUP, cpu_s, now)
    while cpu.next_at < math.inf:
        end()
    return [(cpu_s, took_s) for (_, cpu_s), took_s in zip(begun, took, strict=True)]


def assert_mean(found: list[float], expected: float) -> None:
    """The mean is within 4 standard errors, by batch means, and these are small enough to tell."""
    size = len(found) // BATCHES
    means = [statistics.fmean(found[n * size : (n + 1) * size]) for n in range(BATCHES)]
    error = statistics.stdev(means) / math.sqrt(BATCHES)
    assert error < 0.06 * expected
    assert abs(statistics.fmean(means) - expected) < 4 * error


@pytest.mark.parametrize(
    ("draw", "rho", "works"),
    [
        (exponential, 0.5, 30_000),
        (exponential, 0.8, 120_000),
        (fixed, 0.5, 30_000),
        (fixed, 0.8, 120_000),
        (mostly_short, 0.5, 60_000),
    ],
)
def test_m_g_1_ps_has_the_mean_of_its_load_whatever_the_work(
    draw: Callable[[random.Random], float], rho: float, works: int
) -> None:
    """Mean 1 / (1 - rho), x / (1 - rho) for work x (Kleinrock 1967); insensitive to its law."""
    found = sojourns(NodeCpu(1000, 0.0), rho, works, draw)
    assert_mean([took_s for _, took_s in found], 1 / (1 - rho))
    assert_mean([took_s / cpu_s for cpu_s, took_s in found if 0.9 < cpu_s < 1.1], 1 / (1 - rho))


@pytest.mark.parametrize("draw", [exponential, fixed], ids=lambda draw: draw.__name__)
def test_four_cores_are_erlangs(draw: Callable[[random.Random], float]) -> None:
    """No thread gets more than a core: as many there as in M/M/4, so the same mean (Little)."""
    load, cores = 3.0, 4
    unlucky = load**cores / math.factorial(cores) / (1 - load / cores)
    waits = unlucky / (sum(load**n / math.factorial(n) for n in range(cores)) + unlucky)
    found = sojourns(NodeCpu(cores * 1000, 0.0), load, 60_000, draw)
    assert_mean([took_s for _, took_s in found], 1 + waits / (cores - load))


def test_beside_an_idle_burner_it_has_all_but_three_parts_in_a_thousand() -> None:
    cpu = NodeCpu(1000, 0.0)
    cpu.set_group("be/1", GroupTarget(), 0.0)
    cpu.set_group("be", GroupTarget(weight=1, idle=True), 0.0)
    cpu.start("burner", "be/1", math.inf, 0.0)
    found = sojourns(cpu, 0.5, 30_000, exponential)
    core = 1024 / 1027
    assert_mean([took_s for _, took_s in found], 1 / (core - 0.5))


def burning(threads: float = 1.0, burst_us: int = 0) -> NodeCpu:
    cpu = NodeCpu(4000, 0.0)
    cpu.set_group(GROUP, GroupTarget(200, PERIOD_US, burst_us), 0.0)
    cpu.start("burner", GROUP, math.inf, 0.0, threads=threads)
    return cpu


def run_to(cpu: NodeCpu, at: float) -> list[tuple[float, str]]:
    ends = []
    while cpu.next_at <= at:
        when = cpu.next_at
        ends += [(when, work_id) for work_id in cpu.advance(when)]
    return ends


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_burner_has_its_quota_in_each_period(threads: int) -> None:
    cpu = burning(threads)
    for at in (0.0005, 0.0013, 0.0099, 0.0107, 0.503, 1.0041, 99.9971):
        run_to(cpu, at)
        periods, into_s = divmod(at, PERIOD_S)
        used = cpu.usage(GROUP, at)
        assert used.cpu_s == pytest.approx(
            periods * QUOTA_S + min(into_s * threads, QUOTA_S), abs=1e-8
        )
        paused_s = periods * (PERIOD_S - QUOTA_S / threads) + max(0.0, into_s - QUOTA_S / threads)
        # The kernel adds up the pauses of each core.
        assert used.throttled_s == pytest.approx(paused_s * threads, abs=1e-8)
        assert used.n_throttled == periods
        assert cpu.n_periods(GROUP, at) == periods


@pytest.mark.parametrize("burst_us", [0, 500, 2000])
@pytest.mark.parametrize("cpu_s", [0.0015, 0.0025, 0.004, 0.0077, 0.02])
@pytest.mark.parametrize("into_s", [0.0, 0.0031, 0.0059])
def test_work_after_an_idle_time_has_quota_and_burst_at_once(
    burst_us: int, cpu_s: float, into_s: float
) -> None:
    cpu = NodeCpu(4000, 0.0)
    cpu.set_group(GROUP, GroupTarget(200, PERIOD_US, burst_us), 0.0)
    saved_s = QUOTA_S + burst_us / 1e6
    late_s = cpu_s - saved_s
    if late_s <= 0:
        expected = cpu_s
    else:
        periods = math.ceil(late_s / QUOTA_S - 1e-9)
        last_s = late_s - (periods - 1) * QUOTA_S
        expected = PERIOD_S - into_s + (periods - 1) * PERIOD_S + last_s
    # On and off: each time the bucket has become full again.
    for turn in range(1, 20):
        at = turn * 0.3 + into_s
        run_to(cpu, at)
        cpu.start(str(turn), GROUP, cpu_s, at)
        ((ended_at, _),) = run_to(cpu, at + 0.25)
        assert ended_at - at == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("burst_us", "throttled"), [(1000, 0), (999, 15), (0, 15)])
def test_what_one_period_saves_the_next_may_use(burst_us: int, throttled: int) -> None:
    """3 ms of CPU, then 1 ms, by turns: 2 ms a period on average."""
    cpu = NodeCpu(1000, 0.0)
    cpu.set_group(GROUP, GroupTarget(200, PERIOD_US, burst_us), 0.0)
    # The first period is quiet, for a new group has no more than a quota.
    for turn in range(1, 31):
        at = turn * PERIOD_S + 0.001
        run_to(cpu, at)
        cpu.start(str(turn), GROUP, 0.001 if turn % 2 else 0.003, at)
    run_to(cpu, 1.0)
    assert cpu.usage(GROUP, 1.0).n_throttled == throttled


def test_a_child_has_no_more_than_its_parent() -> None:
    cpu = NodeCpu(4000, 0.0)
    cpu.set_group("lc/hello", GroupTarget(300, PERIOD_US), 0.0)
    cpu.set_group(GROUP, GroupTarget(500, PERIOD_US), 0.0)
    cpu.start("burner", GROUP, math.inf, 0.0, threads=2)
    run_to(cpu, 10.0)
    assert cpu.usage("", 10.0).cpu_s == pytest.approx(3.0, abs=1e-6)
    assert cpu.usage(GROUP, 10.0).n_throttled == 0


@pytest.mark.parametrize(("every_s", "share"), [(0.02, 0.5), (0.005, 1.0)])
def test_each_changed_quota_refills_the_bucket(every_s: float, share: float) -> None:
    """10 ms in 100, and again at each write (architecture page: 0.64 and 1.0 on the kernel, where
    each refill also forgives what a thread ran on to its tick)."""
    cpu = NodeCpu(1000, 0.0)
    cpu.set_group(GROUP, GroupTarget(100), 0.0)
    cpu.start("burner", GROUP, math.inf, 0.0)
    writes = round(10.0 / every_s)
    for write in range(1, writes):
        run_to(cpu, write * every_s)
        cpu.set_group(GROUP, GroupTarget(100 + write % 2), write * every_s)
    run_to(cpu, 10.0)
    # The first and last writes, and 101m at every other one.
    assert cpu.usage(GROUP, 10.0).cpu_s == pytest.approx(10 * share, rel=0.01)


def test_an_unchanged_quota_is_not_written() -> None:
    cpu = burning()
    for write in range(1, 2000):
        run_to(cpu, write * 0.005)
        cpu.set_group(GROUP, GroupTarget(200, PERIOD_US, 0, weight=100), write * 0.005)
    run_to(cpu, 10.0)
    assert cpu.usage(GROUP, 10.0).cpu_s == pytest.approx(2.0, abs=1e-6)


def test_a_group_that_is_let_go_runs_at_once_and_keeps_its_counts() -> None:
    cpu = burning()
    run_to(cpu, 1.005)
    before = cpu.usage(GROUP, 1.005)
    cpu.set_group(GROUP, GroupTarget(quota_millis=-1), 1.005)
    assert cpu.busy_cores == 1.0
    after = cpu.usage(GROUP, 2.005)
    assert after.cpu_s - before.cpu_s == pytest.approx(1.0)
    assert (after.n_throttled, after.throttled_s) == (before.n_throttled, before.throttled_s)
    cpu.set_group(GROUP, GroupTarget(quota_millis=200), 2.005)
    run_to(cpu, 3.005)
    assert cpu.usage(GROUP, 3.005).cpu_s - after.cpu_s == pytest.approx(0.2, abs=0.0021)
