"""What a declared service means for this site: generation, replicas on nodes, memory claims."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tango.algorithms.placement.replicas import Candidate, Choice
from tango.controllers.edge.books import Books
from tango.controllers.edge.rollout import Step, step
from tango.controllers.edge.service_book import (
    Placement,
    ServiceBook,
    generation_of,
    memory_by_node,
    replica_id,
)
from tango.model.commands import Delete, OlderSpec, PlacementRecord, Put, ServiceRecord
from tango.model.service import ServiceSpec


@dataclass(frozen=True, slots=True)
class Change:
    """A service as it shall be; takes effect when it is durable. record: None where it goes.

    placement: (replica id, node), node "" while there is no room; short says why then.
    claims: (node, bytes) of replica memory set aside until the change is durable or has failed.
    forgets: a service deleted long ago whose grave goes to keep their number bounded, "" for none.
    op_id: who waits, None for a change of the edge's own. looked: candidates for new replicas;
    choices: why these go where they go.
    """

    op_id: int | None
    name: str
    record: ServiceRecord | None
    placement: Placement = ()
    short: str = ""
    claims: tuple[tuple[str, int], ...] = ()
    forgets: str = ""
    looked: tuple[Candidate, ...] = ()
    choices: tuple[tuple[str, Choice | None], ...] = ()


def plan_apply(books: Books, spec: ServiceSpec, op_id: int, last_generation: int) -> Change | None:
    """The change that makes the service what `spec` says; None if it is that already.

    Its replicas follow one step at a time. last_generation: that of a deleted service of this name,
    0 for none.
    """
    service = books.services.get(spec.name)
    if service is None:
        record = ServiceRecord(spec, last_generation + 1)
        return _change(books, None, step(books, record, {}), op_id)
    if spec == service.spec:
        return None
    if replace(service.spec, replicas=spec.replicas) == spec:
        record = replace(service.record, spec=spec)
    else:
        before = OlderSpec(service.generation, service.spec)
        older = (*service.record.older, before)
        record = ServiceRecord(spec, service.generation + 1, 0, older)
    return _change(books, service, step(books, record, service.placement), op_id)


def plan_next(books: Books, service: ServiceBook) -> Change | None:
    """The next step of a service towards what is declared; None if nothing can be done now."""
    if not unsettled(books, service):
        return None
    due = step(books, service.record, service.placement)
    if due.placement == tuple(service.placement.items()):
        if service.short != due.short:
            service.short = due.short
            books.changed(service)
        return None
    return _change(books, service, due, None)


def plan_move(
    books: Books,
    service: ServiceBook,
    node: str,
    choice: Choice | None,
    looked: tuple[Candidate, ...],
) -> tuple[Change, str]:
    """The change that puts one replica more on the node, and its name; another goes after it."""
    record = service.record
    successor = replica_id(service.name, record.generation, record.next_replica)
    due = Step(
        replace(record, next_replica=record.next_replica + 1),
        (*service.placement.items(), (successor, node)),
        service.short,
        looked,
        ((successor, choice),),
    )
    return _change(books, service, due, None), successor


def unsettled(books: Books, service: ServiceBook) -> bool:
    """Whether some replica is missing, too much, or not where or what it shall be, or was."""
    if service.short or len(service.placement) != service.spec.replicas:
        return True
    return any(
        not node
        or generation_of(name) != service.generation
        or books.is_lost(node)
        or books.is_draining(node)
        for name, node in service.placement.items()
    )


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


def _change(books: Books, service: ServiceBook | None, due: Step, op_id: int | None) -> Change:
    """The step as a change, with the memory that it needs beyond what the service holds."""
    held: dict[str, int] = {}
    if service is not None:
        held = memory_by_node(tuple(service.placement.items()), service.record)
    wanted = memory_by_node(due.placement, due.record)
    claims = tuple(
        (node, size - held.get(node, 0))
        for node, size in wanted.items()
        if size > held.get(node, 0)
    )
    name = due.record.spec.name
    return Change(
        op_id, name, due.record, due.placement, due.short, claims,
        looked=due.looked, choices=due.choices,
    )  # fmt: skip
