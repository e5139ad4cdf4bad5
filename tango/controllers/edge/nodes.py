"""Nodes: their workers' sessions, full resync after each (re)connect, reports and silence."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from tango.controllers.edge.attempts import Attempts
from tango.controllers.edge.books import Books
from tango.controllers.edge.central import CentralLink
from tango.controllers.edge.evictions import Evictions
from tango.controllers.edge.inflight import InFlight
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.rebalance import Rebalance
from tango.controllers.edge.routing import Router
from tango.controllers.edge.services import Services
from tango.model.commands import CloseWorker, SendWorker
from tango.model.decision import NODE_STATE
from tango.model.errors import InvalidField
from tango.model.events import WorkerDown, WorkerSaid, WorkerUp
from tango.model.job import AttemptState
from tango.model.layers import NodeImages
from tango.model.messages import (
    AttemptChanged,
    EdgeWelcome,
    ReplicaChanged,
    ReplicaGone,
    ReportUsage,
    RequestsDone,
    WorkerHello,
    WorkerPing,
    WorkerPong,
)
from tango.model.names import check_name
from tango.model.service import ReplicaStatus

# How much longer than a silent node one may stay away that has not dialled in since the start.
UNSEEN_FACTOR: Final = 3
# Sent with a report at hand: no timer of its own, and no ping into a silence.
PING_EVERY_S: Final = 0.5


class Nodes:
    """One session per node. check_at: when silence must be looked at next."""

    def __init__(
        self,
        books: Books,
        router: Router,
        inflight: InFlight,
        services: Services,
        attempts: Attempts,
        evictions: Evictions,
        rebalance: Rebalance,
        central: CentralLink,
    ) -> None:
        self._books = books
        self._router = router
        self._inflight = inflight
        self._services = services
        self._attempts = attempts
        self._evictions = evictions
        self._rebalance = rebalance
        self._central = central
        self._dead_after_s = books.settings.node_dead_after_s
        self._unseen_at = math.inf
        self._refused = ("", "")
        self.check_at = math.inf

    def begin(self, now: float) -> None:
        """The first event: from now on the nodes that replicas are placed on can dial in."""
        if self._books.replicas_on.keys() - {""}:
            self._unseen_at = self.check_at = now + UNSEEN_FACTOR * self._dead_after_s

    def up(self, event: WorkerUp, now: float) -> None:
        """Take a worker's stream on and rebuild its node from what it says, or refuse it."""
        books = self._books
        hello = event.hello
        node = books.nodes.get(hello.node)
        why = self._refusal(node, hello)
        if why:
            books.out.append(CloseWorker(event.session, why))
            books.note("warning", "worker_refused", node=hello.node, reason=why)
            if self._refused != (hello.node, why):
                # It dials again and again: once is enough until something else is refused.
                self._refused = (hello.node, why)
                books.decisions.record(NODE_STATE, now, hello.node, "refused", why)
            return
        came = "joined" if node is None else "returned" if node.dead else ""
        if node is None:
            node = NodeBook(hello, books.replica_memory.get(hello.node, 0))
            books.nodes[hello.node] = node
        elif node.session is not None:
            books.out.append(CloseWorker(node.session, "superseded by a newer stream of this node"))
            del books.sessions[node.session]
        if node.images is not None and node.hello.incarnation != hello.incarnation:
            # It says so again, unless it is not told to look any more.
            self._images(node, NodeImages(node.name))
        node.hello = hello
        node.resize(hello.capacity.cpu_millis, hello.capacity.memory_bytes)
        node.address = event.address
        node.session = event.session
        node.heard_at = now
        node.dead = False
        node.trips.restart()
        node.pinged_at = -math.inf
        books.sessions[event.session] = node
        self.check_at = min(self.check_at, now + self._dead_after_s)
        books.out.append(SendWorker(event.session, EdgeWelcome(books.edge, books.incarnation)))
        self._services.targets(node)
        self._inflight.resync(node, event.state, now)
        node.statuses = {}
        node.leaving, node.leaving_ports = {}, {}
        for status in event.state.replicas:
            if self._belongs(node, status):
                node.statuses[status.replica_id] = status
            else:
                # Whether it is a fixed one nobody may know any more.
                node.leaving[status.replica_id] = status.service
                if status.port:
                    node.leaving_ports[status.replica_id] = status.port
        self._recount(node)
        self._attempts.resync(node, event.state.attempts)
        books.nodes_dirty = True
        books.note("info", "worker_up", node=node.name, incarnation=hello.incarnation)
        books.decisions.record(NODE_STATE, now, node.name, "up", "its worker dialled in")
        self._router.want(now)
        self._services.place_soon(now)
        if came:
            self._rebalance.joined(node.name, came, now)

    def down(self, event: WorkerDown, now: float) -> None:
        """A stream ended; a superseded or refused one matters to nobody."""
        node = self._books.sessions.get(event.session)
        if node is not None:
            self._lose(node, event.reason, now)

    def said(self, event: WorkerSaid, now: float) -> None:
        """A message of a current session; those of others are dropped.

        Parts of replies and logs pass by the controller: here they only show that the node lives.
        """
        node = self._books.sessions.get(event.session)
        if node is None:
            return
        node.heard_at = now
        message = event.message
        if isinstance(message, RequestsDone):
            self._inflight.done(node, message, now)
        elif isinstance(message, ReportUsage):
            before = node.problem
            node.report = report = message.report
            if before != report.problem:
                self._problem_changed(node, now)
            if report.groups or not (report.be_tasks or node.statuses):
                node.groups = report.groups
                node.read_use(report, now)
            self._books.nodes_dirty = True
            if now >= node.pinged_at + PING_EVERY_S:
                self._ping(node, event.session, now)
            self._evictions.reported(node, now)
        elif isinstance(message, WorkerPong):
            if node.trips.pong(message.number, now) is not None:
                node.measured(node.trips.rtt_s)
        elif isinstance(message, ReplicaChanged):
            self._replica_changed(node, message.replica, now)
        elif isinstance(message, AttemptChanged):
            self._attempts.changed(node, message.attempt)
            if message.attempt.ports and message.attempt.state is AttemptState.ENDED:
                # A replica may have waited for its port.
                self._services.place_soon(now, 0.0)
        elif isinstance(message, ReplicaGone):
            self._replica_gone(node, message.replica_id, now)
        elif isinstance(message, NodeImages):
            self._images(node, replace(message, node=node.name))

    def _images(self, node: NodeBook, images: NodeImages) -> None:
        """For replicas that are placed from now on, and for the central master's tasks."""
        node.holds_images(images)
        self._central.send(images)

    def _problem_changed(self, node: NodeBook, now: float) -> None:
        """While a node has a problem it keeps what it has, and gets nothing new."""
        level = "warning" if node.problem else "info"
        self._books.note(level, "node_problem", node=node.name, problem=node.problem)
        self._services.place_soon(now)
        if not node.problem:
            self._rebalance.joined(node.name, "is well again", now)

    def _ping(self, node: NodeBook, session: int, now: float) -> None:
        """Measure the way to the worker; it has just shown that it lives."""
        node.pinged_at = now
        number = node.trips.ping(now)
        if number is not None:
            self._books.out.append(SendWorker(session, WorkerPing(number)))

    def check_silence(self, now: float) -> None:
        """Count nodes that said nothing for too long as dead, and close their streams.

        One that has not dialled in since this edge started gets more time: it may be on its way.
        """
        if now < self.check_at:
            return
        books = self._books
        died = False
        for node in books.nodes.values():
            # The same sum as check_at's: a difference can round to less, and never come true.
            if node.dead or now < node.heard_at + self._dead_after_s:
                continue
            reason = f"node {node.name} was silent for {now - node.heard_at:.1f} s"
            if node.session is not None:
                books.out.append(CloseWorker(node.session, reason))
                self._lose(node, reason, now)
            node.dead = died = books.nodes_dirty = True
            books.note("warning", "node_dead", node=node.name, reason=reason)
            books.decisions.record(NODE_STATE, now, node.name, "dead", reason)
        if now >= self._unseen_at:
            books.unseen_lost = died = True
            self._unseen_at = math.inf
        if died:
            self._services.place_soon(now, 0.0)
        heard = [node.heard_at for node in books.nodes.values() if not node.dead]
        first = min(heard) + self._dead_after_s if heard else math.inf
        self.check_at = min(first, self._unseen_at)

    def _refusal(self, node: NodeBook | None, hello: WorkerHello) -> str:
        """Why a stream is not taken on, "" if it is.

        Another key is another machine under the same name: refused for as long as this edge
        remembers the first, however long that one has been away. A machine that takes over a name
        brings the old key along, or the edge is restarted.
        """
        try:
            check_name(hello.node, "node")
        except InvalidField as error:
            return str(error)
        if node is None:
            return ""
        if hello.key != node.hello.key:
            return (
                f"node {hello.node} is another machine: its key differs from the known one; "
                "give it another name, or the node.key of the old one"
            )
        if hello.incarnation < node.hello.incarnation:
            known = node.hello.incarnation
            return f"stale: incarnation {hello.incarnation} of {hello.node} is before {known}"
        same = hello.incarnation == node.hello.incarnation
        if same and hello.dial and hello.dial <= node.hello.dial:
            return (
                f"stale: stream {hello.dial} of {hello.node} is not after {node.hello.dial}: "
                "it was held up on its way, or copied"
            )
        return ""

    def _lose(self, node: NodeBook, reason: str, now: float) -> None:
        """The node is not ready until it resyncs; what runs there is last known, not gone."""
        assert node.session is not None
        del self._books.sessions[node.session]
        node.session = None
        node.leaving, node.leaving_ports = {}, {}
        # What waited for a replica to be gone waits no more.
        self._services.place_soon(now, 0.0)
        self.check_at = min(self.check_at, node.heard_at + self._dead_after_s)
        self._recount(node)
        self._inflight.lost(node, f"node {node.name} was lost: {reason}", now)
        self._books.nodes_dirty = True
        self._books.note("warning", "worker_down", node=node.name, reason=reason)
        self._books.decisions.record(NODE_STATE, now, node.name, "down", reason)

    def _recount(self, node: NodeBook) -> None:
        """Readiness of every service with replicas on the node, after its session changed."""
        for service in self._books.services.values():
            if node.name in service.placement.values():
                service.recount(node)
                self._books.changed(service)

    def _replica_changed(self, node: NodeBook, status: ReplicaStatus, now: float) -> None:
        """One replica's status; news of one that shall not run here any more is dropped."""
        if not self._belongs(node, status):
            return
        service = self._books.services[status.service]
        old = node.statuses.get(status.replica_id)
        node.statuses[status.replica_id] = status
        if old is not None and replace(old, in_flight=status.in_flight) == status:
            return
        if service.recount(node):
            self._router.want(now)
        self._books.changed(service)
        self._services.replica_moved(service, now)

    def _replica_gone(self, node: NodeBook, replica: str, now: float) -> None:
        """A replica that left has no process any more: what waits for that goes on."""
        service = self._books.services.get(node.leaving.pop(replica, ""))
        if service is not None:
            self._services.replica_moved(service, now)
        if node.leaving_ports.pop(replica, 0):
            self._books.nodes_dirty = True
            self._services.place_soon(now, 0.0)

    def _belongs(self, node: NodeBook, status: ReplicaStatus) -> bool:
        """Whether the replica shall run on this node."""
        service = self._books.services.get(status.service)
        return service is not None and service.placement.get(status.replica_id) == node.name
