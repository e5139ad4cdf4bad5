"""Several sites as neighbours on one fake clock: their edges, and the links between them.

Each site is an EdgeWorld, so its books are checked after every event, and no node is ever beyond
its capacity after a dispatch. A link has a delay, keeps its order as a session does, and can break,
stall, repeat and swap what it carries. Workers answer after a time of their own.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edge_world import EdgeWorld, FakeWorker

from tango.controllers.edge import EdgeController
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model import peers as p
from tango.model.messages import WorkerPing, WorkerPong
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.model.settings import PeerSettings

REDIAL_S = 0.2


class Net:
    """All sites and links. now: of all of them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sites: dict[str, Site] = {}
        self.links: dict[tuple[str, str], Link] = {}
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._ids = itertools.count(1)
        self.sessions = itertools.count(1000)

    def site(self, name: str, *peers: str, **fields: Any) -> Site:
        """A site that dials these; links come with `link`."""
        made = Site(self, name, tuple(PeerSettings(peer, f"{peer}:1") for peer in peers), **fields)
        self.sites[name] = made
        return made

    def link(self, dialler: str, owner: str, delay_s: float = 0.020) -> Link:
        """The stream that one site dials to another, up."""
        made = self.links[dialler, owner] = Link(self, dialler, owner, delay_s)
        made.dial()
        return made

    def later(self, at: float, what: Callable[[], object]) -> None:
        heapq.heappush(self._due, (max(at, self.now), next(self._ids), what))

    def advance(self, seconds: float) -> None:
        """Let time pass everywhere."""
        end = self.now + seconds
        while True:
            at = self._due[0][0] if self._due else math.inf
            first: Site | None = None
            for site in self.sites.values():
                wake_at = math.inf if site.frozen else site.controller.wake_at or math.inf
                if wake_at < at:
                    at, first = wake_at, site
            if at > end:
                break
            self._go_to(max(self.now, at))
            if first is not None:
                first.do(ev.Tick())
            else:
                heapq.heappop(self._due)[2]()
        self._go_to(end)

    def _go_to(self, now: float) -> None:
        self.now = now
        for site in self.sites.values():
            site.now = now


