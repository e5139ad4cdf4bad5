"""Records of replicas that come to nodes and leave them, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tango.algorithms.placement.spread import SpreadNode
from tango.controllers.edge.books import Books
from tango.controllers.edge.deployment import Change
from tango.controllers.edge.service_book import generation_of
from tango.model.decision import REPLICA_LEAVE, REPLICA_PLACE

MAX_CANDIDATES = 12


def record_moves(books: Books, change: Change, before: Mapping[str, str], now: float) -> None:
    """A change of a service is durable: say where its replicas go, and why others leave."""
    record = books.decisions.record
    after = dict(change.placement)
    for replica, where in before.items():
        if where and after.get(replica) != where:
            why = _why_it_leaves(books, change, replica, where)
            record(REPLICA_LEAVE, now, change.name, replica, where, why)
    if change.record is None:
        return
    memory_bytes = change.record.spec.memory_bytes
    left = {node.node: node for node in change.looked}
    for replica, where in after.items():
        if where and before.get(replica) != where:
            record(
                REPLICA_PLACE, now, change.name, replica, where, memory_bytes,
                _candidates(left.values(), where),
            )  # fmt: skip
            taken = left.get(where)
            if taken is not None:
                # As the next of them found it.
                left[where] = SpreadNode(
                    where,
                    taken.replicas + 1,
                    taken.memory_bytes - memory_bytes,
                    taken.idle_bytes - memory_bytes,
                )


def _candidates(nodes: Iterable[SpreadNode], chosen: str) -> tuple[SpreadNode, ...]:
    """The best few: a record must stay small on the largest site."""
    by_rank = sorted(nodes, key=lambda n: (n.node != chosen, n.replicas, -n.idle_bytes, n.node))
    return tuple(by_rank[:MAX_CANDIDATES])


def _why_it_leaves(books: Books, change: Change, replica: str, node: str) -> str:
    if change.record is None:
        return "the service was deleted"
    if books.is_lost(node):
        return "the node is dead"
    if generation_of(replica) != change.record.generation:
        return f"generation {change.record.generation} takes its place"
    if books.is_draining(node):
        return "the node is drained"
    return f"{change.record.spec.replicas} replicas are declared"
