"""The simulated CPU's doors: what it refuses, what it says, the order in which work ends."""

from __future__ import annotations

import math

import pytest

from tango.model.cgroup import UNLIMITED, GroupTarget
from tango.sim.node_cpu import NodeCpu


@pytest.fixture
def cpu() -> NodeCpu:
    """Two cores, a replica and two tasks."""
    made = NodeCpu(2000, 0.0, wakeup_s=0.003)
    made.set_group("lc/hello/r-1", GroupTarget(), 0.0)
    made.set_group("be", GroupTarget(weight=1, idle=True), 0.0)
    made.set_group("be/t-1", GroupTarget(), 0.0)
    made.set_group("be/t-2", GroupTarget(), 0.0)
    return made


def test_work_on_a_free_core_takes_its_cpu_time(cpu: NodeCpu) -> None:
    assert cpu.next_at == math.inf
    cpu.start("a", "lc/hello/r-1", 0.25, 1.0)
    assert cpu.next_at == 1.25
    assert cpu.advance(1.2) == []
    assert cpu.stop("a", 1.2) == pytest.approx(0.05)
    assert cpu.next_at == math.inf
    cpu.start("b", "lc/hello/r-1", 0.5, 2.0, threads=2.0)
    assert cpu.advance(9.0) == ["b"]
    assert cpu.usage("lc", 9.0).cpu_s == pytest.approx(0.7)


def test_what_ends_together_ends_in_the_order_of_its_start(cpu: NodeCpu) -> None:
    for work_id in ("z", "a", "m"):
        cpu.start(work_id, "lc/hello/r-1", 0.1, 0.0)
    assert cpu.next_at == pytest.approx(0.15)
    assert cpu.advance(cpu.next_at) == ["z", "a", "m"]


def test_a_burner_never_ends_and_says_so(cpu: NodeCpu) -> None:
    cpu.start("t", "be/t-1", math.inf, 0.0)
    assert cpu.next_at == math.inf
    assert cpu.stop("t", 10.0) == math.inf
    assert cpu.usage("be/t-1", 11.0).cpu_s == 10.0


def test_a_task_keeps_what_it_used_when_its_group_goes(cpu: NodeCpu) -> None:
    cpu.start("t", "be/t-1", 1.0, 0.0)
    with pytest.raises(ValueError, match="still in"):
        cpu.remove_group("be", 0.5)
    assert cpu.advance(1.0) == ["t"]
    cpu.remove_group("be/t-1", 1.0)
    cpu.remove_group("be/t-1", 1.0)
    assert cpu.usage("be", 1.0).cpu_s == 1.0
    with pytest.raises(KeyError):
        cpu.usage("be/t-1", 1.0)
    # The same name again begins at 0.
    cpu.set_group("be/t-1", GroupTarget(), 1.0)
    assert cpu.usage("be/t-1", 1.0).cpu_s == 0.0


def test_a_group_that_goes_while_it_is_throttled_leaves_no_event(cpu: NodeCpu) -> None:
    cpu.set_group("be/t-1", GroupTarget(200, 10_000), 0.0)
    cpu.start("t", "be/t-1", math.inf, 0.0)
    cpu.advance(0.005)
    assert cpu.busy_cores == 0.0
    cpu.stop("t", 0.005)
    cpu.remove_group("be/t-1", 0.005)
    assert cpu.next_at == math.inf


def test_it_refuses_what_makes_no_sense(cpu: NodeCpu) -> None:
    cpu.start("a", "lc/hello/r-1", 1.0, 0.0)
    with pytest.raises(ValueError, match="there already"):
        cpu.start("a", "be/t-1", 1.0, 0.0)
    with pytest.raises(ValueError, match="has subgroups"):
        cpu.start("b", "lc/hello", 1.0, 0.0)
    with pytest.raises(ValueError, match="has work in it"):
        cpu.set_group("lc/hello/r-1/x", GroupTarget(), 0.0)
    with pytest.raises(ValueError, match="parts of"):
        cpu.set_group("../x", GroupTarget(), 0.0)
    with pytest.raises(ValueError, match="no CPU time"):
        cpu.start("b", "be/t-1", math.nan, 0.0)
    for threads in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="no threads"):
            cpu.start("b", "be/t-1", 1.0, 0.0, threads=threads)
    with pytest.raises(KeyError):
        cpu.start("b", "be/none", 1.0, 0.0)
    with pytest.raises(KeyError):
        cpu.stop("none", 0.0)
    with pytest.raises(ValueError, match="root"):
        cpu.remove_group("", 0.0)
    assert cpu.advance(1.0) == ["a"]