class Site(EdgeWorld):
    """One site. pending: forwarded to it, request id -> link. frozen: it does nothing (paused)."""

    def __init__(self, net: Net, name: str, peers: tuple[PeerSettings, ...], **fields: Any) -> None:
        super().__init__(name=name, peers=peers, **fields)
        self.net = net
        self.name = name
        self.now = net.now
        self.frozen = False
        self.held: list[Callable[[], object]] = []
        self.pending: dict[str, Link] = {}
        self.by_peer_session: dict[int, Link] = {}
        self.by_guest_session: dict[int, Link] = {}

    def serving(self, node: str, service_s: float, cpu: int = 1000) -> ServingWorker:
        """A node whose worker answers each request after that long, and reports."""
        worker = ServingWorker(self, node, cpu, service_s)
        worker.up()
        worker.keep_reporting()
        return worker

    def restart(self) -> None:
        """kill -9 and a new life: its streams end, its workers dial again with what they serve."""
        records: dict[str, dict[str, Any]] = {"service": {}, "placement": {}, "node": {}}
        for (kind, key), value in self.stored.items():
            records[kind][key] = value
        incarnation = self.controller.books.incarnation + 1
        settings = self.controller.books.settings
        for link in self.net.links.values():
            if self.name in (link.dialler, link.owner):
                link.broken = True
        self.controller = EdgeController(settings, incarnation=incarnation)
        self.controller.load(records["service"], records["placement"], records["node"])
        self.pending.clear()
        self.open_calls.clear()
        self.persists.clear()
        self.solves.clear()
        self.held.clear()
        self.frozen = False
        workers = list(self.workers.values())
        self.workers.clear()
        for worker in workers:
            worker.up()
        for link in self.net.links.values():
            if self.name in (link.dialler, link.owner):
                # The other end hears of it; a dead one hears nothing.
                other = link.b if link.a is self else link.a
                peer, guest = link.peer_session, link.guest_session
                if other is link.a:
                    other.when_awake(functools.partial(other.do, p.PeerDown(peer, "reset")))
                else:
                    other.when_awake(functools.partial(link.guest_ended, guest, "reset"))
                self.net.later(self.net.now + REDIAL_S, link.redial)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what came meanwhile is handled now."""
        self.frozen = False
        held, self.held = self.held, []
        for what in held:
            what()

    def when_awake(self, what: Callable[[], object]) -> None:
        if self.frozen:
            self.held.append(what)
        else:
            what()

    def take(self, link: Link, request: CallRequest) -> None:
        """As PeerStreams does: an id that is being served is not served twice."""
        if request.request_id in self.open_calls:
            reply = CallReply(request.request_id, Outcome.REJECTED, Code.INVALID, error="twice")
            link.down(p.ForwardReplies((reply,)))
            return
        self.pending[request.request_id] = link
        self.do(ev.CallArrived(replace(request, origin=link.dialler)))

    def recall(self, link: Link, request_id: str) -> None:
        if self.pending.get(request_id) is link:
            del self.pending[request_id]
            self.cancel(request_id)

    def _perform(self, command: cmd.EdgeCommand) -> None:
        match command:
            case cmd.Reply(reply):
                link = self.pending.pop(reply.request_id, None)
                if link is not None:
                    link.down(p.ForwardReplies((reply,)))
            case p.SendPeer(session, message):
                if session in self.by_peer_session:
                    self.by_peer_session[session].up(message)
            case p.SendGuest(session, message):
                if session in self.by_guest_session:
                    self.by_guest_session[session].down(message)
            case p.ClosePeer(session) | p.CloseGuest(session):
                link = self.by_peer_session.get(session) or self.by_guest_session.get(session)
                if link is not None and session in (link.peer_session, link.guest_session):
                    self.closed[session] = command.reason
                    link.cut(command.reason)
            case _:
                super()._perform(command)

    def peer(self, name: str) -> p.PeerView:
        return next(v for v in self.controller.peer_views(self.now) if v.peer == name)

    def ends(self) -> dict[str, int]:
        """Where this site's own calls were served: "" here, else the site."""
        found: dict[str, int] = {}
        for reply in self.replies.values():
            if reply.code is Code.OK:
                found[reply.site] = found.get(reply.site, 0) + 1
        return found


class ServingWorker(FakeWorker):
    """Answers each dispatch after service_s, and each ping at once. most: served at one time."""

    def __init__(self, site: Site, node: str, cpu: int, service_s: float) -> None:
        super().__init__(site, node, cpu, 2**33)
        self.site = site
        self.service_s = service_s
        self._begun: set[str] = set()
        self.most = 0

    def hear(self, message: Any) -> None:
        super().hear(message)
        self.most = max(self.most, len(self.serving))
        if isinstance(message, WorkerPing):
            self.site.net.later(self.site.now, lambda: self.say(WorkerPong(message.number)))
        for request_id in self.serving:
            if request_id not in self._begun:
                self._begun.add(request_id)
                self.site.net.later(
                    self.site.now + self.service_s, functools.partial(self._answer, request_id)
                )

    def _answer(self, request_id: str) -> None:
        self._begun.discard(request_id)
        if request_id in self.serving:
            self.site.when_awake(lambda: self.done(request_id, service_s=self.service_s))

    def keep_reporting(self) -> None:
        self.site.when_awake(self.report)
        self.site.net.later(self.site.net.now + 1.0, self.keep_reporting)


