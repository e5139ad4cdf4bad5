"""Nodes that die or are drained: their tasks run elsewhere, once, and no retry is lost over it."""

from __future__ import annotations

from dataclasses import replace

from central_bench import Bench, ended, node, running, spec

from tango.controllers.central.departures import REDIAL_S
from tango.controllers.central.jobs import MAX_EVICTIONS, MAX_LOSSES
from tango.model.cluster import NodeReport, NodeView, SideUsage
from tango.model.job import AttemptStatus, JobState
from tango.model.messages import StartAttempt, StopAttempt

GRACE_S = 5.0
UNSEEN_S = GRACE_S + REDIAL_S


def at_work(**options: object) -> Bench:
    """j1 runs on n1; n2 is there, and empty."""
    bench = Bench()
    bench.edge_up(node("n1"), node("n2", cpu=1000))
    bench.submit("j1", spec(**options))
    bench.status(running("j1.0.1"))
    assert bench.job().tasks[0].node == "n1"
    return bench


def tell(bench: Bench, *nodes: NodeView, session: int = 1) -> None:
    """What an edge says of its nodes; dead ones have had their last time when this returns."""
    bench.nodes(*nodes, session=session)
    bench.advance(0.1 + GRACE_S * any(view.dead for view in nodes))


def dead(name: str = "n1") -> NodeView:
    return node(name, ready=False, dead=True)


def test_a_job_of_a_dead_node_runs_elsewhere_without_a_retry() -> None:
    bench = at_work()
    tell(bench, dead(), node("n2", cpu=1000))
    (task,) = bench.job().tasks
    assert (task.state, task.attempt_id, task.node) == (JobState.SCHEDULED, "j1.0.2", "n2")
    assert (task.failures, task.losses, task.moved) == (0, 1, "node n1 lost")
    assert bench.starts() == ["j1.0.1", "j1.0.2"]
    assert [m for _, m in bench.sent if isinstance(m, StopAttempt)] == [
        StopAttempt("j1.0.1", "node n1 lost")
    ]
    bench.status(running("j1.0.2"))
    bench.status(ended("j1.0.2"))
    assert bench.state() is JobState.SUCCEEDED
    assert bench.job().tasks[0].losses == 1


def test_while_there_is_no_room_the_reason_says_which_node_was_lost() -> None:
    bench = Bench()
    bench.edge_up(node("n1"))
    bench.submit()
    bench.status(running("j1.0.1"))
    tell(bench, dead())
    assert bench.state() is JobState.PENDING
    assert bench.job().reason.startswith("node n1 lost; waiting")


def test_what_was_given_up_is_stopped_on_its_return_and_its_end_does_not_count() -> None:
    bench = at_work()
    tell(bench, dead(), node("n2", cpu=1000))
    bench.status(running("j1.0.2"))
    bench.resynced("n1", running("j1.0.1"))
    assert bench.stops() == ["j1.0.1", "j1.0.1"]
    bench.status(ended("j1.0.1", 0, cpu_s=5.0))
    assert bench.acks() == ["j1.0.1"]
    (task,) = bench.job().tasks
    assert (task.state, task.attempt_id, task.cpu_s) == (JobState.RUNNING, "j1.0.2", 0.0)
    assert [note.fields for note in bench.notes if note.event == "superseded_end"] == [
        (("attempt", "j1.0.1"),)
    ]


def test_central_restarted_between_the_loss_and_the_return() -> None:
    bench = at_work()
    tell(bench, dead(), node("n2", cpu=1000))
    again = Bench(bench.disk, incarnation=2)
    again.edge_up(node("n1"), node("n2"), attempts=(running("j1.0.1"), running("j1.0.2")))
    assert again.stops() == ["j1.0.1"]
    assert again.state() is JobState.RUNNING
    assert not again.starts()


