"""An elastic policy at the central master: CPU that others hold, and preemption."""

from __future__ import annotations

from dataclasses import replace

import pytest
from central_bench import MIB, Bench, ended, node, running, spec

from tango.algorithms.batch.ceres import Ceres
from tango.algorithms.batch.most_free import MostFree
from tango.algorithms.batch.round_robin import RoundRobin
from tango.controllers.central.preemptible import MAX_PREEMPTIONS
from tango.model.cluster import NodeReport, NodeView, SideUsage
from tango.model.job import JobState
from tango.model.messages import StopAttempt
from tango.model.plan import BatchOffer, BatchPlan, BatchSnapshot, Placement, Preemption


def swollen(cpu: int = 2000, held: int = 1800, unused: int = 1500) -> NodeView:
    """A node whose BE holds much and uses little."""
    report = NodeReport("n1", 1.0, SideUsage(cpu_millis=70), SideUsage(cpu_millis=300))
    return node(
        cpu=cpu, be_held_millis=held, be_memory_bytes=64 * MIB, be_tasks=1, lc_held_millis=100,
        lc_memory_bytes=32 * MIB, be_reclaimable_millis=unused, report=report,
    )  # fmt: skip


def test_offers_tell_what_is_held_and_used() -> None:
    bench = Bench()
    bench.edge_up(swollen())
    bench.submit("j1", spec(cpu=2000))
    (offer,) = bench.snapshots[-1].offers
    assert offer == BatchOffer(
        "e1", "n1", 100, 928 * MIB, 1, lc_held_millis=100, lc_memory_bytes=32 * MIB,
        be_held_millis=1800, be_memory_bytes=64 * MIB, lc_used_millis=70, be_used_millis=300,
    )  # fmt: skip
    assert (offer.all_cpu_millis, offer.all_memory_bytes) == (2000, 1024 * MIB)


def test_unused_cpu_is_offered_to_an_elastic_policy_and_committed() -> None:
    bench = Bench(policy=Ceres())
    bench.edge_up(swollen())
    bench.submit("j1", spec(cpu=1200))
    assert bench.starts() == ["j1.0.1"]
    bench.submit("j2", spec(cpu=500))
    bench.advance(1.0)
    assert bench.starts() == ["j1.0.1"], "1600m were free or unused"
    (offer,) = bench.snapshots[-1].offers
    assert (offer.cpu_millis, offer.reclaimable_millis) == (-1100, 1500)
    bench.nodes(swollen(held=3000))
    bench.status(running("j1.0.1"))
    bench.advance(1.0)
    assert bench.starts() == ["j1.0.1"]
    bench.nodes(swollen(held=3000, unused=1600))
    bench.advance(1.0)
    assert bench.starts() == ["j1.0.1", "j2.0.1"], "what is unused has grown"


class Wishes:
    """An elastic policy that asks for one preemption, whatever it sees."""

    name = "wishes"
    elastic = True

    def __init__(self, job_id: str, *attempt_ids: str) -> None:
        self.wish = Preemption(job_id, attempt_ids)
        self.place_all = True

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        if self.place_all:
            return MostFree().place(snapshot)
        return BatchPlan((), preempt=self.wish)


def test_a_policy_that_is_not_elastic_is_held_to_what_is_free() -> None:
    class Greedy:
        name = "greedy"

        def place(self, snapshot: BatchSnapshot) -> BatchPlan:
            return BatchPlan(
                (Placement("j1", 0, "e1", "n1"),), preempt=Preemption("j1", ("j0.0.1",))
            )

    bench = Bench(policy=Greedy())
    bench.edge_up(swollen())
    bench.submit("j1", spec(cpu=1200))
    bench.advance(1.0)
    assert not bench.starts()


def test_memory_is_not_offered_beyond_what_is_free() -> None:
    bench = Bench(policy=Ceres())
    bench.edge_up(replace(swollen(), be_memory_bytes=990 * MIB))
    bench.submit("j1", spec(cpu=100))
    bench.advance(1.0)
    assert not bench.starts()


# ---- preemption


