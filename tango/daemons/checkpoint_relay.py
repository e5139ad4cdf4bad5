"""A hop of checkpoints on their way between nodes: what is fetched here, paired with its offer.

A piece is taken from the sender only when the receiver has taken the one before, so that a hop
holds two of them at most, and a receiver that is slow or gone stops the sender. Nothing is stored.
A transfer has a limited rate, for an edge routes requests on the same loop.
Who may fetch: roles are checked at the door, and whoever has the digest was told it by the central
master or made the checkpoint; the node that has it compares it. Who may offer: only who was told
the transfer's id, which is drawn for each.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from tango.daemons.operations import first_of
from tango.model.errors import NotFound, Refused, ResourceExhausted, TangoError, Unavailable
from tango.model.job import Checkpoint, CheckpointPart
from tango.model.messages import OpenCheckpoint

# At once through one daemon; one more is told to come again.
MAX_TRANSFERS = 8
# Of one piece; a manifest is bounded alike.
MAX_PART_BYTES = 1 << 20
FIRST_PART_S = 20.0
# Without a piece, or with one that the receiver does not take.
STALL_S = 60.0
# Of one transfer through one daemon.
MAX_BYTES_PER_S = 32 << 20
# Whatever the receiver says of its own limit.
MAX_TRANSFER_S = 86_400.0


class CheckpointLink(Protocol):
    """The session below, over which a checkpoint is asked for."""

    def send(self, message: OpenCheckpoint, /) -> bool:
        """False where it takes nothing any more."""
        ...


class _Transfer:
    """One checkpoint under way: a place for one piece, or for why there is no further one."""

    def __init__(self) -> None:
        self._next: asyncio.Queue[CheckpointPart | TangoError] = asyncio.Queue(1)
        self._room = asyncio.Event()
        self._room.set()
        self._gone = asyncio.Event()
        self._failed = False
        self.taken = False

    async def put(self, part: CheckpointPart) -> None:
        """Hand the piece over. Raises Unavailable where nobody takes it."""
        try:
            async with asyncio.timeout(STALL_S):
                await first_of(self._room, self._gone)
        except TimeoutError:
            raise Unavailable(f"the receiver has taken nothing for {STALL_S:.0f} s") from None
        if self._gone.is_set():
            raise Unavailable("the receiver has gone")
        self._room.clear()
        self._next.put_nowait(part)

    def fail(self, error: TangoError) -> None:
        """There is no further piece, for the first reason told; one that waits is of no use."""
        if self._failed:
            return
        self._failed = True
        self._gone.set()
        while not self._next.empty():
            self._next.get_nowait()
        self._next.put_nowait(error)

    async def get(self, patience_s: float) -> CheckpointPart:
        """The next piece. Raises what ended it, Unavailable where none comes."""
        try:
            async with asyncio.timeout(patience_s):
                found = await self._next.get()
        except TimeoutError:
            raise Unavailable(f"nothing of the checkpoint came in {patience_s:.0f} s") from None
        if isinstance(found, TangoError):
            raise found
        return found

    def took(self) -> None:
        """The receiver has the piece, and may have the next one."""
        self._room.set()

    def close(self) -> None:
        """The receiver has ended, or has all of it."""
        self._gone.set()


class CheckpointRelay:
    """Transfers through this daemon, by the id that was drawn for each."""

    def __init__(self) -> None:
        self._open: dict[str, _Transfer] = {}

    def stop(self) -> None:
        """The daemon ends: so does what passes by it."""
        for transfer in self._open.values():
            transfer.fail(Unavailable("a daemon on its way is stopping"))

    async def fetch(
        self, checkpoint: Checkpoint, link: CheckpointLink
    ) -> AsyncGenerator[CheckpointPart, None]:
        """Its pieces as they come from below. Raises Unavailable, and what the sender says."""
        if len(self._open) >= MAX_TRANSFERS:
            raise ResourceExhausted(f"{MAX_TRANSFERS} checkpoints are on their way here already")
        transfer_id = secrets.token_hex(16)
        transfer = self._open[transfer_id] = _Transfer()
        loop = asyncio.get_running_loop()
        ends = loop.time() + MAX_TRANSFER_S
        try:
            if not link.send(OpenCheckpoint(transfer_id, checkpoint)):
                raise Unavailable(f"node {checkpoint.node} is not connected")
            patience_s = FIRST_PART_S
            while loop.time() < ends:
                part = await transfer.get(patience_s)
                yield part
                if part.last:
                    return
                # Whoever else is served by this loop has it in between.
                await asyncio.sleep(len(part.data) / MAX_BYTES_PER_S)
                transfer.took()
                patience_s = STALL_S
            raise Unavailable(f"it takes more than {MAX_TRANSFER_S:.0f} s")
        finally:
            self._open.pop(transfer_id, None)
            transfer.close()

    async def take(self, transfer_id: str, parts: AsyncIterator[CheckpointPart]) -> None:
        """Pass an offer's pieces on. Raises NotFound, Refused, Unavailable."""
        transfer = self._open.get(transfer_id)
        if transfer is None or transfer.taken:
            raise NotFound("nobody waits for this checkpoint any more")
        transfer.taken = True
        try:
            async for part in parts:
                if max(len(part.data), len(part.manifest)) > MAX_PART_BYTES:
                    raise Refused(f"a piece may have {MAX_PART_BYTES} bytes")
                await transfer.put(part)
                if part.last:
                    return
            raise Unavailable("the sender ended before its last piece")
        except BaseException as error:
            # A receiver that reads no more keeps no place.
            self._open.pop(transfer_id, None)
            cut_off = Unavailable("the sender was cut off")
            transfer.fail(error if isinstance(error, TangoError) else cut_off)
            raise
