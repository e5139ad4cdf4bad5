"""What the traffic policies have in common that fill one request after another by a score."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from tango.algorithms.traffic.residual import Residual
from tango.model.plan import Demand, Route, TrafficPlan, TrafficSnapshot


@dataclass(frozen=True, slots=True)
class Field:
    """The candidates of one service as a whole: how many, and the most memory and delay among them.

    For scores that weigh unlike things against each other.
    """

    count: int
    memory_bytes: int
    rtt_s: float


class Greedy(ABC):
    """TrafficPolicy: each request goes to the node of the lowest score at that moment.

    Services are served by priority; within a plan what one takes is gone for the next. Ties go to
    the shorter rtt, then by name. Work conserving: a request stays unrouted only if no offer fits
    it. O((n + count) log n) a service.
    """

    name: str

    @abstractmethod
    def score(self, node: Residual, demand: Demand, field: Field) -> float:
        """Of one more request on the node; lower is better."""

    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        """See TrafficPolicy. A route's score is the one of its last request."""
        nodes = [Residual(offer) for offer in snapshot.offers]
        routes: list[Route] = []
        demands = snapshot.demands
        if len(demands) > 1:
            demands = tuple(sorted(demands, key=lambda demand: -demand.priority))
        for demand in demands:
            routes.extend(self._fill(demand, nodes))
        return TrafficPlan(tuple(routes))

    def _fill(self, demand: Demand, nodes: Sequence[Residual]) -> list[Route]:
        """Routes of one demand, in the order in which their nodes were first chosen."""
        heap: list[tuple[float, float, str, Residual]] = []
        rejected: list[tuple[str, str]] = []
        candidates = [
            node
            for node in nodes
            if demand.service in node.slots and (node.own or not demand.origin)
        ]
        if not candidates:
            return []
        field = _field(candidates)
        for node in candidates:
            why = node.lacks(demand)
            if why:
                rejected.append((node.node, why))
            else:
                heap.append((self.score(node, demand, field), node.rtt_s, node.node, node))
        heapq.heapify(heap)
        chosen: dict[str, _Chosen] = {}
        left = demand.count
        while left > 0 and heap:
            score, rtt_s, name, node = heap[0]
            route = chosen.get(name)
            if route is None:
                route = chosen[name] = _Chosen()
            route.count += 1
            route.score = score
            if len(heap) > 1:
                second = min(heap[1:3])
                route.runner_up = (second[2], second[0])
            else:
                route.runner_up = ("", 0.0)
            node.take(demand)
            left -= 1
            if node.lacks(demand):
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (self.score(node, demand, field), rtt_s, name, node))
        why_not = tuple(rejected)
        return [
            Route(
                demand.service, name, route.count, route.score, route.runner_up, why_not,
                demand.origin,
            )
            for name, route in chosen.items()
        ]  # fmt: skip


class _Chosen:
    """The route to one node while it grows; score and runner-up are those of its last request."""

    __slots__ = ("count", "runner_up", "score")

    def __init__(self) -> None:
        self.count = 0
        self.score = 0.0
        self.runner_up = ("", 0.0)


def _field(candidates: Sequence[Residual]) -> Field:
    # Ranks by name, so that a plan does not depend on the order of the offers.
    for rank, node in enumerate(sorted(candidates, key=lambda node: node.node)):
        node.rank = rank
        node.assigned = 0
    return Field(
        len(candidates),
        max(node.memory_bytes for node in candidates),
        max(node.rtt_s for node in candidates),
    )
