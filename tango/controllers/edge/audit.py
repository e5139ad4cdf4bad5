"""Checks that the edge's books agree with themselves; raises AssertionError where they do not."""

from __future__ import annotations

from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import Call, CallState
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.offers import fresh_offer, offer_for
from tango.controllers.edge.peers import Peers
from tango.controllers.edge.service_book import ServiceBook, claim_of, generation_of
from tango.model.job import AttemptState
from tango.model.service import ReplicaState


def audit(books: Books, heap: list[tuple[float, int, str]], peers: Peers) -> None:
    """Recompute every sum from its parts and compare."""
    _audit_forwards(books, peers)
    _audit_counts(books)
    _audit_calls(books)
    _audit_timers(books, heap)
    for node in books.nodes.values():
        _audit_node(books, node)
    for service in books.services.values():
        _audit_service(books, service)
    _audit_claims(books)


def _pending(calls: dict[str, Call]) -> list[Call]:
    return [call for call in calls.values() if call.state is not CallState.LINGERING]


def _audit_counts(books: Books) -> None:
    pending = _pending(books.calls)
    assert books.totals.pending == len(pending), "sent is not the sum of ends and pending"
    for service in books.services.values():
        own = sum(call.service is service for call in pending)
        assert service.counts.pending == own, f"counts of {service.name} do not add up"


def _audit_calls(books: Books) -> None:
    queued = 0
    held = {
        request_id: node
        for node in books.nodes.values()
        for request_id, hold in node.holds.items()
        if hold.call is not None
    }
    for request_id, call in books.calls.items():
        assert request_id == call.request_id
        assert call.state is not CallState.ENDED, f"{request_id} ended but is kept"
        if call.state is CallState.QUEUED:
            queued += 1
            assert call.service.queue.get(request_id) is call, f"{request_id} is not in its queue"
            assert books.services.get(call.service.name) is call.service
        elif call.state is not CallState.FORWARDED:
            assert call.node is not None
            hold = call.node.holds.get(request_id)
            assert hold is not None, f"{request_id} is in flight without a reservation"
            assert hold.call is call
            assert held[request_id] is call.node
    assert queued == books.queued, "the number of queued calls is wrong"
    assert queued == sum(len(service.queue) for service in books.services.values())


def _audit_forwards(books: Books, peers: Peers) -> None:
    """Each forwarded call is at one peer that is connected, and each guest's call is known."""
    away = {call.request_id for call in books.calls.values() if call.state is CallState.FORWARDED}
    there: list[str] = []
    for peer in peers.books.values():
        up = peer.session is not None
        assert up or not peer.calls, f"{peer.name} is gone, its calls are not"
        counts: dict[str, dict[ServiceBook, int]] = {}
        for request_id, call in peer.calls.items():
            assert call.peer is peer, f"{request_id} is at two peers"
            assert not call.request.origin, f"{request_id} was forwarded twice"
            held = counts.setdefault(call.peer_node, {})
            held[call.service] = held.get(call.service, 0) + 1
        assert counts == peer.away, f"what is planned at {peer.name} is off"
        there += peer.calls
    assert len(there) == len(away), "a forwarded call is at no peer, or at two"
    assert set(there) == away
    for service in books.services.values():
        calls = [call for peer in peers.books.values() for call in peer.calls.values()]
        count = sum(call.service is service for call in calls)
        assert service.away == count, f"forwarded calls of {service.name} are off"
    guests = {
        request_id: call
        for origin, calls in books.guests.items()
        for request_id, call in calls.items()
        if call.request.origin == origin
    }
    assert guests == {k: call for k, call in books.calls.items() if call.request.origin}


