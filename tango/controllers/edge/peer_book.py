"""One peer in the edge's books: its session, delay, latest offer, and what was forwarded there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tango.controllers.edge.rtt import RoundTrips
from tango.model.peers import PeerNode, PeerServiceOffer, SiteOffer

if TYPE_CHECKING:
    from tango.controllers.edge.calls import Call
    from tango.controllers.edge.service_book import ServiceBook

# A slot there is free again for the next request before its answer is back here: so many requests
# may be under way for each slot, at most.
MAX_PIPELINE: Final = 8.0
# How far above the delay an answer may come that is still thought to be in time.
SPREADS: Final = 2.0
# Refusals show that the pipeline was too deep: it shrinks by a share, and grows again by answers.
PIPELINE_CUT = 0.7
PIPELINE_GROWTH = 0.05


class PeerBook:
    """A site that this edge dials; session is None while the stream is not up.

    offered_at: when the ping was sent that its offer answers, so the offer is younger than that.
    near: one of the nearest, whose offers are used. away: node -> service -> calls planned there.
    """

    __slots__ = (
        "address",
        "asked_at",
        "away",
        "calls",
        "eagerness",
        "forwarded",
        "heard_at",
        "incarnation",
        "lost",
        "name",
        "near",
        "offer",
        "offered_at",
        "refused",
        "rtt",
        "services",
        "session",
    )

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.session: int | None = None
        self.incarnation = 0
        self.rtt = RoundTrips()
        self.near = False
        self.asked_at = self.heard_at = 0.0
        self.offer: SiteOffer | None = None
        self.services: dict[str, PeerServiceOffer] = {}
        self.offered_at = 0.0
        self.calls: dict[str, Call] = {}
        self.away: dict[str, dict[ServiceBook, int]] = {}
        self.eagerness = 1.0
        self.forwarded = self.refused = self.lost = 0

    def adopt(self, offer: SiteOffer | None, sent_at: float) -> None:
        """Take over what the peer offers now."""
        self.offer = offer
        self.offered_at = sent_at
        self.services = {} if offer is None else {each.service: each for each in offer.services}

    def way_s(self, now: float) -> float:
        """There and back, with an allowance for how much that varies."""
        return self.rtt.at_least_s(now) + SPREADS * self.rtt.spread_s

    def wait_s(self, service: ServiceBook) -> float:
        """From a request's arrival there until its answer leaves."""
        offered = self.services[service.name]
        return offered.wait_s + (offered.occupancy_s or service.forecast.occupancy_s)

    def need_s(self, service: ServiceBook, now: float) -> float:
        """From sending a request there until its answer is back, as far as one can tell."""
        return self.way_s(now) + self.wait_s(service)

    def pipeline(self, service: ServiceBook) -> float:
        """How many requests may be under way for each slot: 1 and those on the road."""
        occupancy_s = self.services[service.name].occupancy_s
        if occupancy_s <= 0:
            return 1.0
        depth = min(MAX_PIPELINE, 1 + self.rtt.rtt_s / occupancy_s)
        return 1 + (depth - 1) * self.eagerness

    def slots_left(self, node: PeerNode, service: ServiceBook, slots: int) -> int:
        """How many more requests of the service may be planned on the node."""
        room = int(slots * self.pipeline(service))
        held = self.away.get(node.node)
        return room - held.get(service, 0) if held else room

    def put(self, call: Call, node: str) -> None:
        """A call is on its way there, planned on that node."""
        self.calls[call.request_id] = call
        self.forwarded += 1
        held = self.away.setdefault(node, {})
        held[call.service] = held.get(call.service, 0) + 1
        call.service.away += 1

    def drop(self, call: Call) -> None:
        """A call is not there any more, or nobody waits for it."""
        del self.calls[call.request_id]
        service = call.service
        service.away -= 1
        held = self.away[call.peer_node]
        held[service] -= 1
        if not held[service]:
            del held[service]
            if not held:
                del self.away[call.peer_node]
