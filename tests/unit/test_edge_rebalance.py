"""Nodes that join, return or are in service again get replicas; never fewer are ready."""

from __future__ import annotations

from collections import Counter

import pytest
from edge_world import MIB, EdgeWorld, FakeWorker, service
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.controllers.edge import EdgeController
from tango.model.commands import PlacementRecord, ServiceRecord
from tango.model.decision import REPLICA_LEAVE, REPLICA_MOVE, REPLICA_MOVE_END, Form, facts
from tango.model.rebalance import RebalanceRule
from tango.model.service import ReplicaState


class Balanced(EdgeWorld):
    """A site whose replicas turn ready a moment after they start; counts are looked at all along.

    least: the fewest replicas that were ready since `watch`. most: moves at a time since then.
    """

    def __init__(self, rule: RebalanceRule | None = None, **fields: object) -> None:
        super().__init__(rebalance=rule or RebalanceRule(), **fields)
        self.least: dict[str, int] = {}
        self.most = 0

    def watch(self) -> None:
        self.least = {view.spec.name: view.ready for view in self.controller.service_views()}
        self.most = 0

    def live(self, seconds: float, *, ready: bool = True) -> None:
        end = self.now + seconds
        while self.now < end:
            self.advance(0.1)
            for view in self.controller.service_views():
                self.least[view.spec.name] = min(
                    self.least.get(view.spec.name, view.ready), view.ready
                )
                assert len(view.replicas) <= view.spec.replicas + 1
            self.most = max(self.most, len(self.controller.books.moving))
            if ready:
                self.roll()

    def die(self, worker: FakeWorker) -> None:
        """Its node is off, long enough to be dead and done without."""
        worker.down()
        worker.replicas.clear()
        self.live(5.0)

    def shares(self, name: str = "hello") -> dict[str, int]:
        return dict(Counter(replica.node for replica in self.view(name).replicas))

    def records(self, form: Form) -> list[dict[str, object]]:
        every = self.controller.decisions.since(0)
        return [facts(record) for record in every if record[2] is form]


def with_dead_node(rule: RebalanceRule | None = None, **fields: object) -> Balanced:
    """Three nodes, six replicas; the third node has died, and its two are on the others."""
    world = Balanced(rule)
    for name in "abc":
        world.worker(name)
    world.apply(service(replicas=6, **fields))
    world.live(15.0)
    assert world.shares() == {"a": 2, "b": 2, "c": 2}
    world.die(worker_of(world, "c"))
    assert world.shares() == {"a": 3, "b": 3}, "rescheduled"
    world.watch()
    return world


def worker_of(world: EdgeWorld, node: str) -> FakeWorker:
    return next(worker for worker in world.workers.values() if worker.node == node)


def back(world: EdgeWorld, node: str) -> FakeWorker:
    worker = worker_of(world, node)
    worker.up(ready=False)
    return worker


def test_a_node_that_returns_gets_its_share_again_one_at_a_time() -> None:
    world = with_dead_node()
    back(world, "c")
    world.live(9.0)
    assert world.shares() == {"a": 3, "b": 3}, "not before nodes have been quiet"
    world.live(10.0)
    assert world.shares() == {"a": 2, "b": 2, "c": 2}
    assert (world.least, world.most) == ({"hello": 6}, 1)
    moves = world.records(REPLICA_MOVE)
    assert [(move["node"], move["to"], move["why"]) for move in moves] == [
        ("a", "c", "node c returned"), ("b", "c", "node c returned")
    ]  # fmt: skip
    assert all(move["score_there"] > move["score"] for move in moves)  # type: ignore[operator]
    leaves = world.records(REPLICA_LEAVE)[-2:]
    assert {leave["why"] for leave in leaves} == {
        "one on a node with more room has taken its place"
    }
    assert not world.records(REPLICA_MOVE_END)
    assert not world.controller.books.moving
    # And then nothing moves any more, whatever time passes.
    before = world.view().replicas
    world.live(30.0)
    assert world.view().replicas == before


def test_a_node_that_joins_late_gets_its_share() -> None:
    world = Balanced()
    world.worker("a")
    world.apply(service(replicas=4))
    world.live(12.0)
    world.watch()
    world.worker("b")
    world.live(20.0)
    assert world.shares() == {"a": 2, "b": 2}
    assert world.least == {"hello": 4}


def test_a_node_that_was_drained_gets_its_share_when_it_is_in_service_again() -> None:
    world = Balanced()
    for name in "ab":
        world.worker(name)
    world.apply(service(replicas=4))
    world.live(12.0)
    world.cordon("b", drain=True)
    world.live(5.0)
    assert world.shares() == {"a": 4}
    world.watch()
    world.live(30.0)
    assert world.shares() == {"a": 4}
    world.cordon("b", off=True)
    world.live(20.0)
    assert world.shares() == {"a": 2, "b": 2}
    assert world.least == {"hello": 4}


