"""What a declared service means for this site: generation, replica ids, nodes, memory claims."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tango.algorithms.placement.spread import SpreadNode, spread
from tango.controllers.edge.books import Books
from tango.controllers.edge.service_book import ServiceBook
from tango.model.commands import Delete, PlacementRecord, Put, ServiceRecord
from tango.model.service import ReplicaState, ServiceSpec


@dataclass(frozen=True, slots=True)
class Change:
    """A service as it shall be; takes effect when it is durable. record: None where it goes.

    placement: (replica id, node), node "" while there is no room; short says why then.
    claims: (node, bytes) of replica memory set aside until the change is durable or has failed.
    forgets: a service deleted long ago whose grave goes to keep their number bounded, "" for none.
    op_id: who waits, None for a change of the edge's own.
    """

    op_id: int | None
    name: str
    record: ServiceRecord | None
    placement: tuple[tuple[str, str], ...] = ()
    short: str = ""
    claims: tuple[tuple[str, int], ...] = ()
    forgets: str = ""


def replica_id(service: str, generation: int, ordinal: int) -> str:
    """The name of a replica, never used again at this site."""
    return f"{service}-g{generation}-{ordinal}"


def plan_apply(books: Books, spec: ServiceSpec, op_id: int, last_generation: int) -> Change | None:
    """The change that makes the service what `spec` says; None if it is that already.

    last_generation: that of a deleted service of this name, 0 for none.
    """
    service = books.services.get(spec.name)
    if service is None:
        record = ServiceRecord(spec, last_generation + 1)
        return _placed(books, None, record, {}, op_id)
    if spec == service.spec:
        return None
    if replace(service.spec, replicas=spec.replicas) == spec:
        record = ServiceRecord(spec, service.generation, service.next_replica)
        return _placed(books, service, record, _kept(books, service, spec.replicas), op_id)
    record = ServiceRecord(spec, service.generation + 1)
    return _placed(books, service, record, {}, op_id)


def plan_waiting(books: Books, service: ServiceBook) -> Change | None:
    """The change that gives nodes to replicas that had no room; None if there is still none."""
    if not incomplete(service):
        return None
    record = ServiceRecord(service.spec, service.generation, service.next_replica)
    change = _placed(books, service, record, service.placement, None)
    if change.placement == tuple(service.placement.items()):
        if service.short != change.short:
            service.short = change.short
            books.changed(service)
        return None
    return change


def incomplete(service: ServiceBook) -> bool:
    """Whether some declared replica has no node."""
    return len(service.placement) < service.spec.replicas or "" in service.placement.values()


def plan_delete(name: str, op_id: int, forgets: str) -> Change:
    """The change that takes the service away."""
    return Change(op_id, name, None, forgets=forgets)


def writes(change: Change, generation: int) -> tuple[Put | Delete, ...]:
    """What the store is to keep. generation: of the service that a deletion takes away.

    A deleted service leaves an empty placement with its generation behind, so that a later service
    of the same name gets replica ids that were never used.
    """
    name = change.name
    if change.record is None:
        grave = PlacementRecord(name, generation, ())
        gone = (Delete("service", name), Put("placement", name, grave))
        return (*gone, Delete("placement", change.forgets)) if change.forgets else gone
    placement = PlacementRecord(name, change.record.generation, change.placement)
    return (Put("service", name, change.record), Put("placement", name, placement))


def memory_by_node(placement: tuple[tuple[str, str], ...], memory_bytes: int) -> dict[str, int]:
    """What placed replicas declare, by node."""
    held: dict[str, int] = {}
    for _, node in placement:
        if node:
            held[node] = held.get(node, 0) + memory_bytes
    return held


def _kept(books: Books, service: ServiceBook, count: int) -> dict[str, str]:
    """The replicas that stay when there shall be `count`: unplaced, unready, youngest go first."""

    def worth(item: tuple[str, str]) -> tuple[bool, bool, int]:
        name, node_name = item
        node = books.nodes.get(node_name)
        status = node.statuses.get(name) if node is not None and node.session is not None else None
        ready = status is not None and status.state is ReplicaState.READY
        return bool(node_name), ready, -int(name.rsplit("-", 1)[1])

    best = sorted(service.placement.items(), key=worth, reverse=True)[:count]
    names = {name for name, _ in best}
    return {name: node for name, node in service.placement.items() if name in names}


def _placed(
    books: Books,
    service: ServiceBook | None,
    record: ServiceRecord,
    kept: dict[str, str],
    op_id: int | None,
) -> Change:
    """Complete `kept` to the declared number of replicas and find nodes for those without."""
    spec = record.spec
    placement = dict(kept)
    next_replica = record.next_replica
    while len(placement) < spec.replicas:
        placement[replica_id(spec.name, record.generation, next_replica)] = ""
        next_replica += 1
    held: dict[str, int] = {}
    if service is not None:
        before = tuple(service.placement.items())
        held = memory_by_node(before, service.spec.memory_bytes)
    kept_memory = memory_by_node(tuple(kept.items()), spec.memory_bytes)
    candidates = []
    for node in books.nodes.values():
        if node.session is None:
            continue
        # What this service's own leaving replicas hold there is free for those that come.
        leaving = held.get(node.name, 0) - kept_memory.get(node.name, 0)
        room = node.memory_bytes - node.replica_memory_bytes + leaving
        there = sum(where == node.name for where in kept.values())
        candidates.append(SpreadNode(node.name, there, room, room - node.be_memory_bytes))
    homeless = [name for name, where in placement.items() if not where]
    plan = spread(len(homeless), spec.memory_bytes, candidates, one_per_node=spec.port != 0)
    placement.update(zip(homeless, plan.nodes, strict=False))
    items = tuple(placement.items())
    wanted = memory_by_node(items, spec.memory_bytes)
    claims = tuple(
        (node, size - held.get(node, 0))
        for node, size in wanted.items()
        if size > held.get(node, 0)
    )
    stored = replace(record, next_replica=next_replica)
    return Change(op_id, spec.name, stored, items, plan.reason, claims)
