"""Operations on services: apply, delete and the placing of replicas, durable before they count."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping

from tango.controllers.edge.books import Books
from tango.controllers.edge.deployment import (
    Change,
    plan_apply,
    plan_delete,
    plan_next,
    unsettled,
    writes,
)
from tango.controllers.edge.endings import Endings
from tango.controllers.edge.moves import record_moves
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.routing import Router
from tango.controllers.edge.service_book import (
    ServiceBook,
    generation_of,
    memory_by_node,
    ports_by_node,
)
from tango.controllers.edge.views import service_view
from tango.model.commands import Answer, PlacementRecord, SendWorker, ServiceRecord
from tango.model.decision import REPLICA_WAIT
from tango.model.errors import InvalidField, NotFound, TangoError, Unavailable
from tango.model.events import ApplyService, DeleteService, Persisted, PersistFailed
from tango.model.messages import NodeTargets, ReplicaTarget
from tango.model.request import Code
from tango.model.views import ServiceView

MAX_WAITING_OPS = 100
# Deleted services whose last generation is remembered, so that replica ids are not used again.
MAX_GRAVES = 1000
# Workers of a site come up together: replicas that wait for room are placed a moment after one.
PLACE_SETTLE_S = 0.2
PLACE_RETRY_S = 1.0


class Services:
    """Applies and deletes services one change at a time per name. place_at: next placing try."""

    def __init__(self, books: Books, endings: Endings, router: Router) -> None:
        self._books = books
        self._endings = endings
        self._router = router
        self._changes: dict[int, Change] = {}
        self._busy: dict[str, deque[ApplyService | DeleteService]] = {}
        self._graves: dict[str, int] = {}
        self._targets_version = 0
        self.place_at = math.inf
        # Told of each replica that left a node, with the service as it is then.
        self.on_left: Callable[[ServiceBook, str, str], None] = lambda service, replica, node: None

    def load(
        self,
        services: Mapping[str, ServiceRecord],
        placements: Mapping[str, PlacementRecord],
    ) -> None:
        """Take over what the store holds, before the first event."""
        books = self._books
        for name in sorted(services):
            record = services[name]
            stored = placements.get(name)
            current = stored is not None and stored.generation == record.generation
            nodes = stored.nodes if stored is not None and current else ()
            books.services[name] = ServiceBook(record, dict(nodes))
            for node, size in memory_by_node(nodes, record).items():
                books.claim_memory(node, size)
        for name in sorted(placements):
            if name not in services:
                self._graves[name] = placements[name].generation
        books.count_replicas()

    def apply(self, event: ApplyService, _now: float) -> None:
        """Check, then persist; the Answer follows the disk."""
        try:
            event.spec.validate()
        except InvalidField as error:
            self._answer(event.op_id, None, error)
            return
        if event.dry_run:
            self._answer(event.op_id, self._preview(event))
        else:
            self._enqueue(event, event.spec.name)

    def delete(self, event: DeleteService, _now: float) -> None:
        """Persist the deletion; the Answer follows the disk."""
        self._enqueue(event, event.name)

    def persisted(self, event: Persisted, now: float) -> None:
        """A change is durable: it takes effect."""
        change = self._changes.pop(event.persist_id, None)
        if change is None:
            return
        self._commit(change, now)
        if change.op_id is not None:
            service = self._books.services.get(change.name) if change.record else None
            self._answer(change.op_id, service_view(self._books, service) if service else None)
        self._next(change.name)

    def persist_failed(self, event: PersistFailed, now: float) -> None:
        """The store refused: nothing has changed."""
        change = self._changes.pop(event.persist_id, None)
        if change is None:
            return
        for node, size in change.claims:
            self._books.claim_memory(node, -size)
        self._books.port_claims.pop(change.name, None)
        self._books.note("error", "persist_failed", service=change.name, error=event.error)
        if change.op_id is not None:
            error = Unavailable(f"service {change.name!r} is unchanged: {event.error}")
            self._answer(change.op_id, None, error)
        else:
            self.place_at = min(self.place_at, now + PLACE_RETRY_S)
        self._next(change.name)

    def place_soon(self, now: float, delay_s: float = PLACE_SETTLE_S) -> None:
        """Room may have appeared, or another step of a roll or a drain be due."""
        books = self._books
        if now + delay_s < self.place_at and any(
            unsettled(books, service) for service in books.services.values()
        ):
            self.place_at = now + delay_s

    def replica_moved(self, service: ServiceBook, now: float) -> None:
        """A replica of the service changed its state, or is gone: its next step may be due."""
        if now < self.place_at and unsettled(self._books, service):
            self.place_at = now

    def settle(self, now: float) -> None:
        """Place what waits for room, if its time has come."""
        if now < self.place_at:
            return
        self.place_at = math.inf
        for service in list(self._books.services.values()):
            if service.name not in self._busy:
                short = service.short
                change = plan_next(self._books, service)
                if service.short != short:
                    self._books.decisions.record(REPLICA_WAIT, now, service.name, service.short)
                if change is not None:
                    self.begin(change)

    def targets(self, node: NodeBook) -> None:
        """Tell the node all replicas that shall run on it."""
        if node.session is None:
            return
        self._targets_version += 1
        replicas = tuple(
            ReplicaTarget(
                replica,
                generation,
                service.specs[generation],
                _adjusted(service, node, generation),
            )
            for service in self._books.services.values()
            for replica, where in service.placement.items()
            if where == node.name
            for generation in (generation_of(replica),)
        )
        message = NodeTargets(self._targets_version, replicas)
        self._books.out.append(SendWorker(node.session, message))

    def is_busy(self, name: str) -> bool:
        """Whether a change of the service is on its way to the disk."""
        return name in self._busy

    # ---- one change at a time per name

    def _enqueue(self, event: ApplyService | DeleteService, name: str) -> None:
        waiting = self._busy.get(name)
        if waiting is None:
            self._start(event, name)
        elif len(waiting) >= MAX_WAITING_OPS:
            error = Unavailable(f"{len(waiting)} operations on {name!r} wait already; try later")
            self._answer(event.op_id, None, error)
        else:
            waiting.append(event)

    def _start(self, event: ApplyService | DeleteService, name: str) -> None:
        books = self._books
        service = books.services.get(name)
        change: Change | None
        if isinstance(event, DeleteService):
            if service is None:
                error = NotFound(f"service {name!r} does not exist at edge {books.edge!r}")
                self._answer(event.op_id, None, error)
                return
            crowded = len(self._graves) >= MAX_GRAVES
            change = plan_delete(name, event.op_id, next(iter(self._graves)) if crowded else "")
        else:
            change = plan_apply(books, event.spec, event.op_id, self._graves.get(name, 0))
        if change is None:
            assert service is not None
            self._answer(event.op_id, service_view(books, service))
        else:
            self.begin(change)

    def begin(self, change: Change) -> None:
        """Persist a change of a service that is not busy; it takes effect once it is durable."""
        books = self._books
        for node, size in change.claims:
            books.claim_memory(node, size)
        if change.record is not None and (ports := ports_by_node(change.placement, change.record)):
            books.port_claims[change.name] = ports
            books.nodes_dirty = True
        self._busy.setdefault(change.name, deque())
        service = books.services.get(change.name)
        generation = service.generation if service is not None else 0
        self._changes[books.persist(writes(change, generation))] = change

    def _next(self, name: str) -> None:
        """The name is free: start what waits for it, until something is persisted again."""
        waiting = self._busy.pop(name)
        while waiting and name not in self._busy:
            self._start(waiting.popleft(), name)
        if waiting:
            self._busy[name] = waiting

    # ---- a change takes effect

    def _commit(self, change: Change, now: float) -> None:
        books = self._books
        service = books.services.get(change.name)
        before = dict(service.placement) if service is not None else {}
        specs = dict(service.specs) if service is not None else {}
        books.port_claims.pop(change.name, None)
        for node, size in change.claims:
            books.claim_memory(node, -size)
        if service is not None:
            held = memory_by_node(tuple(before.items()), service.record)
            for node, size in held.items():
                books.claim_memory(node, -size)
        if change.record is None:
            assert service is not None
            self._graves.pop(change.forgets, None)
            self._bury(service, now)
        else:
            if service is None:
                service = ServiceBook(change.record, dict(change.placement))
                books.services[change.name] = service
                self._graves.pop(change.name, None)
            else:
                service.adopt(change.record, dict(change.placement))
            if service.short != change.short:
                books.decisions.record(REPLICA_WAIT, now, change.name, change.short)
            service.short = change.short
            held = memory_by_node(change.placement, change.record)
            for node, size in held.items():
                books.claim_memory(node, size)
        after = dict(change.placement)
        record_moves(books, change, before, now)
        for replica, where in before.items():
            if where and after.get(replica) != where:
                self.on_left(service, replica, where)
            node_book = books.nodes.get(where)
            if after.get(replica) != where and node_book is not None:
                known = node_book.statuses.pop(replica, None)
                if known is not None and node_book.session is not None:
                    node_book.leaving[replica] = change.name
                    port = specs[generation_of(replica)].port
                    if port:
                        node_book.leaving_ports[replica] = port
        self._retarget(service, before, after)
        books.count_replicas()
        books.changed(service)
        self._router.want(now)
        self.place_soon(now, 0.0)

    def _retarget(
        self, service: ServiceBook, before: Mapping[str, str], after: Mapping[str, str]
    ) -> None:
        """Recount readiness where it may have changed; tell the nodes whose targets did."""
        books = self._books
        for name in sorted({*before.values(), *after.values()} - {""}):
            node = books.nodes.get(name)
            if node is None:
                continue
            service.recount(node)
            old = [replica for replica, where in before.items() if where == name]
            new = [replica for replica, where in after.items() if where == name]
            if old != new:
                self.targets(node)

    def _bury(self, service: ServiceBook, now: float) -> None:
        """The service is gone: its queued calls end, those in flight finish on their own."""
        books = self._books
        del books.services[service.name]
        service.deleted = True
        service.placement = {}
        self._graves[service.name] = service.generation
        error = f"service {service.name!r} was deleted"
        for call in list(service.queue.values()):
            self._endings.fail(
                call, Code.UNAVAILABLE, error, now, may_have_run=False, lingers=False
            )

    # ---- answers

    def _preview(self, event: ApplyService) -> ServiceView:
        """What the service would be; nothing changes."""
        books = self._books
        service = books.services.get(event.spec.name)
        grave = self._graves.get(event.spec.name, 0)
        change = plan_apply(books, event.spec, event.op_id, grave)
        if change is None:
            assert service is not None
            return service_view(books, service)
        assert change.record is not None
        planned = ServiceBook(change.record, dict(change.placement))
        planned.short = change.short
        if service is not None:
            planned.counts = service.counts
            planned.forecast = service.forecast
        return service_view(books, planned)

    def _answer(
        self, op_id: int, result: ServiceView | None, error: TangoError | None = None
    ) -> None:
        self._books.out.append(Answer(op_id, result, error))


def _adjusted(service: ServiceBook, node: NodeBook, generation: int) -> int:
    """The CPU per request that a replica's quota shall follow, 0 for the one of its spec."""
    place = service.places.get(node.name)
    if place is None or generation != service.generation:
        return 0
    return place.cpu_millis if place.cpu_millis != service.cpu_millis else 0
