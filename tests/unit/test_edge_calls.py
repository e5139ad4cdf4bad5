"""Calls through the edge: admission, dispatch, classification, deadlines, cancellation."""

from __future__ import annotations

import pytest
from edge_world import MIB, EdgeWorld, service

from tango.model import events as ev
from tango.model.commands import Solve
from tango.model.decision import ROUTE
from tango.model.explanation import Subject
from tango.model.messages import CancelDispatches, Dispatches
from tango.model.plan import Route, TrafficPlan, TrafficSnapshot
from tango.model.request import CallRequest, Code, Outcome
from tango.model.service import ReplicaState


def one_slot(**fields: object) -> EdgeWorld:
    """One node with one replica that serves one request at a time."""
    world = EdgeWorld()
    world.worker("n1")
    world.apply(service(**fields))
    return world


def test_a_call_is_dispatched_at_once_and_answered_with_its_times() -> None:
    world = one_slot()
    (worker,) = world.workers.values()
    call = world.call(path="/x", body=b"in")
    (batch,) = worker.told(Dispatches)
    assert [(r.request_id, r.path, r.body, r.timeout_s) for r in batch.requests] == [
        (call, "/x", b"in", 5.0)
    ]
    world.now += 0.02
    worker.done(call, service_s=0.015)
    reply = world.replies[call]
    assert (reply.outcome, reply.code, reply.node) == (Outcome.COMPLETED, Code.OK, "n1")
    assert reply.service_ms == pytest.approx(15)
    assert reply.network_ms == pytest.approx(5)
    assert (reply.queue_ms, reply.total_ms) == (0, pytest.approx(20))
    assert world.view().counts.completed == 1
    assert world.view().service_time_ms == pytest.approx(15)


@pytest.mark.parametrize(
    ("after_s", "code", "status", "outcome"),
    [
        (0.05, Code.OK, 200, Outcome.COMPLETED),
        (0.05, Code.OK, 404, Outcome.COMPLETED),
        (0.05, Code.OK, 500, Outcome.FAILED),
        (0.2, Code.OK, 200, Outcome.LATE),
        (0.2, Code.OK, 503, Outcome.FAILED),
        (0.05, Code.INTERNAL, 0, Outcome.FAILED),
        (0.05, Code.CANCELLED, 0, Outcome.FAILED),
    ],
)
def test_answers_are_classified(after_s: float, code: Code, status: int, outcome: Outcome) -> None:
    world = one_slot()
    (worker,) = world.workers.values()
    call = world.call()
    world.advance(after_s)
    worker.done(call, code=code, http_status=status)
    assert world.replies[call].outcome is outcome
    assert world.replies[call].code is code


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"service": "nobody"}, Code.NOT_FOUND, "nobody"),
        ({"body": b"x" * 101}, Code.INVALID, "body"),
        ({"deadline_s": -1.0}, Code.INVALID, "deadline"),
        ({"deadline_s": float("nan")}, Code.INVALID, "deadline"),
        ({"timeout_s": 4000.0}, Code.INVALID, "timeout"),
        ({"deadline_s": 2.0, "timeout_s": 1.0}, Code.INVALID, "timeout"),
    ],
)
def test_bad_calls_are_rejected_with_the_field(
    fields: dict[str, object], code: Code, word: str
) -> None:
    world = EdgeWorld(max_body_bytes=100)
    world.worker()
    world.apply(service())
    request = CallRequest("bad", **{"service": "hello", **fields})  # type: ignore[arg-type]
    world.do(ev.CallArrived(request))
    reply = world.replies["bad"]
    assert (reply.outcome, reply.code) == (Outcome.REJECTED, code)
    assert word in reply.error
    assert world.controller.counts.rejected == 1


def test_a_request_id_that_is_still_pending_is_refused_and_the_first_goes_on() -> None:
    world = one_slot()
    (worker,) = world.workers.values()
    world.call(request_id="same")
    world.call(request_id="same")
    assert world.replies["same"].code is Code.INVALID
    worker.done("same")
    assert world.replies["same"].outcome is Outcome.COMPLETED
    world.advance(0.01)
    world.call(request_id="same")
    worker.done("same")
    assert world.controller.counts.sent == 3
    assert world.controller.counts.completed == 2


