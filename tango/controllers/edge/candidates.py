"""The nodes of this site as a rule of placement sees them: what has room, and what is closed.

Nodes without a label that the service requires, those with a taint that it does not tolerate, and
those where somebody else has its fixed port are closed to it, whatever the rule. What runs there
already stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from tango.algorithms.placement.replicas import CORDONED, DRAINED, Candidate, ReplicaDemand
from tango.controllers.edge.books import Books
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_book import claim_of, generation_of
from tango.model.affinity import barred
from tango.model.image import in_full
from tango.model.service import ServiceSpec


def demand_of(spec: ServiceSpec) -> ReplicaDemand:
    """What one replica of the service asks of a node."""
    images = in_full(spec.images) if spec.images else ()
    return ReplicaDemand(
        spec.name, spec.memory_bytes, claim_of(spec), spec.port, images, spec.terms
    )


def candidates(
    books: Books, spec: ServiceSpec, specs: Mapping[int, ServiceSpec], at: Mapping[str, str]
) -> list[Candidate]:
    """Every node that may take one more, as if the service's replicas were where `at` says.

    specs: of the service's replicas by generation.
    """
    service = books.services.get(spec.name)
    booked: dict[str, tuple[int, int, int]] = {}
    if service is not None:
        booked = _held(service.placement, service.specs, claim_of(service.spec))
    wanted = _held(at, specs, claim_of(spec))
    nothing = (0, 0, 0)
    images = in_full(spec.images) if spec.images else ()
    terms = spec.terms
    found = []
    for book in books.sessions.values():
        name = book.name
        if name in books.cordons or book.problem:
            continue
        hello = book.hello
        if (terms is not None or hello.taints or spec.port) and _bar(books, book, spec):
            continue
        _, bytes_before, millis_before = booked.get(name, nothing)
        replicas, bytes_then, millis_then = wanted.get(name, nothing)
        room = book.memory_bytes - book.replica_memory_bytes + bytes_before - bytes_then
        claimed = books.claimed_millis.get(name, 0) - millis_before + millis_then
        found.append(
            Candidate(
                name,
                replicas,
                room,
                room - book.be_memory_bytes,
                book.memory_bytes,
                book.cpu_millis,
                claimed,
                tuple(image for image in images if image in book.image_names),
                hello.labels,
                hello.taints,
            )
        )
    return found


def _held(
    placement: Mapping[str, str], specs: Mapping[int, ServiceSpec], claim_millis: int
) -> dict[str, tuple[int, int, int]]:
    """By node: how many replicas, the bytes that they declare, the CPU that they claim.

    All of them claim by what is declared now, as books.claimed_millis counts it.
    """
    held: dict[str, tuple[int, int, int]] = {}
    for replica, node in placement.items():
        count, size, millis = held.get(node, (0, 0, 0))
        size += specs[generation_of(replica)].memory_bytes
        held[node] = count + 1, size, millis + claim_millis
    return held


def closed(books: Books, spec: ServiceSpec) -> list[tuple[str, str]]:
    """(node, why) of those that take nothing new, or none of this service."""
    found = []
    for name, book in books.nodes.items():
        cordon = books.cordons.get(name)
        if book.session is None:
            found.append((name, "dead" if book.dead else "away"))
        elif cordon is not None:
            found.append((name, DRAINED if cordon.draining else CORDONED))
        elif book.problem:
            found.append((name, book.problem))
        elif why := _bar(books, book, spec):
            found.append((name, why))
    return found


def _bar(books: Books, book: NodeBook, spec: ServiceSpec) -> str:
    """Why the node does not take replicas of the service, though it takes others."""
    hello = book.hello
    why = barred(spec.terms, hello.labels, hello.taints)
    if not why and spec.port:
        why = books.port_taken(book, (spec.port,), spec.name)
    return why
