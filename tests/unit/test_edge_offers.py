"""What is kept of nodes: the same while nothing of a node changes, another as soon as it does.

EdgeWorld validates after each event, which compares all that is kept with what is worked out anew.
"""

from __future__ import annotations

from dataclasses import replace

from edge_world import MIB, EdgeWorld, FakeWorker, service

from tango.controllers.edge.offers import offer_for
from tango.model.cluster import NodeCapacity
from tango.model.messages import WorkerPing, WorkerPong
from tango.model.peers import GuestSaid, GuestUp, PeerHello, PeerPing, PeerPong, SendGuest
from tango.model.plan import NodeOffer, TrafficSnapshot

SPEC = service(
    replicas=2, concurrency=4, cpu_per_request_millis=200, memory_per_request_bytes=32 * MIB
)


def site() -> tuple[EdgeWorld, list[FakeWorker]]:
    world = EdgeWorld()
    workers = [world.worker("n1"), world.worker("n2")]
    world.apply(SPEC)
    assert [place.slots for place in world.controller.books.services["hello"].open] == [4, 4]
    return world, workers


def rooms(world: EdgeWorld) -> list[int]:
    return [place.room() for place in world.controller.books.services["hello"].open]


def shown(world: EdgeWorld) -> tuple[NodeOffer, ...]:
    """What the policy is shown for one more call."""
    found: list[NodeOffer] = []
    world.auto_solve = False
    world.call()
    world.advance(0.01)
    (solve,) = world.solves
    assert isinstance(solve.snapshot, TrafficSnapshot)
    found += solve.snapshot.offers
    world.solve()
    return tuple(found)


def test_a_node_is_offered_as_before_until_it_gets_or_ends_a_request() -> None:
    world, (one, two) = site()
    before = shown(world)
    (busy,) = [worker for worker in (one, two) if worker.serving]
    after = shown(world)
    for worker, first, second in zip((one, two), before, after, strict=True):
        assert (first is second) == (worker is not busy)
    busy.done()
    index = (one, two).index(busy)
    assert after[index].in_flight == (("hello", 1),)
    assert shown(world)[index].in_flight == (("hello", 0),)


def test_other_needs_of_a_service_count_at_once_on_all_its_nodes() -> None:
    world, _ = site()
    assert rooms(world) == [4, 4]
    world.auto_persist = True
    world.apply(replace(SPEC, cpu_per_request_millis=500), ready=False)
    assert rooms(world) == [2, 2]
    world.apply(replace(SPEC, memory_per_request_bytes=400 * MIB), ready=False)
    assert max(rooms(world)) <= 2


def test_a_worker_that_dials_again_with_less_has_room_for_less() -> None:
    world, (one, _) = site()
    one.capacity = NodeCapacity(400, 1024 * MIB)
    one.up()
    assert rooms(world) == [2, 4]
    one.capacity = NodeCapacity(1000, (64 + 40) * MIB)
    one.up()
    assert rooms(world) == [1, 4]


def test_a_measured_delay_shows_in_the_next_offer() -> None:
    world, (one, _) = site()
    place = world.controller.books.services["hello"].places["n1"]
    before = offer_for(place)
    one.report()
    (ping,) = one.told(WorkerPing)
    world.advance(0.004)
    one.say(WorkerPong(ping.number))
    after = offer_for(place)
    assert before.rtt_s == 0.0
    assert after == replace(before, rtt_s=after.rtt_s)
    assert after.rtt_s > 0.003


def test_guests_get_what_is_kept_of_a_node_until_it_changes() -> None:
    world, (one, two) = site()
    world.do(GuestUp(1, PeerHello("site-b", 1, "0")))

    def asked(number: int) -> PeerPong:
        commands = world.do(GuestSaid(1, PeerPing(number, wants_offer=True)))
        (pong,) = [command.message for command in commands if isinstance(command, SendGuest)]
        assert isinstance(pong, PeerPong)
        return pong

    first, second = asked(1).offer, asked(2).offer
    assert first is not None
    assert second is not None
    assert first.nodes[0] is second.nodes[0]
    world.call()
    world.advance(0.01)
    third = asked(3).offer
    assert third is not None
    for worker, before, after in zip((one, two), second.nodes, third.nodes, strict=True):
        assert (before is after) == (not worker.serving)
