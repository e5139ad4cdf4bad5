"""Placement of a service's replicas: spread over nodes, memory must fit, the shortage explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tango.model.units import format_memory

MAX_NODES_NAMED = 5


@dataclass(frozen=True, slots=True)
class SpreadNode:
    """A node as a candidate. replicas: of this service, already there.

    memory_bytes: what LC replicas may still take there (BE yields memory to LC).
    idle_bytes: what nobody holds there; below zero where BE would have to yield.
    """

    node: str
    replicas: int
    memory_bytes: int
    idle_bytes: int


@dataclass(frozen=True, slots=True)
class SpreadPlan:
    """One node per replica that found room; reason says why fewer than asked for, "" if none.

    looked: the candidates as they were before, by name.
    """

    nodes: tuple[str, ...]
    reason: str = ""
    looked: tuple[SpreadNode, ...] = ()


def spread(
    count: int,
    memory_bytes: int,
    nodes: Sequence[SpreadNode],
    *,
    one_per_node: bool = False,
    cordoned: Sequence[str] = (),
) -> SpreadPlan:
    """Nodes for `count` replicas of one service, each declaring memory_bytes.

    Each in turn goes to the node with the fewest replicas of the service, then the most idle
    memory, then the first name. one_per_node: for a service with a fixed port.
    cordoned: nodes that are connected and no candidates, for the reason's sake.
    """
    left = {node.node: node for node in sorted(nodes, key=lambda node: node.node)}
    looked = tuple(left.values())
    chosen: list[str] = []
    while len(chosen) < count:
        fitting = [
            node
            for node in left.values()
            if node.memory_bytes >= memory_bytes and not (one_per_node and node.replicas)
        ]
        if not fitting:
            return SpreadPlan(
                tuple(chosen),
                _shortage(
                    count - len(chosen), memory_bytes, list(left.values()), one_per_node, cordoned
                ),
                looked,
            )
        best = min(fitting, key=lambda node: (node.replicas, -node.idle_bytes, node.node))
        chosen.append(best.node)
        left[best.node] = SpreadNode(
            best.node,
            best.replicas + 1,
            best.memory_bytes - memory_bytes,
            best.idle_bytes - memory_bytes,
        )
    return SpreadPlan(tuple(chosen), "", looked)


def _shortage(
    missing: int,
    memory_bytes: int,
    nodes: list[SpreadNode],
    one_per_node: bool,
    cordoned: Sequence[str],
) -> str:
    what = f"no room for {missing} {'replica' if missing == 1 else 'replicas'}"
    if not nodes and cordoned:
        named = ", ".join(sorted(cordoned)[:MAX_NODES_NAMED])
        rest = len(cordoned) - MAX_NODES_NAMED
        more = f" and {rest} more" if rest > 0 else ""
        return f"{what}: every connected node is cordoned or drained ({named}{more})"
    if not nodes:
        return f"{what}: no node is connected"
    if one_per_node and any(node.memory_bytes >= memory_bytes for node in nodes):
        return f"{what}: its port is fixed, so a node takes only one, and there are {len(nodes)}"
    most = sorted(nodes, key=lambda node: (-node.memory_bytes, node.node))[:MAX_NODES_NAMED]
    free = ", ".join(f"{node.node} {format_memory(max(0, node.memory_bytes))}" for node in most)
    rest = len(nodes) - len(most)
    more = f" and {rest} more with less" if rest else ""
    return f"{what}: each needs {format_memory(memory_bytes)}, free for LC is {free}{more}"
