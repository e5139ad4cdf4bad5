"""Nodes that die, and nodes that operators cordon and drain: where their replicas go."""

from __future__ import annotations

from dataclasses import replace

from edge_world import CENTRAL, MIB, EdgeWorld, FakeWorker, service, start

from tango.model import events as ev
from tango.model.cluster import NodeReport, NodeView, SideUsage
from tango.model.commands import NodeRecord, PlacementRecord, ServiceRecord
from tango.model.errors import InvalidField, NotFound, Unavailable
from tango.model.job import AttemptState
from tango.model.messages import (
    AttemptChanged,
    AttemptRefused,
    NodesChanged,
    ReplicaChanged,
    ReportUsage,
)
from tango.model.service import ReplicaState
from tango.model.views import DrainView


def two(**fields: object) -> tuple[EdgeWorld, FakeWorker, FakeWorker]:
    world = EdgeWorld()
    first, second = world.worker("n1"), world.worker("n2")
    world.apply(service(replicas=2, **fields))
    return world, first, second


def nodes(world: EdgeWorld) -> dict[str, NodeView]:
    return {view.node: view for view in world.controller.node_views()}


def where(world: EdgeWorld) -> list[tuple[str, str]]:
    return [(view.status.replica_id, view.node) for view in world.view().replicas]


def drain(world: EdgeWorld, node: str = "n1") -> DrainView:
    view = world.controller.drain_view(node)
    assert view is not None
    return view


# ---- nodes with a problem


def test_a_node_whose_supervisor_does_not_answer_takes_nothing_new() -> None:
    world = EdgeWorld()
    first = world.worker("n1")
    world.central_up()
    problem = "supervisor down: it has not answered"
    plain = NodeReport("n1", world.now, SideUsage(), SideUsage())
    first.say(ReportUsage(replace(plain, problem=problem)))
    world.apply(service(replicas=1))
    world.advance(0.5)
    assert [node for _, node in where(world) if node] == []
    world.central_says(start("j.0.1", "n1"))
    refused = world.told_central(AttemptRefused)[-1]
    assert problem in refused.reason
    first.say(ReportUsage(plain))
    world.advance(0.5)
    assert [node for _, node in where(world)] == ["n1"], "placed as soon as the problem is gone"


# ---- dead nodes


def cut(world: EdgeWorld, worker: FakeWorker) -> None:
    del world.workers[worker.session]
    worker.down()


def test_a_node_that_is_silent_is_dead_and_its_replicas_go_elsewhere() -> None:
    world, first, second = two()
    world.central_up()
    cut(world, first)
    world.advance(2.5)
    assert not nodes(world)["n1"].dead
    assert where(world) == [("hello-g1-0", "n1"), ("hello-g1-1", "n2")]
    world.advance(1)
    assert nodes(world)["n1"].dead
    assert where(world) == [("hello-g1-1", "n2"), ("hello-g1-2", "n2")]
    world.roll()
    assert world.view().ready == 2
    told = world.told_central(NodesChanged)[-1]
    assert [(view.node, view.dead) for view in told.nodes] == [("n1", True), ("n2", False)]
    first.up()
    assert not first.replicas  # what ran there is not wanted twice
    assert not nodes(world)["n1"].dead
    assert where(world) == [("hello-g1-1", "n2"), ("hello-g1-2", "n2")]
    assert len(second.replicas) == 2


def test_a_stream_that_hangs_counts_as_silence() -> None:
    world, first, _ = two()
    del world.workers[first.session]
    world.advance(3.5)
    assert nodes(world)["n1"].dead
    assert first.session in world.closed


def test_a_worker_that_is_back_in_time_keeps_its_replicas() -> None:
    world, first, _ = two()
    cut(world, first)
    world.advance(2)
    first.up()
    world.advance(10)
    assert where(world) == [("hello-g1-0", "n1"), ("hello-g1-1", "n2")]


