"""Re-assurance in the edge controller: windows, room, routing, quotas and views."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edge_world import EdgeWorld, FakeWorker, service

from tango.model.messages import NodeTargets
from tango.model.reassurance import ReassuranceRule
from tango.model.service import QuotaMode
from tango.model.views import QosView

RULE = ReassuranceRule(window_s=0.5, min_samples=5)
NEED = 240
# Time enough for every queued call that has room to be routed.
SOLVED = 0.01


def world(**fields: object) -> EdgeWorld:
    made = EdgeWorld(reassurance=replace(RULE, **fields))  # type: ignore[arg-type]
    made.worker("n1", cpu=1000)
    return made


def worker(world: EdgeWorld, node: str = "n1") -> FakeWorker:
    return next(worker for worker in world.workers.values() if worker.node == node)


def serve(world: EdgeWorld, service_s: float, count: int = 8, at_once: int = 1) -> None:
    """Calls one after another, each of which takes so long on its node."""
    for _ in range(count):
        for _ in range(at_once):
            world.call()
        world.advance(service_s)
        for one in list(world.workers.values()):
            if one.serving:
                one.done(service_s=service_s)


def qos(world: EdgeWorld, node: str = "n1") -> QosView:
    (found,) = [view for view in world.view().qos if view.node == node]
    return found


def declared(**fields: object) -> object:
    return service(cpu_per_request_millis=NEED, concurrency=4, deadline_s=0.1, **fields)


def test_a_slow_service_gets_more_cpu_per_request_and_the_node_takes_fewer() -> None:
    slow = world()
    slow.apply(declared())  # type: ignore[arg-type]
    serve(slow, 0.085)
    assert qos(slow).cpu_per_request_millis == NEED, "0.15 of slack: it stands"
    for _ in range(4):
        slow.call()
    slow.advance(SOLVED)
    assert slow.controller.books.nodes["n1"].lc_cpu_millis == 4 * NEED
    worker(slow).done(service_s=0.001)
    serve(slow, 0.12, count=20)
    view = qos(slow)
    assert view.cpu_per_request_millis > NEED
    assert view.slack == pytest.approx(-0.2)
    assert view.latency_ms == pytest.approx(120)
    for _ in range(4):
        slow.call(deadline_s=2.0)
    slow.advance(SOLVED)
    node = slow.controller.books.nodes["n1"]
    assert len(node.holds) == 3, "3 x 320m fit into 1000m"
    assert node.lc_cpu_millis == 3 * view.cpu_per_request_millis
    worker(slow).done(service_s=0.001)


def test_what_was_added_is_given_back_when_nobody_calls_any_more() -> None:
    idle = world()
    idle.apply(declared())  # type: ignore[arg-type]
    serve(idle, 0.12, count=20)
    assert qos(idle).cpu_per_request_millis > NEED
    idle.advance(20 * RULE.window_s)
    assert idle.view().qos == ()
    # And no timer is left: the next thing that happens is the silence of a node.
    idle.reporting = False
    assert (idle.controller.wake_at or 0) > idle.now + RULE.window_s


def test_quotas_that_follow_requests_are_told() -> None:
    following = world()
    following.apply(declared(quota=QuotaMode.FOLLOW))  # type: ignore[arg-type]
    worker(following).told(NodeTargets)
    serve(following, 0.12, count=20)
    (target,) = worker(following).told(NodeTargets)[-1].replicas
    assert target.cpu_per_request_millis == qos(following).cpu_per_request_millis > NEED
    assert target.spec.cpu_per_request_millis == NEED


def test_a_saturated_node_is_said_and_avoided_while_another_has_room() -> None:
    two = world()
    two.worker("n2", cpu=1000)
    two.apply(declared(replicas=2))  # type: ignore[arg-type]
    one, other = worker(two, "n1"), worker(two, "n2")

    def rounds(count: int) -> dict[str, int]:
        """Two calls at once: those on n1 take twice the target; where they went."""
        went = {"n1": 0, "n2": 0}
        for _ in range(count):
            two.call()
            two.call()
            two.advance(SOLVED)
            went["n1"] += len(one.serving)
            went["n2"] += len(other.serving)
            two.advance(0.02)
            if other.serving:
                other.done(service_s=0.02)
            two.advance(0.18)
            if one.serving:
                one.done(service_s=0.2)
        return went

    assert rounds(10)["n1"] == 10, "by load, each takes its part at first"
    while not qos(two, "n1").saturated:
        rounds(1)
    assert "saturated" in qos(two, "n1").why
    views = {view.node: view for view in two.controller.node_views()}
    assert views["n1"].saturated == ("hello",)
    assert views["n2"].saturated == ()
    assert [note.event for note in two.notes].count("service_saturated") <= 6
    # It leaves the bound by itself, is tried again, and is left in peace ever longer.
    went = rounds(400)
    assert went["n1"] < 0.1 * went["n2"]
    while not qos(two, "n1").saturated:
        rounds(1)
    # Where the other has no room any more, it takes its part after all.
    for _ in range(8):
        two.call()
    two.advance(SOLVED)
    assert len(other.serving) >= 3
    assert len(one.serving) >= 2
    assert len(one.serving) + len(other.serving) + two.view().queued == 8


def test_a_service_declared_anew_begins_anew() -> None:
    changed = world()
    changed.apply(declared())  # type: ignore[arg-type]
    serve(changed, 0.12, count=20)
    assert qos(changed).cpu_per_request_millis > NEED
    changed.apply(replace(declared(), replicas=2))  # type: ignore[type-var]
    assert qos(changed).cpu_per_request_millis > NEED, "the same requests as before"
    changed.apply(replace(declared(), cpu_per_request_millis=100))  # type: ignore[type-var]
    changed.roll()
    assert changed.view().qos == ()
    serve(changed, 0.01, count=2)
    assert qos(changed).cpu_per_request_millis == 100


def test_switched_off_it_does_nothing() -> None:
    off = world(enabled=False)
    off.apply(declared())  # type: ignore[arg-type]
    serve(off, 0.12, count=20)
    assert off.view().qos == ()
    assert off.controller.books.nodes["n1"].lc_cpu_millis == 0


def test_a_window_keeps_a_bounded_number_of_latencies() -> None:
    busy = world(window_s=60.0)
    busy.apply(declared())  # type: ignore[arg-type]
    serve(busy, 0.001, count=1500)
    kept = busy.controller.books.services["hello"].places["n1"].qos
    assert kept is not None
    assert kept.seen == 1500
    assert 128 <= len(kept.ratios) <= 256