def test_a_loss_that_is_not_on_disk_starts_and_stops_nothing() -> None:
    bench = at_work()
    bench.hold_disk = True
    tell(bench, dead(), node("n2", cpu=1000))
    assert bench.starts() == ["j1.0.1"]
    assert not bench.stops()
    again = Bench(bench.disk, incarnation=2)  # a crash: the node may be back by then
    again.edge_up(node("n1"), node("n2"), attempts=(running("j1.0.1"),))
    assert again.job().tasks[0].attempt_id == "j1.0.1"
    assert not again.stops()


def test_a_node_that_is_back_in_time_keeps_its_tasks() -> None:
    bench = at_work()
    bench.nodes(dead(), node("n2"))
    bench.advance(GRACE_S - 1)
    bench.nodes(dead(), node("n2"))
    bench.resynced("n1", running("j1.0.1"))
    bench.nodes(node("n1"), node("n2"))
    bench.advance(GRACE_S)
    bench.nodes(dead(), node("n2"))  # and the next time it is counted from the beginning
    bench.advance(GRACE_S - 1)
    assert bench.job().tasks[0].attempt_id == "j1.0.1"
    bench.edge_down()
    bench.edge_up(dead(), node("n2"), session=2, complete=("n2",), attempts=(running("j1.0.1"),))
    bench.advance(GRACE_S - 1)
    assert bench.job().tasks[0].attempt_id == "j1.0.1"
    bench.advance(1.1)
    assert bench.job().tasks[0].attempt_id == "j1.0.2"
    assert not bench.central.wake_at or bench.central.wake_at > bench.now


def test_losses_are_bounded() -> None:
    bench = at_work()
    for number in range(1, MAX_LOSSES + 2):
        assert bench.job().tasks[0].attempt == number
        name = bench.job().tasks[0].node
        other = "n2" if name == "n1" else "n1"
        tell(bench, dead(name), node(other))
    assert bench.state() is JobState.FAILED
    assert bench.job().reason == "node n2 lost: 6 attempts were lost with their nodes"


def test_a_cancelled_job_does_not_wait_for_a_dead_node() -> None:
    bench = at_work()
    bench.cancel()
    assert bench.state() is JobState.RUNNING
    tell(bench, dead(), node("n2"))
    assert bench.state() is JobState.CANCELLED


def test_a_start_that_nobody_was_told_of_is_no_loss() -> None:
    bench = Bench()
    bench.edge_up(node("n1"))
    bench.hold_disk = True
    bench.submit()
    bench.write()  # the job
    tell(bench, dead())
    bench.release_disk()
    assert not bench.starts()
    assert (bench.state(), bench.job().tasks[0].losses) == (JobState.PENDING, 0)


def test_a_site_that_is_away_keeps_its_jobs() -> None:
    bench = at_work()
    bench.edge_down()
    bench.edge_up(node("n1"), session=2, edge="e2")
    bench.advance(100)
    assert bench.job().tasks[0].attempt_id == "j1.0.1"


def test_a_node_that_a_restarted_edge_does_not_know_has_some_time() -> None:
    bench = at_work()
    bench.edge_down()
    bench.edge_up(node("n2", cpu=1000), session=2)
    bench.advance(UNSEEN_S - 1)
    assert bench.job().tasks[0].attempt_id == "j1.0.1"
    bench.advance(2)
    assert bench.job().tasks[0].attempt_id == "j1.0.2"
    assert bench.job().tasks[0].moved == "node n1 lost"


def test_a_cancelled_job_waits_for_such_a_node_for_as_long_and_no_longer() -> None:
    bench = at_work()
    bench.edge_down()
    bench.edge_up(node("n2"), session=2)
    bench.cancel()
    assert bench.stops() == ["j1.0.1"]
    bench.advance(UNSEEN_S - 1)
    assert bench.state() is JobState.RUNNING
    bench.advance(2)
    assert bench.state() is JobState.CANCELLED
    assert bench.job().tasks[0].reason == "stopped: node n1 lost"


