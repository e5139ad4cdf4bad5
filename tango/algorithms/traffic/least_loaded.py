"""LC routing by least load: each request goes where the node's CPU load is lowest afterwards.

Greedy list scheduling on the residuals (Graham, "Bounds on multiprocessing timing anomalies",
1969, with requests as jobs and CPU share as length): simple, work-conserving, and the baseline
that the other traffic policies are measured against.
"""

from __future__ import annotations

import heapq

from tango.model.plan import Demand, NodeOffer, Route, TrafficPlan, TrafficSnapshot

NO_SLOT = "no free slot"
NO_CPU = "not enough CPU"
NO_MEMORY = "not enough memory"


class _Residual:
    """What is left of an offer while the plan grows."""

    __slots__ = ("cpu_millis", "load", "memory_bytes", "node", "per_millicore", "rtt_s", "slots")

    def __init__(self, offer: NodeOffer) -> None:
        self.node = offer.node
        self.cpu_millis = offer.cpu_millis
        self.memory_bytes = offer.memory_bytes
        self.load = offer.load
        self.rtt_s = offer.rtt_s
        self.slots = dict(offer.slots)
        # load = held / capacity and free = capacity - held give capacity = free / (1 - load).
        free = offer.cpu_millis
        self.per_millicore = (1 - offer.load) / free if free > 0 and offer.load < 1 else 0.0

    def lacks(self, demand: Demand) -> str:
        """Why one more request does not fit, "" if it does."""
        if self.slots[demand.service] <= 0:
            return NO_SLOT
        if self.cpu_millis < demand.cpu_millis:
            return NO_CPU
        return NO_MEMORY if self.memory_bytes < demand.memory_bytes else ""

    def take(self, demand: Demand) -> None:
        """Assign one request."""
        self.slots[demand.service] -= 1
        self.cpu_millis -= demand.cpu_millis
        self.memory_bytes -= demand.memory_bytes
        self.load += demand.cpu_millis * self.per_millicore


class _Chosen:
    """The route to one node while it grows; score and runner-up are those of its last request."""

    __slots__ = ("count", "runner_up", "score")

    def __init__(self) -> None:
        self.count = 0
        self.score = 0.0
        self.runner_up = ("", 0.0)


class LeastLoaded:
    """TrafficPolicy: lowest load after assignment; ties go to the shorter rtt, then by name.

    Services are served by priority; within a plan what one takes is gone for the next. Work
    conserving: a request stays unrouted only if no offer fits it. O((n + count) log n) a service.
    """

    name = "least-loaded"

    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        """See TrafficPolicy. score: share of the node's CPU held after the route's last request."""
        nodes = [_Residual(offer) for offer in snapshot.offers]
        routes: list[Route] = []
        demands = snapshot.demands
        if len(demands) > 1:
            demands = tuple(sorted(demands, key=lambda demand: -demand.priority))
        for demand in demands:
            routes.extend(_fill(demand, nodes))
        return TrafficPlan(tuple(routes))


def _fill(demand: Demand, nodes: list[_Residual]) -> list[Route]:
    """Routes of one service, in the order in which their nodes were first chosen."""
    cpu_millis = demand.cpu_millis
    heap: list[tuple[float, float, str, _Residual]] = []
    rejected: list[tuple[str, str]] = []
    for residual in nodes:
        if demand.service not in residual.slots:
            continue
        why = residual.lacks(demand)
        if why:
            rejected.append((residual.node, why))
        else:
            after = residual.load + cpu_millis * residual.per_millicore
            heap.append((after, residual.rtt_s, residual.node, residual))
    heapq.heapify(heap)
    chosen: dict[str, _Chosen] = {}
    left = demand.count
    while left > 0 and heap:
        score, rtt_s, node, residual = heap[0]
        route = chosen.get(node)
        if route is None:
            route = chosen[node] = _Chosen()
        route.count += 1
        route.score = score
        if len(heap) > 1:
            second = min(heap[1:3])
            route.runner_up = (second[2], second[0])
        else:
            route.runner_up = ("", 0.0)
        residual.take(demand)
        left -= 1
        if residual.lacks(demand):
            heapq.heappop(heap)
        else:
            after = residual.load + cpu_millis * residual.per_millicore
            heapq.heapreplace(heap, (after, rtt_s, node, residual))
    why_not = tuple(rejected)
    return [
        Route(demand.service, node, route.count, route.score, route.runner_up, why_not)
        for node, route in chosen.items()
    ]
