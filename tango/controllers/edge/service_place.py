"""A service on one node, in the edge's books: its slots, what they hold, and what still fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tango.algorithms.quota.reassurance import UNADJUSTED, Adjustment, Assessment

if TYPE_CHECKING:
    from tango.controllers.edge.lane import Lane
    from tango.controllers.edge.node_book import NodeBook
    from tango.controllers.edge.service_book import ServiceBook
    from tango.model.plan import NodeOffer


class PlaceQos:
    """Latencies of a place since begun_at, and what the window before made of it.

    ratios: latency over target, end to end; node_ratios: since dispatch. seen: requests in all, of
    which every stride-th is kept. ticket: of the timer that ends this window.
    """

    __slots__ = (
        "assessment", "begun_at", "node_ratios", "ratios", "seen", "state", "stride", "ticket",
    )  # fmt: skip

    def __init__(
        self,
        begun_at: float,
        state: Adjustment = UNADJUSTED,
        assessment: Assessment | None = None,
    ) -> None:
        self.begun_at = begun_at
        self.state = state
        self.assessment = assessment
        self.ratios: list[float] = []
        self.node_ratios: list[float] = []
        self.seen = 0
        self.stride = 1
        self.ticket = 0


class ServicePlace:
    """A service on one node. slots: sum of the concurrency of its ready replicas there.

    cpu_millis: what a request takes here, as re-assurance has adjusted it; saturated: that does not
    help any more. qos: None where no requests were served lately.
    published: slots that are carved out for clients who call its replicas themselves, and the CPU
    and memory of the node that go with them.
    direct: the part of in_flight that this edge carries itself; lanes: by which, None where that
    is to be looked up again; lanes_before: as they were until then.
    offer: the node as a traffic policy was shown it last for this service; offer_of: the node's
    version then.
    """

    __slots__ = (
        "_room", "_room_of", "cpu_millis", "direct", "in_flight", "lanes", "lanes_before", "node",
        "offer", "offer_of", "published", "published_cpu_millis", "published_memory_bytes", "qos",
        "saturated", "service", "slots",
    )  # fmt: skip

    def __init__(self, service: ServiceBook, node: NodeBook) -> None:
        self.service = service
        self.node = node
        self.slots = 0
        self.in_flight = 0
        self.cpu_millis = service.cpu_millis
        self.saturated = False
        self.qos: PlaceQos | None = None
        self.published = 0
        self.published_cpu_millis = 0
        self.published_memory_bytes = 0
        self.direct = 0
        self.lanes: tuple[Lane, ...] | None = None
        self.lanes_before: tuple[Lane, ...] = ()
        self.offer: NodeOffer | None = None
        self.offer_of = self._room_of = -1
        self._room = 0

    def carve(self, slots: int) -> None:
        """Set so many slots aside for clients, in place of those before."""
        node = self.node
        node.lc_cpu_millis -= self.published_cpu_millis
        node.lc_request_memory_bytes -= self.published_memory_bytes
        self.published = slots
        self.published_cpu_millis = slots * self.cpu_millis
        self.published_memory_bytes = slots * self.service.request_memory_bytes
        node.lc_cpu_millis += self.published_cpu_millis
        node.lc_request_memory_bytes += self.published_memory_bytes
        node.version += 1

    def spare(self, held: int) -> int:
        """How many more slots than these clients could use beside what is carried now."""
        node = self.node
        service = self.service
        spare = self.slots - self.in_flight
        if self.cpu_millis > 0:
            cpu_millis = node.cpu_millis - node.lc_cpu_millis + self.published_cpu_millis
            spare = min(spare, cpu_millis // self.cpu_millis)
        if service.request_memory_bytes > 0:
            memory_bytes = node.lc_memory_left() + self.published_memory_bytes
            spare = min(spare, memory_bytes // service.request_memory_bytes)
        return spare - held

    def room(self) -> int:
        """How many more requests fit: free slots, CPU (BE yields it) and memory (BE yields it).

        Asked of each place at each arrival, so it is kept while the node's version is the same.
        """
        version = self.node.version
        if self._room_of != version:
            self._room = self.fresh_room()
            self._room_of = version
        return self._room

    def free(self) -> int:
        """Slots that nobody has, whatever else there is of the node."""
        return max(0, self.slots - self.in_flight - self.published)

    def fresh_room(self) -> int:
        """room(), worked out."""
        room = self.free()
        if not room:
            return 0
        service = self.service
        node = self.node
        if self.cpu_millis > 0:
            by_cpu = (node.cpu_millis - node.lc_cpu_millis) // self.cpu_millis
            if by_cpu < room:
                room = by_cpu
        if service.request_memory_bytes > 0:
            by_memory = node.lc_memory_left() // service.request_memory_bytes
            if by_memory < room:
                room = by_memory
        if room < 0:
            return 0
        return room

    def fits_alone(self) -> bool:
        """Whether one request would fit if nothing else were in flight on the node."""
        node = self.node
        memory = node.memory_bytes - node.replica_memory_bytes
        service = self.service
        return self.cpu_millis <= node.cpu_millis and service.request_memory_bytes <= memory

    def reset(self) -> None:
        """The service declares something else: what was learned of the old one does not count."""
        self.cpu_millis = self.service.cpu_millis
        self.saturated = False
        self.qos = None
        self.node.version += 1
