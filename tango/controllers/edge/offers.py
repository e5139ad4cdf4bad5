"""What a traffic policy is shown of this site's nodes: kept until something of a node changes."""

from __future__ import annotations

from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_book import ServiceBook
from tango.controllers.edge.service_place import ServicePlace
from tango.model.plan import NodeOffer

ByService = list[tuple[str, int]]
"""A number by service."""


def has_room(service: ServiceBook) -> bool:
    """Whether one of its queued requests fits a node that may be offered for it."""
    spill = spill_of(service) if service.saturated else 0
    return any((spill or not place.saturated) and place.room() > 0 for place in service.open)


def own_offers(services: list[ServiceBook]) -> list[NodeOffer]:
    """The nodes with ready replicas of these services, which come by priority."""
    if len(services) == 1 and not services[0].saturated:
        return [offer_for(place) for place in services[0].open]
    slots: dict[NodeBook, ByService] = {}
    in_flight: dict[NodeBook, ByService] = {}
    needs: dict[NodeBook, ByService] = {}
    for service in services:
        name = service.name
        spill = spill_of(service) if service.saturated else 0
        for place in service.open:
            node = place.node
            free = place.free()
            if place.saturated and free > spill:
                free = spill
            if place.cpu_millis != service.cpu_millis:
                needs.setdefault(node, []).append((name, place.cpu_millis))
            slots.setdefault(node, []).append((name, free))
            in_flight.setdefault(node, []).append((name, place.in_flight))
    return [
        _offer(node, tuple(entries), tuple(in_flight[node]), tuple(needs.get(node, ())))
        for node, entries in slots.items()
    ]


def offer_for(place: ServicePlace) -> NodeOffer:
    """Its node for its service alone, none of whose places is saturated: that is nearly each solve.

    The same one as before while the node's version is the same.
    """
    offer = place.offer
    if offer is None or place.offer_of != place.node.version:
        offer = place.offer = fresh_offer(place)
        place.offer_of = place.node.version
    return offer


def fresh_offer(place: ServicePlace) -> NodeOffer:
    """offer_for(), made anew."""
    service = place.service
    name = service.name
    needs = ((name, place.cpu_millis),) if place.cpu_millis != service.cpu_millis else ()
    return _offer(place.node, ((name, place.free()),), ((name, place.in_flight),), needs)


def spill_of(service: ServiceBook) -> int:
    """Queued requests for which places that are not saturated have no room."""
    spare = sum(place.room() for place in service.open if not place.saturated)
    return max(0, len(service.queue) - spare)


def _offer(
    node: NodeBook,
    slots: tuple[tuple[str, int], ...],
    in_flight: tuple[tuple[str, int], ...],
    needs: tuple[tuple[str, int], ...],
) -> NodeOffer:
    held = node.lc_cpu_millis
    capacity = node.cpu_millis
    return NodeOffer(
        node.name,
        max(0, capacity - held),
        max(0, node.lc_memory_left()),
        slots,
        held / capacity if capacity > 0 else 1.0,
        node.rtt_s,
        in_flight=in_flight,
        services=node.services,
        needs=needs,
    )
