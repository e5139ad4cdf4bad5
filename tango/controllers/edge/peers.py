"""Peers that this edge dials: sessions, delay, offers by number and age, the nearest of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from tango.controllers.edge.books import Books
from tango.controllers.edge.peer_book import PeerBook
from tango.controllers.edge.service_book import ServiceBook
from tango.model.commands import EdgeCommand
from tango.model.peers import ClosePeer, PeerNode, PeerPing, PeerPong, PeerUp, PeerView, SendPeer
from tango.model.plan import NodeOffer

# A peer that is no neighbour is only measured, this often.
FAR_INTERVAL_S: Final = 1.0
# A neighbour stays one until another peer is nearer by more than a fifth: no flapping.
HYSTERESIS: Final = 0.8
SEPARATOR: Final = "/"


class Spill(NamedTuple):
    """How many requests of a service neighbours can take now, and how long the nearest needs."""

    room: int
    need_s: float


class Peers:
    """One session per peer. due_at: when one is to be asked next, or has been silent too long."""

    def __init__(self, books: Books) -> None:
        settings = books.settings
        self._books = books
        self._interval_s = settings.peer_interval_ms / 1000
        self._max_age_s = settings.peer_max_age_ms / 1000
        self._most_near = settings.neighbours
        self._dead_after_s = settings.node_dead_after_s
        self._sessions: dict[int, PeerBook] = {}
        self.books = {peer.name: PeerBook(peer.name, peer.address) for peer in settings.peers}
        self.due_at = math.inf

    @property
    def active(self) -> bool:
        """Whether any is connected."""
        return bool(self._sessions)

    def at(self, session: int) -> PeerBook | None:
        """Whose current session that is."""
        return self._sessions.get(session)

    # ---- sessions

    def up(self, event: PeerUp, now: float) -> None:
        """A stream was welcomed; refused where another site answers, or an earlier life of it."""
        books, welcome = self._books, event.welcome
        peer = self.books.get(event.peer)
        why = ""
        if peer is None or welcome.edge != event.peer:
            why = f"{welcome.edge} answers where {event.peer} is configured"
        elif welcome.incarnation < peer.incarnation:
            why = f"stale: incarnation {welcome.incarnation} is before {peer.incarnation}"
        elif peer.session is not None:
            why = f"{event.peer} is connected already"
        if why or peer is None:
            books.out.append(ClosePeer(event.session, why))
            books.note("warning", "peer_refused", peer=event.peer, reason=why)
            return
        peer.session = event.session
        peer.incarnation = welcome.incarnation
        peer.rtt.restart()
        peer.adopt(None, 0.0)
        peer.eagerness = 1.0
        peer.heard_at = now
        peer.asked_at = -math.inf
        self._sessions[event.session] = peer
        books.note("info", "peer_up", peer=peer.name, incarnation=welcome.incarnation)
        self.due_at = now

    def lose(self, peer: PeerBook, reason: str) -> None:
        """Its stream is gone; what it offered counts no more."""
        assert peer.session is not None
        del self._sessions[peer.session]
        peer.session = None
        peer.near = False
        peer.adopt(None, 0.0)
        self._books.note("warning", "peer_down", peer=peer.name, reason=reason)

    def pong(self, peer: PeerBook, message: PeerPong, now: float) -> bool:
        """Take an answer; whether it brought an offer. A late or repeated number changes nothing.

        Numbers only rise: an answer to an earlier ping than the last one is known as such.
        """
        peer.heard_at = now
        sent_at = peer.rtt.pong(message.number, now)
        if sent_at is None or message.offer is None:
            return False
        peer.adopt(message.offer, sent_at)
        return True

    def silent(self, now: float) -> list[PeerBook]:
        """Peers that have said nothing for too long."""
        return [
            peer for peer in self._sessions.values() if now >= peer.heard_at + self._dead_after_s
        ]

    def settle(self, now: float) -> None:
        """Ask those that it is time to ask."""
        self._choose()
        out: list[EdgeCommand] = self._books.out
        due_at = math.inf
        far_interval_s = max(FAR_INTERVAL_S, self._interval_s)
        for session, peer in self._sessions.items():
            interval_s = self._interval_s if peer.near else far_interval_s
            if now >= peer.asked_at + interval_s:
                peer.asked_at = now
                number = peer.rtt.ping(now)
                if number is not None:
                    out.append(SendPeer(session, PeerPing(number, peer.near)))
            due_at = min(due_at, peer.asked_at + interval_s)
            due_at = min(due_at, peer.heard_at + self._dead_after_s)
        self.due_at = due_at

    def _choose(self) -> None:
        """The nearest are neighbours. One that is not measured yet comes after all that are."""
        peers: Iterable[PeerBook] = self._sessions.values()
        if len(self._sessions) > self._most_near:
            peers = sorted(peers, key=_distance)
        for rank, peer in enumerate(peers):
            near = rank < self._most_near
            if near and not peer.near:
                peer.asked_at = -math.inf
            elif peer.near and not near:
                peer.adopt(None, 0.0)
            peer.near = near

    # ---- what they can take

    def fresh(self, peer: PeerBook, now: float) -> bool:
        """Whether it is a neighbour with an offer young enough to plan on."""
        return peer.near and peer.offer is not None and now - peer.offered_at <= self._max_age_s

    def spill(self, service: ServiceBook, deadline_s: float, now: float) -> Spill:
        """What neighbours can take of a service whose requests have that long."""
        room = 0
        need_s = math.inf
        name = service.name
        for peer in self._sessions.values():
            if not self.fresh(peer, now) or name not in peer.services:
                continue
            needed_s = peer.need_s(service, now)
            if needed_s > deadline_s:
                continue
            assert peer.offer is not None
            for node in peer.offer.nodes:
                left = self.room_at(peer, node, service)
                if left > 0:
                    room += left
                    need_s = min(need_s, needed_s + node.rtt_s)
        return Spill(room, need_s)

    def beyond(self, services: list[ServiceBook], now: float) -> list[NodeOffer]:
        """Neighbours' nodes, for services that have more queued than this site has room for."""
        wanted: dict[ServiceBook, float] = {}
        for service in services:
            queue = service.queue
            if len(queue) > service.room():
                wanted[service] = next(reversed(queue.values())).deadline_at - now
        return self.offers(wanted, now) if wanted else []

    def offers(self, wanted: dict[ServiceBook, float], now: float) -> list[NodeOffer]:
        """Nodes of neighbours with room for these services; wanted: the longest slack of each."""
        found = []
        for peer in self._sessions.values():
            if not self.fresh(peer, now):
                continue
            services = [
                service
                for service, slack_s in wanted.items()
                if service.name in peer.services and peer.need_s(service, now) <= slack_s
            ]
            if not services:
                continue
            assert peer.offer is not None
            way_s = peer.way_s(now)
            # A policy adds what the service takes here: this is the rest of what it takes there.
            wait_s = max(peer.wait_s(service) - service.forecast.service_s for service in services)
            depth = max(peer.pipeline(service) for service in services)
            for node in peer.offer.nodes:
                slots = []
                for service in services:
                    left = peer.slots_left(node, service, _room(node, service))
                    if left > 0:
                        slots.append((service.name, left))
                if slots:
                    cpu, memory = int(node.cpu_millis * depth), int(node.memory_bytes * depth)
                    for service, count in peer.away.get(node.node, {}).items():
                        cpu -= count * service.cpu_millis
                        memory -= count * service.request_memory_bytes
                    found.append(
                        NodeOffer(
                            f"{peer.name}{SEPARATOR}{node.node}", max(0, cpu), max(0, memory),
                            tuple(slots), node.load, way_s + node.rtt_s, wait_s, peer.name,
                        )
                    )  # fmt: skip
        return found

    def target(self, name: str, service: str, now: float) -> tuple[PeerBook, PeerNode] | None:
        """The neighbour and node that an offer's name stands for, if it still holds."""
        site, _, node_name = name.partition(SEPARATOR)
        peer = self.books.get(site)
        if peer is None or not self.fresh(peer, now) or service not in peer.services:
            return None
        assert peer.offer is not None
        for node in peer.offer.nodes:
            if node.node == node_name:
                return peer, node
        return None

    def room_at(self, peer: PeerBook, node: PeerNode, service: ServiceBook) -> int:
        """How many more requests of the service the node may be sent now."""
        return max(0, peer.slots_left(node, service, _room(node, service)))

    def views(self, now: float) -> tuple[PeerView, ...]:
        """All that are configured, by name."""
        return tuple(self._view(self.books[name], now) for name in sorted(self.books))

    def _view(self, peer: PeerBook, now: float) -> PeerView:
        offer = peer.offer
        up = peer.session is not None
        return PeerView(
            self._books.edge,
            peer.name,
            peer.address,
            connected=up,
            neighbour=peer.near,
            rtt_ms=peer.rtt.at_least_s(now) * 1000 if up and peer.rtt.known else None,
            age_ms=(now - peer.offered_at) * 1000 if offer is not None else None,
            fresh=self.fresh(peer, now),
            nodes=len(offer.nodes) if offer is not None else 0,
            slots=sum(n for node in offer.nodes for _, n in node.slots) if offer else 0,
            forwarded=peer.forwarded,
            pending=len(peer.calls),
            refused=peer.refused,
            lost=peer.lost,
        )


def _distance(peer: PeerBook) -> tuple[float, str]:
    if not peer.rtt.known:
        return math.inf, peer.name
    return peer.rtt.rtt_s * (HYSTERESIS if peer.near else 1.0), peer.name


def _room(node: PeerNode, service: ServiceBook) -> int:
    """Requests of the service that the node serves at once for this site: slots, CPU, memory."""
    slots = 0
    for name, free in node.slots:
        if name == service.name:
            slots = free
            break
    if service.cpu_millis > 0:
        slots = min(slots, node.cpu_millis // service.cpu_millis)
    if service.request_memory_bytes > 0:
        slots = min(slots, node.memory_bytes // service.request_memory_bytes)
    return max(0, slots)