def _audit_timers(books: Books, heap: list[tuple[float, int, str]]) -> None:
    for index in range(1, len(heap)):
        assert heap[(index - 1) // 2] <= heap[index], "the timer heap is out of order"
    first: dict[tuple[int, str], float] = {}
    for at, seq, request_id in heap:
        first[seq, request_id] = min(at, first.get((seq, request_id), at))
    for call in _pending(books.calls):
        due = call.deadline_at if call.state is CallState.QUEUED else call.timeout_at
        key = (call.seq, call.request_id)
        assert key in first, f"{call.request_id} has no timer"
        assert first[key] <= due, f"the timer of {call.request_id} is late"


def _audit_node(books: Books, node: NodeBook) -> None:
    holds = node.holds.values()
    places = [s.places[node.name] for s in books.services.values() if node.name in s.places]
    cpu = sum(hold.cpu_millis for hold in holds)
    cpu += sum(place.published_cpu_millis for place in places)
    assert node.lc_cpu_millis == cpu, "LC CPU is off"
    memory = sum(hold.memory_bytes for hold in holds)
    memory += sum(place.published_memory_bytes for place in places)
    assert node.lc_request_memory_bytes == memory, "LC request memory is off"
    if node.session is None:
        kept = all(hold.direct for hold in holds)
        assert kept, f"{node.name} is away but holds reservations"
    else:
        assert books.sessions.get(node.session) is node
    for request_id, hold in node.holds.items():
        if hold.call is None:
            assert books.anonymous.get(request_id, 0) > 0
        else:
            assert books.calls.get(request_id) is hold.call, f"{request_id} holds but is unknown"
    running = [
        status for status in node.attempts.values() if status.state is not AttemptState.ENDED
    ]
    assert node.be_cpu_millis == sum(status.cpu_millis for status in running), "BE CPU is off"
    assert node.be_memory_bytes == sum(status.memory_bytes for status in running)
    evicted = sum(status.memory_bytes for status in running if status.evicted)
    assert node.be_evicted_bytes == evicted, "memory under eviction is off"
    least = min(0, node.lc_memory_left())
    yields = node.be_memory_left() + evicted >= least
    assert node.session is None or yields, f"BE on {node.name} holds memory that is LC's"
    assert node.be_tasks == len(running)
    ports = [port for status in running for port in status.ports]
    taken = {*ports, *books.lc_ports(node)}
    assert len(taken) == len(ports) + len(books.lc_ports(node)), f"{node.name}: a port twice"
    assert node.leaving_ports.keys() <= node.leaving.keys(), f"{node.name}: a port of nobody"
    ready = sum(
        service.places[node.name].slots > 0
        for service in books.services.values()
        if node.name in service.places
    )
    assert node.services == ready, "services with ready replicas are off"
    assert node.replica_memory_bytes == books.replica_memory.get(node.name, 0)


def _audit_service(books: Books, service: ServiceBook) -> None:
    by_place: dict[str, int] = {}
    for node in books.nodes.values():
        for hold in node.holds.values():
            if hold.place is not None and hold.place.service is service:
                by_place[node.name] = by_place.get(node.name, 0) + 1
    assert service.in_flight == sum(by_place.values()), f"in flight of {service.name} is off"
    for name, place in service.places.items():
        assert place.in_flight == by_place.get(name, 0), f"{service.name} on {name} is off"
        node = books.nodes[name]
        slots = sum(
            service.specs[generation_of(replica)].concurrency
            for replica, where in service.placement.items()
            if where == name
            and node.session is not None
            and replica in node.statuses
            and node.statuses[replica].state is ReplicaState.READY
        )
        assert place.slots == slots, f"slots on {name} are off"
        # What is kept since the audit before, or is from now on.
        assert place.room() == place.fresh_room(), f"room of {service.name} on {name} is an old one"
        same = offer_for(place) == fresh_offer(place)
        assert same, f"the offer of {name} for {service.name} is an old one"
        assert place.saturated <= (place.qos is not None), f"{service.name} on {name}: no windows"
        adjustment = place.qos.state.millis if place.qos is not None else 0
        assert place.cpu_millis == service.cpu_millis + adjustment, f"CPU per request on {name}"
    saturated = sum(place.saturated for place in service.places.values())
    assert service.saturated == saturated, f"saturated places of {service.name} are off"
    open_names = sorted(name for name, place in service.places.items() if place.slots > 0)
    assert [place.node.name for place in service.open] == open_names
    assert len(service.placement) <= service.spec.replicas + 1, "more than a surge of one"
    generations = {generation_of(replica) for replica in service.placement}
    assert generations <= service.specs.keys(), f"a replica of {service.name} has no spec"
    for replica, where in service.placement.items():
        book = books.nodes.get(where)
        assert book is None or replica not in book.leaving, f"{replica} leaves where it shall run"


def _audit_claims(books: Books) -> None:
    """Claims of changes on their way come on top of what placed replicas declare."""
    placed: dict[str, int] = {}
    counts: dict[str, int] = {}
    for service in books.services.values():
        for replica, node in service.placement.items():
            counts[node] = counts.get(node, 0) + 1
            if node:
                size = service.specs[generation_of(replica)].memory_bytes
                placed[node] = placed.get(node, 0) + size
    assert books.replicas_on == counts
    claims: dict[str, int] = {}
    for service in books.services.values():
        for node in service.placement.values():
            claims[node] = claims.get(node, 0) + claim_of(service.spec)
    assert books.claimed_millis == claims
    for node, size in placed.items():
        assert books.replica_memory.get(node, 0) >= size, f"replica memory of {node} is off"