def test_a_call_without_ready_replica_says_why() -> None:
    world = EdgeWorld()
    world.apply(service())
    assert "no node is connected" in world.replies[world.call()].error
    worker = world.worker()
    world.advance(0.3)
    assert "not reported yet" in world.replies[world.call()].error
    worker.ready(ReplicaState.BACKOFF, "exit code 3")
    reply = world.replies[world.call()]
    assert (reply.outcome, reply.code) == (Outcome.REJECTED, Code.UNAVAILABLE)
    assert "hello-g1-0 on n1 is backoff (exit code 3)" in reply.error
    assert reply.retry_after_ms == 0
    worker.ready()
    worker.down()
    assert "node n1 is away" in world.replies[world.call()].error


def test_a_service_with_no_replicas_says_so() -> None:
    world = one_slot(replicas=0)
    assert "0 replicas" in world.replies[world.call()].error


def test_a_request_larger_than_any_node_is_rejected_at_arrival() -> None:
    world = EdgeWorld()
    world.worker(cpu=1000)
    world.apply(service(cpu_per_request_millis=2000))
    assert "2000m" in world.replies[world.call()].error
    world.worker("n0", cpu=0)
    world.apply(service("other", replicas=2))
    assert world.call("other") not in world.replies


def test_zero_capacity_serves_nothing_and_breaks_nothing() -> None:
    world = EdgeWorld()
    world.worker(cpu=0, memory=0)
    world.apply(service())
    assert "no room for 1 replica" in world.view().reason
    assert world.replies[world.call()].code is Code.UNAVAILABLE
    world = EdgeWorld()
    world.worker(cpu=0)
    world.apply(service())
    assert "no node with a ready replica has both" in world.replies[world.call()].error


def test_excess_queues_and_goes_oldest_first() -> None:
    world = one_slot()
    (worker,) = world.workers.values()
    calls = [world.call() for _ in range(4)]
    assert list(worker.serving) == calls[:1]
    assert world.view().queued == 3
    for call in calls:
        assert list(worker.serving) == [call]
        world.now += 0.01
        worker.done(call)
        world.advance(0.006)
    assert world.outcomes()[Outcome.COMPLETED] == 4
    assert world.replies[calls[3]].queue_ms == pytest.approx(42, abs=1)


def test_capacity_is_the_least_of_cpu_memory_and_slots() -> None:
    def served(**fields: object) -> int:
        world = EdgeWorld()
        worker = world.worker(cpu=1000, memory=1000 * MIB)
        world.apply(service(**{"concurrency": 8, "memory_bytes": 100 * MIB, **fields}))
        for _ in range(20):
            world.call()
        world.advance(0.05)
        return len(worker.serving)

    assert served() == 8
    assert served(cpu_per_request_millis=300) == 3
    assert served(memory_per_request_bytes=150 * MIB) == 6
    assert served(replicas=2, concurrency=3) == 6


def test_cpu_is_shared_between_services_and_priority_goes_first() -> None:
    world = EdgeWorld()
    worker = world.worker(cpu=400)
    world.apply(service("low", concurrency=9, deadline_s=1.0))
    world.apply(service("high", concurrency=9, deadline_s=1.0, priority=5))
    world.auto_solve = False
    world.call("low")
    low = [world.call("low") for _ in range(3)]
    high = [world.call("high") for _ in range(3)]
    world.solves.clear()
    world.do(ev.SolveFailed(1, "first solve saw only one call"))
    world.auto_solve = True
    world.advance(0.2)
    assert {
        name: sum(r.service == name for r in worker.serving.values()) for name in ("high", "low")
    } == {"high": 3, "low": 1}
    assert set(high) <= set(worker.serving)
    assert not set(low) & set(worker.serving)


def test_queue_bounds_reject_with_a_hint() -> None:
    world = one_slot(max_queue=2)
    calls = [world.call() for _ in range(5)]
    refused = [world.replies[call] for call in calls if call in world.replies]
    assert [reply.code for reply in refused] == [Code.RESOURCE_EXHAUSTED] * 2
    assert all(reply.outcome is Outcome.REJECTED for reply in refused)
    assert all(reply.retry_after_ms > 0 for reply in refused)
    assert all(not reply.may_have_run for reply in refused)


