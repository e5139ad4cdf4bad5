"""The edge master's part in bringing checkpoints over: between its nodes, and by way of central."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from tango.daemons.checkpoint_relay import MAX_TRANSFER_S, CheckpointRelay
from tango.daemons.lifecycle import log_event
from tango.model.errors import TangoError, Unavailable
from tango.model.job import Checkpoint, CheckpointPart
from tango.model.messages import ForgetCheckpoints, OpenCheckpoint
from tango.wire.backends import WorkerSession
from tango.wire.central_client import CentralClient

# Of one node that is away; it removes them after a day in any case.
MAX_UNTOLD = 1000
# A connection of its own each time: bulk must not stand before control.
DialCentral = Callable[[], AbstractAsyncContextManager[CentralClient]]


class EdgeCheckpoints:
    """link_of: the session of a node. dial: None where the site has no central master."""

    def __init__(
        self,
        site: str,
        group: asyncio.TaskGroup,
        link_of: Callable[[str], WorkerSession | None],
        dial: DialCentral | None,
    ) -> None:
        self._site = site
        self._group = group
        self._link_of = link_of
        self._dial = dial
        self._relay = CheckpointRelay()
        self._offers: set[asyncio.Task[None]] = set()
        # Nodes that are away, and the attempts whose checkpoints they need not keep.
        self._untold: dict[str, set[str]] = {}

    def fetch(self, checkpoint: Checkpoint) -> AsyncGenerator[CheckpointPart, None]:
        """Its pieces, for a node of this site. Raises Unavailable, and what the sender says."""
        if checkpoint.edge in ("", self._site):
            return self._own(checkpoint)
        return self._of_another(checkpoint)

    async def take(self, transfer_id: str, parts: AsyncIterator[CheckpointPart]) -> None:
        """An offer of a worker. Raises NotFound, Unavailable, Refused."""
        await self._relay.take(transfer_id, parts)

    def offer(self, wish: OpenCheckpoint) -> None:
        """Central wants a checkpoint of one of this site's nodes."""
        name = f"checkpoint of {wish.checkpoint.attempt_id} to central"
        task = self._group.create_task(self._offer(wish), name=name)
        self._offers.add(task)
        task.add_done_callback(self._offers.discard)

    def stop(self) -> None:
        """The edge ends: so does what passes by it."""
        self._relay.stop()
        for task in self._offers:
            task.cancel()

    def forget(self, message: ForgetCheckpoints) -> None:
        """Tell the node, now or when it is back."""
        link = self._link_of(message.node)
        if link is None or not link.send(message):
            untold = self._untold.setdefault(message.node, set())
            untold.update(message.attempt_ids[: MAX_UNTOLD - len(untold)])

    def connected(self, node: str, link: WorkerSession) -> None:
        """The node is back."""
        untold = self._untold.pop(node, None)
        if untold:
            link.send(ForgetCheckpoints(node, tuple(sorted(untold))))

    async def _own(self, checkpoint: Checkpoint) -> AsyncGenerator[CheckpointPart, None]:
        link = self._link_of(checkpoint.node)
        if link is None:
            where = f"node {checkpoint.node} of {self._site}"
            raise Unavailable(f"{where}, which has the checkpoint, is not connected")
        async with aclosing(self._relay.fetch(checkpoint, link)) as parts:
            async for part in parts:
                yield part

    async def _of_another(self, checkpoint: Checkpoint) -> AsyncGenerator[CheckpointPart, None]:
        if self._dial is None:
            raise Unavailable(f"{self._site} has no central master, by which it would come")
        async with (
            self._dial() as central,
            aclosing(central.fetch_checkpoint(checkpoint, MAX_TRANSFER_S)) as parts,
        ):
            async for part in parts:
                yield part

    async def _offer(self, wish: OpenCheckpoint) -> None:
        if self._dial is None:
            return
        try:
            async with self._dial() as central:
                await central.offer_checkpoint(wish.transfer_id, self._own(wish.checkpoint))
        except TangoError as error:
            attempt = wish.checkpoint.attempt_id
            log_event("warning", "checkpoint not sent", attempt=attempt, error=str(error))
