"""The plain rule for replicas, where numpy is not installed or nothing else is wanted: spread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tango.algorithms.placement.replicas import (
    Candidate,
    Choice,
    ReplicaDemand,
    ReplicaPlan,
    grouped,
    shortage,
)


class Spread:
    """ReplicaRule: the node with the fewest replicas of the service, then the most idle memory,
    then the first name. Memory must fit, and a fixed port is there once. No plugins.

    A score is 100 / (1 + replicas of the service there).
    """

    name = "spread"

    def plan(
        self,
        count: int,
        demand: ReplicaDemand,
        nodes: Sequence[Candidate],
        closed: Sequence[tuple[str, str]] = (),
    ) -> ReplicaPlan:
        """See ReplicaRule."""
        left = {node.node: node for node in sorted(nodes, key=lambda node: node.node)}
        looked = tuple(left.values())
        out = grouped(closed)
        chosen: list[str] = []
        choices: list[Choice] = []
        reason = ""
        while len(chosen) < count:
            fitting = sorted(_fitting(demand, left.values()), key=_rank)[:2]
            if not fitting:
                reason = shortage(count - len(chosen), demand, list(left.values()), closed)
                break
            best = fitting[0]
            other = (fitting[1].node, _score(fitting[1])) if len(fitting) > 1 else ("", 0.0)
            chosen.append(best.node)
            choices.append(Choice(_score(best), other, (), out))
            left[best.node] = best.beside(demand)
        return ReplicaPlan(tuple(chosen), reason, looked, tuple(choices))

    def scores(self, demand: ReplicaDemand, nodes: Sequence[Candidate]) -> Mapping[str, float]:
        """See ReplicaRule."""
        return {node.node: _score(node) for node in _fitting(demand, nodes)}


def _fitting(demand: ReplicaDemand, nodes: Iterable[Candidate]) -> Iterator[Candidate]:
    for node in nodes:
        if node.memory_bytes >= demand.memory_bytes and not (demand.port and node.replicas):
            yield node


def _rank(node: Candidate) -> tuple[int, int, str]:
    return node.replicas, -node.idle_bytes, node.node


def _score(node: Candidate) -> float:
    return 100.0 / (1 + node.replicas)