def test_services_of_one_replica_are_shared_out_where_that_gains_enough() -> None:
    world = Balanced()
    world.worker("a")
    for number in range(4):
        world.apply(service(f"s{number}", memory_bytes=200 * MIB, cpu_per_request_millis=400))
    world.live(12.0)
    world.watch()
    world.worker("b")
    world.live(30.0)
    nodes = Counter(world.view(f"s{number}").replicas[0].node for number in range(4))
    assert nodes == {"a": 2, "b": 2}
    assert set(world.least.values()) == {1}
    assert world.most == 1


def test_a_gain_below_the_bound_moves_nothing() -> None:
    world = Balanced(RebalanceRule(min_gain=60.0))
    world.worker("a")
    for number in range(4):
        world.apply(service(f"s{number}", memory_bytes=200 * MIB))
    world.live(12.0)
    world.worker("b")
    world.live(30.0)
    assert not world.records(REPLICA_MOVE)


def test_a_fixed_port_moves_too() -> None:
    world = Balanced()
    for name in "ab":
        world.worker(name)
    world.apply(service(replicas=2, port=8080))
    world.live(12.0)
    world.die(worker_of(world, "b"))
    assert sum(replica.node == "a" for replica in world.view().replicas) == 1, "one on a node"
    back(world, "b")
    world.live(20.0)
    assert world.shares() == {"a": 1, "b": 1}


def test_several_at_a_time_where_settings_say_so() -> None:
    world = Balanced(RebalanceRule(max_moves=3))
    world.worker("a")
    names = [f"s{number}" for number in range(6)]
    for name in names:
        world.apply(service(name, replicas=2, memory_bytes=16 * MIB))
    world.live(12.0)
    world.watch()
    world.worker("b")
    world.live(20.0)
    assert {name: world.shares(name) for name in names} == {n: {"a": 1, "b": 1} for n in names}
    assert world.most == 3
    assert set(world.least.values()) == {2}


def test_off_moves_nothing() -> None:
    world = with_dead_node(RebalanceRule(enabled=False))
    back(world, "c")
    world.live(60.0)
    assert world.shares() == {"a": 3, "b": 3}


def test_a_node_that_comes_and_goes_gets_nothing_until_it_stays() -> None:
    world = with_dead_node()
    for _ in range(4):
        worker = back(world, "c")
        world.live(6.0)
        world.die(worker)
    assert not world.records(REPLICA_MOVE)
    back(world, "c")
    world.live(20.0)
    assert world.shares() == {"a": 2, "b": 2, "c": 2}


def test_a_successor_that_is_never_ready_goes_again() -> None:
    world = with_dead_node(RebalanceRule(patience_s=5.0))
    worker = back(world, "c")
    world.live(11.0, ready=False)
    assert world.shares() == {"a": 3, "b": 3, "c": 1}
    worker.ready(ReplicaState.BACKOFF, "exit code 1")
    world.live(10.0, ready=False)
    assert world.shares() == {"a": 3, "b": 3}
    (end,) = world.records(REPLICA_MOVE_END)
    assert end["why"] == "hello-g1-8 is not ready after 5 s"
    assert world.least == {"hello": 6}
    world.live(200.0)
    assert len(world.records(REPLICA_MOVE)) == 1, "not again in this round"
    assert world.controller.wake_at is None or world.controller.wake_at > world.now + 0.5


@pytest.mark.parametrize("which", ["c", "a"])
def test_a_node_dies_in_the_middle_of_a_move(which: str) -> None:
    world = with_dead_node()
    back(world, "c")
    world.live(10.5, ready=False)
    assert world.shares() == {"a": 3, "b": 3, "c": 1}
    world.die(worker_of(world, which))
    assert sum(world.shares().values()) == 6
    assert which not in world.shares()
    assert not world.controller.books.moving or which == "a"
    back(world, which)
    world.live(40.0)
    assert world.shares() == {"a": 2, "b": 2, "c": 2}
    assert not world.controller.books.moving


def test_another_node_in_the_middle_of_a_move_is_waited_for_and_counts_in() -> None:
    world = with_dead_node()
    back(world, "c")
    world.live(10.5, ready=False)
    assert world.controller.books.moving
    at = world.now
    world.worker("d")
    world.live(30.0)
    assert set(world.shares()) == {"a", "b", "c", "d"}
    assert max(world.shares().values()) == 2
    moves = [r for r in world.controller.decisions.since(0) if r[2] is REPLICA_MOVE]
    later = [record[1] for record in moves[1:]]
    assert all(moment >= at + 10.0 for moment in later), "it was given time to settle"
    assert world.least == {"hello": 6}


