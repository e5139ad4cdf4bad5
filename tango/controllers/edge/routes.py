"""Published routes: capacity that clients use without the edge, carved out and leased to them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tango.algorithms.traffic.shares import fair, split
from tango.controllers.edge.books import Books
from tango.controllers.edge.direct import Direct
from tango.controllers.edge.follower import LEASE_S, Follower
from tango.controllers.edge.published import (
    Published,
    Target,
    by_node,
    targets_of,
    unpublished_reason,
)
from tango.controllers.edge.route_snapshot import snapshot_of
from tango.controllers.edge.routing import COST_SHARE, FAILURE_PAUSE_S, Router
from tango.controllers.edge.service_book import ServiceBook
from tango.controllers.edge.shares import Shares
from tango.model.commands import SendRoutes, Solve
from tango.model.events import (
    FollowEnded,
    FollowReported,
    FollowStarted,
    RouteSolved,
    SolveFailed,
)
from tango.model.plan import TrafficPlan
from tango.model.request import Outcome
from tango.model.routes import FollowReport, ReplicaRoute, RouteTable

# No solve sooner after another, and one at least so often while anybody follows.
SOLVE_GAP_S = 0.05
REFRESH_S = 1.0


class Routes:
    """Who follows what; due_at: when to settle next, infinity while nobody follows.

    The traffic policy is asked where it would send what may be published; its counts are the
    weights. Slots are dealt by them: to followers by what they want, out of what no carried request
    holds now, while carried requests find that much less room from then on.
    Its solves have negative numbers, the router's positive ones.
    """

    def __init__(self, books: Books, router: Router, shares: Shares, direct: Direct) -> None:
        self._books = books
        self._router = router
        self._shares = shares
        self._direct = direct
        self._services: dict[str, Published] = {}
        self._followers: dict[int, Published] = {}
        self._version = 0
        self._solve_id = 0
        self._asked: frozenset[str] | None = None
        self._solve_at = math.inf
        self._gap_s = SOLVE_GAP_S
        self._solved_at = -math.inf
        self.due_at = math.inf

    # ---- followers

    def started(self, event: FollowStarted, now: float) -> None:
        """Someone follows: it gets a table at once, and slots after the next solve."""
        published = self._services.get(event.service)
        if published is None:
            published = self._services[event.service] = Published(event.service)
            self._books.published.add(event.service)
        follower = Follower(event.follower, now, passive=event.passive)
        published.followers[event.follower] = follower
        self._followers[event.follower] = published
        self._want(now)
        self._touch(published, now)

    def reported(self, event: FollowReported, now: float) -> None:
        """Renew its lease, count what ended, and deal anew where that changed anything."""
        published = self._followers.get(event.follower)
        if published is None:
            return
        follower = published.followers[event.follower]
        report = event.report
        self._count(published, report)
        if follower.report(report, published.most_slots, now):
            if published.wanted > published.most_wanted:
                self._want(now)
            self._touch(published, now)

    def ended(self, event: FollowEnded, now: float) -> None:
        """Its stream ended: what it may have under way stays set aside until its lease is over."""
        published = self._followers.pop(event.follower, None)
        if published is None:
            return
        follower = published.followers[event.follower]
        if follower.passive:
            follower.leave()
        follower.left = True
        follower.want = 0
        self._touch(published, now)

    def _count(self, published: Published, report: FollowReport) -> None:
        """Direct requests count as the service's own, and teach how long one holds its slot."""
        service = self._books.services.get(published.name)
        if service is None:
            return
        for tally in report.replicas:
            ended = (
                (Outcome.COMPLETED, tally.completed),
                (Outcome.LATE, tally.late),
                (Outcome.FAILED, tally.failed),
            )
            for outcome, count in ended:
                for counts in (service.counts, self._books.totals):
                    counts.sent += count
                    counts.end(outcome, count)
            answered = tally.completed + tally.late
            if answered:
                mean_s = tally.latency_s / answered
                service.forecast.served(mean_s, mean_s, service.spec.deadline_s)

    # ---- solves

    def _want(self, now: float) -> None:
        self._solve_at = min(self._solve_at, max(now, self._solved_at + self._gap_s))
        self.due_at = min(self.due_at, self._solve_at)

    def _touch(self, published: Published, now: float) -> None:
        published.dirty = True
        self.due_at = min(self.due_at, now)

    def solved(self, event: RouteSolved, now: float) -> None:
        """The policy's counts are the weights from now on."""
        asked = self._answered(event)
        if asked is None:
            return
        self._gap_s = max(SOLVE_GAP_S, COST_SHARE * event.cost_s)
        for name in asked:
            published = self._services.get(name)
            if published is not None:
                self._weigh(published, event.plan)
                self._touch(published, now)

    def failed(self, event: SolveFailed, now: float) -> None:
        """The policy raised: weights stay as they are, and it is asked again."""
        if self._answered(event) is not None:
            self._solve_at = now + FAILURE_PAUSE_S
            self.due_at = min(self.due_at, self._solve_at)
            self._books.note("error", "routes_solve_failed", error=event.error)

    def _answered(self, event: RouteSolved | SolveFailed) -> frozenset[str] | None:
        if self._asked is None or event.solve_id != self._solve_id:
            return None
        asked, self._asked = self._asked, None
        return asked

    def _weigh(self, published: Published, plan: TrafficPlan) -> None:
        counts: dict[str, int] = {}
        for route in plan.routes:
            if route.service == published.name:
                counts[route.node] = counts.get(route.node, 0) + route.count
        published.weights = {}
        published.weighed = True
        for node, targets in by_node(self._targets(published)).items():
            parts = split(counts.get(node, 0), [target.slots for target in targets])
            for target, part in zip(targets, parts, strict=True):
                if part:
                    published.weights[target.replica] = part

    def _ask(self, now: float) -> None:
        """A solve of what may be published of every followed service, by priority."""
        self._solve_at = now + REFRESH_S
        self._solved_at = now
        found = []
        for published in self._services.values():
            service = self._books.services.get(published.name)
            if service is not None:
                found.append((service, published, self._targets(published)))
        found.sort(key=lambda one: (-one[0].spec.priority, one[0].name))
        snapshot = snapshot_of(self._books, found, self._books.seed - self._solve_id)
        if not snapshot.demands:
            for published in self._services.values():
                published.weights = {}
                published.dirty = published.weighed = True
            return
        self._solve_id -= 1
        self._asked = frozenset(self._services)
        self._books.out.append(Solve(self._solve_id, snapshot))

    # ---- dealing

    def settle(self, now: float) -> None:
        """Leases that are over, replicas that came or went, a solve that is due, slots to deal."""
        changed, self._books.republish = self._books.republish, set()
        for name in changed:
            published = self._services.get(name)
            if published is not None:
                published.dirty = True
                self._want(now)
        for published in self._services.values():
            self._lapse(published, now)
        if now >= self._solve_at and self._asked is None and self._services:
            self._ask(now)
        short = False
        dirty = [one for one in self._services.values() if one.dirty]
        for published in dirty:
            published.dirty = self._deal(published)
            short = short or published.dirty
        if dirty:
            self._tell_workers()
            self._forget()
            if self._books.queued:
                self._router.want(now)
        self.due_at = now + SOLVE_GAP_S if short else math.inf
        if self._services:
            if self._asked is None:
                self.due_at = min(self.due_at, self._solve_at)
            self.due_at = min(self.due_at, *(one.until for one in self._services.values()))

    def _lapse(self, published: Published, now: float) -> None:
        service = self._books.services.get(published.name)
        timeout_s = LEASE_S if service is None else max(LEASE_S, service.spec.timeout_s)
        for follower in published.followers.values():
            if now >= follower.until:
                lapsed = follower.lapsed
                if not follower.passive:
                    published.dirty = published.dirty or not lapsed or bool(follower.held)
                follower.lapse(now, timeout_s)

    def _deal(self, published: Published) -> bool:
        """Slots to followers, by weight; whether some must wait until carried requests end."""
        service = self._books.services.get(published.name)
        published.turn_to(service)
        found = {target.replica: target for target in self._targets(published)}
        weights = {r: weight for r, weight in published.weights.items() if r in found}
        names = sorted(weights)
        takers = [one for one in published.followers.values() if one.entitled]
        wants = [one.want for one in takers]
        left = split(sum(wants), [weights[name] for name in names])
        claims: dict[str, int] = {}
        for name, slots in zip(names, left, strict=True):
            published.where[name] = found[name].node.name
            claims[found[name].node.name] = claims.get(found[name].node.name, 0) + slots
        published.claims = dict(zip(names, left, strict=True))
        short = False
        free: dict[str, int] = {}
        # Where the edge itself has requests is known by replica; where workers have, by node only.
        spare = {
            name: found[name].slots - self._direct.in_flight(name) - published.held_at(name)
            for name in names
        }
        if service is not None:
            held = published.held_by_node()
            for node, claim in claims.items():
                fits = service.places[node].spare(held.get(node, 0))
                free[node] = min(fits, claim - held.get(node, 0))
        for follower, total in zip(takers, fair(sum(left), wants), strict=True):
            parts = split(total, left)
            left = [rest - part for rest, part in zip(left, parts, strict=True)]
            granted: dict[str, int] = {}
            for name, part in zip(names, parts, strict=True):
                node = found[name].node.name
                own = follower.held.get(name, 0)
                given = min(part, own + max(0, min(free[node], spare[name])))
                short = short or given < part
                if given > own:
                    free[node] -= given - own
                    spare[name] -= given - own
                    follower.held[name] = given
                if given:
                    granted[name] = given
            follower.granted = granted
        self._carve(published, service, claims)
        for follower in published.followers.values():
            self._tell(published, service, follower, [found[name] for name in names], weights)
        return short

    def _carve(
        self, published: Published, service: ServiceBook | None, claims: dict[str, int]
    ) -> None:
        """What is claimed and what is still held both leave no room for carried requests."""
        if service is None:
            return
        held = published.held_by_node()
        for name, place in service.places.items():
            slots = max(claims.get(name, 0), held.get(name, 0))
            self._books.nodes_dirty = self._books.nodes_dirty or slots != place.published
            if slots > place.published and service.request_memory_bytes:
                self._books.pressed[name] = place.node
            place.carve(slots)

    def _tell(
        self,
        published: Published,
        service: ServiceBook | None,
        follower: Follower,
        targets: Iterable[Target],
        weights: dict[str, int],
    ) -> None:
        """Send a table where it is another one than before."""
        routes = tuple(
            ReplicaRoute(
                target.replica,
                target.node.name,
                target.host,
                target.port,
                weights[target.replica],
                follower.granted.get(target.replica, 0),
            )
            for target in targets
        )
        same = follower.sent == routes and not published.renewed
        if follower.left or same or not published.weighed:
            return
        self._version += 1
        follower.sent = routes
        follower.version = self._version
        spec = None if service is None else service.spec
        self._books.out.append(
            SendRoutes(
                follower.number,
                RouteTable(
                    published.name,
                    self._books.edge,
                    self._books.incarnation,
                    self._version,
                    routes,
                    spec.deadline_s if spec is not None else 0.0,
                    spec.timeout_s if spec is not None else 0.0,
                    spec is not None and spec.idempotent,
                    LEASE_S,
                    "" if routes else unpublished_reason(self._books, service),
                ),
            )
        )

    def _tell_workers(self) -> None:
        """What followers may have under way now."""
        shares: dict[str, dict[str, int]] = {}
        for published in self._services.values():
            for follower in published.followers.values():
                for replica, slots in follower.held.items():
                    there = shares.setdefault(published.where[replica], {})
                    there[replica] = there.get(replica, 0) + slots
        # What is claimed is left free by direct calls from now on, or it would never be granted.
        kept = {
            replica: slots
            for published in self._services.values()
            for replica, slots in published.claims.items()
            if slots
        }
        for there in shares.values():
            for replica, slots in there.items():
                kept[replica] = max(slots, kept.get(replica, 0))
        self._books.followed_slots = kept
        self._shares.followers = shares
        self._shares.tell()

    def _forget(self) -> None:
        """Followers that have gone with all they had, and services that nobody follows."""
        for published in list(self._services.values()):
            followers = published.followers
            for number in [number for number, one in followers.items() if one.gone]:
                del followers[number]
                self._followers.pop(number, None)
            published.tidy()
            if not followers:
                published.turn_to(None)
                del self._services[published.name]
                self._books.published.discard(published.name)

    def _targets(self, published: Published) -> list[Target]:
        service = self._books.services.get(published.name)
        return [] if service is None else targets_of(self._books, service)

    def validate(self) -> None:
        """AssertionError where what is set aside does not cover what followers may use."""
        for published in self._services.values():
            held = published.held_by_node()
            service = self._books.services.get(published.name)
            if service is not None and service is published.service:
                for name, slots in held.items():
                    place = service.places.get(name)
                    assert place is None or place.published >= slots, f"{name}: too little carved"
            for follower in published.followers.values():
                for replica, slots in follower.granted.items():
                    assert follower.held[replica] >= slots, f"{replica}: granted above held"
                assert not (follower.passive and follower.held), "a watcher holds slots"
