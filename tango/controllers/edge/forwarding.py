"""Calls that are forwarded to a peer: which ones, how they end, and what a lost stream means.

A call goes to a peer only while delay, wait and service there still meet its own deadline, and only
if no node of this site has room for it. The peer alone admits: what it refuses, it has not run.
"""

from __future__ import annotations

from typing import Final

from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import Call, CallState
from tango.controllers.edge.endings import Endings
from tango.controllers.edge.peer_book import PIPELINE_CUT, PIPELINE_GROWTH, PeerBook
from tango.controllers.edge.peers import Peers
from tango.controllers.edge.service_book import ServiceBook
from tango.model.decision import FORWARD, FORWARD_REFUSED
from tango.model.peers import Forwards, RecallForwards, SendPeer
from tango.model.plan import Demand, NodeOffer, Route
from tango.model.request import CallReply, CallRequest, Code, Outcome

# What is left of a deadline when it leaves is more than nothing: 0 would mean the service's own.
LEAST_S: Final = 0.001

# The demand, the node's offer, and how many nodes were offered.
Shown = tuple[str, Demand | None, NodeOffer | None, int]


class Forwarding:
    """Sends, recalls, and takes back."""

    def __init__(self, books: Books, endings: Endings, peers: Peers) -> None:
        self._books = books
        self._endings = endings
        self._peers = peers

    def send(
        self,
        service: ServiceBook,
        route: Route,
        shown: Shown,
        now: float,
        batches: dict[int, list[CallRequest]],
    ) -> bool:
        """Forward up to route.count calls; whether all were.

        The youngest go, which have the most time left: the oldest are next for what gets free here,
        and for them the way is the most expensive. shown: what the policy saw of the route.
        """
        target = self._peers.target(route.node, service.name, now)
        if target is None:
            return False
        peer, node = target
        assert peer.session is not None
        # Local first: what fits here stays here, whatever the policy made of its load.
        local = service.room()
        count = min(
            route.count, self._peers.room_at(peer, node, service), len(service.queue) - local
        )
        if count <= 0:
            return False
        need_s = peer.need_s(service, now) + node.rtt_s
        chosen: list[Call] = []
        for call in reversed(service.queue.values()):
            if len(chosen) == count:
                break
            if (
                not call.request.origin
                and now + need_s <= call.deadline_at
                and peer.name not in call.refused_by
            ):
                chosen.append(call)
        way_s = peer.rtt.at_least_s(now)
        batch = batches.setdefault(peer.session, [])
        for call in reversed(chosen):
            self._send(call, peer, node.node, now)
            self._record(call, peer, node.node, route, shown, now)
            batch.append(self._request(call, way_s, now))
        return len(chosen) == route.count

    def commit(self, batches: dict[int, list[CallRequest]]) -> None:
        """One message to each peer that a plan has calls for."""
        for session, batch in batches.items():
            if batch:
                self._books.out.append(SendPeer(session, Forwards(tuple(batch))))

    def _record(
        self, call: Call, peer: PeerBook, node: str, route: Route, shown: Shown, now: float
    ) -> None:
        at = call.arrived_at
        policy, *inputs = shown
        self._books.decisions.request(
            FORWARD, now, call.request_id, call.service.name, peer.name, node, policy, route,
            *inputs, now - at, call.expected_s, call.deadline_at - at,
        )  # fmt: skip

    def _record_refusal(self, call: Call, peer: PeerBook, why: str, now: float) -> None:
        record = self._books.decisions.request
        record(FORWARD_REFUSED, now, call.request_id, call.service.name, peer.name, why)

    def _send(self, call: Call, peer: PeerBook, node: str, now: float) -> None:
        service = call.service
        del service.queue[call.request_id]
        self._books.queued -= 1
        call.state = CallState.FORWARDED
        call.peer, call.peer_node = peer, node
        call.dispatched_at = now
        service.dispatched += 1
        peer.put(call, node)

    def _request(self, call: Call, way_s: float, now: float) -> CallRequest:
        """The request as the peer gets it: what is left of its times once it is back here."""
        request = call.request
        deadline_s = max(LEAST_S, call.deadline_at - now - way_s)
        return CallRequest(
            request.request_id,
            request.service,
            request.method,
            request.path,
            request.headers,
            request.body,
            deadline_s,
            max(deadline_s, call.timeout_at - now - way_s),
            request.stream,
            priority=call.service.spec.priority,
        )

    def recall(self, calls: list[Call]) -> None:
        """Nobody waits for these any more: they leave the books, and their peers are told."""
        by_session: dict[int, list[str]] = {}
        for call in calls:
            peer = call.peer
            assert peer is not None
            peer.drop(call)
            if peer.session is not None:
                by_session.setdefault(peer.session, []).append(call.request_id)
        for session, request_ids in by_session.items():
            self._books.out.append(SendPeer(session, RecallForwards(tuple(request_ids))))

    def replied(self, peer: PeerBook, replies: tuple[CallReply, ...], now: float) -> list[Call]:
        """End these calls; those that have not run and are still in time are returned."""
        again: list[Call] = []
        for reply in replies:
            call = peer.calls.get(reply.request_id)
            if call is None:
                continue
            peer.drop(call)
            unseen = reply.code is not Code.OK and not reply.may_have_run
            if not unseen:
                peer.eagerness = min(1.0, peer.eagerness + PIPELINE_GROWTH)
                self._measure(call, reply, now)
                self._endings.pass_on(call, reply, now)
                continue
            peer.refused += 1
            self._record_refusal(call, peer, reply.error, now)
            if reply.outcome is Outcome.REJECTED:
                peer.eagerness *= PIPELINE_CUT
            call.refused_by = (*call.refused_by, peer.name)
            if self._in_time(call, now):
                again.append(call)
            else:
                error = f"{peer.name} did not take it ({reply.error}), and here it would be late"
                self._endings.turn_away(call, error, now)
        return again

    def lost(self, peer: PeerBook, reason: str, now: float) -> list[Call]:
        """The stream is gone, and with it the answers; calls that may run twice are returned."""
        again: list[Call] = []
        for call in list(peer.calls.values()):
            peer.drop(call)
            peer.lost += 1
            service = call.service
            if (
                service.spec.idempotent
                and not call.request.stream
                and not service.deleted
                and now < call.deadline_at
            ):
                call.refused_by = (*call.refused_by, peer.name)
                self._record_refusal(call, peer, f"it was lost: {reason}", now)
                again.append(call)
            else:
                error = f"site {peer.name} was lost: {reason}"
                self._endings.fail(
                    call, Code.UNAVAILABLE, error, now, may_have_run=True, lingers=False
                )
        return again

    def _in_time(self, call: Call, now: float) -> bool:
        """Whether a node of this site could still answer it in time."""
        service = call.service
        if service.deleted or not service.open:
            return False
        return now + service.forecast.occupancy_s < call.deadline_at

    def _measure(self, call: Call, reply: CallReply, now: float) -> None:
        """A service without a replica of its own here learns from its peers how long it takes."""
        service = call.service
        if not service.open and reply.code is Code.OK:
            service.forecast.served(
                now - call.dispatched_at, reply.service_ms / 1000, service.spec.deadline_s
            )
