"""Routing of queued calls: when to ask the policy, what it is shown, and the commit of its plan."""

from __future__ import annotations

import math
from typing import Final

from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import IN_FLIGHT, Call
from tango.controllers.edge.demands import demands_of
from tango.controllers.edge.direct import Direct
from tango.controllers.edge.forwarding import Forwarding
from tango.controllers.edge.offers import has_room, own_offers
from tango.controllers.edge.peers import SEPARATOR, Peers
from tango.controllers.edge.service_book import ServiceBook
from tango.controllers.edge.service_place import ServicePlace
from tango.model.commands import SendWorker, Solve
from tango.model.decision import ROUTE
from tango.model.events import RouteSolved, SolveFailed
from tango.model.messages import Dispatches
from tango.model.plan import Demand, NodeOffer, Route, TrafficPlan, TrafficSnapshot
from tango.model.request import CallRequest, Dispatch

# A solve may cost a tenth of the time between two of them.
COST_SHARE: Final = 10
FAILURE_PAUSE_S: Final = 0.1
SHORTEST_TICK_S: Final = 0.0005


class Shown:
    """What a policy was shown of a route's service and node, for its records.

    The snapshot itself is not kept: thousands of records may each come from another one.
    """

    __slots__ = ("_demands", "_offers", "_routes", "_snapshot", "policy")

    def __init__(self, snapshot: TrafficSnapshot | None, routes: int, policy: str) -> None:
        self.policy = policy
        self._snapshot = snapshot
        self._routes = routes
        self._demands: dict[tuple[str, str], Demand] | None = None
        self._offers: dict[str, NodeOffer] = {}

    def of(self, route: Route) -> tuple[Demand | None, NodeOffer | None, int]:
        """The demand, the node's offer, and how many nodes were offered."""
        snapshot = self._snapshot
        if snapshot is None:
            return None, None, 0
        demands, offers = snapshot.demands, snapshot.offers
        if self._routes == 1 and len(demands) == 1:
            # The usual case: one request, and few nodes.
            for offer in offers:
                if offer.node == route.node:
                    return demands[0], offer, len(offers)
            return demands[0], None, len(offers)
        if self._demands is None:
            self._demands = {(demand.service, demand.origin): demand for demand in demands}
            self._offers = {offer.node: offer for offer in offers}
        demand = self._demands.get((route.service, route.origin))
        return demand, self._offers.get(route.node), len(offers)