def test_a_node_that_comes_back_with_its_restarted_edge_keeps_its_tasks() -> None:
    bench = at_work()
    bench.edge_down()
    bench.edge_up(node("n2"), session=2, complete=("n2",))
    bench.advance(3)
    tell(bench, node("n1"), node("n2"), session=2)
    bench.resynced("n1", running("j1.0.1"), session=2)
    bench.advance(UNSEEN_S)
    assert bench.job().tasks[0].attempt_id == "j1.0.1"


# ---- drained nodes


def drained(**more: object) -> NodeView:
    return node("n1", cordoned=True, draining=True, **more)


def test_a_drained_node_offers_nothing_and_its_tasks_are_stopped_to_run_elsewhere() -> None:
    bench = at_work()
    tell(bench, drained(drain_grace_s=2.0), node("n2", cpu=1000))
    assert [m for _, m in bench.sent if isinstance(m, StopAttempt)] == [
        StopAttempt("j1.0.1", "node n1 is drained", 2.0)
    ]
    assert bench.job().tasks[0].evicting == "node n1 is drained"
    tell(bench, drained(drain_grace_s=2.0), node("n2", cpu=1000))
    assert len(bench.stops()) == 1
    bench.status(ended("j1.0.1", None, signal=15, failure="node n1 is drained", cpu_s=1.0))
    bench.advance(0.1)
    (task,) = bench.job().tasks
    assert (task.attempt_id, task.node, task.state) == ("j1.0.2", "n2", JobState.SCHEDULED)
    assert (task.failures, task.evictions, task.moved) == (0, 1, "node n1 is drained")
    assert bench.acks() == ["j1.0.1"]


def test_a_task_that_ends_well_before_its_stop_has_succeeded() -> None:
    bench = at_work()
    tell(bench, drained(), node("n2"))
    bench.status(ended("j1.0.1"))
    assert bench.state() is JobState.SUCCEEDED


def test_an_eviction_is_on_disk_before_its_stop_and_outlives_central() -> None:
    bench = at_work()
    bench.hold_disk = True
    tell(bench, drained(), node("n2"))
    assert not bench.stops()
    bench.write()
    assert bench.stops() == ["j1.0.1"]
    again = Bench(bench.disk, incarnation=2)
    again.edge_up(drained(), node("n2"), attempts=(running("j1.0.1"),))
    assert again.stops() == ["j1.0.1"]  # it may have been lost with the stream
    again.status(ended("j1.0.1", None, signal=15))
    again.advance(0.1)
    assert again.job().tasks[0].failures == 0
    assert again.starts() == ["j1.0.2"]


def test_a_drained_node_that_dies_loses_its_tasks_all_the_same() -> None:
    bench = at_work()
    tell(bench, drained(), node("n2"))
    tell(bench, node("n1", ready=False, dead=True, cordoned=True, draining=True), node("n2"))
    (task,) = bench.job().tasks
    assert (task.attempt_id, task.losses, task.evicting) == ("j1.0.2", 1, "")


def test_a_cordoned_node_keeps_its_tasks_and_gets_no_others() -> None:
    bench = at_work()
    tell(bench, node("n1", cordoned=True), node("n2"))
    bench.submit("j2")
    bench.advance(0.1)
    assert bench.job("j1").tasks[0].node == "n1"
    assert bench.job("j2").tasks[0].node == "n2"
    assert not bench.stops()


# ---- evicted for LC by the edge; moved where BE starves


def evicted(attempt_id: str, why: str = "evicted: n1 needs 64 MiB for services") -> AttemptStatus:
    return replace(ended(attempt_id, None, signal=15, failure=why, cpu_s=2.0), evicted=why)


