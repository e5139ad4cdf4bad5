"""Nodes that operators take out of service: cordon, drain, uncordon; durable before they count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tango.controllers.edge.books import Books
from tango.controllers.edge.central import CentralLink
from tango.controllers.edge.rebalance import Rebalance
from tango.controllers.edge.service_book import ServiceBook, generation_of, ordinal_of
from tango.controllers.edge.services import Services
from tango.controllers.edge.views import node_view, replica_view
from tango.model.checks import check_range
from tango.model.cluster import NodeCapacity, NodeView
from tango.model.commands import Answer, Delete, NodeRecord, Put
from tango.model.decision import NODE_STATE
from tango.model.errors import InvalidField, NotFound, TangoError, Unavailable
from tango.model.events import CordonNode, Persisted, PersistFailed
from tango.model.job import AttemptState
from tango.model.service import ReplicaState
from tango.model.views import DrainItem, DrainView

MAX_GRACE_S = 86_400.0
# What left a draining node that is still told; the oldest goes first.
MAX_MOVED = 1000


@dataclass(slots=True)
class DrainBook:
    """What left a node since its drain began: replica -> where to; tasks that were seen there."""

    moved: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, None] = field(default_factory=dict)


class Cordons:
    """Keeps books.cordons; the moves themselves are Services' (replicas) and central's (tasks)."""

    def __init__(
        self, books: Books, services: Services, central: CentralLink, rebalance: Rebalance
    ) -> None:
        self._books = books
        self._services = services
        self._central = central
        self._rebalance = rebalance
        self._waiting: dict[int, tuple[int, str, NodeRecord | None]] = {}
        self._drains: dict[str, DrainBook] = {}
        services.on_left = self._left

    def load(self, nodes: Mapping[str, NodeRecord]) -> None:
        """Take over what the store holds, before the first event."""
        self._books.cordons.update(nodes)
        for name, record in nodes.items():
            if record.draining:
                self._drains[name] = DrainBook()

    def cordon(self, event: CordonNode, _now: float) -> None:
        """Persist; the Answer follows the disk."""
        books, name = self._books, event.node
        try:
            self._check(event)
        except TangoError as error:
            books.out.append(Answer(event.op_id, None, error))
            return
        record = NodeRecord(name, event.draining, event.grace_s) if event.cordoned else None
        if record == books.cordons.get(name):
            books.out.append(Answer(event.op_id, self.node_view(name)))
            return
        write = Put("node", name, record) if record is not None else Delete("node", name)
        self._waiting[books.persist((write,))] = event.op_id, name, record

    def persisted(self, event: Persisted, now: float) -> None:
        """It is durable: it takes effect."""
        waiting = self._waiting.pop(event.persist_id, None)
        if waiting is None:
            return
        books = self._books
        op_id, name, record = waiting
        if record is None:
            books.cordons.pop(name, None)
        else:
            books.cordons[name] = record
        if record is not None and record.draining:
            self._drains.setdefault(name, DrainBook())
        else:
            self._drains.pop(name, None)
        books.nodes_dirty = True
        what = "uncordoned" if record is None else "draining" if record.draining else "cordoned"
        books.note("info", f"node_{what}", node=name)
        books.decisions.record(NODE_STATE, now, name, what, "an operator asked for it")
        books.out.append(Answer(op_id, self.node_view(name)))
        self._services.place_soon(now, 0.0)
        if record is None:
            self._rebalance.joined(name, "is in service again", now)

    def persist_failed(self, event: PersistFailed, _now: float) -> None:
        """The store refused: the node is as it was."""
        waiting = self._waiting.pop(event.persist_id, None)
        if waiting is not None:
            op_id, name, _ = waiting
            error = Unavailable(f"node {name!r} is unchanged: {event.error}")
            self._books.out.append(Answer(op_id, None, error))

    def node_view(self, name: str) -> NodeView:
        """The node as listings show it, also one that has not dialled in."""
        books = self._books
        node = books.nodes.get(name)
        if node is not None:
            return node_view(books, node)
        record = books.cordons.get(name)
        return NodeView(
            name,
            books.edge,
            ready=False,
            capacity=NodeCapacity(0, 0),
            replicas=books.replicas_on.get(name, 0),
            dead=books.unseen_lost,
            cordoned=record is not None,
            draining=record is not None and record.draining,
            drain_grace_s=record.grace_s if record is not None else None,
        )

    def drain_view(self, name: str) -> DrainView | None:
        """How a drain stands; None where the node is not drained."""
        drain = self._drains.get(name)
        if drain is None:
            return None
        books = self._books
        node = books.nodes.get(name)
        moving = False
        left: list[DrainItem] = []
        for service in books.services.values():
            for replica, where in service.placement.items():
                if where == name:
                    why, moves = self._replica_left(service)
                    moving |= moves
                    left.append(DrainItem("replica", replica, moved=False, detail=why))
        # The tasks of a dead node are not there to be moved: central gives them up by itself.
        if node is not None and not node.dead:
            for replica in node.leaving:
                moving = True
                detail = "finishes its last requests"
                left.append(DrainItem("replica", replica, moved=False, detail=detail))
            for attempt_id, status in node.attempts.items():
                if status.state is AttemptState.ENDED:
                    continue
                drain.tasks[attempt_id] = None
                moving |= self._central.session is not None
                detail = self._task_left(away_node=node.session is None)
                left.append(DrainItem("task", attempt_id, moved=False, detail=detail))
        names = {item.name for item in left}
        moved = [
            DrainItem("replica", replica, moved=True, detail=to)
            for replica, to in drain.moved.items()
            if replica not in names
        ]
        moved += [DrainItem("task", task, moved=True) for task in drain.tasks if task not in names]
        stuck = bool(left) and not moving
        return DrainView(name, not left, stuck, (*moved, *left))

    # ---- inside

    def _check(self, event: CordonNode) -> None:
        books, name = self._books, event.node
        known = {*books.nodes, *books.cordons, *books.replicas_on} - {""}
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise NotFound(f"node {name!r} is unknown at edge {books.edge!r}; known: {names}")
        if event.grace_s is not None:
            check_range("grace_s", event.grace_s, 0, MAX_GRACE_S)
        if event.draining and not event.cordoned:
            raise InvalidField("draining", "a drained node is cordoned too", "set both")

    def _left(self, service: ServiceBook, replica: str, node: str) -> None:
        """A replica left a node; told if that is drained."""
        drain = self._drains.get(node)
        if drain is None:
            return
        newest = max(
            (
                (ordinal_of(name), name, where)
                for name, where in service.placement.items()
                if where and where != node and generation_of(name) == service.generation
            ),
            default=None,
        )
        drain.moved[replica] = f"{newest[1]} on {newest[2]}" if newest else "not wanted any more"
        if len(drain.moved) > MAX_MOVED:
            del drain.moved[next(iter(drain.moved))]

    def _replica_left(self, service: ServiceBook) -> tuple[str, bool]:
        """Why a replica is still there, and whether that may change by itself soon."""
        books = self._books
        for replica, where in service.placement.items():
            if not where or books.is_draining(where) or books.is_lost(where):
                continue
            view = replica_view(books, service, replica, where).status
            if view.state is not ReplicaState.READY:
                why = f" ({view.reason})" if view.reason else ""
                return f"waits for {replica} on {where}: {view.state.value}{why}", True
        return (service.short, False) if service.short else ("is about to move", True)

    def _task_left(self, *, away_node: bool) -> str:
        if away_node:
            return "the node is away"
        if self._central.session is None:
            return "the central master, which moves tasks, is not connected"
        return "is being stopped, to run elsewhere"