def test_without_room_elsewhere_a_lost_replica_waits_for_its_node() -> None:
    world = EdgeWorld()
    first, _ = world.worker("n1", memory=100 * MIB), world.worker("n2", memory=100 * MIB)
    world.apply(service(replicas=2, memory_bytes=100 * MIB))
    cut(world, first)
    world.advance(4)
    assert where(world) == [("hello-g1-0", "n1"), ("hello-g1-1", "n2")]
    assert world.view().reason.startswith("no room for 1 replica")
    assert "lost" in world.view().replicas[0].status.reason
    first.up()
    world.advance(0.3)
    assert list(first.replicas) == ["hello-g1-0"]
    assert world.view().ready == 2
    assert world.view().reason == ""


def test_after_a_restart_of_the_edge_a_node_gets_longer_to_come_back() -> None:
    world = EdgeWorld()
    placement = PlacementRecord("hello", 1, (("hello-g1-0", "n1"),))
    world.controller.load({"hello": ServiceRecord(service(), 1, 1)}, {"hello": placement})
    world.worker("n2")
    world.advance(8)
    assert where(world) == [("hello-g1-0", "n1")]
    world.advance(2)
    assert where(world) == [("hello-g1-1", "n2")]


# ---- cordon


def test_a_cordon_is_durable_before_it_counts_and_refuses_what_is_new() -> None:
    world, first, second = two()
    world.central_up()
    world.auto_persist = False
    op = world.cordon("n1")
    assert op not in world.answers
    assert not nodes(world)["n1"].cordoned
    world.persist()
    answer = world.answers[op].result
    assert isinstance(answer, NodeView)
    assert (answer.cordoned, answer.draining) == (True, False)
    assert world.stored["node", "n1"] == NodeRecord("n1")
    world.auto_persist = True
    world.apply(service(replicas=4))
    assert (len(first.replicas), len(second.replicas)) == (1, 3)
    world.central_says(start("j.0.1", "n1"))
    (refused,) = world.told_central(AttemptRefused)
    assert refused.reason == "node n1 is cordoned"
    world.cordon("n1", off=True)
    assert ("node", "n1") not in world.stored
    world.apply(service(replicas=5))
    assert len(first.replicas) == 2


def test_a_cordon_that_the_store_refuses_is_none() -> None:
    world, _, _ = two()
    world.auto_persist = False
    op = world.cordon("n1")
    world.persist("disk full")
    assert isinstance(world.answers[op].error, Unavailable)
    assert not nodes(world)["n1"].cordoned


def test_bad_cordons_are_answered() -> None:
    world, _, _ = two()
    error = world.answers[world.cordon("n9")].error
    assert isinstance(error, NotFound)
    assert "known: n1, n2" in str(error)
    assert isinstance(world.answers[world.cordon("n1", drain=True, grace_s=-1)].error, InvalidField)
    world.cordon("n1")
    world.auto_persist = False
    assert world.answers[world.cordon("n1")].error is None  # the same again does nothing


def test_a_cordon_outlives_the_edge() -> None:
    world = EdgeWorld()
    world.controller.load({}, {}, {"n1": NodeRecord("n1", draining=True, grace_s=2.0)})
    unseen = nodes(world)["n1"]
    assert (unseen.ready, unseen.cordoned, unseen.draining) == (False, True, True)
    world.worker("n1")
    view = nodes(world)["n1"]
    assert (view.cordoned, view.draining, view.drain_grace_s) == (True, True, 2.0)
    world.apply(service())
    assert "every connected node is cordoned or drained (n1)" in world.view().reason
    assert drain(world).done
    world.cordon("n1", off=True)
    assert world.controller.drain_view("n1") is None
    world.roll()
    assert world.view().ready == 1


# ---- drain


def test_a_drain_makes_before_it_breaks() -> None:
    world, first, second = two()
    world.auto_gone = False
    world.cordon("n1", drain=True)
    assert where(world) == [("hello-g1-0", "n1"), ("hello-g1-1", "n2"), ("hello-g1-2", "n2")]
    view = drain(world)
    assert (view.done, view.stuck) == (False, False)
    assert view.items[0].detail == "waits for hello-g1-2 on n2: starting (not reported yet)"
    second.ready()
    assert where(world) == [("hello-g1-1", "n2"), ("hello-g1-2", "n2")]
    assert world.view().ready == 2
    assert drain(world).items[0].detail == "finishes its last requests"
    assert nodes(world)["n1"].replicas == 1, "listings count it until it is gone"
    world.auto_gone = True
    world.advance(2)
    assert drain(world).done
    (item,) = drain(world).items
    assert (item.name, item.moved, item.detail) == ("hello-g1-0", True, "hello-g1-2 on n2")
    assert not first.replicas


