"""Rolling updates, scaling in the middle of one, and what is short of room: one step at a time."""

from __future__ import annotations

from dataclasses import replace

from edge_world import MIB, EdgeWorld, FakeWorker, service
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.controllers.edge.service_book import generation_of
from tango.model.commands import PlacementRecord, ServiceRecord
from tango.model.messages import NodeTargets, ReplicaChanged, ReplicaGone
from tango.model.request import Outcome
from tango.model.service import ReplicaState, ServiceSpec


def v2(**fields: object) -> ServiceSpec:
    return service(argv=("serve", "v2"), **fields)


def ids(world: EdgeWorld) -> list[str]:
    return [view.status.replica_id for view in world.view().replicas]


def say(worker: FakeWorker, replica: str, state: ReplicaState, reason: str = "") -> None:
    status = replace(worker.replicas[replica], state=state, reason=reason)
    worker.replicas[replica] = status
    worker.say(ReplicaChanged(status))


def test_a_roll_adds_one_then_takes_one_and_is_never_short() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=3))
    world.apply(v2(replicas=3), ready=False)
    lines = [ids(world)]
    for number in range(3):
        assert world.view().ready == 3
        say(worker, f"hello-g2-{number}", ReplicaState.READY)
        assert world.view().ready >= 3
        lines.append(ids(world))
    assert lines == [
        ["hello-g1-0", "hello-g1-1", "hello-g1-2", "hello-g2-0"],
        ["hello-g1-1", "hello-g1-2", "hello-g2-0", "hello-g2-1"],
        ["hello-g1-2", "hello-g2-0", "hello-g2-1", "hello-g2-2"],
        ["hello-g2-0", "hello-g2-1", "hello-g2-2"],
    ]
    assert world.view().reason == ""
    record = world.stored["service", "hello"]
    assert isinstance(record, ServiceRecord)
    assert record.older == ()


def test_the_next_one_comes_when_the_old_one_is_gone() -> None:
    world = EdgeWorld()
    world.auto_gone = False
    worker = world.worker()
    world.apply(service(replicas=2))
    world.apply(v2(replicas=2), ready=False)
    say(worker, "hello-g2-0", ReplicaState.READY)
    assert ids(world) == ["hello-g1-1", "hello-g2-0"]
    world.advance(5)
    assert ids(world) == ["hello-g1-1", "hello-g2-0"]
    worker.say(ReplicaGone("hello-g1-0"))
    assert ids(world) == ["hello-g1-1", "hello-g2-0", "hello-g2-1"]


def test_old_replicas_run_their_own_spec_until_they_go_and_after_a_restart() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=2, concurrency=4))
    worker.told(NodeTargets)
    world.apply(v2(replicas=2, concurrency=1), ready=False)
    (targets,) = worker.told(NodeTargets)
    told = [
        (one.replica_id, one.generation, one.spec.argv[1], one.spec.concurrency)
        for one in targets.replicas
    ]
    assert told == [
        ("hello-g1-0", 1, "{port}", 4),
        ("hello-g1-1", 1, "{port}", 4),
        ("hello-g2-0", 2, "v2", 1),
    ]
    again = EdgeWorld()
    record, placement = world.stored["service", "hello"], world.stored["placement", "hello"]
    assert isinstance(record, ServiceRecord)
    assert isinstance(placement, PlacementRecord)
    again.controller.load({"hello": record}, {"hello": placement})
    worker = again.worker()
    (restarted,) = worker.told(NodeTargets)[:1]
    assert restarted.replicas == targets.replicas
    again.roll()
    assert ids(again) == ["hello-g2-0", "hello-g2-1"]


def test_a_generation_that_does_not_become_ready_stops_the_roll_and_the_old_serve() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=2))
    world.apply(v2(replicas=2), ready=False)
    say(worker, "hello-g2-0", ReplicaState.BACKOFF, "exited with code 1")
    world.advance(60)
    assert ids(world) == ["hello-g1-0", "hello-g1-1", "hello-g2-0"]
    assert world.view().ready == 2
    assert world.view().reason == (
        "rolling update to generation 2: 0 of 2 ready; "
        "waits for hello-g2-0 on n1 is backoff (exited with code 1)"
    )
    call = world.call()
    worker.done(call)
    assert world.replies[call].outcome is Outcome.COMPLETED
    world.auto_persist = False
    world.apply(v2(replicas=2))
    assert not world.persists  # the same again does nothing
    world.auto_persist = True
    world.apply(service(replicas=2, argv=("serve", "v3")), ready=False)
    assert ids(world) == ["hello-g1-0", "hello-g1-1", "hello-g3-0"]
    world.roll()
    assert ids(world) == ["hello-g3-0", "hello-g3-1"]