def test_a_change_of_the_service_ends_its_move() -> None:
    world = with_dead_node()
    back(world, "c")
    world.live(10.5, ready=False)
    assert len(world.view().replicas) == 7
    world.apply(service(replicas=6, env=(("A", "1"),)))
    world.live(60.0)
    view = world.view()
    assert (view.generation, view.ready, len(view.replicas)) == (2, 6, 6)
    assert max(world.shares().values()) == 2
    assert not world.controller.books.moving
    world.delete()
    world.live(1.0)


def test_fewer_replicas_in_the_middle_of_a_move() -> None:
    world = with_dead_node()
    back(world, "c")
    world.live(10.5, ready=False)
    world.apply(service(replicas=2), ready=False)
    world.live(20.0)
    assert sum(world.shares().values()) == world.view().ready == 2
    assert not world.controller.books.moving


def test_an_edge_that_restarts_in_the_middle_drops_the_surplus() -> None:
    world = with_dead_node()
    back(world, "c")
    world.live(10.5, ready=False)
    placement = world.stored["placement", "hello"]
    record = world.stored["service", "hello"]
    assert isinstance(placement, PlacementRecord)
    assert isinstance(record, ServiceRecord)
    assert len(placement.nodes) == 7
    old = world.controller
    world.controller = EdgeController(old.books.settings, incarnation=8, rule=old.books.rule)
    world.controller.load({"hello": record}, {"hello": placement})
    for worker in list(world.workers.values()):
        worker.up()
    world.live(5.0)
    assert sum(world.shares().values()) == 6
    world.live(30.0)
    assert world.shares() == {"a": 2, "b": 2, "c": 2}


def test_what_cannot_be_written_down_does_not_move() -> None:
    world = with_dead_node()
    back(world, "c")
    world.live(9.0)
    world.auto_persist = False
    world.live(2.0)
    world.persist("the disk is full")
    world.auto_persist = True
    world.live(5.0)
    (end,) = world.records(REPLICA_MOVE_END)
    assert end["why"] == "hello-g1-8 did not stay"
    assert world.shares() == {"a": 3, "b": 3}


services = st.lists(
    st.tuples(
        st.integers(1, 7),
        st.sampled_from((16, 64, 200)),
        st.sampled_from((50, 400)),
        st.sampled_from((0, 0, 0, 8080)),
    ),
    min_size=1,
    max_size=4,
)
sizes = st.tuples(st.sampled_from((500, 1000, 4000)), st.sampled_from((256, 1024, 4096)))


@given(
    services, st.lists(sizes, min_size=2, max_size=4), st.integers(1, 3), st.sampled_from((1, 10))
)
@settings(max_examples=25, deadline=None)
def test_a_round_costs_no_replica_and_ends(
    declared: list[tuple[int, int, int, int]],
    shapes: list[tuple[int, int]],
    max_moves: int,
    min_gain: float,
) -> None:
    """Whatever the services and nodes: one node is off and returns, and the site is well again."""
    world = Balanced(RebalanceRule(settle_s=1.0, max_moves=max_moves, min_gain=min_gain))
    names = [f"n{number}" for number in range(len(shapes))]
    for name, (cpu, memory) in zip(names, shapes, strict=True):
        world.worker(name, cpu, memory * MIB)
    for number, (replicas, memory, cpu, port) in enumerate(declared):
        spec = service(
            f"s{number}",
            replicas=replicas,
            memory_bytes=memory * MIB,
            cpu_per_request_millis=cpu,
            port=port + number if port else 0,
        )
        world.apply(spec)
    world.live(4.0)
    worker = worker_of(world, names[-1])
    world.die(worker)
    worker.up(ready=False)
    # What found no room while it was away is placed at once, and is no move.
    world.live(0.9)
    assert not world.records(REPLICA_MOVE)
    world.watch()
    replicas = sum(view.ready for view in world.controller.service_views())
    world.live(180.0 if any(view.reason for view in world.controller.service_views()) else 30.0)
    for view in world.controller.service_views():
        assert world.least[view.spec.name] == view.ready, "there were fewer for a while"
    assert sum(view.ready for view in world.controller.service_views()) == replicas
    assert world.most <= max_moves
    moves = world.records(REPLICA_MOVE)
    assert len(moves) <= replicas
    moved = {move["replica"] for move in moves}
    assert len(moved) == len(moves), "each at most once"
    assert not moved & {move["successor"] for move in moves}
    assert not world.controller.books.moving
    assert world.controller.wake_at is None or world.controller.wake_at > world.now + 0.5
