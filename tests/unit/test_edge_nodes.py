"""Nodes at the edge: sessions, superseding, resync of what is in flight, silence, loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edge_world import MIB, EdgeWorld, service

from tango.model import events as ev
from tango.model.cluster import GroupReport, NodeReport, SideUsage
from tango.model.commands import SendWorker
from tango.model.messages import (
    CancelDispatches,
    EdgeWelcome,
    LogPart,
    NodeTargets,
    ReplicaChanged,
    ReportUsage,
    WorkerState,
)
from tango.model.request import Code, Outcome
from tango.model.service import ReplicaState, ReplicaStatus


def busy(**fields: object) -> tuple[EdgeWorld, str]:
    """One node, one replica, one call in flight there."""
    world = EdgeWorld()
    world.worker("n1")
    world.apply(service(**fields))
    call = world.call()
    return world, call


def test_a_worker_is_welcomed_first_then_told_its_targets() -> None:
    world = EdgeWorld()
    world.worker("n1")
    world.apply(service())
    worker = next(iter(world.workers.values()))
    worker.down()
    worker.inbox.clear()
    worker.up()
    welcome, targets = worker.inbox[:2]
    assert welcome == EdgeWelcome("site-a", 7)
    assert isinstance(targets, NodeTargets)
    assert [target.replica_id for target in targets.replicas] == ["hello-g1-0"]
    assert world.view().ready == 1


def test_target_versions_grow() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    for replicas in (1, 2, 3):
        world.apply(service(replicas=replicas))
    versions = [targets.version for targets in worker.told(NodeTargets)]
    assert versions == sorted(set(versions))


def test_the_same_key_supersedes_the_old_stream() -> None:
    world, call = busy()
    worker = next(iter(world.workers.values()))
    old = worker.session
    worker.up()
    assert "superseded" in world.closed[old]
    assert call not in world.replies  # the worker still serves it
    assert world.view().in_flight == 1
    world.do(ev.WorkerDown(old, "closed"))  # the old stream's end matters to nobody
    assert world.view().ready == 1
    world.do(ev.WorkerSaid(old, ReplicaChanged(worker.replicas["hello-g1-0"])))
    worker.done(call)
    assert world.replies[call].outcome is Outcome.COMPLETED


def test_another_key_is_refused_however_long_the_first_machine_was_away() -> None:
    world, _ = busy()
    worker = next(iter(world.workers.values()))
    good, worker.key = worker.key, "another machine"
    session = worker.session
    worker.up(ready=False)
    assert "another machine" in world.closed[worker.session]
    assert world.notes[-1].event == "worker_refused"
    worker.session, worker.key = session, good
    world.workers[session] = worker
    assert world.view().ready == 1
    worker.down()
    worker.key = "another machine"
    worker.up(ready=False)
    assert worker.session in world.closed
    world.advance(4)
    worker.up(ready=False)
    assert worker.session in world.closed
    worker.key = good
    worker.up()
    assert worker.session not in world.closed
    assert world.view().ready == 1


def test_an_earlier_incarnation_is_stale() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    worker.incarnation = 5
    worker.up()
    worker.incarnation = 4
    worker.up(ready=False)
    assert "stale" in world.closed[worker.session]
    worker.incarnation = 6
    worker.up()
    assert worker.session not in world.closed


def test_a_node_with_a_bad_name_is_refused() -> None:
    world = EdgeWorld()
    worker = world.worker("Not A Name")
    assert "not a valid name" in world.closed[worker.session]
    assert world.controller.node_views() == ()


def test_losing_a_node_answers_what_may_have_run() -> None:
    world, call = busy()
    worker = next(iter(world.workers.values()))
    queued = world.call()
    worker.down("connection reset")
    reply = world.replies[call]
    assert (reply.outcome, reply.code, reply.may_have_run) == (
        Outcome.FAILED,
        Code.UNAVAILABLE,
        True,
    )
    assert "connection reset" in reply.error
    assert reply.node == "n1"
    (node,) = world.controller.node_views()
    assert (node.ready, node.lc_held_millis) == (False, 0)
    assert world.view().ready == 0
    assert "node n1 is away" in world.view().reason
    assert queued not in world.replies  # it may yet find a node before its deadline
    worker.serving.clear()
    worker.up()
    world.advance(0.01)
    assert list(worker.serving) == [queued]


def test_an_idempotent_call_is_sent_elsewhere() -> None:
    world = EdgeWorld()
    first, second = world.worker("n1"), world.worker("n2")
    world.apply(service(replicas=2, idempotent=True))
    calls = [world.call(), world.call()]
    world.advance(0.01)
    third = world.call()
    first.down()
    assert not world.replies
    second.done()
    world.advance(0.01)
    assert list(second.serving) == [calls[0]]  # before the younger third
    second.done()
    world.advance(0.01)
    second.done(third)
    assert world.outcomes()[Outcome.COMPLETED] == 3


@pytest.mark.parametrize("fields", [{"stream": True}, {"deadline_s": 0.001}])
def test_a_stream_or_a_late_call_is_not_sent_again(fields: dict[str, object]) -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    world.apply(service(idempotent=True))
    call = world.call(**fields)
    world.advance(0.01)
    worker.down()
    assert world.replies[call].may_have_run


def test_resync_answers_what_the_worker_no_longer_has() -> None:
    world, call = busy()
    worker = next(iter(world.workers.values()))
    worker.serving.clear()
    worker.incarnation += 1
    worker.up()
    assert world.replies[call].code is Code.UNAVAILABLE
    assert world.replies[call].may_have_run
    assert world.view().in_flight == 0


def test_a_requeued_call_that_still_runs_there_is_taken_back() -> None:
    world, call = busy(idempotent=True)
    worker = next(iter(world.workers.values()))
    worker.down()
    assert world.view().queued == 1
    worker.up()
    assert (world.view().queued, world.view().in_flight) == (0, 1)
    worker.done(call)
    assert world.replies[call].outcome is Outcome.COMPLETED


def test_a_requeued_call_is_not_sent_to_where_its_first_run_may_live() -> None:
    world = EdgeWorld()
    first, second = world.worker("n1"), world.worker("n2")
    world.apply(service(replicas=2, idempotent=True, deadline_s=1.0))
    call = world.call()
    assert list(first.serving) == [call]
    first.down()
    world.advance(0.01)
    assert list(second.serving) == [call]
    first.up()  # still serves it: a stranger there, as it now belongs to n2
    assert world.view().in_flight == 2
    second.down()  # back into the queue; n1 is the only node, but has that id
    world.advance(0.01)
    assert world.view().queued == 1
    first.done(call)
    world.advance(0.01)
    assert list(first.serving) == [call]
    first.done(call)
    assert world.replies[call].outcome is Outcome.COMPLETED


def test_requests_of_an_earlier_edge_hold_their_reservation() -> None:
    world = EdgeWorld()
    world.apply(service(concurrency=3, cpu_per_request_millis=200))
    worker = world.worker("n1")
    world.advance(0.3)
    worker.ready()
    worker.down()
    ready = replace(worker.replicas["hello-g1-0"], in_flight=2)
    state = WorkerState((ready,), (), ("old-1", "old-2", "old-3"))
    worker.up(state=state)
    (node,) = world.controller.node_views()
    assert node.lc_held_millis == 400  # two belong to hello, of the third nothing is known
    assert world.view().in_flight == 2
    world.call(request_id="old-1")
    assert world.replies["old-1"].code is Code.INVALID
    calls = [world.call() for _ in range(2)]
    world.advance(0.01)
    assert list(worker.serving) == calls[:1]
    worker.done("old-1", "old-3")
    world.advance(0.01)
    assert list(worker.serving) == calls
    worker.done("old-2", *calls)
    assert world.view().in_flight == 0


def test_strangers_go_with_the_next_resync_or_the_session() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    worker.up(state=WorkerState((), (), ("a", "b")))
    worker.up(state=WorkerState((), (), ("b",)))
    worker.down()
    assert world.controller.books.anonymous == {}


def test_silence_counts_as_down() -> None:
    world, call = busy(timeout_s=60.0)
    world.reporting = False
    worker = next(iter(world.workers.values()))
    session = worker.session
    world.advance(2.9)
    assert session not in world.closed
    worker.say(LogPart("x"))  # whatever it says, it lives
    world.advance(2.9)
    assert session not in world.closed
    world.advance(0.2)
    assert "silent" in world.closed[session]
    assert world.replies[call].code is Code.UNAVAILABLE
    (node,) = world.controller.node_views()
    assert not node.ready


def test_silence_is_found_whatever_the_rounding() -> None:
    for offset in range(60):
        world = EdgeWorld(node_dead_after_s=3.3)
        world.reporting = False
        world.now += offset * 0.1
        worker = world.worker("n1")
        world.advance(10)  # the world asserts that wake_at moves on after each Tick
        assert worker.session in world.closed
        assert world.controller.wake_at is None


def test_a_timed_out_call_is_forgotten_with_the_session() -> None:
    world, call = busy(deadline_s=0.1, timeout_s=0.5)
    worker = next(iter(world.workers.values()))
    world.advance(1)
    assert worker.told(CancelDispatches)
    worker.down()
    assert world.view().in_flight == 0
    worker.serving.clear()
    worker.up()
    assert world.call(request_id=call) == call
    worker.done(call)
    assert world.replies[call].outcome is Outcome.COMPLETED


def test_reports_and_labels_are_shown() -> None:
    world = EdgeWorld()
    world.worker("n2", cpu=500)
    world.worker("n1", cpu=1500, memory=300 * MIB)
    world.advance(1.1)
    first, second = world.controller.node_views()
    assert (first.node, second.node) == ("n1", "n2")
    assert first.report is not None
    assert first.report.node == "n1"
    assert first.capacity.cpu_millis == 1500


def test_groups_are_shown_between_the_reports_that_have_them() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    world.apply(service())
    group = GroupReport("lc/hello/hello-g1-0", 1.0, MIB, 0, 0, 0.0, 0)
    plain = NodeReport(worker.node, world.now, SideUsage(), SideUsage())

    def shown() -> tuple[GroupReport, ...]:
        (node,) = world.controller.node_views()
        assert node.report is not None
        return node.report.groups

    worker.say(ReportUsage(plain))
    assert shown() == ()
    worker.say(ReportUsage(replace(plain, groups=(group,))))
    worker.say(ReportUsage(plain))
    assert shown() == (group,)
    # Gone for good: no report will say that there are none.
    world.delete("hello")
    worker.say(ReportUsage(plain))
    assert shown() == ()


def test_news_of_a_replica_that_shall_not_run_here_is_dropped() -> None:
    world, _ = busy()
    worker = next(iter(world.workers.values()))
    world.changed.clear()
    for name, owner in (("hello-g9-0", "hello"), ("ghost-g1-0", "ghost")):
        worker.say(ReplicaChanged(ReplicaStatus(name, owner, 9, ReplicaState.READY)))
    assert world.view().ready == 1
    assert world.changed == []
    same = worker.replicas["hello-g1-0"]
    worker.say(ReplicaChanged(replace(same, in_flight=1)))
    assert world.changed == []
    worker.say(ReplicaChanged(replace(same, restarts=1)))
    assert world.changed == ["hello"]


def test_messages_of_unknown_sessions_are_dropped() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    worker.session = 77
    worker.report()
    world.do(ev.WorkerDown(77, "gone"))
    (node,) = world.controller.node_views()
    assert node.ready
    assert node.report is None


def test_logs_are_found_by_replica() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    world.worker("n2")
    world.apply(service())
    assert world.controller.session_of("hello-g1-0") == worker.session
    assert world.controller.session_of("nothing") is None
    worker.down()
    assert world.controller.session_of("hello-g1-0") is None
    assert world.controller.session_of("nothing") is not None  # one node is left: it must be there


def test_a_smaller_node_after_a_restart_takes_less() -> None:
    world = EdgeWorld()
    worker = world.worker("n1", cpu=1000)
    world.apply(service(concurrency=10))
    worker.down()
    worker.capacity = replace(worker.capacity, cpu_millis=300)
    worker.incarnation += 1
    worker.up()
    for _ in range(5):
        world.call()
    world.advance(0.02)
    assert len(worker.serving) == 3


def test_commands_for_a_worker_go_to_its_current_session_only() -> None:
    world, call = busy()
    worker = next(iter(world.workers.values()))
    worker.up()
    current = worker.session
    commands = world.do(ev.CallCancelled(call))
    world.open_calls.pop(call)
    assert [c.session for c in commands if isinstance(c, SendWorker)] == [current]
