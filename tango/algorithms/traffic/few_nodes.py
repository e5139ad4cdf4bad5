"""DSS-LC on a small site: the same flow without a graph, where every service has one origin.

With one origin the graph is parallel arcs from it to the sink, and their min-cost flow is to fill
the cheapest first. So no solver is needed, and for few nodes plain loops are several times as fast
as arrays. What is left open is the choice among optima of equal cost: here it is the seed's, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tango.algorithms.traffic.residual import NO_CPU, NO_MEMORY, NO_SLOT, TOO_FAR
from tango.model.plan import Demand, NodeOffer, Route, TrafficPlan, TrafficSnapshot

# Beyond so many nodes arrays are faster.
MOST_NODES = 48
_WORD = (1 << 64) - 1
# Added to a float and taken away again it leaves the nearest whole number, half to even, as round()
# does: it is 1.5 * 2**52, and from 2**52 on floats have no fractions. For numbers below 2**51.
_WHOLE: Final = 6755399441055744.0
# Above all costs.
_NONE: Final = 1e300


def drawn(seed: int, number: int, below: int) -> int:
    """The number-th (from 0) of the whole numbers from 0 that a seed gives, by SplitMix64.

    Steele, Lea & Flood, OOPSLA 2014. Each for itself, since few of them are needed.
    """
    word = (seed + (number + 1) * 0x9E3779B97F4A7C15) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return (word ^ (word >> 31)) % below


class Bounds(NamedTuple):
    """steps: pieces of rising cost in which a node's room is offered. most_us, most_rejected: the
    bounds of a cost, and of what is told of nodes that could take nothing."""

    steps: int
    most_us: int
    most_rejected: int


def grouped(demands: Sequence[Demand]) -> list[list[Demand]]:
    """The demands of each service that are for anything, in the order of their priority."""
    groups: dict[str, list[Demand]] = {}
    for demand in sorted(demands, key=_by_priority):
        group = groups.setdefault(demand.service, [])
        if demand.count > 0:
            group.append(demand)
    return [group for group in groups.values() if group]


def plan_few(snapshot: TrafficSnapshot, most_nodes: int, bounds: Bounds) -> TrafficPlan | None:
    """The plan, service by service; None for more nodes, or a service with several origins."""
    offers, demands = snapshot.offers, snapshot.demands
    if len(offers) > most_nodes:
        return None
    if len(demands) > 1:
        groups = grouped(demands)
        if any(len(group) > 1 for group in groups):
            return None
        demands = tuple([group[0] for group in groups])
    few = FewNodes(offers, bounds, snapshot.seed)
    routes: list[Route] = []
    for demand in demands:
        if demand.count > 0:
            routes += few.routes(demand)
    return TrafficPlan(tuple(routes))


class _Room:
    """What one node can take of the demand, piece by piece; each costs at least the one before.

    reached: whether the demand may go there. cost: of the next piece, in whole microseconds, or
    _NONE after the last; free: what that piece still takes. sent: requests so far, dearest: the
    cost of the last of them.
    """

    __slots__ = (
        "cost", "dearest", "delay_us", "free", "index", "load", "need", "per_millicore", "reached",
        "room", "sent", "step", "upto",
    )  # fmt: skip

    def __init__(self, index: int, room: int, need: int, reached: bool) -> None:
        self.index = index
        self.room = room
        self.need = need
        self.reached = reached
        self.delay_us = self.load = self.per_millicore = 0.0
        self.cost = self.dearest = _NONE
        self.step = self.upto = self.free = self.sent = 0

    def go_on(self, steps: int, service_us: float, most_us: float) -> None:
        """The next piece, of so many in all; some have nothing in them."""
        below = above = self.upto
        while above == below:
            if self.step == steps:
                self.cost = _NONE
                return
            self.step += 1
            above = self.room * self.step // steps
        self.upto = above
        self.free = above - below
        held = (below + above) / 2 * self.need * self.per_millicore
        cost = self.delay_us + service_us * (1.0 + self.load + held)
        if cost > most_us:
            cost = most_us
        self.cost = (cost + _WHOLE) - _WHOLE


class FewNodes:
    """The offers, less what services have taken of them. seed: of the choice among equal nodes."""

    def __init__(self, offers: tuple[NodeOffer, ...], bounds: Bounds, seed: int) -> None:
        self._offers = offers
        self._steps = bounds.steps
        self._most_us = float(bounds.most_us - 1)
        self._most_rejected = bounds.most_rejected
        self._seed = seed
        # Demands so far.
        self._number = -1
        # By index: CPU, memory and load of the nodes that something was taken of.
        self._left: dict[int, tuple[int, int, float]] = {}

    def routes(self, demand: Demand) -> list[Route]:
        """Route a demand as far as there is room, cheapest first, and reserve for it."""
        self._number += 1
        rejected: list[tuple[str, str]] = []
        rooms = self._rooms(demand, rejected)
        steps, service_us, most_us = self._steps, demand.service_s * 1e6, self._most_us
        left = demand.count
        chosen: list[_Room] = []
        while left > 0:
            best = self._cheapest(rooms)
            if best is None:
                break
            if not best.sent:
                chosen.append(best)
            sent = min(left, best.free)
            left -= sent
            best.sent += sent
            best.free -= sent
            best.dearest = best.cost
            if not best.free:
                best.go_on(steps, service_us, most_us)
        if not chosen:
            return []
        found = self._described(demand, chosen, rooms, tuple(rejected))
        self._take(demand, chosen)
        return found

    def _cheapest(self, rooms: list[_Room]) -> _Room | None:
        """The room whose next piece costs least, None where none has any.

        Of nodes that cost the same the first is taken that comes after a place that is drawn.
        """
        best: _Room | None = None
        least = _NONE
        tied = False
        for one in rooms:
            if one.cost <= least and one.free and one.reached:
                tied = one.cost == least
                best = one
                least = one.cost
        if not tied:
            return best
        equal = [one for one in rooms if one.cost == least and one.reached]
        turn = drawn(self._seed, self._number, len(self._offers))
        for one in equal:
            if one.index >= turn:
                return one
        return equal[0]

    def _rooms(self, demand: Demand, rejected: list[tuple[str, str]]) -> list[_Room]:
        """Nodes with room for the demand, in order; rejected: those that can take nothing of it."""
        service, cpu_millis, memory_bytes = demand.service, demand.cpu_millis, demand.memory_bytes
        service_us, slack_us = demand.service_s * 1e6, demand.slack_s * 1e6
        away_too = not demand.origin
        steps, most_us = self._steps, self._most_us
        left = self._left
        found = []
        for index, offer in enumerate(self._offers):
            slots = -1
            for name, count in offer.slots:
                if name == service:
                    slots = count
            if slots < 0:
                continue
            need = cpu_millis
            for name, count in offer.needs:
                if name == service:
                    need = count
            free = cpu = max(0, offer.cpu_millis)
            memory = max(0, offer.memory_bytes)
            unladen = load = min(1.0, max(0.0, offer.load))
            if left and index in left:
                cpu, memory, load = left[index]
            room = slots
            if need > 0 and cpu // need < room:
                room = cpu // need
            if memory_bytes > 0 and memory // memory_bytes < room:
                room = memory // memory_bytes
            delay_us = (offer.rtt_s + offer.wait_s) * 1e6
            own = not offer.site
            meets = own or delay_us + service_us <= slack_us
            if (room <= 0 or not meets) and len(rejected) < self._most_rejected:
                if slots <= 0:
                    why = NO_SLOT
                elif cpu < need:
                    why = NO_CPU
                elif memory < memory_bytes:
                    why = NO_MEMORY
                else:
                    why = TOO_FAR
                rejected.append((offer.node, why))
            if room > 0:
                one = _Room(index, room, need, meets and (away_too or own))
                one.delay_us = delay_us
                one.load = load
                # load = held / capacity and free = capacity - held: capacity = free / (1 - load).
                one.per_millicore = (1.0 - unladen) / free if free > 0 else 0.0
                one.go_on(steps, service_us, most_us)
                found.append(one)
        return found

    def _described(
        self,
        demand: Demand,
        chosen: list[_Room],
        rooms: list[_Room],
        rejected: tuple[tuple[str, str], ...],
    ) -> list[Route]:
        """Routes, the cheapest nodes first; the runner-up is the cheapest other with room left."""
        first: _Room | None = None
        second: _Room | None = None
        for one in rooms:
            if one.cost < _NONE:
                if first is None or _precedes(one, first):
                    second = first
                    first = one
                elif second is None or _precedes(one, second):
                    second = one
        if len(chosen) > 1:
            chosen.sort(key=_by_cost)
        offers = self._offers
        routes = []
        for one in chosen:
            other = second if one is first else first
            runner_up = ("", 0.0)
            if other is not None:
                runner_up = (offers[other.index].node, other.cost / 1000)
            routes.append(
                Route(
                    demand.service, offers[one.index].node, one.sent, one.dearest / 1000, runner_up,
                    rejected, demand.origin,
                )
            )  # fmt: skip
        return routes

    def _take(self, demand: Demand, chosen: list[_Room]) -> None:
        for one in chosen:
            offer = self._offers[one.index]
            cpu, memory = max(0, offer.cpu_millis), max(0, offer.memory_bytes)
            if one.index in self._left:
                cpu, memory, _ = self._left[one.index]
            taken = one.sent * one.need
            self._left[one.index] = (
                cpu - taken,
                memory - one.sent * demand.memory_bytes,
                one.load + taken * one.per_millicore,
            )


def _precedes(one: _Room, other: _Room) -> bool:
    return one.cost < other.cost or (one.cost == other.cost and one.index < other.index)


def _by_cost(one: _Room) -> tuple[float, int]:
    return one.dearest, one.index


def _by_priority(demand: Demand) -> int:
    return -demand.priority
