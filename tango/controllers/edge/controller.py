"""The edge master's controller: takes events, keeps the books, returns commands; no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from tango.algorithms.placement.replicas import ReplicaRule
from tango.algorithms.placement.spread import Spread
from tango.controllers.decisions import Decisions
from tango.controllers.edge.attempts import Attempts
from tango.controllers.edge.audit import audit
from tango.controllers.edge.books import Books
from tango.controllers.edge.central import CentralLink
from tango.controllers.edge.cordons import Cordons
from tango.controllers.edge.direct import Direct
from tango.controllers.edge.endings import Endings
from tango.controllers.edge.evictions import Evictions
from tango.controllers.edge.explain import findings
from tango.controllers.edge.forwarding import Forwarding
from tango.controllers.edge.guests import Guests
from tango.controllers.edge.inflight import InFlight
from tango.controllers.edge.nodes import Nodes
from tango.controllers.edge.peering import Peering
from tango.controllers.edge.peers import Peers
from tango.controllers.edge.reassurance import Reassurance
from tango.controllers.edge.rebalance import Rebalance
from tango.controllers.edge.round_trips import round_trips
from tango.controllers.edge.routes import Routes
from tango.controllers.edge.routing import Router
from tango.controllers.edge.services import Services
from tango.controllers.edge.shares import Shares
from tango.controllers.edge.views import node_views, service_view
from tango.controllers.edge.waiting import Waiting
from tango.model.cluster import NodeView
from tango.model.commands import EdgeCommand, NodeRecord, PlacementRecord, ServiceRecord
from tango.model.events import (
    ApplyService,
    CallArrived,
    CallCancelled,
    CentralDown,
    CentralSaid,
    CentralUp,
    CordonNode,
    DeleteService,
    EdgeEvent,
    FollowEnded,
    FollowReported,
    FollowStarted,
    Persisted,
    PersistFailed,
    RequestFinished,
    RouteSolved,
    SolveFailed,
    Tick,
    WorkerDown,
    WorkerSaid,
    WorkerUp,
)
from tango.model.explanation import Finding, Subject
from tango.model.messages import AckEnds, ForgetLogs, RequestsDone, StartAttempt, StopAttempt
from tango.model.peers import (
    GuestDown,
    GuestSaid,
    GuestUp,
    PeerDown,
    PeerSaid,
    PeerUp,
    PeerView,
)
from tango.model.round_trips import MeasuredTrips
from tango.model.settings import EdgeSettings
from tango.model.views import DrainView, RequestCounts, ServiceView

_NEVER: Final = math.inf


class EdgeController:
    """One site's master: LC admission and routing, service placement, BE admission.

    The shell calls load() once, then handle() for each event in order, carries the commands out,
    and sends Tick when `wake_at` has come. `now` never goes back. Same events, same commands.
    rule: says where replicas go, `spread` where None. loopback: as in WorkerHello.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        incarnation: int,
        seed: int = 0,
        rule: ReplicaRule | None = None,
        loopback: str = "",
    ) -> None:
        books = Books(settings, incarnation, seed, rule or Spread(), loopback)
        self.books = books
        self._endings = Endings(books)
        self._peers = Peers(books)
        forwarding = Forwarding(books, self._endings, self._peers)
        shares = Shares(books)
        self._direct = Direct(books, shares)
        self._router = Router(books, self._peers, forwarding, self._direct)
        self._central = CentralLink(books, self._peers)
        self._routes = Routes(books, self._router, shares, self._direct)
        self._waiting = Waiting(books, self._endings, self._router, self._peers, forwarding)
        self._peering = Peering(books, self._peers, forwarding, self._waiting, self._router)
        self._guests = Guests(books)
        self._services = Services(books, self._endings, self._router)
        self._rebalance = Rebalance(books, self._services)
        self._reassurance = Reassurance(books, self._router, self._services)
        self._inflight = InFlight(
            books, self._endings, self._router, self._waiting, self._reassurance
        )
        self._cordons = Cordons(books, self._services, self._central, self._rebalance)
        self._attempts = Attempts(books, self._central)
        self._evictions = Evictions(books, self._attempts)
        self._nodes = Nodes(
            books,
            self._router,
            self._inflight,
            self._services,
            self._attempts,
            self._evictions,
            self._rebalance,
            self._central,
        )
        self._wake_at = _NEVER
        self._begun = False
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            CallArrived: self._waiting.arrive,
            WorkerSaid: self._nodes.said,
            RouteSolved: self._solved,
            Tick: self._tick,
            RequestFinished: self._answered,
            CallCancelled: self._waiting.cancel,
            WorkerUp: self._nodes.up,
            WorkerDown: self._nodes.down,
            SolveFailed: self._solve_failed,
            FollowStarted: self._routes.started,
            FollowReported: self._routes.reported,
            FollowEnded: self._routes.ended,
            Persisted: self._persisted,
            PersistFailed: self._persist_failed,
            ApplyService: self._services.apply,
            DeleteService: self._services.delete,
            CordonNode: self._cordons.cordon,
            CentralUp: self._central_up,
            CentralSaid: self._central_said,
            CentralDown: self._central_down,
            PeerUp: self._peering.up,
            PeerSaid: self._peering.said,
            PeerDown: self._peering.down,
            GuestUp: self._guests.up,
            GuestSaid: self._guests.said,
            GuestDown: self._guests.down,
        }

    def load(
        self,
        services: Mapping[str, ServiceRecord],
        placements: Mapping[str, PlacementRecord],
        nodes: Mapping[str, NodeRecord] | None = None,
    ) -> None:
        """What the store holds; once, before the first event."""
        self._cordons.load(nodes or {})
        self._services.load(services, placements)

    def handle(self, event: EdgeEvent, now: float) -> list[EdgeCommand]:
        """What is to be done about the event, in this order. now: seconds, never going back."""
        commands: list[EdgeCommand] = []
        self.books.out = commands
        if not self._begun:
            self._begun = True
            self._nodes.begin(now)
        waiting = self._waiting
        if now >= waiting.due_at:
            waiting.expire(now)
        self._handlers[type(event)](event, now)
        services, router, central = self._services, self._router, self._central
        if now >= self._reassurance.due_at:
            self._reassurance.settle(now)
        rebalance = self._rebalance
        if now >= rebalance.due_at:
            rebalance.settle(now)
        if now >= services.place_at:
            services.settle(now)
        routes = self._routes
        if now >= routes.due_at or self.books.republish:
            routes.settle(now)
        if now >= router.solve_at:
            router.settle(now)
        direct = self._direct
        if now >= direct.due_at or direct.restless:
            direct.settle(now)
        if self.books.pressed:
            self._evictions.settle(now)
        central_at = _NEVER
        if central.session is not None:
            central_at = central.due_at
            if now >= central_at:
                central.settle(now)
                central_at = central.due_at
        peers, guests = self._peers, self._guests
        if now >= peers.due_at:
            self._peering.settle(now)
        if now >= guests.check_at:
            guests.settle(now)
        waiting.settle()
        self._wake_at = self._next_at(central_at)
        return commands

    def _next_at(self, central_at: float) -> float:
        """The earliest of all that is due. Two by two: compiled, more would make objects of all."""
        at = self._waiting.due_at
        # While a solve is on its way its answer comes first, whatever solve_at says.
        router = self._router
        if not router.waiting:
            at = min(at, router.solve_at)
        at = min(at, central_at)
        at = min(at, self._nodes.check_at)
        at = min(at, self._services.place_at)
        at = min(at, self._peers.due_at)
        at = min(at, self._guests.check_at)
        at = min(at, self._routes.due_at)
        at = min(at, self._reassurance.due_at)
        at = min(at, self._rebalance.due_at)
        return min(at, self._direct.due_at)

    @property
    def wake_at(self) -> float | None:
        """When a Tick is due if nothing else happens; None for never. Current after handle()."""
        return None if self._wake_at == _NEVER else self._wake_at

    def validate(self) -> None:
        """Raise AssertionError if the books contradict themselves; O(everything), for tests."""
        audit(self.books, self._waiting.heap, self._peers)
        self._routes.validate()
        self._direct.validate()

    # ---- for listings, metrics and logs

    @property
    def counts(self) -> RequestCounts:
        """Over all services, deleted and unknown ones included."""
        return self.books.totals.view()

    def service_view(self, name: str) -> ServiceView | None:
        """One service, None if there is none of that name."""
        service = self.books.services.get(name)
        return None if service is None else service_view(self.books, service)

    def service_views(self) -> tuple[ServiceView, ...]:
        """Every service, by name."""
        services = self.books.services
        return tuple(service_view(self.books, services[name]) for name in sorted(services))

    def node_views(self) -> tuple[NodeView, ...]:
        """Every node that has dialled in since the start or is cordoned, by name.

        Groups are as last reported.
        """
        nodes = self.books.nodes
        views = [
            replace(view, report=replace(view.report, groups=nodes[view.node].groups))
            if view.report is not None
            else view
            for view in node_views(self.books)
        ]
        unseen = self.books.cordons.keys() - nodes.keys()
        views += [self._cordons.node_view(name) for name in unseen]
        return tuple(sorted(views, key=lambda view: view.node))

    def peer_views(self, now: float) -> tuple[PeerView, ...]:
        """Every site that this edge dials, by name."""
        return self._peers.views(now)

    def round_trips(self, now: float) -> MeasuredTrips:
        """Delays to nodes and peers, as measured."""
        return round_trips(self.books, self._peers, now)

    def drain_view(self, node: str) -> DrainView | None:
        """How the drain of a node stands; None where it is not drained."""
        return self._cordons.drain_view(node)

    def session_of(self, target: str) -> int | None:
        """The session of the worker that has (the log of) a replica or an attempt.

        None where that node is away. An id that is not known (its end was acknowledged before this
        edge restarted) can only be at the one connected node, if there is just one.
        """
        books = self.books
        node = self._attempts.node_of(target)
        if node is not None:
            return node.session
        for service in books.services.values():
            if target in service.placement:
                node = books.nodes.get(service.placement[target])
                return None if node is None else node.session
        return next(iter(books.sessions)) if len(books.sessions) == 1 else None

    def session_of_node(self, node: str) -> int | None:
        """The session of a node's worker; None while it is away."""
        book = self.books.nodes.get(node)
        return None if book is None else book.session

    @property
    def decisions(self) -> Decisions:
        """The records that are still kept."""
        return self.books.decisions

    def explain(
        self, name: str, subjects: Collection[Subject], limit: int, now: float
    ) -> tuple[Finding, ...]:
        """What is known of everything of that name; each with at most `limit` records.

        Raises NotFound, which says whether it may have been forgotten.
        """
        return findings(self.books, name, subjects, limit, now)

    # ---- events that concern more than one part

    def _answered(self, event: RequestFinished, now: float) -> None:
        node = self._direct.ended(event.done, now)
        if node is not None:
            self._inflight.done(node, RequestsDone((event.done,)), now)

    def _solved(self, event: RouteSolved, now: float) -> None:
        solver = self._router if event.solve_id > 0 else self._routes
        solver.solved(event, now)

    def _solve_failed(self, event: SolveFailed, now: float) -> None:
        solver = self._router if event.solve_id > 0 else self._routes
        solver.failed(event, now)

    def _tick(self, event: Tick, now: float) -> None:
        self._nodes.check_silence(now)

    def _persisted(self, event: Persisted, now: float) -> None:
        self._services.persisted(event, now)
        self._cordons.persisted(event, now)

    def _persist_failed(self, event: PersistFailed, now: float) -> None:
        self._services.persist_failed(event, now)
        self._cordons.persist_failed(event, now)

    def _central_up(self, event: CentralUp, now: float) -> None:
        self._central.up(event.session, self._attempts.all(), now)

    def _central_said(self, event: CentralSaid, now: float) -> None:
        if event.session != self._central.session:
            return
        message = event.message
        if isinstance(message, StartAttempt):
            self._attempts.start(message, now)
        elif isinstance(message, StopAttempt):
            self._attempts.stop(message)
        elif isinstance(message, AckEnds):
            self._attempts.acknowledge(message)
        elif isinstance(message, ForgetLogs):
            self._attempts.forget_logs(message)

    def _central_down(self, event: CentralDown, now: float) -> None:
        self._central.down(event.session)