class Router:
    """One Solve at a time. solve_at: when the next is due, infinity while nothing can be routed.

    waiting: whether a Solve awaits its plan.
    """

    def __init__(self, books: Books, peers: Peers, forwarding: Forwarding, direct: Direct) -> None:
        self._books = books
        self._peers = peers
        self._forwarding = forwarding
        self._direct = direct
        self._tick_s = max(SHORTEST_TICK_S, books.settings.tick_ms / 1000)
        self._gap_s = 0.0
        self._solve_id = 0
        self.waiting = False
        self._again = False
        self._solved_at = -math.inf
        # What the policy was shown in the outstanding solve.
        self._shown: TrafficSnapshot | None = None
        self.solve_at = math.inf

    def want(self, now: float) -> None:
        """Something changed that may let queued calls go: solve as soon as the pace allows."""
        if self.waiting:
            self._again = True
        elif self._books.queued:
            self.solve_at = min(self.solve_at, max(now, self._solved_at + self._gap_s))

    def settle(self, now: float) -> None:
        """Ask the policy, if it is time and something can be routed."""
        if now < self.solve_at or self.waiting:
            return
        self.solve_at = math.inf
        snapshot = self._snapshot(now)
        if snapshot is not None:
            self._solve_id += 1
            self.waiting = True
            self._again = False
            self._solved_at = now
            self._shown = snapshot
            self._books.out.append(Solve(self._solve_id, snapshot))
        else:
            self._settled()

    def solved(self, event: RouteSolved, now: float) -> None:
        """Commit a plan as far as it still holds; what it no longer fits stays queued."""
        if not self.waiting or event.solve_id != self._solve_id:
            return
        self.waiting = False
        self._gap_s = min(self._tick_s, COST_SHARE * event.cost_s)
        queued = self._books.queued
        policy = event.policy or self._books.settings.traffic_policy
        stale = self._commit(event.plan, policy, now)
        if self._again or (stale and self._books.queued < queued):
            self.want(now)
        elif self._books.queued:
            # What the policy left, or cannot place, is asked for again, but in no hurry.
            self.solve_at = min(self.solve_at, max(now, self._solved_at + self._tick_s))

    def failed(self, event: SolveFailed, now: float) -> None:
        """The policy raised: the queue stays, and it is asked again after a pause."""
        if not self.waiting or event.solve_id != self._solve_id:
            return
        self.waiting = False
        self._shown = None
        self.solve_at = now + FAILURE_PAUSE_S
        self._books.note("error", "traffic_solve_failed", error=event.error)

    # ---- what the policy sees

    def _snapshot(self, now: float) -> TrafficSnapshot | None:
        """Queued services by priority, then age, and the nodes with ready replicas of them.

        Neighbours' nodes too, for services that have more queued than fits here. None if no node
        has room for any of them.
        """
        books = self._books
        if not books.queued:
            return None
        services = [service for service in books.services.values() if service.queue]
        if len(services) > 1:
            services.sort(key=_by_priority_then_age)
        far = self._peers.beyond(services, now) if self._peers.active else []
        spilled = {name for offer in far for name, _ in offer.slots}
        if spilled or not all(service.open for service in services):
            services = [one for one in services if one.open or one.name in spilled]
        if not far and not any(has_room(service) for service in services):
            return None
        demands: list[Demand] = []
        for service in services:
            demands += demands_of(books, service, now, spilled=service.name in spilled)
        offers = own_offers(services)
        offers += far
        return TrafficSnapshot(tuple(demands), tuple(offers), books.seed + self._solve_id)

    # ---- what becomes of its plan

    def _commit(self, plan: TrafficPlan, policy: str, now: float) -> bool:
        """Dispatch what fits now, oldest calls first; whether the plan was out of date."""
        sends: dict[int, list[Dispatch]] = {}
        forwards: dict[int, list[CallRequest]] = {}
        stale = False
        services = self._books.services
        self._settled()
        # Calls leave the site only once all that fits here is placed.
        far = [route for route in plan.routes if SEPARATOR in route.node]
        shown = Shown(self._shown, len(plan.routes), policy)
        self._shown = None
        for route in plan.routes:
            if far and SEPARATOR in route.node:
                continue
            service = services.get(route.service)
            place = service.places.get(route.node) if service is not None else None
            if service is None or place is None:
                stale = True
                continue
            fit = place.room()
            if fit < route.count:
                stale = True
            else:
                fit = route.count
            session = place.node.session
            if fit > 0 and service.queue and session is not None:
                batch = sends.get(session)
                if batch is None:
                    batch = sends[session] = []
                self._dispatch(service, place, route, fit, batch, now, shown)
        for route in far:
            service = services.get(route.service)
            if service is None or not self._forwarding.send(
                service, route, (shown.policy, *shown.of(route)), now, forwards
            ):
                stale = True
        self._forwarding.commit(forwards)
        out = self._books.out
        for session, batch in sends.items():
            if batch:
                # A worker shall know first which slots are not for these.
                self._direct.tell()
                out.append(SendWorker(session, Dispatches(tuple(batch))))
        return stale

    def _settled(self) -> None:
        """Calls that were let in for a neighbour's room have gone there, or have not."""
        if self._peers.active:
            for service in self._books.services.values():
                service.spilling = 0

    def _dispatch(
        self,
        service: ServiceBook,
        place: ServicePlace,
        route: Route,
        count: int,
        batch: list[Dispatch],
        now: float,
        shown: Shown,
    ) -> None:
        """Move up to `count` of the oldest calls from the queue to the node."""
        queue = service.queue
        node = place.node
        record, name, policy = self._books.decisions.request, service.name, shown.policy
        demand, offer, candidates = shown.of(route)
        skipped: list[Call] = []
        sent = False
        while count > 0 and queue:
            request_id, call = queue.popitem(last=False)
            if request_id in node.holds or (
                call.request.origin != route.origin and self._books.guests
            ):
                # A run from before a lost session is not confirmed ended there yet; or it is
                # of another origin than the route is for.
                skipped.append(call)
                continue
            count -= 1
            service.dispatched += 1
            request = call.request
            lane = self._direct.pick(place, request, now)
            node.hold(request_id, place, call, direct=lane is not None)
            call.state = IN_FLIGHT
            call.node = node
            call.dispatched_at = now
            at = call.arrived_at
            record(
                ROUTE, now, request_id, name, node.name, policy, route, demand, offer, candidates,
                now - at, call.expected_s, call.deadline_at - at,
            )  # fmt: skip
            if call.wait_s > 0:
                service.forecast.waited(call.wait_s, now - call.arrived_at)
            self._books.queued -= 1
            dispatch = Dispatch(
                request_id,
                request.service,
                request.method,
                request.path,
                request.headers,
                request.body,
                call.timeout_at - now,
                request.stream,
            )
            if lane is None:
                if place.lanes:
                    self._direct.make_way(place)
                batch.append(dispatch)
            else:
                self._direct.send(lane, dispatch)
            sent = True
        if sent:
            self._books.nodes_dirty = True
            if service.request_memory_bytes and node.be_memory_bytes:
                self._books.pressed[node.name] = node
        for call in reversed(skipped):
            queue[call.request_id] = call
            queue.move_to_end(call.request_id, last=False)


def _by_priority_then_age(service: ServiceBook) -> tuple[int, int]:
    oldest = next(iter(service.queue.values()))
    return -service.spec.priority, oldest.seq
