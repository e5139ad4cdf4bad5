"""Services at the edge: apply, scale, replace, delete, placing; durable before they count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edge_world import MIB, EdgeWorld, service

from tango.controllers.edge.services import MAX_GRAVES, MAX_WAITING_OPS
from tango.model import events as ev
from tango.model.commands import Persist, PlacementRecord, Put, ServiceRecord
from tango.model.errors import InvalidField, NotFound, Unavailable
from tango.model.messages import NodeTargets, ReplicaChanged
from tango.model.request import Code, Outcome
from tango.model.service import ReplicaState
from tango.model.views import ServiceView


def ids_on(worker: object) -> list[str]:
    return sorted(worker.replicas)  # type: ignore[attr-defined]


def test_nothing_counts_before_it_is_durable() -> None:
    world = EdgeWorld()
    worker = world.worker()
    worker.told(NodeTargets)
    world.auto_persist = False
    spec = service(replicas=2)
    op_id = world.apply(spec)
    (persist,) = world.persists
    nodes = (("hello-g1-0", "n1"), ("hello-g1-1", "n1"))
    assert persist.writes == (
        Put("service", "hello", ServiceRecord(spec, 1, 2)),
        Put("placement", "hello", PlacementRecord("hello", 1, nodes)),
    )
    assert op_id not in world.answers
    assert world.controller.service_view("hello") is None
    assert not worker.told(NodeTargets)
    assert world.replies[world.call()].code is Code.NOT_FOUND
    world.persist()
    view = world.answers[op_id].result
    assert isinstance(view, ServiceView)
    assert (view.spec, view.generation, view.ready, view.edge) == (spec, 1, 0, "site-a")
    (targets,) = worker.told(NodeTargets)
    assert [target.replica_id for target in targets.replicas] == ["hello-g1-0", "hello-g1-1"]
    assert all(target.spec == spec for target in targets.replicas)
    worker.ready()
    assert world.view().ready == 2
    assert world.view().reason == ""
    assert "hello" in world.changed


def test_a_failed_persist_changes_nothing() -> None:
    world = EdgeWorld()
    worker = world.worker(memory=100 * MIB)
    worker.told(NodeTargets)
    world.auto_persist = False
    op_id = world.apply(service(memory_bytes=100 * MIB))
    world.persist("disk full")
    error = world.answers[op_id].error
    assert isinstance(error, Unavailable)
    assert "disk full" in str(error)
    assert world.controller.service_views() == ()
    assert not worker.told(NodeTargets)
    assert world.stored == {}
    world.auto_persist = True
    world.apply(service(memory_bytes=100 * MIB))  # the memory set aside is free again
    assert world.view().ready == 1
    world.auto_persist = False
    op_id = world.delete()
    world.persist("disk full")
    assert isinstance(world.answers[op_id].error, Unavailable)
    assert world.view().ready == 1


def test_bad_specs_are_answered_with_the_field() -> None:
    world = EdgeWorld()
    for spec, field in (
        (service(concurrency=0), "concurrency"),
        (service("Bad_Name"), "name"),
        (service(cpu_per_request_millis=0), "cpu_per_request"),
    ):
        error = world.answers[world.apply(spec)].error
        assert isinstance(error, InvalidField)
        assert error.field == field
    assert not world.stored


def test_dry_run_only_tells_what_would_be() -> None:
    world = EdgeWorld()
    world.worker(memory=100 * MIB)
    view = world.answers[world.apply(service(replicas=2), dry_run=True)].result
    assert isinstance(view, ServiceView)
    assert [replica.node for replica in view.replicas] == ["n1", ""]
    assert "no room for 1 replica" in view.reason
    assert world.controller.service_views() == ()
    assert not world.stored
    error = world.answers[world.apply(service(replicas=-1), dry_run=True)].error
    assert isinstance(error, InvalidField)
    world.apply(service())
    changed = service(argv=("serve", "v2"))
    view = world.answers[world.apply(changed, dry_run=True)].result
    assert isinstance(view, ServiceView)
    assert (view.generation, world.view().generation) == (2, 1)
    view = world.answers[world.apply(service(), dry_run=True)].result
    assert view == world.view()


def test_the_same_spec_again_is_answered_at_once() -> None:
    world = EdgeWorld()
    world.worker()
    world.apply(service())
    world.auto_persist = False
    op_id = world.apply(service())
    assert world.answers[op_id].result == world.view()
    assert not world.persists


def test_scaling_keeps_the_generation_and_never_reuses_an_ordinal() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=2))
    world.apply(service(replicas=3))
    assert ids_on(worker) == ["hello-g1-0", "hello-g1-1", "hello-g1-2"]
    world.apply(service(replicas=2))
    assert ids_on(worker) == ["hello-g1-0", "hello-g1-1"]
    world.apply(service(replicas=3))
    assert ids_on(worker) == ["hello-g1-0", "hello-g1-1", "hello-g1-3"]
    assert world.view().generation == 1


def test_scaling_down_takes_the_unready_first_then_the_youngest() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=4))
    sick = worker.replicas["hello-g1-1"]
    worker.ready(ReplicaState.READY)
    worker.say(ReplicaChanged(replace(sick, state=ReplicaState.UNHEALTHY, reason="no answer")))
    assert world.view().ready == 3
    assert "hello-g1-1 on n1 is unhealthy (no answer)" in world.view().reason
    world.apply(service(replicas=3), ready=False)
    assert ids_on(worker) == ["hello-g1-0", "hello-g1-2", "hello-g1-3"]
    world.apply(service(replicas=1), ready=False)
    assert ids_on(worker) == ["hello-g1-0"]
    assert world.view().ready == 1


def test_any_other_change_is_a_new_generation() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=2))
    call = world.call()
    world.advance(0.002)
    world.apply(service(replicas=2, argv=("serve", "v2")), ready=False)
    assert world.view().generation == 2
    world.roll()
    assert ids_on(worker) == ["hello-g2-0", "hello-g2-1"]
    assert world.view().ready == 2
    worker.done(call)
    assert world.replies[call].outcome is Outcome.COMPLETED


def test_changes_of_one_service_wait_for_each_other() -> None:
    world = EdgeWorld()
    world.worker()
    world.auto_persist = False
    first = world.apply(service(replicas=1))
    second = world.apply(service(replicas=2))
    third = world.delete()
    same = world.apply(service("other"))
    assert len(world.persists) == 2  # hello once, other once
    world.persist()
    assert first in world.answers
    world.persist()
    assert same in world.answers
    assert len(world.persists) == 1
    world.persist("disk full")
    assert isinstance(world.answers[second].error, Unavailable)
    assert len(world.view().replicas) == 1
    world.persist()
    assert world.answers[third].error is None
    assert world.controller.service_view("hello") is None
    missing = world.delete()
    assert isinstance(world.answers[missing].error, NotFound)


def test_waiting_changes_are_bounded_and_no_ops_among_them_do_not_stop_the_line() -> None:
    world = EdgeWorld()
    world.auto_persist = False
    ops = [world.apply(service()) for _ in range(MAX_WAITING_OPS + 2)]
    assert isinstance(world.answers[ops[-1]].error, Unavailable)
    world.persist()
    assert all(world.answers[op].error is None for op in ops[:-1])
    assert not world.persists


def test_delete_ends_queued_calls_and_lets_running_ones_finish() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service())
    running, queued = world.call(), world.call()
    op_id = world.delete()
    assert world.answers[op_id].error is None
    assert (world.answers[op_id].result, ids_on(worker)) == (None, [])
    reply = world.replies[queued]
    assert (reply.outcome, reply.code, reply.may_have_run) == (
        Outcome.FAILED,
        Code.UNAVAILABLE,
        False,
    )
    assert world.replies[world.call()].code is Code.NOT_FOUND
    world.apply(service())
    fresh = world.call()
    worker.done(running)
    assert world.replies[running].outcome is Outcome.COMPLETED
    world.advance(0.01)
    worker.done(fresh)
    counts = world.controller.counts
    assert (counts.sent, counts.completed, counts.rejected, counts.failed) == (4, 2, 1, 1)
    assert world.view().counts.completed == 1


def test_a_call_of_a_deleted_service_is_not_requeued() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(idempotent=True))
    refused, lost = world.call(), ""
    world.delete()
    worker.done(refused, code=Code.UNAVAILABLE, ran=False)
    assert world.replies[refused].code is Code.UNAVAILABLE
    world.apply(service(idempotent=True))
    lost = world.call()
    world.advance(0.01)
    world.delete()
    worker.down()
    assert world.replies[lost].may_have_run


def test_replica_ids_are_not_used_again_after_a_delete_and_a_restart() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service())
    world.apply(service(argv=("serve", "v2")))
    world.delete()
    world.apply(service())
    assert ids_on(worker) == ["hello-g3-0"]
    world.delete()
    assert world.stored == {("placement", "hello"): PlacementRecord("hello", 3, ())}
    again = EdgeWorld()
    again.controller.load({}, {"hello": PlacementRecord("hello", 3, ())})
    worker = again.worker()
    again.apply(service())
    assert ids_on(worker) == ["hello-g4-0"]
    assert set(again.stored) == {("service", "hello"), ("placement", "hello")}


def test_graves_of_deleted_services_are_bounded() -> None:
    world = EdgeWorld()
    for index in range(MAX_GRAVES + 5):
        world.apply(service(f"s{index}", replicas=0))
        world.delete(f"s{index}")
    assert len(world.stored) == MAX_GRAVES
    assert ("placement", "s0") not in world.stored


def test_replicas_spread_and_the_shortage_is_explained() -> None:
    world = EdgeWorld()
    first = world.worker("n1", memory=200 * MIB)
    second = world.worker("n2", memory=150 * MIB)
    world.apply(service(replicas=4, memory_bytes=100 * MIB))
    assert (ids_on(first), ids_on(second)) == (["hello-g1-0", "hello-g1-2"], ["hello-g1-1"])
    view = world.view()
    assert view.reason.startswith("no room for 1 replica: each needs 100.0 MiB, free for LC is n2")
    assert [replica.node for replica in view.replicas] == ["n1", "n2", "n1", ""]
    assert view.replicas[3].status.reason == view.reason
    third = world.worker("n3", memory=100 * MIB)
    world.advance(0.25)
    assert ids_on(third) == ["hello-g1-3"]
    assert world.view().reason.startswith("hello-g1-3 on n3 is starting")
    placement = world.stored["placement", "hello"]
    assert isinstance(placement, PlacementRecord)
    assert placement.nodes[3] == ("hello-g1-3", "n3")


def test_freed_memory_goes_to_replicas_that_wait() -> None:
    world = EdgeWorld()
    worker = world.worker(memory=100 * MIB)
    world.apply(service("big", memory_bytes=100 * MIB))
    world.apply(service("next", memory_bytes=60 * MIB))
    assert ids_on(worker) == ["big-g1-0"]
    world.delete("big")
    world.advance(0.25)
    assert ids_on(worker) == ["next-g1-0"]


def test_a_placing_that_the_store_refuses_is_tried_again() -> None:
    world = EdgeWorld()
    world.apply(service())
    world.auto_persist = False
    worker = world.worker()
    world.advance(0.25)
    world.persist("disk full")
    assert ids_on(worker) == []
    assert not world.persists
    world.advance(1.1)
    world.persist()
    assert ids_on(worker) == ["hello-g1-0"]


def test_workers_that_come_up_together_share_the_replicas() -> None:
    world = EdgeWorld()
    world.apply(service(replicas=2))
    first = world.worker("n1")
    world.advance(0.1)
    second = world.worker("n2")
    world.advance(0.25)
    assert (len(first.replicas), len(second.replicas)) == (1, 1)


def test_a_fixed_port_takes_one_replica_a_node() -> None:
    world = EdgeWorld()
    world.worker("n1")
    world.worker("n2")
    world.apply(service(replicas=3, port=8080))
    assert [replica.node for replica in world.view().replicas] == ["n1", "n2", ""]
    assert "port is fixed" in world.view().reason


def test_two_applies_at_once_do_not_take_the_same_memory() -> None:
    world = EdgeWorld()
    world.worker(memory=100 * MIB)
    world.auto_persist = False
    world.apply(service("a", memory_bytes=60 * MIB))
    world.apply(service("b", memory_bytes=60 * MIB))
    world.persist()
    world.persist()
    assert world.view("a").replicas[0].node == "n1"
    assert world.view("b").replicas[0].node == ""


def test_load_takes_over_what_the_store_holds() -> None:
    world = EdgeWorld()
    spec = service(replicas=2)
    world.controller.load(
        {"hello": ServiceRecord(spec, 4, 9)},
        {"hello": PlacementRecord("hello", 4, (("hello-g4-3", "n1"), ("hello-g4-8", "n2")))},
    )
    world.controller.validate()
    assert world.view().generation == 4
    assert "node n1 is away" in world.view().reason
    worker = world.worker("n1")
    assert ids_on(worker) == ["hello-g4-3"]
    assert not [
        command for _, commands in world.log for command in commands if isinstance(command, Persist)
    ]
    world.apply(service(replicas=3))
    assert ids_on(worker) == ["hello-g4-3", "hello-g4-9"]


def test_a_record_without_its_placement_is_placed_anew() -> None:
    world = EdgeWorld()
    world.controller.load({"hello": ServiceRecord(service(replicas=2), 4, 9)}, {})
    worker = world.worker("n1")
    world.advance(0.3)
    assert ids_on(worker) == ["hello-g4-10", "hello-g4-9"]


def test_an_answer_of_the_store_to_nothing_is_ignored() -> None:
    world = EdgeWorld()
    assert world.do(ev.Persisted(99)) == []
    assert world.do(ev.PersistFailed(99, "what")) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_events_give_the_same_commands(seed: int) -> None:
    def run() -> list[object]:
        world = EdgeWorld(seed=seed)
        world.worker("n2")
        world.worker("n1")
        world.apply(service("b", replicas=2))
        world.apply(service("a", replicas=3, priority=1))
        for index in range(20):
            world.call("a" if index % 3 else "b")
            world.advance(0.001)
        for worker in list(world.workers.values()):
            worker.done()
        world.delete("b")
        world.advance(1)
        return [commands for _, commands in world.log]

    assert run() == run()