def test_without_room_for_a_surge_one_goes_first_never_all() -> None:
    world = EdgeWorld()
    worker = world.worker(memory=300 * MIB)
    world.apply(service(replicas=3, memory_bytes=100 * MIB))
    world.apply(v2(replicas=3, memory_bytes=100 * MIB), ready=False)
    assert ids(world) == ["hello-g1-1", "hello-g1-2", "hello-g2-0"]
    assert world.view().ready == 2
    say(worker, "hello-g2-0", ReplicaState.BACKOFF, "broken")
    world.advance(30)
    assert world.view().ready == 2  # no further one goes
    say(worker, "hello-g2-0", ReplicaState.READY)
    assert world.view().ready == 2
    world.roll()
    assert ids(world) == ["hello-g2-0", "hello-g2-1", "hello-g2-2"]


def test_what_fits_nowhere_leaves_the_old_ones_alone() -> None:
    world = EdgeWorld()
    world.worker(memory=200 * MIB)
    world.apply(service(replicas=2, memory_bytes=100 * MIB))
    world.apply(v2(replicas=2, memory_bytes=150 * MIB), ready=False)
    assert ids(world) == ["hello-g1-0", "hello-g1-1"]
    assert world.view().ready == 2
    assert "2 of its replicas cannot be replaced: no room for 1 replica" in world.view().reason


def test_a_fixed_port_is_free_before_the_next_takes_it() -> None:
    world = EdgeWorld()
    world.auto_gone = False
    worker = world.worker()
    world.apply(service(port=8080))
    world.apply(v2(port=8080), ready=False)
    assert list(worker.replicas) == []
    worker.say(ReplicaGone("hello-g1-0"))
    assert list(worker.replicas) == ["hello-g2-0"]


def test_scaling_in_the_middle_of_a_roll() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=3))
    world.apply(v2(replicas=3), ready=False)
    world.apply(v2(replicas=1), ready=False)
    assert ids(world) == ["hello-g1-2", "hello-g2-0"]
    assert world.view().ready == 1
    world.apply(v2(replicas=4), ready=False)
    assert [generation_of(name) for name in ids(world)] == [1, 2, 2, 2]
    world.roll()
    assert [generation_of(name) for name in ids(world)] == [2, 2, 2, 2]
    world.apply(v2(replicas=0), ready=False)
    assert ids(world) == []
    assert not worker.replicas


def test_a_change_of_both_spec_and_number_keeps_enough_of_the_old() -> None:
    world = EdgeWorld()
    world.worker()
    world.apply(service(replicas=4))
    world.apply(v2(replicas=2), ready=False)
    assert ids(world) == ["hello-g1-2", "hello-g1-3", "hello-g2-0"]
    assert world.view().ready == 2


def test_changing_only_the_number_touches_no_other() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=2))
    before = dict(worker.replicas)
    world.apply(service(replicas=4))
    assert {name: worker.replicas[name] for name in before} == before


def test_a_refused_write_in_a_roll_is_tried_again() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service(replicas=2))
    world.apply(v2(replicas=2), ready=False)
    world.auto_persist = False
    say(worker, "hello-g2-0", ReplicaState.READY)
    world.persist("disk full")
    assert len(ids(world)) == 3
    world.auto_persist = True
    world.advance(1.1)
    world.roll()
    assert ids(world) == ["hello-g2-0", "hello-g2-1"]


ACTIONS = st.sampled_from(("apply", "apply", "ready", "ready", "gone", "drain", "uncordon", "wait"))


@given(st.lists(st.tuples(ACTIONS, st.integers(0, 5)), max_size=30), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_with_room_to_spare_a_service_is_never_short_whatever_is_asked_of_it(
    actions: list[tuple[str, int]], replicas: int
) -> None:
    """New specs in the middle of a roll, drains in the middle of that: all declared stay ready."""
    world = EdgeWorld()
    workers = [world.worker(f"n{number}") for number in range(3)]
    world.apply(service(replicas=replicas))
    world.auto_gone = False
    for action, number in actions:
        worker = workers[number % 3]
        match action:
            case "apply":
                world.apply(service(replicas=replicas, argv=("serve", str(number))), ready=False)
            case "ready":
                for name, status in list(worker.replicas.items())[number // 3 :]:
                    if status.state is ReplicaState.STARTING:
                        say(worker, name, ReplicaState.READY)
                        break
            case "gone" if world.gone:
                world.gone.rotate(number)
                owner, name = world.gone.popleft()
                owner.say(ReplicaGone(name))
            case "drain":
                world.cordon(worker.node, drain=True)
            case "uncordon":
                world.cordon(worker.node, off=True)
            case _:
                world.advance(0.3)
        assert world.view().ready >= replicas
        assert len(world.view().replicas) <= replicas + 1
    world.auto_gone = True
    for worker in workers:
        world.cordon(worker.node, off=True)
    for _ in range(20):
        world.roll()
        world.advance(0.3)
    view = world.view()
    assert (len(view.replicas), view.ready, view.reason) == (replicas, replicas, "")
    assert {one.status.generation for one in view.replicas} == {view.generation}