def test_what_fits_nowhere_else_stays_and_says_why() -> None:
    world = EdgeWorld()
    world.worker("n1", memory=100 * MIB)
    world.worker("n2", memory=50 * MIB)
    world.apply(service(memory_bytes=100 * MIB))
    world.cordon("n1", drain=True)
    view = drain(world)
    assert (view.done, view.stuck) == (False, True)
    assert "1 of its replicas cannot be replaced: no room for 1 replica" in view.items[0].detail
    assert world.view().ready == 1
    world.worker("n3")
    world.advance(0.3)
    world.roll()
    assert drain(world).done
    assert where(world) == [("hello-g1-1", "n3")]


def test_a_drain_waits_for_a_replacement_that_does_not_start() -> None:
    world, _, second = two()
    world.cordon("n1", drain=True)
    status = replace(second.replicas["hello-g1-2"], state=ReplicaState.BACKOFF, reason="broken")
    second.say(ReplicaChanged(status))
    world.advance(30)
    view = drain(world)
    assert (view.done, view.stuck) == (False, False)
    assert view.items[0].detail == "waits for hello-g1-2 on n2: backoff (broken)"
    assert world.view().ready == 2


def test_tasks_of_a_drained_node_are_centrals_to_move() -> None:
    world, first, _ = two()
    world.central_up()
    world.central_says(start("j.0.1", "n1"))
    world.cordon("n1", drain=True, grace_s=3.0)
    world.roll()
    told = world.told_central(NodesChanged)
    world.advance(0.3)
    told = world.told_central(NodesChanged)
    assert (told[-1].nodes[0].draining, told[-1].nodes[0].drain_grace_s) == (True, 3.0)
    view = drain(world)
    task = view.items[-1]
    assert (task.kind, task.name, task.moved) == ("task", "j.0.1", False)
    assert not view.stuck
    world.do(ev.CentralDown(CENTRAL, "cut"))
    assert drain(world).stuck
    assert "not connected" in drain(world).items[-1].detail
    world.central_up()
    node = world.controller.books.nodes["n1"]
    status = replace(node.attempts["j.0.1"], state=AttemptState.ENDED, signal=15)
    first.say(AttemptChanged(status))
    assert drain(world).done
    assert [(item.kind, item.moved) for item in drain(world).items] == [
        ("replica", True),
        ("task", True),
    ]


def test_two_drained_nodes_give_nothing_to_each_other() -> None:
    world, _, _ = two()
    third = world.worker("n3")
    world.cordon("n1", drain=True)
    world.cordon("n2", drain=True)
    world.roll()
    assert len(third.replicas) == 2
    assert drain(world, "n1").done
    assert drain(world, "n2").done


def test_a_drained_node_that_dies_has_nothing_left() -> None:
    world, first, _ = two()
    world.central_up()
    world.central_says(start("j.0.1", "n1"))
    world.cordon("n1", drain=True)
    cut(world, first)
    world.roll()
    assert not drain(world).done
    world.advance(4)
    world.roll()
    assert drain(world).done


def test_a_roll_does_not_wait_for_a_replica_that_leaves_with_its_node() -> None:
    world, first, second = two()
    world.auto_gone = False
    world.cordon("n1")
    world.apply(service(replicas=2, argv=("serve", "v2")), ready=False)
    world.roll()
    assert where(world) == [("hello-g1-1", "n2"), ("hello-g2-0", "n2")], "that on n1 leaves"
    cut(world, first)
    assert len(where(world)) == 3, "and the next one comes"
    world.auto_gone = True
    world.roll()
    assert {view.status.generation for view in world.view().replicas} == {2}
    assert set(second.replicas) == {name for name, node in where(world) if node == "n2"}