class Link:
    """One stream from a dialler to an owner. delay_s: each way. repeat, swap: of what goes down.

    stalled: what is held up, None while nothing is; upward is so only if stalls_up.
    """

    def __init__(self, net: Net, dialler: str, owner: str, delay_s: float) -> None:
        self.net = net
        self.dialler = dialler
        self.owner = owner
        self.delay_s = delay_s
        self.peer_session = self.guest_session = 0
        self.dials = 0
        self.broken = True
        self.stalled: list[tuple[bool, Any]] | None = None
        self.stalls_up = True
        self.redials = True
        self.repeat = False
        self.swap = False
        self._swapped: Any = None
        self._last = [0.0, 0.0]
        self.carried: list[Any] = []

    @property
    def a(self) -> Site:
        return self.net.sites[self.dialler]

    @property
    def b(self) -> Site:
        return self.net.sites[self.owner]

    def dial(self) -> None:
        """Hello goes up; the welcome makes the peer known."""
        self.dials += 1
        self.broken = False
        self.stalled = None
        self.peer_session = next(self.net.sessions)
        self.guest_session = next(self.net.sessions)
        self.a.by_peer_session[self.peer_session] = self
        self.b.by_guest_session[self.guest_session] = self
        incarnation = self.a.controller.books.incarnation
        self.up(p.PeerHello(self.dialler, incarnation, "0", self.dials))

    def up(self, message: Any) -> None:
        self._carry(True, message)

    def down(self, message: Any) -> None:
        if self.swap and self._swapped is None:
            self._swapped = message
            return
        self._carry(False, message)
        if self.repeat:
            self._carry(False, message)
        if self._swapped is not None:
            late, self._swapped = self._swapped, None
            self._carry(False, late)

    def _carry(self, upward: bool, message: Any) -> None:
        if self.broken:
            return
        if self.stalled is not None and (self.stalls_up or not upward):
            self.stalled.append((upward, message))
            return
        at = max(self.net.now + self.delay_s, self._last[upward])
        self._last[upward] = at
        session = self.guest_session
        self.net.later(at, lambda: self._arrive(upward, message, session))

    def _arrive(self, upward: bool, message: Any, session: int) -> None:
        if self.broken or session != self.guest_session:
            return
        self.carried.append(message)
        site = self.b if upward else self.a
        deliver = self._to_owner if upward else self._to_dialler
        site.when_awake(lambda: deliver(message, session))

    def _to_owner(self, message: Any, session: int) -> None:
        match message:
            case p.PeerHello():
                self.b.do(p.GuestUp(session, message))
            case p.Forwards(requests):
                for request in requests:
                    self.b.take(self, request)
            case p.RecallForwards(request_ids):
                for request_id in request_ids:
                    self.b.recall(self, request_id)
            case _:
                self.b.do(p.GuestSaid(session, message))

    def _to_dialler(self, message: Any, session: int) -> None:
        if session != self.guest_session:
            return
        if isinstance(message, p.PeerWelcome):
            self.a.do(p.PeerUp(self.peer_session, self.owner, message))
        else:
            self.a.do(p.PeerSaid(self.peer_session, message))

    def stall(self, *, up: bool = True) -> None:
        """Both ends keep their connection, and nothing arrives any more, or nothing from above."""
        self.stalled = []
        self.stalls_up = up

    def release(self) -> None:
        """What was held up arrives now."""
        held, self.stalled = self.stalled or [], None
        for upward, message in held:
            self._carry(upward, message)

    def cut(self, reason: str = "cut") -> None:
        """The stream ends for both; what was on its way is lost. Dialled again if redials."""
        if self.broken:
            return
        self.broken = True
        self._swapped = None
        peer, guest = self.peer_session, self.guest_session
        self.net.later(self.net.now, lambda: self._ended(peer, guest, reason))

    def _ended(self, peer: int, guest: int, reason: str) -> None:
        self.a.when_awake(lambda: self.a.do(p.PeerDown(peer, reason)))
        self.b.when_awake(lambda: self.guest_ended(guest, reason))
        if self.redials:
            self.net.later(self.net.now + REDIAL_S, self.redial)

    def guest_ended(self, guest: int, reason: str) -> None:
        for request_id, link in list(self.b.pending.items()):
            if link is self:
                self.b.recall(self, request_id)
        self.b.do(p.GuestDown(guest, reason))

    def redial(self) -> None:
        if self.broken and self.redials:
            self.dial()