def test_the_queue_of_the_whole_edge_is_bounded() -> None:
    world = EdgeWorld(max_queue=3)
    world.worker()
    world.apply(service("a"))
    world.apply(service("b"))
    world.call("a")
    world.advance(0.01)
    world.call("b")
    world.advance(0.01)
    assert len([c for c in [world.call("a") for _ in range(2)] if c in world.replies]) == 0
    calls = [world.call("b") for _ in range(3)]
    assert [world.replies[c].code for c in calls if c in world.replies] == [
        Code.RESOURCE_EXHAUSTED
    ] * 2


def test_max_queue_zero_still_serves_what_has_room() -> None:
    world = one_slot(max_queue=0, concurrency=2)
    calls = [world.call() for _ in range(3)]
    world.advance(0.01)
    assert [call in world.replies for call in calls] == [False, False, True]


def test_a_call_that_cannot_make_its_deadline_is_rejected_at_arrival() -> None:
    world = one_slot(deadline_s=0.1)
    (worker,) = world.workers.values()
    first = world.call()
    world.advance(0.04)
    worker.done(first)  # a request takes 40 ms
    calls = [world.call() for _ in range(3)]
    late = world.replies[calls[2]]
    assert (late.outcome, late.code) == (Outcome.REJECTED, Code.RESOURCE_EXHAUSTED)
    assert late.retry_after_ms > 0
    assert "predicted wait" in late.error
    assert calls[1] not in world.replies
    assert world.call(deadline_s=1.0) not in world.replies


def test_one_slow_measurement_does_not_shut_a_service() -> None:
    world = one_slot(deadline_s=0.1, timeout_s=30.0)
    (worker,) = world.workers.values()
    for _ in range(30):
        call = world.call()
        assert call not in world.replies
        world.advance(20)
        worker.done(call)
    assert world.outcomes()[Outcome.LATE] == 30
    for _ in range(60):
        call = world.call()
        world.advance(0.01)
        worker.done(call)
    assert world.replies[call].outcome is Outcome.COMPLETED
    calls = [world.call() for _ in range(2)]
    assert not any(call in world.replies for call in calls)


def test_a_deadline_that_passes_in_the_queue_fails_the_call_unseen() -> None:
    world = one_slot(deadline_s=0.1)
    (worker,) = world.workers.values()
    running, queued = world.call(), world.call()
    world.advance(0.2)
    reply = world.replies[queued]
    assert (reply.outcome, reply.code) == (Outcome.FAILED, Code.DEADLINE_EXCEEDED)
    assert reply.may_have_run is False
    assert reply.queue_ms == reply.total_ms == pytest.approx(100, abs=1)
    worker.done(running)
    assert world.replies[running].outcome is Outcome.LATE
    assert not worker.serving


def test_a_timeout_answers_but_keeps_the_reservation_until_the_worker_confirms() -> None:
    world = one_slot(deadline_s=0.1, timeout_s=1.0)
    (worker,) = world.workers.values()
    call = world.call()
    world.advance(1.5)
    reply = world.replies[call]
    assert (reply.outcome, reply.code) == (Outcome.FAILED, Code.DEADLINE_EXCEEDED)
    assert reply.may_have_run
    assert reply.total_ms == pytest.approx(1000, abs=1)
    assert worker.told(CancelDispatches) == [CancelDispatches((call,))]
    (node,) = world.controller.node_views()
    assert node.lc_held_millis == 100
    waiting = world.call()
    assert waiting not in worker.serving
    world.call(request_id=call)
    assert world.replies[call].code is Code.INVALID  # its id is still in use
    worker.done(call, code=Code.CANCELLED)
    world.advance(0.01)
    assert list(worker.serving) == [waiting]
    assert world.controller.counts.failed == 1


def test_cancel_in_the_queue_forgets_the_call() -> None:
    world = one_slot()
    (worker,) = world.workers.values()
    running, queued = world.call(), world.call()
    world.cancel(queued)
    assert world.view().queued == 0
    worker.done(running)
    world.advance(1)
    assert queued not in world.replies
    counts = world.controller.counts
    assert (counts.sent, counts.completed, counts.failed) == (2, 1, 1)