def test_time_does_not_pass_an_event_unseen(cpu: NodeCpu) -> None:
    cpu.start("a", "lc/hello/r-1", 1.0, 0.0)
    for late in (
        lambda: cpu.start("b", "be/t-1", 1.0, 1.5),
        lambda: cpu.stop("a", 1.5),
        lambda: cpu.usage("lc", 1.5),
        lambda: cpu.set_group("lc", GroupTarget(), 1.5),
    ):
        with pytest.raises(ValueError, match=r"advance to 1\.0 first"):
            late()
    # At the moment itself nothing is late.
    cpu.start("b", "be/t-1", 1.0, 1.0)
    assert cpu.advance(1.0) == ["a"]


def test_no_more_idle_is_the_default_weight_as_in_the_kernel(cpu: NodeCpu) -> None:
    cpu.start("a", "lc/hello/r-1", math.inf, 0.0, threads=2.0)
    cpu.start("t", "be/t-1", math.inf, 0.0, threads=2.0)
    cpu.set_group("be", GroupTarget(idle=False), 1.0)
    before = cpu.usage("be", 1.0).cpu_s
    assert before == pytest.approx(2 * 3 / 1027)
    assert cpu.usage("be", 2.0).cpu_s - before == pytest.approx(1.0)


def test_who_wakes_waits_only_where_all_cores_are_taken(cpu: NodeCpu) -> None:
    assert cpu.wake_delay() == 0.0
    cpu.start("t", "be/t-1", math.inf, 0.0)
    assert cpu.wake_delay() == 0.0
    cpu.start("u", "be/t-2", math.inf, 0.0)
    assert cpu.wake_delay() == 0.003


def test_many_pieces_that_are_stopped_leave_nothing_behind(cpu: NodeCpu) -> None:
    cpu.start("stays", "lc/hello/r-1", 1e6, 0.0)
    for number in range(2000):
        cpu.start(str(number), "lc/hello/r-1", 1e7, 0.0)
        cpu.stop(str(number), 0.0)
    assert len(cpu._groups["lc/hello/r-1"].heap) < 50


def test_short_work_stays_exact_beside_work_of_weeks(cpu: NodeCpu) -> None:
    """Virtual time of a group that is never empty is set back."""
    cpu.start("long", "lc/hello/r-1", 1e6, 0.0)
    now = 0.0
    for number in range(3000):
        now += 100.0
        cpu.start(str(number), "lc/hello/r-1", 0.005, now)
        assert cpu.next_at - now == pytest.approx(0.005, abs=1e-9)
        assert cpu.advance(cpu.next_at) == [str(number)]
    assert cpu.stop("long", now + 1) == pytest.approx(1e6 - now - 1, rel=1e-12)


def test_an_unlimited_bucket_stays_quiet(cpu: NodeCpu) -> None:
    cpu.set_group("be/t-1", GroupTarget(200, 10_000), 0.0)
    cpu.set_group("be/t-1", GroupTarget(UNLIMITED), 0.001)
    cpu.start("t", "be/t-1", math.inf, 0.002)
    assert cpu.next_at == math.inf


def test_all_that_came_while_it_was_throttled_runs_when_it_is_let_go(cpu: NodeCpu) -> None:
    cpu.set_group("lc/hello/r-2", GroupTarget(), 0.0)
    cpu.set_group("lc/bye/r-1", GroupTarget(), 0.0)
    cpu.set_group("lc", GroupTarget(800, 10_000), 0.0)
    cpu.start("empties", "lc/bye/r-1", 0.008, 0.0, threads=2.0)
    cpu.start("too", "lc/bye/r-1", math.inf, 0.0, threads=2.0)
    assert cpu.advance(0.005) == []
    assert cpu.busy_cores == 0.0
    cpu.stop("empties", 0.005)
    cpu.stop("too", 0.005)
    cpu.start("a", "lc/hello/r-1", 0.001, 0.005)
    cpu.start("b", "lc/hello/r-2", 0.001, 0.005)
    assert cpu.advance(0.0105) == []
    assert cpu.busy_cores == 2.0
    assert set(cpu.advance(0.0111)) == {"a", "b"}
