"""DSS-LC: LC requests of a tick routed by min-cost flow, service by service in priority order.

A re-implementation of the routing of Tango (ICPP 2023). For each service, what each node can take
is an integer (the least of its free slots, and of its CPU and memory by what one request needs);
its requests flow from their origins to the nodes at the least total delay, and what does not fit
stays queued. Services follow one another on the residual integers: with different CPU per request
on one node, all of them at once are no single-commodity flow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tango.algorithms.traffic.few_nodes import MOST_NODES, Bounds, grouped, plan_few
from tango.algorithms.traffic.flow import Bools, Ints, min_cost_flow
from tango.algorithms.traffic.residual import NO_CPU, NO_MEMORY, NO_SLOT, TOO_FAR
from tango.model.plan import Demand, NodeOffer, Route, TrafficPlan, TrafficSnapshot

Floats = npt.NDArray[np.float64]

# The congestion term rises with a node's load: its room is offered in this many steps of cost.
STEPS = 2
# Costs are whole microseconds; what lies below one decides ties, drawn from the snapshot's seed.
TIES = 8
MAX_COST_US = 3_600_000_000
MAX_REJECTED = 8
BOUNDS = Bounds(STEPS, MAX_COST_US, MAX_REJECTED)


class DssLc:
    """TrafficPolicy: least total of delay, expected wait and congestion; ties by the seed.

    A neighbour's node counts for a service only while delay, wait and service still meet its slack;
    this site's own always do: admission has let in what they can serve. score: milliseconds, of the
    dearest request of the route. Needs OR-tools and numpy (the extra `solver`).
    """

    name = "dss-lc"
    # Large sites take longer than a tick: the solver keeps its helper process ready for it.
    heavy = True

    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        """See TrafficPolicy."""
        plan = plan_few(snapshot, MOST_NODES, BOUNDS)
        if plan is not None:
            return plan
        if not snapshot.offers:
            return TrafficPlan(())
        nodes = _Nodes(snapshot.offers)
        ties = np.random.default_rng(snapshot.seed & 0xFFFFFFFF)
        routes: list[Route] = []
        for group in grouped(snapshot.demands):
            routes += _Commodity(group, nodes).routes(ties)
        return TrafficPlan(tuple(routes))


class _Nodes:
    """The offers as columns; CPU, memory and load change as services take their part."""

    def __init__(self, offers: Sequence[NodeOffer]) -> None:
        self.names = [offer.node for offer in offers]
        self.cpu: Ints = np.array([max(0, offer.cpu_millis) for offer in offers], np.int64)
        self.memory: Ints = np.array([max(0, offer.memory_bytes) for offer in offers], np.int64)
        self.load: Floats = np.array([min(1.0, max(0.0, offer.load)) for offer in offers])
        self.delay_us: Floats = np.array([(o.rtt_s + o.wait_s) * 1e6 for o in offers])
        self.own: Bools = np.array([not offer.site for offer in offers])
        # load = held / capacity and free = capacity - held give capacity = free / (1 - load).
        self.per_millicore: Floats = np.where(
            self.cpu > 0, (1.0 - self.load) / np.maximum(self.cpu, 1), 0.0
        )
        # Lists while they are filled: setting one item of an array costs five times as much.
        self._slots: dict[str, list[int]] = {}
        self._needs: dict[str, dict[int, int]] = {}
        for index, offer in enumerate(offers):
            for service, cpu_millis in offer.needs:
                self._needs.setdefault(service, {})[index] = cpu_millis
            for service, slots in offer.slots:
                try:
                    self._slots[service][index] = slots
                except KeyError:
                    column = self._slots[service] = [-1] * len(offers)
                    column[index] = slots

    def slots(self, service: str) -> Ints:
        """Free slots of each node, -1 where the service has no replica."""
        found = self._slots.get(service)
        return np.array([-1] * len(self.names) if found is None else found, np.int64)

    def cpu_per_request(self, demand: Demand) -> Ints:
        """Millicores that one request takes: of each node, or one number where all are alike."""
        needs: Ints = np.array(demand.cpu_millis, np.int64)
        adjusted = self._needs.get(demand.service)
        if adjusted is not None:
            needs = np.full(len(self.names), demand.cpu_millis, np.int64)
            needs[list(adjusted)] = list(adjusted.values())
        return needs

    def take(self, need: Demand, cpu_millis: Ints, counts: Ints) -> None:
        """Reserve for this many requests on each node."""
        self.cpu -= counts * cpu_millis
        self.memory -= counts * need.memory_bytes
        self.load += counts * cpu_millis * self.per_millicore


class _Commodity:
    """The requests of one service, by origin; places are (step of cost, node), a flat array."""

    def __init__(self, group: Sequence[Demand], nodes: _Nodes) -> None:
        self._group = group
        self._nodes = nodes
        need = group[0]
        self._slots = nodes.slots(need.service)
        room = np.maximum(self._slots, 0)
        self._cpu = nodes.cpu_per_request(need)
        if self._cpu.any():
            by_cpu = nodes.cpu // np.maximum(self._cpu, 1)
            room = np.where(self._cpu > 0, np.minimum(room, by_cpu), room)
        if need.memory_bytes > 0:
            room = np.minimum(room, nodes.memory // need.memory_bytes)
        self._room = room
        cuts = np.array([room * step // STEPS for step in range(STEPS + 1)])
        self._steps = np.diff(cuts, axis=0)
        middle = (cuts[:-1] + cuts[1:]) / 2
        held = middle * self._cpu * nodes.per_millicore
        costs = nodes.delay_us + need.service_s * 1e6 * (1.0 + nodes.load + held)
        self._costs: Ints = np.rint(np.minimum(costs, MAX_COST_US - 1)).astype(np.int64)
        needed_us = nodes.delay_us + need.service_s * 1e6
        self._meets = [nodes.own | (needed_us <= demand.slack_s * 1e6) for demand in group]
        # What was forwarded to this site is served here or nowhere.
        self._reach = [
            meets & nodes.own if demand.origin else meets
            for demand, meets in zip(group, self._meets, strict=True)
        ]

    def routes(self, ties: np.random.Generator) -> list[Route]:
        """Solve, reserve, and say what was decided; the cheapest nodes first."""
        keyed = self._costs * TIES + ties.integers(0, TIES, self._costs.shape)
        taken = min_cost_flow(
            [demand.count for demand in self._group],
            np.array([np.tile(reach, STEPS) for reach in self._reach]),
            self._steps.ravel(),
            keyed.ravel(),
            MAX_COST_US * TIES,
        ).reshape(len(self._group), *self._steps.shape)
        spare = np.where(taken.sum(axis=0) < self._steps, self._costs, MAX_COST_US).min(axis=0)
        best = np.argsort(spare, kind="stable")[:2]
        others = [
            (self._nodes.names[i], int(spare[i]) / 1000) for i in best if spare[i] < MAX_COST_US
        ]
        routes: list[Route] = []
        for demand, sent, meets in zip(self._group, taken, self._meets, strict=True):
            counts = sent.sum(axis=0)
            if counts.any():
                routes += self._described(demand, sent, counts, others, self._rejected(meets))
        self._nodes.take(self._group[0], self._cpu, taken.sum(axis=(0, 1)))
        return routes

    def _described(
        self,
        demand: Demand,
        sent: Ints,
        counts: Ints,
        others: Sequence[tuple[str, float]],
        rejected: tuple[tuple[str, str], ...],
    ) -> list[Route]:
        """others: the two cheapest nodes with room left, one of which is the runner-up."""
        names, service, origin = self._nodes.names, demand.service, demand.origin
        first, second = (*others, ("", 0.0), ("", 0.0))[:2]
        dearest = np.where(sent > 0, self._costs, -1).max(axis=0)
        chosen = np.flatnonzero(counts)
        chosen = chosen[np.argsort(dearest[chosen], kind="stable")]
        columns = (chosen.tolist(), counts[chosen].tolist(), (dearest[chosen] / 1000).tolist())
        routes = []
        for index, count, score in zip(*columns, strict=True):
            node = names[index]
            other = second if node == first[0] else first
            routes.append(Route(service, node, count, score, other, rejected, origin))
        return routes

    def _rejected(self, meets: Bools) -> tuple[tuple[str, str], ...]:
        """Nodes with replicas that could take nothing, and why; the first few."""
        need, nodes = self._group[0], self._nodes
        found = []
        cpu = np.broadcast_to(self._cpu, self._slots.shape)
        out = (self._slots >= 0) & ((self._room <= 0) | ~meets)
        for index in np.flatnonzero(out)[:MAX_REJECTED].tolist():
            if self._slots[index] <= 0:
                why = NO_SLOT
            elif nodes.cpu[index] < cpu[index]:
                why = NO_CPU
            elif nodes.memory[index] < need.memory_bytes:
                why = NO_MEMORY
            else:
                why = TOO_FAR
            found.append((nodes.names[index], why))
        return tuple(found)