def test_cancel_in_flight_counts_until_the_worker_confirms() -> None:
    world = one_slot()
    (worker,) = world.workers.values()
    call = world.call()
    world.cancel(call)
    assert worker.told(CancelDispatches) == [CancelDispatches((call,))]
    assert world.view().in_flight == 1
    assert world.call() not in worker.serving
    worker.done(call, code=Code.CANCELLED)
    assert world.view().in_flight == 0 or len(worker.serving) == 1
    assert call not in world.replies
    world.cancel(call)  # once more, and of an unknown one: nothing
    world.cancel("nobody")


def test_what_the_worker_never_saw_is_tried_again_twice() -> None:
    world = one_slot()
    (worker,) = world.workers.values()
    call, later = world.call(), world.call()
    for _ in range(2):
        worker.done(call, code=Code.UNAVAILABLE, ran=False, error="every replica is busy")
        assert call not in world.replies
        world.advance(0.002)
        assert list(worker.serving) == [call]  # at the front again
    worker.done(call, code=Code.UNAVAILABLE, ran=False, error="every replica is busy")
    reply = world.replies[call]
    assert (reply.outcome, reply.code) == (Outcome.FAILED, Code.UNAVAILABLE)
    assert (reply.may_have_run, reply.error) == (False, "every replica is busy")
    world.advance(0.002)
    assert list(worker.serving) == [later]


def test_what_ran_or_is_too_late_is_not_tried_again() -> None:
    world = one_slot(idempotent=True, deadline_s=0.1)
    (worker,) = world.workers.values()
    call = world.call()
    worker.done(call, code=Code.UNAVAILABLE, ran=True)
    assert world.replies[call].may_have_run
    call = world.call()
    world.advance(0.15)
    worker.done(call, code=Code.UNAVAILABLE, ran=False)
    assert world.replies[call].code is Code.UNAVAILABLE


def test_solves_are_paced_by_their_cost_and_one_at_a_time() -> None:
    world = EdgeWorld(tick_ms=5.0)
    worker = world.worker(cpu=10_000)
    world.apply(service(concurrency=50))
    world.auto_solve = False
    world.call()
    assert len(world.solves) == 1
    world.call()
    assert len(world.solves) == 1
    world.cost_s = 0.0002  # ten times that is 2 ms
    world.solve()
    assert len(worker.serving) == 1
    assert world.controller.wake_at == pytest.approx(world.now + 0.002)
    world.advance(0.003)
    world.cost_s = 1.0
    world.solve()
    assert len(worker.serving) == 2
    world.call()
    assert not world.solves
    assert world.controller.wake_at == pytest.approx(world.now - 0.001 + 0.005)
    world.advance(1)
    world.solve()
    world.advance(1)
    world.call()
    assert len(world.solves) == 1  # idle for long: at once


def test_a_stale_plan_dispatches_only_what_still_fits() -> None:
    world = EdgeWorld()
    first, second = world.worker("n1"), world.worker("n2")
    world.apply(service(replicas=2, idempotent=True))
    world.auto_solve = False
    calls = [world.call() for _ in range(2)]
    world.solves.clear()
    second.down()
    plan = TrafficPlan(
        (
            Route("hello", "n2", 1),
            Route("hello", "n9", 1),
            Route("ghost", "n1", 1),
            Route("hello", "n1", 7),
        )
    )
    world.do(ev.RouteSolved(1, plan, 0.0001))
    assert list(first.serving) == calls[:1]
    assert world.view().queued == 1
    world.do(ev.RouteSolved(1, plan, 0.0001))  # an answer to nothing
    assert len(first.serving) == 1
    world.auto_solve = True
    second.up()
    world.advance(0.01)
    assert list(second.serving) == calls[1:]


def test_a_policy_that_raises_leaves_the_queue_and_is_asked_again() -> None:
    world = one_slot()
    (worker,) = world.workers.values()
    world.auto_solve = False
    call = world.call()
    world.solves.clear()
    world.do(ev.SolveFailed(1, "boom"))
    assert world.notes[-1].event == "traffic_solve_failed"
    assert world.view().queued == 1
    world.auto_solve = True
    world.advance(0.099)
    assert not worker.serving
    world.advance(0.01)
    assert list(worker.serving) == [call] or call in world.replies


def test_a_policy_that_routes_nothing_is_asked_again_without_spinning() -> None:
    world = one_slot(deadline_s=1.0)
    world.auto_solve = False
    world.call()
    asked = 0
    end = world.now + 0.5
    while world.now < end:
        if world.solves:
            asked += 1
            world.do(ev.RouteSolved(world.solves.popleft().solve_id, TrafficPlan(()), 0.0))
        world.advance(0.005)
    assert 50 <= asked <= 101


