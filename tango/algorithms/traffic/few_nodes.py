"""DSS-LC on a small site: the same flow without a graph, where every service has one origin.

With one origin the graph is parallel arcs from it to the sink, and their min-cost flow is to fill
the cheapest first. So no solver is needed, and for few nodes plain loops are several times as fast
as arrays. What is left open is the choice among optima of equal cost: here it is the seed's, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from tango.algorithms.traffic.residual import NO_CPU, NO_MEMORY, NO_SLOT, TOO_FAR
from tango.model.plan import Demand, NodeOffer, Route

# Beyond so many nodes arrays are faster.
MOST_NODES = 48
_WORD = (1 << 64) - 1


class Ties:
    """Whole numbers from a seed, by SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _WORD

    def draw(self, below: int) -> int:
        """The next one, 0 and up."""
        self._state = word = (self._state + 0x9E3779B97F4A7C15) & _WORD
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
        return (word ^ (word >> 31)) % below


class FewNodes:
    """The offers; CPU, memory and load change as services take their part.

    steps: pieces of rising cost in which a node's room is offered. most_us, most_rejected: bounds
    of a cost and of what is told of nodes that could take nothing.
    """

    def __init__(
        self, offers: Sequence[NodeOffer], steps: int, most_us: int, most_rejected: int
    ) -> None:
        self._offers = offers
        self._steps = steps
        self._most_us = most_us
        self._most_rejected = most_rejected
        self._cpu = [max(0, offer.cpu_millis) for offer in offers]
        self._memory = [max(0, offer.memory_bytes) for offer in offers]
        self._load = [min(1.0, max(0.0, offer.load)) for offer in offers]
        self._delay_us = [(offer.rtt_s + offer.wait_s) * 1e6 for offer in offers]
        # load = held / capacity and free = capacity - held give capacity = free / (1 - load).
        self._per_millicore = [
            (1.0 - load) / cpu if cpu > 0 else 0.0
            for load, cpu in zip(self._load, self._cpu, strict=True)
        ]

    def routes(self, demand: Demand, ties: Ties) -> list[Route]:
        """Route a demand as far as there is room, cheapest first, and reserve for it.

        Of nodes that cost the same the first is taken that comes after a place that is drawn.
        """
        service, steps, most_us = demand.service, self._steps, self._most_us
        service_us, slack_us = demand.service_s * 1e6, demand.slack_s * 1e6
        away_too = not demand.origin
        n_nodes = len(self._offers)
        turn = ties.draw(n_nodes)
        arcs: list[tuple[int, int, int, int]] = []
        spare: list[tuple[int, int]] = []
        rejected: list[tuple[str, str]] = []
        needs: list[int] = []
        for index, offer in enumerate(self._offers):
            slots = -1
            for name, count in offer.slots:
                if name == service:
                    slots = count
            need = demand.cpu_millis
            for name, count in offer.needs:
                if name == service:
                    need = count
            needs.append(need)
            if slots < 0:
                continue
            room = slots
            cpu, memory = self._cpu[index], self._memory[index]
            if need > 0 and cpu // need < room:
                room = cpu // need
            if demand.memory_bytes > 0 and memory // demand.memory_bytes < room:
                room = memory // demand.memory_bytes
            delay_us = self._delay_us[index]
            meets = not offer.site or delay_us + service_us <= slack_us
            if room <= 0 or not meets:
                if len(rejected) < self._most_rejected:
                    if slots <= 0:
                        why = NO_SLOT
                    elif cpu < need:
                        why = NO_CPU
                    elif memory < demand.memory_bytes:
                        why = NO_MEMORY
                    else:
                        why = TOO_FAR
                    rejected.append((offer.node, why))
                if room <= 0:
                    continue
            reached = meets and (away_too or not offer.site)
            load, per_millicore = self._load[index], self._per_millicore[index]
            below = 0
            for step in range(1, steps + 1):
                above = room * step // steps
                if above == below:
                    continue
                held = (below + above) / 2 * need * per_millicore
                cost = delay_us + service_us * (1.0 + load + held)
                whole = round(min(cost, most_us - 1))
                if reached:
                    arcs.append((whole, (index - turn) % n_nodes, index, above - below))
                else:
                    spare.append((whole, index))
                below = above
        arcs.sort()
        left = demand.count
        counts: dict[int, int] = {}
        dearest: dict[int, int] = {}
        for arc_cost, _, index, room in arcs:
            if left > 0:
                sent = min(left, room)
                left -= sent
                counts[index] = counts.get(index, 0) + sent
                if arc_cost > dearest.get(index, -1):
                    dearest[index] = arc_cost
                if sent == room:
                    continue
            spare.append((arc_cost, index))
        if not counts:
            return []
        found = self._described(demand, counts, dearest, spare, tuple(rejected))
        self._take(demand, needs, counts)
        return found

    def _described(
        self,
        demand: Demand,
        counts: dict[int, int],
        dearest: dict[int, int],
        spare: list[tuple[int, int]],
        rejected: tuple[tuple[str, str], ...],
    ) -> list[Route]:
        """Routes, the cheapest nodes first; the runner-up is the cheapest other with room left."""
        offers = self._offers
        first = second = ("", 0.0)
        if spare:
            cost, best = min(spare)
            first = (offers[best].node, cost / 1000)
            others = [entry for entry in spare if entry[1] != best]
            if others:
                cost, index = min(others)
                second = (offers[index].node, cost / 1000)
        routes = []
        for score, index in sorted((dearest[index], index) for index in counts):
            node = offers[index].node
            other = second if node == first[0] else first
            routes.append(
                Route(
                    demand.service, node, counts[index], score / 1000, other, rejected,
                    demand.origin,
                )
            )  # fmt: skip
        return routes

    def _take(self, demand: Demand, needs: list[int], counts: dict[int, int]) -> None:
        for index, count in counts.items():
            self._cpu[index] -= count * needs[index]
            self._memory[index] -= count * demand.memory_bytes
            self._load[index] += count * needs[index] * self._per_millicore[index]
