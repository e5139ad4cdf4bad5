"""LC routing on fixed shares: each service may use an equal part of a node's CPU, and no more.

A re-implementation of the static partition that HRM is compared with in Tango (ICPP 2023): what
one service leaves idle stays idle, whatever the others need.
"""

from __future__ import annotations

from dataclasses import replace

from tango.algorithms.traffic.greedy import Field, Greedy
from tango.algorithms.traffic.least_loaded import LeastLoaded
from tango.algorithms.traffic.residual import Residual
from tango.model.plan import Demand, NodeOffer, TrafficPlan, TrafficSnapshot


class StaticPartition(Greedy):
    """score: as least-loaded, among the nodes where the service's share has room.

    A service's share of a node: its CPU over the services with ready replicas there.
    """

    name = "static-partition"
    _by_load = LeastLoaded()

    def score(self, node: Residual, demand: Demand, field: Field) -> float:
        """See Greedy."""
        return self._by_load.score(node, demand, field)

    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        """See TrafficPolicy. A node whose share is used up shows as one without free slots."""
        needs = {demand.service: demand.cpu_millis for demand in snapshot.demands}
        offers = tuple(_within_shares(offer, needs) for offer in snapshot.offers)
        return super().route(replace(snapshot, offers=offers))


def _within_shares(offer: NodeOffer, needs: dict[str, int]) -> NodeOffer:
    """The offer with each service's slots cut to what its share still holds."""
    if offer.load >= 1 or offer.cpu_millis <= 0:
        return offer
    # load = held / capacity and free = capacity - held.
    capacity = offer.cpu_millis / (1 - offer.load)
    share = capacity / max(1, offer.services)
    in_flight = dict(offer.in_flight)
    adjusted = dict(offer.needs)
    slots = []
    for service, free in offer.slots:
        need = adjusted.get(service, needs.get(service, 0))
        if need > 0:
            room = int((share + 1e-6) // need) - in_flight.get(service, 0)
            free = max(0, min(free, room))
        slots.append((service, free))
    return replace(offer, slots=tuple(slots))
