"""Direct calls: which requests the edge carries itself, and what workers know of them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from edge_world import PORT, EdgeWorld, FakeWorker, service

from tango.model.commands import AbortForward, Forward
from tango.model.events import FollowEnded
from tango.model.messages import CancelDispatches, Dispatches, PublishedShares
from tango.model.request import Code, Outcome
from tango.model.routes import ReplicaTally
from tango.model.service import QuotaMode, ReplicaState

HERE = "boot/net:[1]"


def site(nodes: int = 1, *, loopback: str = HERE, **fields: Any) -> tuple[EdgeWorld, FakeWorker]:
    """A service with a replica of five slots on each node; the nodes are on the edge's machine."""
    world = EdgeWorld(loopback=HERE)
    workers = []
    for number in range(nodes):
        worker = FakeWorker(world, f"n{number + 1}", 4000, 2**32)
        worker.loopback = loopback
        worker.up()
        workers.append(worker)
    plain = {"concurrency": 5, "cpu_per_request_millis": 100, "deadline_s": 9.0, "timeout_s": 60.0}
    world.apply(service(**({"replicas": nodes} | plain | fields)))
    for worker in workers:
        worker.told(Dispatches)
    return world, workers[0]


def arrive(world: EdgeWorld, **fields: Any) -> str:
    """One call, and what a solve needs to come round to it."""
    request_id = world.call(**fields)
    world.advance(0.01)
    return request_id


def shares(worker: FakeWorker) -> dict[str, int] | None:
    """What the worker was told last, since the last look."""
    told = worker.told(PublishedShares)
    return dict(told[-1].shares) if told else None


def test_a_replica_on_this_machine_is_called_without_its_worker() -> None:
    world, worker = site()
    call = arrive(world, body=b"x", headers=(("a", "b"),))
    assert worker.told(Dispatches) == []
    forward = world.direct[call]
    assert (forward.replica_id, forward.port) == ("hello-g1-0", PORT)
    assert (forward.request.body, forward.request.headers) == (b"x", (("a", "b"),))
    assert shares(worker) == {"hello-g1-0": 1}
    world.answer(call, service_s=0.0)
    reply = world.replies[call]
    assert (reply.outcome, reply.node, reply.replica) == (Outcome.COMPLETED, "n1", "hello-g1-0")
    assert world.view().counts.completed == 1


@pytest.mark.parametrize(
    "why", ["elsewhere", "not known", "switched off", "streamed", "with a quota"]
)
def test_all_else_goes_through_the_worker(why: str) -> None:
    quota = QuotaMode.FOLLOW if why == "with a quota" else QuotaMode.NONE
    loopback = {"elsewhere": "boot/net:[2]", "not known": ""}.get(why, HERE)
    world, worker = site(quota=quota, loopback=loopback)
    if why == "switched off":
        world = EdgeWorld(loopback=HERE, direct_calls=False)
        worker = FakeWorker(world, "n1", 4000, 2**32)
        worker.loopback = HERE
        worker.up()
        world.apply(service())
    call = arrive(world, stream=why == "streamed")
    assert call in worker.serving
    assert not world.direct
    assert shares(worker) is None
    worker.done()
    assert world.replies[call].outcome is Outcome.COMPLETED


def test_an_edge_that_knows_no_loopback_has_none_in_common_with_a_worker_like_that() -> None:
    world = EdgeWorld()
    worker = world.worker()
    world.apply(service())
    call = arrive(world)
    assert call in worker.serving


def test_a_worker_is_told_in_powers_of_two_and_of_less_only_after_a_while() -> None:
    world, worker = site()
    told = []
    for _ in range(5):
        arrive(world)
        told.append(shares(worker))
    assert told == [{"hello-g1-0": 1}, {"hello-g1-0": 2}, {"hello-g1-0": 4}, None,
                    {"hello-g1-0": 5}]  # fmt: skip
    for call in list(world.direct)[:3]:
        world.answer(call)
    world.advance(0.9)
    assert shares(worker) is None
    # The first look is at a second in which five were needed, the next at one in which two were.
    world.advance(1.2)
    assert shares(worker) == {"hello-g1-0": 2}
    world.answer()
    world.advance(2.2)
    assert shares(worker) == {}
    wake_at = world.controller.wake_at
    world.advance(30)
    assert shares(worker) is None
    assert wake_at is not None


def test_requests_that_come_and_go_are_told_once() -> None:
    world, worker = site()
    for _ in range(200):
        world.answer(arrive(world))
        world.advance(0.02)
    assert [dict(told.shares) for told in worker.told(PublishedShares)] == [{"hello-g1-0": 1}]