def test_an_evicted_task_waits_for_room_again_and_costs_no_retry() -> None:
    bench = at_work(backoff_s=2.0)
    bench.status(evicted("j1.0.1"))
    (task,) = bench.job().tasks
    assert (task.state, task.failures, task.evictions, task.cpu_s) == (JobState.PENDING, 0, 1, 2.0)
    assert bench.job().reason.startswith("evicted: n1 needs 64 MiB for services")
    assert bench.acks() == ["j1.0.1"]
    bench.advance(1.9)
    assert bench.starts() == ["j1.0.1"], "not before its backoff"
    bench.advance(0.2)
    assert bench.starts() == ["j1.0.1", "j1.0.2"]
    assert bench.job().tasks[0].moved == "evicted: n1 needs 64 MiB for services"


def test_one_that_is_evicted_again_and_again_fails_and_says_so() -> None:
    bench = at_work(backoff_s=0.0)
    for number in range(1, MAX_EVICTIONS + 2):
        assert bench.state() is not JobState.FAILED
        bench.status(running(f"j1.0.{number}"))
        bench.status(evicted(f"j1.0.{number}"))
        bench.advance(0.2)
    assert bench.state() is JobState.FAILED
    assert "11th time, and at most 10" in bench.job().reason


def test_one_that_was_cancelled_meanwhile_is_cancelled() -> None:
    bench = at_work()
    bench.cancel("j1")
    bench.status(evicted("j1.0.1"))
    assert bench.state() is JobState.CANCELLED


def test_a_start_tells_the_priority_of_its_job() -> None:
    bench = at_work(priority=7)
    (start,) = [message for _, message in bench.sent if isinstance(message, StartAttempt)]
    assert start.priority == 7


def report(name: str, satisfaction: float, short: int = 0) -> NodeReport:
    side = SideUsage()
    return NodeReport(name, 1.0, side, side, be_satisfaction=satisfaction, memory_short_bytes=short)


def starving(share: float = 0.04) -> NodeView:
    return node("n1", report=report("n1", share))


def test_where_be_starves_one_task_after_another_is_moved() -> None:
    bench = at_work()
    bench.submit("j2", spec(cpu=600, priority=1))
    bench.advance(0.1)
    bench.status(running("j2.0.1", at=bench.epoch + 200.0))
    assert bench.job("j2").tasks[0].node == "n1"
    for _ in range(31):
        bench.nodes(starving(), node("n2", cpu=1000))
        bench.advance(1.0)
    assert bench.stops() == ["j1.0.1"], "the lower priority"
    assert bench.job().tasks[0].evicting == "tasks on node n1 get 4% of the CPU that they ask for"
    for _ in range(40):
        bench.nodes(starving(), node("n2", cpu=1000))
        bench.advance(1.0)
    assert bench.stops() == ["j1.0.1"], "one at a time"
    bench.status(ended("j1.0.1", None, signal=15))
    bench.advance(1.0)
    (task,) = bench.job().tasks
    assert (task.node, task.failures, task.evictions) == ("n2", 0, 1)


def test_nothing_is_moved_where_no_other_node_has_room_or_be_recovers() -> None:
    bench = at_work()
    for tick in range(80):
        share = 0.5 if tick == 20 else 0.04
        small = tick > 40
        bench.nodes(starving(share), node("n2", cpu=100 if small else 1000))
        bench.advance(1.0)
        if tick == 40:
            assert bench.stops() == []
    assert bench.stops() == []


def test_a_node_that_starves_is_short_of_memory_or_has_a_problem_offers_nothing() -> None:
    down = replace(report("n1", 1.0), problem="supervisor down: it has not answered")
    short = report("n1", 1.0, short=1)
    for view in (starving(), node("n1", report=short), node("n1", report=down)):
        bench = Bench()
        bench.edge_up(view)
        bench.submit("j1")
        bench.advance(1.0)
        assert bench.starts() == []
        bench.nodes(node("n1", report=report("n1", 1.0)))
        bench.advance(1.0)
        assert bench.starts() == ["j1.0.1"]
