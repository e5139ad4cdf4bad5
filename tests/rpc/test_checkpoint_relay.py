"""A hop of checkpoints over real gRPC: paired, one piece at a time, ended with whoever ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from wire_probe import AUTH, TOKEN

from tango.daemons import checkpoint_relay
from tango.daemons.checkpoint_relay import MAX_PART_BYTES, MAX_TRANSFERS, CheckpointRelay
from tango.model.errors import NotFound, Refused, ResourceExhausted, Unavailable
from tango.model.job import Checkpoint, CheckpointPart
from tango.model.messages import OpenCheckpoint
from tango.wire.backends import EdgeBackend
from tango.wire.channels import open_channel
from tango.wire.edge_client import EdgeClient
from tango.wire.servers import make_server
from tango.wire.services import edge_service

MADE = Checkpoint("j.0.1", "sha256:1", 1, "e", "n1")
PIECE = bytes(256 << 10)
LIMIT_S = 30.0
# grpc.aio loses a status that comes while a write is under way.
TAKEN_NO_MORE = r"nobody waits for|took no more of it"


class Hop:
    """An edge that only relays, and what it has asked of the node below."""

    def __init__(self) -> None:
        self.relay = CheckpointRelay()
        self.asked: asyncio.Queue[OpenCheckpoint] = asyncio.Queue()
        self.connected = True
        self.backend = SimpleNamespace(
            incarnation=1,
            fetch_checkpoint=lambda wanted: self.relay.fetch(wanted, self),
            take_checkpoint=self.relay.take,
        )

    def send(self, message: OpenCheckpoint, /) -> bool:
        self.asked.put_nowait(message)
        return self.connected


@pytest.fixture
async def hop() -> AsyncIterator[Hop]:
    made = Hop()
    server = make_server("127.0.0.1:0", TOKEN, [edge_service(cast("EdgeBackend", made.backend))])
    await server.start()
    made.address = str(server.address)  # type: ignore[attr-defined]
    try:
        yield made
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def client(hop: Any) -> AsyncIterator[EdgeClient]:
    async with open_channel(hop.address) as channel:
        yield EdgeClient(channel, AUTH)


async def pieces(count: int, sent: list[int] | None = None) -> AsyncGenerator[CheckpointPart, None]:
    yield CheckpointPart(manifest=b"{}")
    for number in range(count):
        if sent is not None:
            sent.append(number)
        yield CheckpointPart(data=PIECE)
    yield CheckpointPart(last=True)


async def offer(hop: Hop, parts: AsyncGenerator[CheckpointPart, None]) -> None:
    """What the node below does once it is asked."""
    async with client(hop) as node:
        wish = await asyncio.wait_for(hop.asked.get(), LIMIT_S)
        assert wish.checkpoint == MADE
        await node.offer_checkpoint(wish.transfer_id, parts)


async def test_it_comes_whole_and_in_order(hop: Hop) -> None:
    offering = asyncio.create_task(offer(hop, pieces(8)))
    async with client(hop) as node:
        found = [part async for part in node.fetch_checkpoint(MADE, LIMIT_S)]
    await offering
    assert found[0].manifest == b"{}"
    assert sum(len(part.data) for part in found) == 8 * len(PIECE)
    assert [part.last for part in found] == [False] * 9 + [True]
    assert hop.relay._open == {}


async def test_a_receiver_that_does_not_read_stops_the_sender(hop: Hop) -> None:
    sent: list[int] = []
    offering = asyncio.create_task(offer(hop, pieces(400, sent)))  # 100 MiB
    async with client(hop) as node:
        parts = node.fetch_checkpoint(MADE, LIMIT_S)
        await anext(parts)
        before = -1
        async with asyncio.timeout(LIMIT_S):
            while len(sent) > before:  # until it stands still
                before = len(sent)
                await asyncio.sleep(0.3)
        assert before * len(PIECE) < 24 << 20, "what gRPC keeps on its two connections"
        await parts.aclose()
    with pytest.raises(Unavailable, match=r"receiver has gone|took no more of it"):
        await offering
    assert hop.relay._open == {}


@pytest.mark.parametrize("how", ["dies", "stops", "says why", "says why it may pass"])
async def test_a_sender_that_ends_is_told_to_the_receiver(hop: Hop, how: str) -> None:
    async def broken() -> AsyncGenerator[CheckpointPart, None]:
        yield CheckpointPart(manifest=b"{}")
        if how == "says why":
            raise NotFound("its node has no such checkpoint")
        if how == "says why it may pass":
            raise Unavailable("node n1 is not connected")
        if how == "dies":
            await asyncio.sleep(60)

    offering = asyncio.create_task(offer(hop, broken()))
    async with client(hop) as node:
        parts = node.fetch_checkpoint(MADE, LIMIT_S)
        await anext(parts)
        if how == "dies":
            offering.cancel()
        why = {
            "dies": "the sender (was cut off|ended before its last piece)",
            "stops": "ended before its last piece",
            "says why": "its node has no such checkpoint",
            "says why it may pass": "node n1 is not connected",
        }[how]
        with pytest.raises(NotFound if how == "says why" else Unavailable, match=why):
            await anext(parts)
    with contextlib.suppress(NotFound, Unavailable, asyncio.CancelledError):
        await offering
    assert hop.relay._open == {}


async def test_only_who_was_asked_may_offer_and_once(hop: Hop) -> None:
    async with client(hop) as node:
        with pytest.raises((NotFound, Unavailable), match=TAKEN_NO_MORE):
            await node.offer_checkpoint("guessed", pieces(1))
        with pytest.raises((NotFound, Unavailable), match=TAKEN_NO_MORE):
            await node.offer_checkpoint("", pieces(1))
        parts = node.fetch_checkpoint(MADE, LIMIT_S)
        first = asyncio.ensure_future(anext(parts))
        wish = await hop.asked.get()
        offering = asyncio.create_task(node.offer_checkpoint(wish.transfer_id, pieces(400)))
        await first
        with pytest.raises((NotFound, Unavailable), match=TAKEN_NO_MORE):
            await node.offer_checkpoint(wish.transfer_id, pieces(1))
        await parts.aclose()
        with pytest.raises(Unavailable):
            await offering


async def test_a_hop_that_stops_ends_both(hop: Hop) -> None:
    offering = asyncio.create_task(offer(hop, pieces(400)))
    async with client(hop) as node:
        parts = node.fetch_checkpoint(MADE, LIMIT_S)
        await anext(parts)
        hop.relay.stop()
        with pytest.raises(Unavailable, match="is stopping"):
            async for _ in parts:
                pass
    with pytest.raises(Unavailable, match=r"receiver has gone|took no more of it"):
        await offering


async def test_a_piece_is_bounded(hop: Hop) -> None:
    async def large() -> AsyncGenerator[CheckpointPart, None]:
        yield CheckpointPart(data=bytes(MAX_PART_BYTES + 1))

    offering = asyncio.create_task(offer(hop, large()))
    async with client(hop) as node:
        with pytest.raises(Refused, match="a piece may have"):
            await anext(node.fetch_checkpoint(MADE, LIMIT_S))
    with pytest.raises(Refused):
        await offering


async def test_who_is_not_there_and_who_says_nothing(
    hop: Hop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_relay, "FIRST_PART_S", 0.1)
    async with client(hop) as node:
        with pytest.raises(Unavailable, match="nothing of the checkpoint came"):
            await anext(node.fetch_checkpoint(MADE, LIMIT_S))
        hop.connected = False
        with pytest.raises(Unavailable, match="node n1 is not connected"):
            await anext(node.fetch_checkpoint(MADE, LIMIT_S))
    assert hop.relay._open == {}


async def test_not_more_than_so_many_at_once(hop: Hop) -> None:
    async with client(hop) as node:
        waiting = [
            asyncio.ensure_future(anext(node.fetch_checkpoint(MADE, LIMIT_S)))
            for _ in range(MAX_TRANSFERS)
        ]
        for _ in waiting:
            await hop.asked.get()
        with pytest.raises(ResourceExhausted, match="are on their way here already"):
            await anext(node.fetch_checkpoint(MADE, LIMIT_S))
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