def full(n_low: int = 2) -> Bench:
    """n1 is full of jobs low0, low1 ... of priority 0, each of 1000m, and no other node is."""
    bench = Bench(policy=Ceres())
    bench.edge_up(node(cpu=1000 * n_low))
    for number in range(n_low):
        bench.submit(f"low{number}", spec(cpu=1000))
        bench.advance(0.1)
        bench.status(running(f"low{number}.0.1", at=bench.wall))
    return bench


def test_a_job_of_higher_priority_gets_the_room_of_the_youngest() -> None:
    bench = full()
    bench.submit("high", spec(cpu=900, priority=5))
    bench.advance(1.0)
    (stop,) = [message for _, message in bench.sent if isinstance(message, StopAttempt)]
    assert stop.attempt_id == "low1.0.1"
    assert stop.reason == "preempted for job high of priority 5"
    assert bench.disk["low1"].tasks[0].evicting == stop.reason
    assert bench.job("high").reason.endswith("asks to preempt 1 task of lower priority")
    bench.advance(5.0)
    assert bench.stops() == ["low1.0.1"], "one preemption at a time"
    bench.status(ended("low1.0.1", None, signal=15))
    bench.advance(1.0)
    assert bench.starts()[-1] == "high.0.1", "and not its victim, which queues again"
    (task,) = bench.job("low1").tasks
    assert (task.state, task.failures, task.evictions) == (JobState.PENDING, 0, 1)
    assert bench.job("low1").reason.startswith("stopped to run elsewhere: preempted for job high")
    bench.status(ended("high.0.1"))
    bench.nodes(node(cpu=2000))
    bench.advance(1.0)
    assert bench.starts()[-1] == "low1.0.2"


def test_nobody_is_stopped_for_equals_or_by_other_policies() -> None:
    bench = full()
    bench.submit("equal", spec(cpu=900))
    bench.advance(1.0)
    assert not bench.stops()


@pytest.mark.parametrize(
    ("priority", "wish", "stops"),
    [
        (1, ("low.0.1",), ["low.0.1"]),
        (0, ("low.0.1",), []),
        (1, ("low.0.1", "gone.0.1"), []),
        (1, (), []),
    ],
)
def test_what_a_plan_asks_for_is_checked_and_done_whole(
    priority: int, wish: tuple[str, ...], stops: list[str]
) -> None:
    policy = Wishes("high", *wish)
    bench = Bench(policy=policy)
    bench.edge_up(node(cpu=1000))
    bench.submit("low", spec(cpu=1000))
    bench.status(running("low.0.1"))
    policy.place_all = False
    bench.submit("high", spec(cpu=900, priority=priority))
    bench.advance(1.0)
    assert bench.stops() == stops


def test_only_the_head_of_the_queue_preempts() -> None:
    bench = Bench(policy=Ceres())
    bench.edge_up(node(cpu=1000))
    bench.submit("low", spec(cpu=1000, priority=-1))
    bench.status(running("low.0.1"))
    bench.submit("vain", spec(n_tasks=2, cpu=900, priority=5))
    bench.advance(1.0)
    bench.hold_solves = True
    bench.submit("middle", spec(cpu=900))
    bench.advance(0.1)
    bench.solve()
    assert [gang.job_id for gang in bench.snapshots[-1].gangs] == ["middle"]
    assert not bench.stops(), "those before it are asked first"
    bench.advance(0.1)
    assert [gang.job_id for gang in bench.snapshots[-1].gangs] == ["vain", "middle"]
    bench.solve()
    assert bench.stops() == ["low.0.1"]


def test_one_preemption_at_a_time() -> None:
    bench = Bench(policy=Ceres())
    bench.edge_up(node("n1", cpu=1000), node("n2", cpu=1000))
    for name in ("low0", "low1"):
        bench.submit(name, spec(cpu=1000))
        bench.advance(0.1)
        bench.status(running(f"{name}.0.1", at=bench.wall))
    for name in ("high0", "high1"):
        bench.submit(name, spec(cpu=900, priority=5))
        bench.advance(1.0)
    assert bench.stops() == ["low0.0.1"]
    bench.status(ended("low0.0.1", None, signal=15))
    bench.advance(1.0)
    assert bench.starts()[2:] == ["high0.0.1"]
    assert bench.stops() == ["low0.0.1", "low1.0.1"]