def test_the_snapshot_has_only_queued_services_and_ready_nodes() -> None:
    world = EdgeWorld()
    world.worker("n1")
    world.worker("n2")
    world.apply(service("a", replicas=2, priority=1))
    world.apply(service("b", replicas=1, priority=2))
    world.apply(service("c"))
    world.auto_solve = False
    commands = world.do(ev.CallArrived(CallRequest("x", "a")))
    (solve,) = [command for command in commands if isinstance(command, Solve)]
    snapshot = solve.snapshot
    assert isinstance(snapshot, TrafficSnapshot)
    assert [(d.service, d.count, d.priority) for d in snapshot.demands] == [("a", 1, 1)]
    assert [(o.node, o.cpu_millis, o.slots) for o in snapshot.offers] == [
        ("n1", 1000, (("a", 1),)),
        ("n2", 1000, (("a", 1),)),
    ]
    world.call("b")
    world.solve()
    world.advance(0.01)
    (snapshot,) = [solve.snapshot for solve in world.solves]
    assert [d.service for d in snapshot.demands] == ["b"]


def test_load_decides_the_node() -> None:
    world = EdgeWorld()
    small, large = world.worker("a-small", cpu=500), world.worker("b-large", cpu=2000)
    world.apply(service(replicas=2, concurrency=20))
    for _ in range(10):
        world.call()
        world.advance(0.002)
    assert (len(small.serving), len(large.serving)) == (2, 8)
    call = next(iter(large.serving))
    (finding,) = world.controller.explain(call, [Subject.REQUEST], 20, world.now)
    (record,) = finding.records  # not ended yet
    route = record[ROUTE.index["route"]]
    assert (route.node, route.runner_up[0]) == ("b-large", "a-small")


def test_overload_conserves_requests_and_keeps_most_in_time() -> None:
    world = EdgeWorld(seed=1)
    world.worker("n1")
    world.worker("n2")
    world.apply(service("lo", replicas=2, concurrency=2, deadline_s=0.1, max_queue=50))
    world.apply(service("hi", replicas=2, concurrency=2, deadline_s=0.1, priority=1))
    busy: list[tuple[float, object, str]] = []
    sent = 0
    for step in range(600):  # 1 ms each; 20 ms a request: 0.4 leave per ms, 1.2 arrive
        world.advance(0.001)
        due = [item for item in busy if item[0] <= world.now]
        busy = [item for item in busy if item[0] > world.now]
        for _, worker, call in due:
            worker.done(call, service_s=0.02)  # type: ignore[attr-defined]
        for index in range(2 if step % 5 == 0 else 1):
            world.call("hi" if (step + index) % 2 else "lo")
            sent += 1
        known = {call for _, _, call in busy}
        for worker in world.workers.values():
            busy += [(world.now + 0.02, worker, c) for c in worker.serving if c not in known]
    while any(worker.serving for worker in world.workers.values()):
        world.advance(0.02)
        for worker in world.workers.values():
            worker.done()
    world.advance(1)
    counts = world.controller.counts
    assert counts.sent == sent == len(world.replies)
    ends = counts.completed + counts.late + counts.rejected + counts.failed
    assert ends == sent
    served = counts.completed + counts.late
    assert counts.completed > 0.8 * served
    assert served > 0.8 * 600 * 0.4


def test_the_timer_heap_does_not_grow_with_calls_that_ended_long_before_their_deadline() -> None:
    world = EdgeWorld()
    world.worker("n1", cpu=100_000)
    world.apply(service(deadline_s=3000.0, timeout_s=3600.0, concurrency=10))
    (worker,) = world.workers.values()
    world.validates = False
    for _ in range(3000):
        call = world.call()
        world.advance(0.002)
        worker.done(call)
        world.log.clear()
    waiting = world.controller._waiting
    assert len(waiting.heap) < 1100
    assert world.controller.counts.completed == 3000


def test_wake_at_is_none_when_nothing_can_happen() -> None:
    world = EdgeWorld()
    assert world.controller.wake_at is None
    world.do(ev.Tick())
    assert world.controller.wake_at is None
