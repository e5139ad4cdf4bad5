"""Two sites' shells over one stream: forwards, recalls, parts of replies, and what ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from tango.daemons.edge.peer_streams import PeerStreams
from tango.model import peers as p
from tango.model.errors import Refused
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.wire.mailbox import Mailbox
from tango.wire.peer_sessions import FROM_PEER, TO_PEER
from tango.wire.stream_session import StreamSession
from tango.wire.transports import MemoryTransport


@dataclass
class Desk:
    """An edge's books of calls, and no more: what arrives waits until the test answers it."""

    parts: dict[str, Callable[[ReplyPart], None]] = field(default_factory=dict)
    taken: dict[str, CallRequest] = field(default_factory=dict)
    waiting: dict[str, Callable[[CallReply], None]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    events: list[p.PeerEvent] = field(default_factory=list)

    def is_pending(self, request_id: str) -> bool:
        return request_id in self.waiting

    def submit(self, request: CallRequest, on_reply: Callable[[CallReply], None]) -> None:
        self.taken[request.request_id] = request
        self.waiting[request.request_id] = on_reply

    def cancel(self, request_id: str) -> None:
        if self.waiting.pop(request_id, None) is not None:
            self.cancelled.append(request_id)

    def answer(self, request_id: str) -> CallReply:
        reply = CallReply(request_id, Outcome.COMPLETED, Code.OK, 200, body=b"x", node="b1")
        self.waiting.pop(request_id)(reply)
        return reply

    def of(self, kind: type[p.PeerEvent]) -> list[p.PeerEvent]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Ends:
    dialler: Desk
    owner: Desk
    down: PeerStreams
    up: PeerStreams
    session: int
    guest: int
    raw: MemoryTransport
    ended: asyncio.Future[str]


async def eventually(ready: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    top, bottom = MemoryTransport.pair()
    owner_session = StreamSession[p.FromPeer, p.ToPeer](
        top, incarnation=7, encode=TO_PEER.encode, decode=FROM_PEER.decode, mailbox=Mailbox()
    )
    dialler_session = StreamSession[p.ToPeer, p.FromPeer](
        bottom, incarnation=9, encode=FROM_PEER.encode, decode=TO_PEER.decode, mailbox=Mailbox()
    )
    dialler, owner = Desk(), Desk()
    down = PeerStreams(dialler, dialler.events.append, itertools.count(1))
    up = PeerStreams(owner, owner.events.append, itertools.count(1))
    hello = p.PeerHello("site-a", 9, "0", 1)
    ended = asyncio.ensure_future(down.serve_peer(dialler_session, "site-b", hello))
    serving = asyncio.ensure_future(up.serve_guest(owner_session))
    await eventually(lambda: owner.of(p.GuestUp))
    (came,) = owner.of(p.GuestUp)
    assert isinstance(came, p.GuestUp)
    up.perform(p.SendGuest(came.session, p.PeerWelcome("site-b", 7)))
    await eventually(lambda: dialler.of(p.PeerUp))
    (there,) = dialler.of(p.PeerUp)
    assert isinstance(there, p.PeerUp)
    assert (came.hello, there.welcome.edge) == (hello, "site-b")
    try:
        yield Ends(dialler, owner, down, up, there.session, came.session, bottom, ended)
    finally:
        down.perform(p.ClosePeer(there.session, "done"))
        up.perform(p.CloseGuest(came.session, "done"))
        await asyncio.gather(ended, serving)


def forwards(*request_ids: str, **fields: object) -> p.Forwards:
    requests = [CallRequest(i, "s", deadline_s=0.1, timeout_s=1.0, **fields) for i in request_ids]  # type: ignore[arg-type]
    return p.Forwards(tuple(requests))


async def test_a_forward_is_taken_as_the_guests_and_its_reply_goes_back() -> None:
    async with connected() as ends:
        ends.down.perform(p.SendPeer(ends.session, forwards("r1", body=b"b", priority=3)))
        await eventually(lambda: "r1" in ends.owner.taken)
        taken = ends.owner.taken["r1"]
        assert (taken.origin, taken.priority, taken.body, taken.deadline_s) == (
            "site-a", 3, b"b", 0.1,
        )  # fmt: skip
        reply = ends.owner.answer("r1")
        await eventually(lambda: ends.dialler.of(p.PeerSaid))
        assert ends.dialler.of(p.PeerSaid) == [p.PeerSaid(ends.session, p.ForwardReplies((reply,)))]


async def test_an_id_that_is_served_is_not_taken_twice() -> None:
    async with connected() as ends:
        ends.down.perform(p.SendPeer(ends.session, forwards("r1")))
        ends.down.perform(p.SendPeer(ends.session, forwards("r1")))
        await eventually(lambda: ends.dialler.of(p.PeerSaid))
        (said,) = ends.dialler.of(p.PeerSaid)
        assert isinstance(said, p.PeerSaid)
        assert isinstance(said.message, p.ForwardReplies)
        (refused,) = said.message.replies
        assert (refused.outcome, refused.may_have_run) == (Outcome.REJECTED, False)
        ends.owner.answer("r1")
        await eventually(lambda: len(ends.dialler.of(p.PeerSaid)) == 2)


async def test_parts_of_a_streamed_reply_reach_who_waits_for_them() -> None:
    async with connected() as ends:
        got: list[bytes] = []
        ends.dialler.parts["r1"] = lambda part: got.append(part.data)
        ends.down.perform(p.SendPeer(ends.session, forwards("r1", stream=True)))
        await eventually(lambda: "r1" in ends.owner.parts)
        for data in (b"a", b"b"):
            ends.owner.parts["r1"](ReplyPart("r1", data))
        ends.owner.answer("r1")
        await eventually(lambda: ends.dialler.of(p.PeerSaid))
        assert got == [b"a", b"b"]
        assert not ends.owner.parts


async def test_a_recall_and_the_end_of_the_stream_cancel() -> None:
    async with connected() as ends:
        ends.owner.waiting["theirs"] = lambda reply: None
        ends.down.perform(p.SendPeer(ends.session, forwards("r1", "r2", "r3")))
        ends.down.perform(p.SendPeer(ends.session, p.RecallForwards(("r2", "theirs"))))
        await eventually(lambda: ends.owner.cancelled)
        assert ends.owner.cancelled == ["r2"], "and nobody else's"
        ends.down.perform(p.ClosePeer(ends.session, "enough"))
        assert await ends.ended == "enough"
        await ends.raw.write(None)
        await eventually(lambda: ends.owner.of(p.GuestDown))
        assert sorted(ends.owner.cancelled) == ["r1", "r2", "r3"]
        assert ends.dialler.of(p.PeerDown) == [p.PeerDown(ends.session, "enough")]


async def test_a_guest_that_is_refused_is_heard_no_more() -> None:
    async with connected() as ends:
        ends.up.perform(p.CloseGuest(ends.guest, "stale"))
        ends.down.perform(p.SendPeer(ends.session, forwards("r1")))
        await eventually(lambda: ends.owner.of(p.GuestDown))
        assert not ends.owner.taken


@pytest.mark.parametrize("first", [p.PeerPing(1, wants_offer=True), None])
async def test_who_does_not_say_hello_is_refused(first: p.PeerPing | None) -> None:
    top, bottom = MemoryTransport.pair()
    session = StreamSession[p.FromPeer, p.ToPeer](
        top, incarnation=7, encode=TO_PEER.encode, decode=FROM_PEER.decode, mailbox=Mailbox()
    )
    await bottom.write(None if first is None else FROM_PEER.encode(first, 9, 1))
    desk = Desk()
    with pytest.raises(Refused, match="hello first"):
        await PeerStreams(desk, desk.events.append, itertools.count()).serve_guest(session)
    assert not desk.events


async def test_a_forward_that_no_replica_may_see_ends_the_stream() -> None:
    """Its head would smuggle a second request into the connection to a replica."""
    async with connected() as ends:
        ends.down.perform(p.SendPeer(ends.session, forwards("r1", path="/ HTTP/1.1\r\n\r\nGET /x")))
        await eventually(lambda: ends.owner.of(p.GuestDown))
        assert not ends.owner.taken


ROOM = p.SiteOffer((p.PeerNode("b1", 1000, 2**30, 0.0, 0.0, (("s", 4),)),), ())


async def pinged(ends: Ends, number: int) -> p.PeerPong:
    """What the dialler hears where the owner's controller offers room."""
    heard = len(ends.dialler.of(p.PeerSaid))
    ends.up.perform(p.SendGuest(ends.guest, p.PeerPong(number, ROOM)))
    await eventually(lambda: len(ends.dialler.of(p.PeerSaid)) > heard)
    said = ends.dialler.of(p.PeerSaid)[-1]
    assert isinstance(said, p.PeerSaid)
    assert isinstance(said.message, p.PeerPong)
    return said.message


async def test_a_site_that_stops_goes_once_nobody_plans_on_it() -> None:
    async with connected() as ends:
        assert (await pinged(ends, 1)).offer == ROOM
        ends.up.begin_stop()
        gone = asyncio.ensure_future(ends.up.forgotten(60.0))
        await asyncio.sleep(0.2)
        assert not gone.done(), "the other site was told that there is room"
        assert (await pinged(ends, 2)).offer == p.SiteOffer((), ())
        async with asyncio.timeout(5):
            await gone


async def test_a_site_that_stops_does_not_wait_for_one_that_says_nothing() -> None:
    async with connected() as ends:
        await pinged(ends, 1)
        ends.up.begin_stop()
        async with asyncio.timeout(5):
            await ends.up.forgotten(0.1)


async def test_the_last_reply_goes_before_the_stream_of_a_site_that_stops() -> None:
    async with connected() as ends:
        ends.down.perform(p.SendPeer(ends.session, forwards("r1")))
        await eventually(lambda: "r1" in ends.owner.taken)
        ends.up.begin_stop()
        reply = ends.owner.answer("r1")
        ends.up.stop()
        await eventually(lambda: ends.dialler.of(p.PeerSaid))
        assert ends.dialler.of(p.PeerSaid) == [p.PeerSaid(ends.session, p.ForwardReplies((reply,)))]
        await eventually(lambda: ends.owner.of(p.GuestDown))
        assert ends.owner.of(p.GuestDown) == [p.GuestDown(ends.guest, "the edge is stopping")]