@pytest.mark.parametrize("tail", [1, 200])
def test_the_head_of_the_queue_is_served_first_however_long_the_queue(tail: int) -> None:
    bench = full()
    for number in range(tail):
        bench.submit(f"wait{number}", spec(cpu=1000))
    bench.advance(5.0)
    bench.submit("high", spec(cpu=900, priority=5))
    bench.advance(1.0)
    assert len(bench.stops()) == 1
    (victim,) = bench.stops()
    bench.status(ended(victim, None, signal=15))
    bench.advance(1.0)
    assert bench.starts()[2:] == ["high.0.1"]


def test_a_gang_preempts_as_many_as_it_needs_and_waits_for_all_of_them() -> None:
    bench = full(3)
    bench.submit("high", spec(n_tasks=2, cpu=800, priority=5))
    bench.advance(1.0)
    assert bench.stops() == ["low2.0.1", "low1.0.1"]
    bench.status(ended("low2.0.1", None, signal=15))
    bench.advance(1.0)
    assert len(bench.starts()) == 3, "the first one's place is kept free"
    bench.submit("small", spec(cpu=100))
    bench.advance(1.0)
    assert len(bench.starts()) == 3
    bench.nodes(node(cpu=3000), node("n2", cpu=100))
    bench.advance(1.0)
    assert bench.starts()[3:] == ["small.0.1"], "other nodes go on"
    bench.status(ended("low1.0.1", None, signal=15))
    bench.advance(1.0)
    assert bench.starts()[4:] == ["high.0.1", "high.1.1"]


def test_an_attempt_whose_job_is_cancelled_or_that_is_gone_is_not_preempted() -> None:
    bench = full()
    bench.hold_solves = True
    bench.submit("high", spec(cpu=900, priority=5))
    bench.advance(0.1)
    bench.cancel("low1")
    n_stops = len(bench.stops())
    while bench.solves:
        bench.solve()
        bench.advance(0.1)
    assert bench.stops()[n_stops:] in ([], ["low0.0.1"]), "a stale wish is dropped whole"
    assert "preempted" not in bench.job("low1").tasks[0].evicting


def test_preemptions_of_one_task_are_bounded() -> None:
    bench = full(1)
    for number in range(1, MAX_PREEMPTIONS + 1):
        bench.submit(f"high{number}", spec(cpu=900, priority=5))
        bench.advance(1.0)
        assert bench.stops()[-1:] == [f"low0.0.{number}"]
        bench.status(ended(f"low0.0.{number}", None, signal=15))
        bench.advance(1.0)
        bench.status(running(f"high{number}.0.1"))
        bench.status(ended(f"high{number}.0.1"))
        bench.nodes(node(cpu=1000))
        bench.advance(1.0)
        bench.status(running(f"low0.0.{number + 1}"))
    assert bench.job("low0").tasks[0].evictions == MAX_PREEMPTIONS
    n_stops = len(bench.stops())
    bench.submit("again", spec(cpu=900, priority=5))
    bench.advance(10.0)
    assert len(bench.stops()) == n_stops
    assert bench.state("again") is JobState.PENDING


def test_a_preemption_under_way_at_a_site_that_is_away_holds_up_nobody_else() -> None:
    bench = full(1)
    bench.submit("high", spec(cpu=900, priority=5))
    bench.advance(1.0)
    assert bench.stops() == ["low0.0.1"]
    bench.edge_down()
    bench.edge_up(node("n2", cpu=1000), session=2, edge="e2")
    bench.advance(1.0)
    assert bench.starts()[-1] == "high.0.1"
    bench.status(running("high.0.1"), session=2)
    bench.submit("higher", spec(cpu=900, priority=9))
    bench.advance(1.0)
    assert bench.stops() == ["low0.0.1", "high.0.1"]


def test_round_robin_goes_on_behind_the_last_committed_placement() -> None:
    bench = Bench(policy=RoundRobin())
    bench.edge_up(*(node(f"n{number}", cpu=4000) for number in range(3)))
    for number in range(5):
        bench.submit(f"j{number}", spec(cpu=100))
        bench.advance(0.1)
    nodes = [bench.job(f"j{number}").tasks[0].node for number in range(5)]
    assert nodes == ["n0", "n1", "n2", "n0", "n1"]
    assert [snapshot.last for snapshot in bench.snapshots[:2]] == [("", ""), ("e1", "n0")]