def test_the_replica_with_the_most_room_is_called() -> None:
    world = EdgeWorld(loopback=HERE)
    worker = FakeWorker(world, "n1", 4000, 2**32)
    worker.loopback = HERE
    worker.up()
    world.apply(
        service(
            replicas=2, concurrency=2, cpu_per_request_millis=100, deadline_s=9.0, timeout_s=60.0
        )
    )
    for _ in range(5):
        arrive(world)
    at = [forward.replica_id for forward in world.direct.values()]
    assert at == ["hello-g1-0", "hello-g1-1", "hello-g1-0", "hello-g1-1"]
    assert world.view().queued == 1


def test_a_worker_that_is_to_carry_learns_first_which_slots_are_free() -> None:
    world, worker = site(concurrency=4)
    calls = [arrive(world) for _ in range(4)]
    world.answer(*calls[1:])
    assert shares(worker) == {"hello-g1-0": 4}
    arrive(world, stream=True)
    kinds = [type(message) for message in worker.inbox if not hasattr(message, "number")]
    assert kinds.index(PublishedShares) < kinds.index(Dispatches)
    assert shares(worker) == {"hello-g1-0": 1}
    # Which replica has that one is not known: each is taken to.
    more = [arrive(world) for _ in range(3)]
    assert list(world.direct) == [calls[0], *more[:2]]
    assert world.view().queued == 1


def test_where_nothing_listens_its_worker_is_asked_and_then_for_a_while() -> None:
    world, worker = site()
    call = arrive(world)
    world.answer(call, code=Code.UNAVAILABLE, ran=False, error="nothing listens")
    assert call in worker.serving
    worker.done()
    assert world.replies[call].outcome is Outcome.COMPLETED
    assert arrive(world) in worker.serving
    worker.done()
    world.advance(0.6)
    assert arrive(world) in world.direct


def test_a_direct_call_outlives_the_session_of_its_worker() -> None:
    world, worker = site()
    call = arrive(world)
    carried = arrive(world, stream=True)
    del world.workers[worker.session]
    worker.serving.clear()
    worker.down()
    assert world.replies[carried].code is Code.UNAVAILABLE
    assert call not in world.replies
    worker.inbox.clear()
    worker.up()
    assert shares(worker) == {"hello-g1-0": 1}, "a new session is told of what goes on"
    world.answer(call)
    assert world.replies[call].outcome is Outcome.COMPLETED


def test_a_timeout_closes_the_connection_and_the_slot_stays_held_until_it_is() -> None:
    world, worker = site(timeout_s=10.0)
    call = arrive(world)
    world.auto_abort = False
    world.advance(10.1)
    assert world.replies[call].code is Code.DEADLINE_EXCEEDED
    assert world.view().in_flight == 1
    assert list(world.aborted) == [call]
    assert worker.told(CancelDispatches) == []
    world.auto_abort = True
    world.advance(1.0)
    assert world.view().in_flight == 0
    assert not world.direct


def test_a_caller_that_goes_closes_the_connection() -> None:
    world, worker = site()
    call = arrive(world)
    world.cancel(call)
    assert not world.direct
    assert world.view().in_flight == 0
    assert worker.told(CancelDispatches) == []
    given_up = [c for _, commands in world.log for c in commands if isinstance(c, AbortForward)]
    assert given_up == [AbortForward(call)]


def test_a_replica_that_goes_is_released_as_its_last_request_ends() -> None:
    world, worker = site()
    calls = [arrive(world) for _ in range(3)]
    assert shares(worker) == {"hello-g1-0": 4}
    world.apply(replace(world.view().spec, replicas=0))
    assert shares(worker) == {"hello-g1-0": 3}
    world.answer(calls[0])
    assert shares(worker) == {"hello-g1-0": 2}
    world.answer(calls[1], calls[2])
    assert shares(worker) == {}
    assert all(world.replies[call].outcome is Outcome.COMPLETED for call in calls)


def test_a_replica_that_is_not_ready_gets_nothing_new_and_its_new_port_is_used_then() -> None:
    world, worker = site()
    worker.ready(ReplicaState.UNHEALTHY)
    arrive(world)
    assert not world.direct
    replica, status = worker.replicas.popitem()
    worker.replicas[replica] = replace(status, port=9999)
    worker.ready()
    arrive(world)
    (forward,) = world.direct.values()
    assert forward.port == 9999


def test_slots_of_followers_are_not_taken() -> None:
    world, worker = site()
    follower = world.follow()
    for _ in range(5):
        world.report(follower, 3)
        world.advance(0.1)
    held = world.slots(follower)["hello-g1-0"]
    assert held >= 3
    for _ in range(5):
        arrive(world)
    assert len(world.direct) == 5 - held
    told = shares(worker)
    assert told is not None
    assert told["hello-g1-0"] == 5, "followers' and the edge's own, in one number"
    world.do(FollowEnded(follower))


