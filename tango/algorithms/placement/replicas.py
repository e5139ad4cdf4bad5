"""A service's replicas on the nodes of a site: what is asked, and what a rule answers; no numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tango.model.affinity import Labels, NodeTerms, Taints
from tango.model.units import format_memory

MAX_NODES_NAMED = 5
CORDONED = "cordoned"
DRAINED = "drained"
# As `affinity.barred` and `fixed_ports.port_taken` of the model begin: the node itself is well.
BARRED = ("without ", "tainted ", "port ")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that may take a replica. replicas: of this service, already there.

    memory_bytes: what LC replicas may still take there (BE yields memory to LC). idle_bytes: what
    nobody holds there; below zero where BE would have to yield.
    all_memory_bytes, cpu_millis: what it has in all. claimed_millis: the CPU that its replicas, of
    every service, hold when all of them serve as much as they may. images: of those that the
    demand names, what its engine has.
    labels, taints: for what the service prefers; it is not barred there.
    """

    node: str
    replicas: int
    memory_bytes: int
    idle_bytes: int
    all_memory_bytes: int = 0
    cpu_millis: int = 0
    claimed_millis: int = 0
    images: tuple[str, ...] = ()
    labels: Labels = ()
    taints: Taints = ()

    def beside(self, demand: ReplicaDemand, count: int = 1) -> Candidate:
        """The same node with so many more replicas of that kind; below 0: with fewer."""
        memory_bytes = count * demand.memory_bytes
        return replace(
            self,
            replicas=self.replicas + count,
            memory_bytes=self.memory_bytes - memory_bytes,
            idle_bytes=self.idle_bytes - memory_bytes,
            claimed_millis=self.claimed_millis + count * demand.cpu_millis,
        )


@dataclass(frozen=True, slots=True)
class ReplicaDemand:
    """One replica of a service. cpu_millis: what it holds when it serves as much as it may.

    port: a fixed one, of which a node has only one; 0 for one that the node picks. images: in full.
    terms: what the service says of nodes, None for nothing.
    """

    service: str
    memory_bytes: int
    cpu_millis: int = 0
    port: int = 0
    images: tuple[str, ...] = ()
    terms: NodeTerms | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Why a replica goes where it goes. score: 0 to 100, higher is better; so is the runner-up's.

    scores: (plugin, weight, of the node, of the runner-up). removed: (why, how many, the first few
    by name) of the nodes that were out of the question.
    """

    score: float
    runner_up: tuple[str, float] = ("", 0.0)
    scores: tuple[tuple[str, float, float, float], ...] = ()
    removed: tuple[tuple[str, int, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """One node per replica that found room; reason says why fewer than asked for, "" if none.

    choices: one for each node, None where the rule keeps no scores. looked: the candidates as they
    were before, by name.
    """

    nodes: tuple[str, ...]
    reason: str = ""
    looked: tuple[Candidate, ...] = ()
    choices: tuple[Choice | None, ...] = ()


class ReplicaRule(Protocol):
    """Decides where replicas go. Pure: the same input, in whatever order, the same plan."""

    name: str

    def plan(
        self,
        count: int,
        demand: ReplicaDemand,
        nodes: Sequence[Candidate],
        closed: Sequence[tuple[str, str]] = (),
    ) -> ReplicaPlan:
        """Nodes for `count` new replicas. closed: (node, why) of those that take nothing new."""
        ...

    def scores(self, demand: ReplicaDemand, nodes: Sequence[Candidate]) -> Mapping[str, float]:
        """0 to 100 of each node that could take one more replica; the highest gets it."""
        ...


def shortage(
    missing: int,
    demand: ReplicaDemand,
    nodes: Sequence[Candidate],
    closed: Sequence[tuple[str, str]] = (),
) -> str:
    """Why so many replicas find no node. nodes: as those left them that did."""
    what = no_room_for(missing)
    cordoned = [node for node, why in closed if why in (CORDONED, DRAINED)]
    if not nodes and cordoned:
        return f"{what}: every connected node is cordoned or drained ({first_few(cordoned)})"
    unfit = sorted((node, why) for node, why in closed if why.startswith(BARRED))
    barred = "; ".join(
        f"{first_few([node for node, one in unfit if one == why])} {why}"
        for why in list(dict.fromkeys(why for _, why in unfit))[:MAX_NODES_NAMED]
    )
    if not nodes:
        return f"{what}: {barred or 'no node is connected'}"
    need = demand.memory_bytes
    if demand.port and any(node.memory_bytes >= need for node in nodes):
        told = f"its port is fixed, so a node takes only one, and there are {len(nodes)}"
        return f"{what}: {told}" + (f"; {barred}" if barred else "")
    most = sorted(nodes, key=lambda node: (-node.memory_bytes, node.node))[:MAX_NODES_NAMED]
    free = ", ".join(f"{node.node} {format_memory(max(0, node.memory_bytes))}" for node in most)
    rest = len(nodes) - len(most)
    more = f" and {rest} more with less" if rest else ""
    told = f"each needs {format_memory(need)}, free for LC is {free}{more}"
    return f"{what}: {told}" + (f"; {barred}" if barred else "")


def no_room_for(missing: int) -> str:
    """As every shortage begins."""
    return f"no room for {missing} {'replica' if missing == 1 else 'replicas'}"


def first_few(nodes: Sequence[str]) -> str:
    """The first nodes by name, and how many more there are."""
    rest = len(nodes) - MAX_NODES_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return f"{', '.join(sorted(nodes)[:MAX_NODES_NAMED])}{more}"


def grouped(closed: Sequence[tuple[str, str]]) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    """Nodes by why they are out of the question, as `Choice.removed` keeps them."""
    by_why: dict[str, list[str]] = {}
    for node, why in sorted(closed):
        by_why.setdefault(why, []).append(node)
    return tuple(
        (why, len(nodes), tuple(nodes[:MAX_NODES_NAMED])) for why, nodes in sorted(by_why.items())
    )
