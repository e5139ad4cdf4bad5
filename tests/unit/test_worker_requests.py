"""Requests on a worker: choice of the replica, quotas before forwards, exactly one answer."""

from __future__ import annotations

import pytest
from worker_world import World, service, target

from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.messages import RequestsDone, WorkerPing, WorkerPong, WorkerState
from tango.model.request import Code, RequestDone
from tango.model.service import QuotaMode

FOLLOW = service(quota=QuotaMode.FOLLOW, concurrency=4, quota_base_millis=100)


@pytest.fixture
def world() -> World:
    world = World()
    world.connect()
    return world


def places(world: World) -> dict[str, str]:
    return {name: forward.replica_id for name, forward in world.forwards.items()}


def test_the_replica_with_the_fewest_in_flight_serves_ties_by_id(world: World) -> None:
    spec = service(concurrency=2)
    world.aim(target(spec, 1), target(spec, 0))
    world.dispatch("a", "b", "c")
    assert places(world) == {"a": "hello-0", "b": "hello-1", "c": "hello-0"}
    world.finish("a")
    world.finish("c")
    world.dispatch("d", "e")
    assert places(world) == {"b": "hello-1", "d": "hello-0", "e": "hello-0"}


def test_a_forward_goes_to_the_replicas_port(world: World) -> None:
    world.aim(target(service(port=8080)))
    world.dispatch("a")
    assert world.forwards["a"].port == 8080


def test_nothing_beyond_concurrency_and_the_answer_says_that_it_did_not_run(world: World) -> None:
    world.aim(target(service(concurrency=2)))
    world.dispatch("a", "b", "c")
    (done,) = world.dones()
    assert (done.request_id, done.code, done.ran) == ("c", Code.UNAVAILABLE, False)
    assert done.error == "every replica of 'hello' on n1 is busy"
    world.dispatch("d", name="other")
    assert world.dones()[-1].error == "no replica of 'other' on n1 is ready"


def test_a_batch_is_refused_in_one_message(world: World) -> None:
    world.dispatch("a", "b")
    (message,) = world.said(RequestsDone)
    assert [done.request_id for done in message.done] == ["a", "b"]


def test_an_answer_is_passed_on_with_its_replica(world: World) -> None:
    world.aim(target(service()))
    world.dispatch("a")
    world.post(ev.RequestFinished(RequestDone("a", Code.OK, 200, body=b"x", service_s=0.25)))
    (done,) = world.dones()
    assert done == RequestDone("a", Code.OK, 200, body=b"x", replica="hello-0", service_s=0.25)
    world.post(ev.RequestFinished(RequestDone("a", Code.OK)))
    assert len(world.dones()) == 1


def test_a_duplicate_in_flight_is_ignored(world: World) -> None:
    world.aim(target(service(concurrency=4)))
    world.dispatch("a")
    world.dispatch("a", "b")
    assert list(world.forwards) == ["a", "b"]
    world.finish("a")
    world.finish("b")
    assert world.answers == {"a": 1, "b": 1}


def test_a_cancelled_request_is_aborted_and_still_answered(world: World) -> None:
    world.aim(target(service()))
    world.dispatch("a")
    world.cancel("a", "unknown")
    assert world.aborted == ["a"]
    assert world.replica("hello-0").in_flight == 1
    world.finish("a", Code.CANCELLED)
    assert world.dones()[-1].code is Code.CANCELLED
    assert world.replica("hello-0").in_flight == 0


def test_quotas_grow_before_the_forward_parent_first(world: World) -> None:
    world.aim(target(FOLLOW))
    world.log.clear()
    world.dispatch("a")
    kinds = [
        one.group if isinstance(one, cmd.ApplyGroup) else type(one).__name__ for one in world.log
    ]
    assert kinds == ["lc/hello", "lc/hello/hello-0", "Forward"]
    assert world.groups["lc/hello/hello-0"].quota == 200


def test_a_batch_writes_each_quota_once(world: World) -> None:
    world.aim(target(FOLLOW, 0), target(FOLLOW, 1))
    world.groups.quota_writes.clear()
    world.dispatch("a", "b", "c", "d")
    assert [(group, quota) for _, group, quota in world.groups.quota_writes] == [
        ("lc/hello", 600),
        ("lc/hello/hello-0", 300),
        ("lc/hello/hello-1", 300),
    ]


def test_a_quota_shrinks_after_its_window_child_first_and_to_exactly_the_base(
    world: World,
) -> None:
    world.aim(target(FOLLOW))
    world.dispatch("a", "b")
    for name in ("a", "b"):
        world.finish(name)
    world.groups.quota_writes.clear()
    world.advance(0.4)
    assert world.groups.quota_writes == []
    world.advance(3.0)
    assert [(group, quota) for _, group, quota in world.groups.quota_writes] == [
        ("lc/hello/hello-0", 100),
        ("lc/hello", 100),
    ]
    world.advance(10)
    assert len(world.groups.quota_writes) == 2


def test_without_follow_no_request_writes_a_group(world: World) -> None:
    world.aim(target(service()))
    world.log.clear()
    world.dispatch("a")
    world.finish("a")
    assert [type(one) for one in world.log] == [cmd.Forward, cmd.SendUpstream]


def test_in_flight_survives_the_session_and_is_answered_on_the_next(world: World) -> None:
    world.aim(target(service(concurrency=4)))
    world.dispatch("a", "b")
    world.disconnect()
    world.finish("a")
    world.connect()
    (state,) = world.said(WorkerState)
    assert state.in_flight == ("b",)
    assert state.replicas[0].in_flight == 1
    world.finish("b")
    assert world.answers == {"b": 1}


def test_answers_after_the_process_died_are_passed_on(world: World) -> None:
    world.aim(target(FOLLOW))
    world.dispatch("a")
    world.end("hello-0.1-1", 1)
    world.finish("a", Code.UNAVAILABLE)
    assert world.dones()[-1].code is Code.UNAVAILABLE
    world.advance(3)
    assert world.groups["lc/hello/hello-0"].quota == 100


def test_a_ping_is_answered_with_its_number(world: World) -> None:
    world.say(WorkerPing(3))
    assert world.said(WorkerPong) == [WorkerPong(3)]