@pytest.mark.parametrize("seed", range(6))
def test_slots_are_granted_where_the_edge_itself_leaves_room(seed: int) -> None:
    """Of two replicas the edge may fill one while the node as a whole has slots left."""
    drawn = random.Random(seed)
    world = EdgeWorld(loopback=HERE)
    worker = FakeWorker(world, "n1", 100_000, 2**34)
    worker.loopback = HERE
    worker.up()
    world.apply(service(replicas=2, concurrency=3, cpu_per_request_millis=100, deadline_s=60.0,
                        timeout_s=60.0))  # fmt: skip
    follower = world.follow()
    granted = 0
    for _ in range(500):
        # One replica is quicker than the other, so that it is the other that fills.
        quick = [name for name, one in world.direct.items() if one.replica_id.endswith("1")]
        if drawn.random() < 0.5:
            world.call()
        elif quick or world.direct:
            world.answer(drawn.choice(quick or list(world.direct)))
        if drawn.random() < 0.3:
            world.report(follower, drawn.choice((0, 1, 2)))
        world.advance(drawn.choice((0.002, 0.06, 0.5)))
        slots = world.slots(follower) if world.tables[follower] else {}
        granted = max(granted, sum(slots.values()))
        for replica in worker.replicas:
            direct = sum(one.replica_id == replica for one in world.direct.values())
            assert direct + slots.get(replica, 0) <= 3, f"{replica} may get more than it serves"
    assert granted >= 2, "claims are granted as direct calls end"


class PickingWorker(FakeWorker):
    """Serves dispatches as a worker does: at its least busy replica, with what it was told."""

    def __init__(self, world: EdgeWorld, node: str, concurrency: int) -> None:
        super().__init__(world, node, 100_000, 2**34)
        self.loopback = HERE
        self.concurrency = concurrency
        self.direct: dict[str, int] = {}
        self.at: dict[str, str] = {}

    def hear(self, message: Any) -> None:
        super().hear(message)
        if isinstance(message, PublishedShares):
            self.direct = dict(message.shares)
        elif isinstance(message, Dispatches):
            for request in message.requests:
                busy = {replica: self.busy(replica) for replica in sorted(self.replicas)}
                replica = min(busy, key=lambda name: busy[name])
                assert busy[replica] < self.concurrency, "the worker would have to refuse it"
                self.at[request.request_id] = replica

    def carried(self, replica: str) -> int:
        return sum(at == replica and one in self.serving for one, at in self.at.items())

    def busy(self, replica: str) -> int:
        return self.carried(replica) + self.direct.get(replica, 0)


@pytest.mark.parametrize("seed", range(8))
def test_direct_and_carried_together_never_fill_a_replica_above_its_slots(seed: int) -> None:
    drawn = random.Random(seed)
    world = EdgeWorld(loopback=HERE)
    world.validates = seed % 2 == 0
    worker = PickingWorker(world, "n1", 4)
    worker.up()
    world.apply(service(replicas=3, concurrency=4, cpu_per_request_millis=100, deadline_s=60.0,
                        timeout_s=60.0))  # fmt: skip
    follower: int | None = None
    both = 0
    for _ in range(400):
        step = drawn.randrange(10)
        if step < 5:
            arrive(world, stream=drawn.random() < 0.1)
        elif step == 5 and world.direct:
            world.answer(drawn.choice(list(world.direct)))
        elif step == 6 and worker.serving:
            worker.done(drawn.choice(list(worker.serving)))
        elif step == 7:
            if world.direct:
                world.answer(*list(world.direct)[: drawn.randrange(1, 4)])
            if worker.serving:
                worker.done(*list(worker.serving)[: drawn.randrange(1, 4)])
        elif step == 8:
            world.advance(drawn.choice((0.01, 0.3, 1.1)))
        elif seed % 4 == 3 and follower is None:
            follower = world.follow()
        elif follower is not None:
            slots = world.slots(follower) if world.tables[follower] else {}
            tallies = [ReplicaTally(name, drawn.randint(0, most)) for name, most in slots.items()]
            world.report(follower, drawn.randint(0, 4), *tallies)
        world.advance(0.001)
        direct: dict[str, int] = {}
        for forward in world.direct.values():
            direct[forward.replica_id] = direct.get(forward.replica_id, 0) + 1
        both += bool(direct and worker.serving)
        if follower is None:
            for replica in worker.replicas:
                assert worker.carried(replica) + direct.get(replica, 0) <= 4, replica
                assert worker.direct.get(replica, 0) >= direct.get(replica, 0), replica
    assert both > 3, "the two were hardly ever mixed"
    if world.direct:
        world.answer()
    if worker.serving:
        worker.done()
    forwards = sum(isinstance(c, Forward) for _, commands in world.log for c in commands)
    assert forwards > 20
