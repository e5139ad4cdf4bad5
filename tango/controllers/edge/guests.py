"""Guests: sites that have dialled this edge. It offers them its nodes, and alone admits."""

from __future__ import annotations

import math

from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import IN_FLIGHT, QUEUED
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_book import ServiceBook
from tango.model.errors import InvalidField
from tango.model.names import check_name
from tango.model.peers import (
    CloseGuest,
    GuestDown,
    GuestSaid,
    GuestUp,
    PeerHello,
    PeerNode,
    PeerPing,
    PeerPong,
    PeerServiceOffer,
    PeerWelcome,
    SendGuest,
    SiteOffer,
)

MAX_GUESTS = 256


class Guest:
    """One site that dials. session is None while it is away."""

    __slots__ = ("heard_at", "hello", "session")

    def __init__(self, hello: PeerHello) -> None:
        self.hello = hello
        self.session: int | None = None
        self.heard_at = 0.0


class Guests:
    """One session per guest. check_at: when silence must be looked at next."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._dead_after_s = books.settings.node_dead_after_s
        self._guests: dict[str, Guest] = {}
        self._sessions: dict[int, Guest] = {}
        # By node: its version, and what was offered of it then.
        self._kept: dict[NodeBook, tuple[int, PeerNode]] = {}
        self.check_at = math.inf

    def up(self, event: GuestUp, now: float) -> None:
        """Welcome a guest, or refuse its stream."""
        books, hello = self._books, event.hello
        guest = self._guests.get(hello.edge)
        why = self._refusal(guest, hello)
        if why:
            books.out.append(CloseGuest(event.session, why))
            books.note("warning", "guest_refused", site=hello.edge, reason=why)
            return
        if guest is None:
            guest = self._guests[hello.edge] = Guest(hello)
        elif guest.session is not None:
            books.out.append(CloseGuest(guest.session, "superseded by a newer stream of this site"))
            del self._sessions[guest.session]
        guest.hello = hello
        guest.session = event.session
        guest.heard_at = now
        self._sessions[event.session] = guest
        self.check_at = min(self.check_at, now + self._dead_after_s)
        welcome = PeerWelcome(books.edge, books.incarnation)
        books.out.append(SendGuest(event.session, welcome))
        books.note("info", "guest_up", site=hello.edge, incarnation=hello.incarnation)

    def said(self, event: GuestSaid, now: float) -> None:
        """Answer a ping, with an offer if it is wanted."""
        guest = self._sessions.get(event.session)
        if guest is None:
            return
        guest.heard_at = now
        message = event.message
        if isinstance(message, PeerPing):
            offer = self.offer(guest.hello.edge) if message.wants_offer else None
            self._books.out.append(SendGuest(event.session, PeerPong(message.number, offer)))

    def down(self, event: GuestDown, now: float) -> None:
        """Its stream ended; one that was refused or superseded matters to nobody."""
        del now
        guest = self._sessions.pop(event.session, None)
        if guest is not None:
            guest.session = None
            self._books.note("warning", "guest_down", site=guest.hello.edge, reason=event.reason)

    def settle(self, now: float) -> None:
        """Close the streams of guests that have said nothing for too long."""
        for session, guest in list(self._sessions.items()):
            if now >= guest.heard_at + self._dead_after_s:
                reason = f"site {guest.hello.edge} was silent for {now - guest.heard_at:.1f} s"
                self._books.out.append(CloseGuest(session, reason))
                self.down(GuestDown(session, reason), now)
        heard = [guest.heard_at for guest in self._sessions.values()]
        self.check_at = min(heard) + self._dead_after_s if heard else math.inf

    def offer(self, origin: str) -> SiteOffer:
        """What the nodes can take of that site: what is free, and what its requests hold already.

        This site's own users come first: slots for what they have queued, and those published to
        clients who call replicas themselves, are not offered. What is
        left is shared: each guest is offered its even part at least, also while others hold it, or
        the one that came first would keep all.
        """
        books = self._books
        if not books.guests and not books.queued:
            return self._undisturbed()
        return self._shared(origin)

    def validate(self) -> None:
        """AssertionError where what is kept of nodes is out of date."""
        if not self._books.guests and not self._books.queued:
            assert self._undisturbed() == self._shared(""), "an offer to guests is an old one"

    def _undisturbed(self) -> SiteOffer:
        """To whichever guest, while none has requests here and none of this site's own wait.

        A node's part of it is kept until something of the node changes: most of them are the same
        from one guest's ping to the next one's.
        """
        kept = self._kept
        nodes: dict[NodeBook, PeerNode] = {}
        services = []
        for service in self._books.services.values():
            if not service.open:
                continue
            room = busy = 0
            for place in service.open:
                room += place.room()
                busy += place.in_flight
                node = place.node
                if node not in nodes:
                    known = kept.get(node)
                    if known is None or known[0] != node.version:
                        known = kept[node] = (node.version, self._free(node))
                    nodes[node] = known[1]
            services.append(_service_offer(service, room, busy))
        if len(kept) > len(self._books.nodes):
            # Of nodes that have left.
            self._kept = {node: kept[node] for node in nodes}
        return SiteOffer(tuple(nodes.values()), tuple(services))

    def _free(self, node: NodeBook) -> PeerNode:
        """_shared() of one node, where nobody has or wants any of it."""
        slots: list[tuple[str, int]] = []
        cpu_millis = memory_bytes = 0
        for service in self._books.services.values():
            place = service.places.get(node.name)
            if place is not None and place.slots:
                free = place.free()
                slots.append((service.name, free))
                part = free - place.room()
                cpu_millis += part * place.cpu_millis
                memory_bytes += part * service.request_memory_bytes
        return _peer_node(node, tuple(slots), cpu_millis, memory_bytes)

    def _shared(self, origin: str) -> SiteOffer:
        """The offer to one of several that have or want some of the nodes."""
        books = self._books
        held, queued = self._held(origin) if books.guests else (_NOTHING, _NONE)
        guests = len(self._sessions) or 1
        # By node: its entries, and the CPU and memory that are the guest's already. Made for each
        # guest ten times a second: plain loops, few calls.
        found: dict[NodeBook, tuple[list[tuple[str, int]], list[int]]] = {}
        services = []
        for service in books.services.values():
            if not service.open:
                continue
            own_queued = len(service.queue)
            if queued:
                mine, others = queued.get(service, (0, 0))
                own_queued -= mine + others
            total = busy = mine = others = 0
            memory_bytes = service.request_memory_bytes
            for place in service.open:
                node = place.node
                if held:
                    mine, others = held.get((node.name, service), (0, 0))
                room = place.room()
                total += room
                busy += place.in_flight
                # What is published to clients is this site's own use too.
                own = place.in_flight + place.published - mine - others
                for_guests = place.slots - own
                if for_guests < 0:
                    for_guests = 0
                taken = min(for_guests, own_queued)
                own_queued -= taken
                for_guests -= taken
                offered = for_guests - others
                if offered < for_guests // guests:
                    offered = for_guests // guests
                part = offered - room + taken if room > taken else offered
                if part < mine:
                    part = mine
                entry = found.get(node)
                if entry is None:
                    entry = found[node] = ([], [0, 0])
                entry[0].append((service.name, offered))
                if part:
                    entry[1][0] += part * place.cpu_millis
                    entry[1][1] += part * memory_bytes
            services.append(_service_offer(service, total, busy))
        nodes = [
            _peer_node(node, tuple(entries), parts[0], parts[1])
            for node, (entries, parts) in found.items()
        ]
        return SiteOffer(tuple(nodes), tuple(services))

    def _held(
        self, origin: str
    ) -> tuple[dict[tuple[str, ServiceBook], tuple[int, int]], dict[ServiceBook, tuple[int, int]]]:
        """In flight by node and service, and queued by service: (of that site, of other guests)."""
        held: dict[tuple[str, ServiceBook], tuple[int, int]] = {}
        queued: dict[ServiceBook, tuple[int, int]] = {}
        for guest, calls in self._books.guests.items():
            mine, other = (1, 0) if guest == origin else (0, 1)
            for call in calls.values():
                service = call.service
                if call.state is QUEUED:
                    a, b = queued.get(service, (0, 0))
                    queued[service] = (a + mine, b + other)
                elif call.node is not None:
                    # One that nobody waits for any more still holds its slot, for a moment.
                    own = mine if call.state is IN_FLIGHT else 0
                    a, b = held.get((call.node.name, service), (0, 0))
                    held[call.node.name, service] = (a + own, b + 1 - own)
        return held, queued

    def _refusal(self, guest: Guest | None, hello: PeerHello) -> str:
        """Why a stream is not taken on, "" if it is."""
        try:
            check_name(hello.edge, "edge")
        except InvalidField as error:
            return str(error)
        if hello.edge == self._books.edge:
            return f"{hello.edge} is this site itself"
        if guest is None:
            full = len(self._guests) >= MAX_GUESTS
            return f"{MAX_GUESTS} sites have dialled already" if full else ""
        known = guest.hello
        if hello.incarnation < known.incarnation:
            older = known.incarnation
            return f"stale: incarnation {hello.incarnation} of {hello.edge} is before {older}"
        if hello.incarnation == known.incarnation and hello.dial and hello.dial <= known.dial:
            return f"stale: stream {hello.dial} of {hello.edge} is not after {known.dial}"
        return ""


_NOTHING: dict[tuple[str, ServiceBook], tuple[int, int]] = {}
_NONE: dict[ServiceBook, tuple[int, int]] = {}


def _peer_node(
    node: NodeBook, slots: tuple[tuple[str, int], ...], cpu_millis: int, memory_bytes: int
) -> PeerNode:
    """cpu_millis, memory_bytes: of what is held there, the guest's part."""
    capacity, held = node.cpu_millis, node.lc_cpu_millis
    return PeerNode(
        node.name,
        min(capacity, max(0, capacity - held) + cpu_millis),
        min(node.memory_bytes, max(0, node.lc_memory_left()) + memory_bytes),
        held / capacity if capacity > 0 else 1.0,
        node.rtt_s,
        slots,
    )


def _service_offer(service: ServiceBook, room: int, busy: int) -> PeerServiceOffer:
    """room, busy: of all its places together."""
    forecast = service.forecast
    ahead = len(service.queue) - room + 1
    wait_s = forecast.wait_s(ahead, room + busy) * forecast.correction if ahead > 0 else 0.0
    return PeerServiceOffer(service.name, wait_s, forecast.occupancy_s)
