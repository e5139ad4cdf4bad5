"""The edge's streams to and from other sites: forwards in, forwards out, and who is up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from tango.daemons.lifecycle import log_event
from tango.model import peers as p
from tango.model.errors import FailedPrecondition
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.wire.backends import GuestSession
from tango.wire.stream_session import SessionBroken, StreamSession

HELLO_TIMEOUT_S = 5.0
# Parts of streamed replies that may wait for a slow link before the request is given up.
STREAM_PARTS = 1024
FORGET_POLL_S = 0.01
# Of a request that was on its way when its sender heard that there is no room here any more.
WAY_S = 0.1
NOTHING = p.SiteOffer((), ())

PeerSession = StreamSession[p.ToPeer, p.FromPeer]


class CallDesk(Protocol):
    """Where the edge takes calls in. parts: request id -> who takes parts of its reply."""

    parts: dict[str, Callable[[ReplyPart], None]]

    def is_pending(self, request_id: str) -> bool:
        """Whether a call of that id awaits its answer."""
        ...

    def submit(self, request: CallRequest, on_reply: Callable[[CallReply], None]) -> None:
        """Take a call; on_reply comes exactly once, unless it is cancelled."""
        ...

    def cancel(self, request_id: str) -> None:
        """Nobody waits for it any more."""
        ...


class PeerStreams:
    """Sessions by number; what the controller says goes out on them."""

    def __init__(
        self, desk: CallDesk, post: Callable[[p.PeerEvent], None], ids: itertools.count[int]
    ) -> None:
        self._desk = desk
        self._post = post
        self._ids = ids
        self._peers: dict[int, PeerSession] = {}
        self._guests: dict[int, _Guest] = {}
        self._stopping = False

    def perform(self, command: p.PeerCommand) -> None:
        """Carry out what the controller wants."""
        match command:
            case p.SendPeer(session, message):
                peer = self._peers.get(session)
                if peer is not None:
                    peer.send(message)
            case p.SendGuest(session, answer):
                guest = self._guests.get(session)
                if guest is not None:
                    guest.say(answer, stopping=self._stopping)
            case p.ClosePeer(session, reason):
                peer = self._peers.pop(session, None)
                if peer is not None:
                    peer.close(reason)
            case p.CloseGuest(session, reason):
                guest = self._guests.pop(session, None)
                if guest is not None:
                    guest.session.close(reason)

    def begin_stop(self) -> None:
        """Offer nothing any more to sites that have dialled."""
        self._stopping = True

    async def forgotten(self, patience_s: float) -> None:
        """Return when no site plans on this one any more, and what was on its way here has come.

        A stream that ended before would take with it requests that this site never saw.
        """
        if not self._guests:
            return
        clock = asyncio.get_running_loop().time
        ends = clock() + patience_s
        while any(guest.plans for guest in self._guests.values()):
            if clock() >= ends:
                break
            await asyncio.sleep(FORGET_POLL_S)
        await asyncio.sleep(WAY_S)

    def stop(self) -> None:
        """End all of them; answers that wait to go out still do."""
        for peer in self._peers.values():
            peer.close("the edge is stopping")
        for guest in self._guests.values():
            guest.session.finish("the edge is stopping")

    # ---- sites that this edge dials

    async def serve_peer(self, session: PeerSession, name: str, hello: p.PeerHello) -> str:
        """Say hello, then pass messages on until the stream ends."""
        number = next(self._ids)
        self._peers[number] = session
        session.send(hello)
        limit = asyncio.get_running_loop().call_later(
            HELLO_TIMEOUT_S, session.close, f"{name} did not welcome this site"
        )
        reason = "cut off"
        try:
            reason = await session.run(lambda message: self._on_peer(number, name, message, limit))
        finally:
            limit.cancel()
            self._peers.pop(number, None)
            self._post(p.PeerDown(number, reason))
        return reason

    def _on_peer(
        self, number: int, name: str, message: p.ToPeer, limit: asyncio.TimerHandle
    ) -> None:
        if number not in self._peers:
            return
        match message:
            case p.PeerWelcome():
                limit.cancel()
                self._post(p.PeerUp(number, name, message))
            case ReplyPart(request_id):
                deliver = self._desk.parts.get(request_id)
                if deliver is not None:
                    deliver(message)
            case _:
                self._post(p.PeerSaid(number, message))

    # ---- sites that have dialled

    async def serve_guest(self, session: GuestSession) -> None:
        """Hello, then messages until the stream ends; what it forwarded ends with it."""
        try:
            hello = await session.receive(HELLO_TIMEOUT_S)
        except (SessionBroken, TimeoutError) as error:
            raise FailedPrecondition(f"a site must say hello first: {error}") from error
        if not isinstance(hello, p.PeerHello):
            raise FailedPrecondition("a site must say hello first")
        number = next(self._ids)
        guest = self._guests[number] = _Guest(self._desk, session, hello.edge)
        self._post(p.GuestUp(number, hello))
        reason = "cut off"
        try:
            reason = await session.run(lambda message: self._on_guest(number, guest, message))
        finally:
            self._guests.pop(number, None)
            guest.end()
            log_event("info", "site disconnected", site=hello.edge, reason=reason)
            self._post(p.GuestDown(number, reason))

    def _on_guest(self, number: int, guest: _Guest, message: p.FromPeer) -> None:
        if number not in self._guests:
            return
        match message:
            case p.Forwards(requests):
                for request in requests:
                    guest.take(request)
            case p.RecallForwards(request_ids):
                for request_id in request_ids:
                    guest.recall(request_id)
            case _:
                self._post(p.GuestSaid(number, message))


class _Guest:
    """The requests that came on one stream of another site and have no answer yet.

    plans: whether that site was last told that there is room here.
    """

    def __init__(self, desk: CallDesk, session: GuestSession, site: str) -> None:
        self.session = session
        self.plans = False
        self._desk = desk
        self._site = site
        self._pending: set[str] = set()

    def say(self, answer: p.ToPeer, *, stopping: bool) -> None:
        """Send the controller's words, without an offer once this site stops."""
        if isinstance(answer, p.PeerPong) and answer.offer is not None:
            self.plans = not stopping
            if stopping:
                answer = replace(answer, offer=NOTHING)
        self.session.send(answer)

    def take(self, request: CallRequest) -> None:
        """Admit a request, or refuse it. An id that is being served is not served twice."""
        request_id = request.request_id
        if self._desk.is_pending(request_id):
            error = f"request id {request_id!r} is already on its way here"
            reply = CallReply(request_id, Outcome.REJECTED, Code.INVALID, error=error)
            self.session.send(p.ForwardReplies((reply,)))
            return
        self._pending.add(request_id)
        if request.stream:
            self._desk.parts[request_id] = self._on_part
        self._desk.submit(replace(request, origin=self._site), self._on_reply)

    def recall(self, request_id: str) -> None:
        """Nobody waits for it there any more."""
        if request_id in self._pending:
            self._forget(request_id)
            self._desk.cancel(request_id)

    def end(self) -> None:
        """The stream is gone, and with it who waits."""
        for request_id in tuple(self._pending):
            self.recall(request_id)

    def _on_reply(self, reply: CallReply) -> None:
        self._forget(reply.request_id)
        self.session.send(p.ForwardReplies((reply,)))

    def _on_part(self, part: ReplyPart) -> None:
        if self.session.backlog < STREAM_PARTS:
            self.session.send(part)
            return
        # All other answers travel on the same stream: one reply must not fill it.
        self.recall(part.request_id)
        error = f"the way to {self._site} is {STREAM_PARTS} messages behind"
        reply = CallReply(
            part.request_id,
            Outcome.FAILED,
            Code.RESOURCE_EXHAUSTED,
            error=error,
            may_have_run=True,
        )
        self.session.send(p.ForwardReplies((reply,)))

    def _forget(self, request_id: str) -> None:
        self._pending.discard(request_id)
        self._desk.parts.pop(request_id, None)
