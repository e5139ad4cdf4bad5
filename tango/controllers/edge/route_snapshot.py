"""What the traffic policy is shown when it is asked for the weights of published routes."""

from __future__ import annotations

from collections.abc import Sequence

from tango.controllers.edge.books import Books
from tango.controllers.edge.published import Published, Target, by_node
from tango.controllers.edge.service_book import ServiceBook
from tango.model.plan import Demand, NodeOffer, TrafficSnapshot


def snapshot_of(
    books: Books, found: Sequence[tuple[ServiceBook, Published, list[Target]]], seed: int
) -> TrafficSnapshot:
    """Demands for what may be published; what these services hold of the nodes counts as free.

    found: by priority. Both the shares that were published before and the carried requests of these
    services count as free: shares are dealt anew, and come before what is carried later.
    """
    offers: dict[str, list[tuple[str, int]]] = {}
    needs: dict[str, list[tuple[str, int]]] = {}
    cpu: dict[str, int] = {}
    memory: dict[str, int] = {}
    nodes = books.nodes
    for service, _, targets in found:
        for name, there in by_node(targets).items():
            node = nodes[name]
            place = service.place(node)
            cpu.setdefault(name, node.cpu_millis - node.lc_cpu_millis)
            memory.setdefault(name, node.lc_memory_left())
            cpu[name] += place.published_cpu_millis + place.in_flight * place.cpu_millis
            memory[name] += place.published_memory_bytes
            memory[name] += place.in_flight * service.request_memory_bytes
            # Load is led away from a node where more CPU does not help any more.
            shut = place.saturated and service.saturated < len(service.open)
            slots = 0 if shut else sum(target.slots for target in there)
            if place.cpu_millis != service.cpu_millis:
                needs.setdefault(name, []).append((service.name, place.cpu_millis))
            offers.setdefault(name, []).append((service.name, slots))
    demands = []
    for service, published, targets in found:
        fits = 0
        for name in by_node(targets):
            place = service.places[name]
            most = dict(offers[name])[service.name]
            most = min(most, max(0, cpu[name]) // max(1, place.cpu_millis))
            if service.request_memory_bytes:
                most = min(most, max(0, memory[name]) // service.request_memory_bytes)
            fits += most
        count = published.demand(fits)
        if count:
            demands.append(
                Demand(
                    service.name,
                    count,
                    service.cpu_millis,
                    service.request_memory_bytes,
                    service.spec.priority,
                    service_s=service.forecast.service_s,
                    dispatched=service.dispatched,
                )
            )
    made = [
        NodeOffer(
            name,
            max(0, cpu[name]),
            max(0, memory[name]),
            tuple(slots),
            1.0 - max(0, cpu[name]) / max(1, nodes[name].cpu_millis),
            nodes[name].rtt_s,
            services=nodes[name].services,
            needs=tuple(needs.get(name, ())),
        )
        for name, slots in offers.items()
    ]
    return TrafficSnapshot(tuple(demands), tuple(made), seed)
