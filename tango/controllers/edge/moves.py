"""Records of replicas that come to nodes and leave them, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tango.algorithms.placement.replicas import Candidate
from tango.controllers.edge.books import Books
from tango.controllers.edge.candidates import demand_of
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
    demand = demand_of(change.record.spec)
    left = {node.node: node for node in change.looked}
    choices = dict(change.choices)
    for replica, where in after.items():
        if where and before.get(replica) != where:
            record(
                REPLICA_PLACE, now, change.name, replica, where, demand.memory_bytes,
                _candidates(left.values(), where), books.rule.name, choices.get(replica),
            )  # fmt: skip
            taken = left.get(where)
            if taken is not None:
                # As the next of them found it.
                left[where] = taken.beside(demand)


def _candidates(nodes: Iterable[Candidate], chosen: str) -> tuple[Candidate, ...]:
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
    if books.moving.get(change.name) == replica:
        return "one on a node with more room has taken its place"
    return f"{change.record.spec.replicas} replicas are declared"
