"""Failures and repairs, from a schedule or at a rate, as future events."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from tango.model.errors import InvalidField
from tango.sim.engine import Engine
from tango.sim.hosts import CentralHost, EdgeHost, NodeHost, Surroundings
from tango.sim.network import Link
from tango.sim.scenario import FailureKind, FailureRate, ScheduledFailure
from tango.sim.topology import Topology

Part = tuple[Callable[[], None], Callable[[], None]]
"""What breaks something, and what repairs it."""


class Failures:
    """Breaks what it is told to; what broke twice at a time is back after the second repair.

    engine: on which all others stand still, for a failure may concern several sites.
    """

    def __init__(
        self,
        around: Surroundings,
        engine: Engine,
        topology: Topology,
        central: CentralHost,
        edges: Mapping[str, EdgeHost],
        nodes: Mapping[str, NodeHost],
        links: Mapping[frozenset[str], Link],
        starts_at: float,
    ) -> None:
        self._around = around
        self._engine = engine
        self._topology = topology
        self._central = central
        self._edges = edges
        self._nodes = nodes
        self._links = links
        self._starts_at = starts_at
        self._cuts: dict[frozenset[str], int] = {}

    def plan(self, index: int, failure: ScheduledFailure | FailureRate) -> None:
        """Plan one line of the scenario. index: its place there."""
        if isinstance(failure, ScheduledFailure):
            part = self._part(failure.kind, failure.name, failure.other)
            at = self._starts_at + failure.at_s
            self._engine.at(at, _call, part[0])
            if failure.repair_s is not None:
                self._engine.at(at + failure.repair_s, _call, part[1])
            return
        for name, other in self._all(failure):
            rng = self._around.rng("failure", index, name, other)
            part = self._part(failure.kind, name, other)
            _Again(self._engine, failure, part, rng).plan(self._starts_at)

    def _all(self, failure: FailureRate) -> list[tuple[str, str]]:
        if failure.kind is FailureKind.CENTRAL:
            return [("", "")]
        if failure.kind is FailureKind.LINK:
            pairs = [tuple(sorted(ends)) for ends in self._links if ends <= self._edges.keys()]
            return [(a, b) for a, b in sorted(pairs)]
        known = (
            self._nodes if failure.kind in (FailureKind.NODE, FailureKind.WORKER) else self._edges
        )
        return [(name, "") for name in failure.names or known]

    def _part(self, kind: FailureKind, name: str, other: str) -> Part:
        match kind:
            case FailureKind.NODE:
                node = self._nodes[name]
                return node.fail, node.repair
            case FailureKind.WORKER:
                node = self._nodes[name]
                return node.fail_worker, node.repair_worker
            case FailureKind.EDGE:
                edge = self._edges[name]
                return edge.fail, edge.repair
            case FailureKind.CENTRAL:
                return self._central.fail, self._central.repair
            case FailureKind.SITE:
                return lambda: self._site_off(name), lambda: self._site_on(name)
            case FailureKind.LINK:
                ends = frozenset((name, other))
                if ends not in self._links:
                    problem = f"nothing passes between {name!r} and {other!r} anyway"
                    raise InvalidField("failures", problem, "name two that dial one another")
                return lambda: self._cut(ends), lambda: self._mend(ends)

    def _site_off(self, name: str) -> None:
        self._edges[name].fail(silent=True)
        for node in self._nodes_of(name):
            node.fail()

    def _site_on(self, name: str) -> None:
        self._edges[name].repair()
        for node in self._nodes_of(name):
            node.repair()

    def _nodes_of(self, name: str) -> list[NodeHost]:
        return [
            self._nodes[node.name] for site, node in self._topology.nodes() if site.name == name
        ]

    def _cut(self, ends: frozenset[str]) -> None:
        self._cuts[ends] = self._cuts.get(ends, 0) + 1
        self._links[ends].cut()

    def _mend(self, ends: frozenset[str]) -> None:
        self._cuts[ends] -= 1
        if not self._cuts[ends]:
            self._links[ends].mend()


def _call(what: Callable[[], None]) -> None:
    what()


class _Again:
    """One thing that breaks again and again."""

    def __init__(self, engine: Engine, rate: FailureRate, part: Part, rng: random.Random) -> None:
        self._engine = engine
        self._rate = rate
        self._part = part
        self._rng = rng

    def plan(self, after: float) -> None:
        self._engine.at(after + self._rng.expovariate(1 / self._rate.mtbf_s), self._fail)

    def _fail(self, _: object) -> None:
        self._part[0]()
        after_s = self._rng.expovariate(1 / self._rate.mttr_s)
        self._engine.at(self._engine.now + after_s, self._repair)

    def _repair(self, _: object) -> None:
        self._part[1]()
        self.plan(self._engine.now)
