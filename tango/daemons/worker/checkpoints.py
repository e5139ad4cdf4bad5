"""A node's ends of a checkpoint's way: it sends what it has, and fetches what it begins from.

Both go to the edge on a connection of their own, so that bulk never stands before control. Disk and
digests are for threads: requests are served on the same loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import TypeVar

from tango.adapters.checkpoint_dir import Checkpoints
from tango.adapters.checkpoint_images import Incoming, Outgoing
from tango.daemons.lifecycle import log_event
from tango.model.errors import NotFound, TangoError, Unavailable
from tango.model.job import Checkpoint, CheckpointPart
from tango.model.messages import ForgetCheckpoints, OpenCheckpoint
from tango.model.settings import WorkerSettings
from tango.ports import CheckpointFailed
from tango.wire.edge_client import EdgeClient

DialEdge = Callable[[], AbstractAsyncContextManager[EdgeClient]]

# Tried again after what may pass, as the restart of a daemon, while pieces had come before that.
PATIENCE_S = 30.0
AGAIN_S = 0.5
MAX_AGAIN_S = 3.0
SWEEP_S = 60.0

_Given = TypeVar("_Given")


class WorkerCheckpoints:
    """Fetches, offers and removes checkpoints; made with the settings that the runtime has."""

    def __init__(self, settings: WorkerSettings, group: asyncio.TaskGroup, dial: DialEdge) -> None:
        self._places = Checkpoints(settings)
        self._max_bytes = settings.checkpoint_max_bytes
        self._limit_s = settings.checkpoint_transfer_limit_s
        self._transfer = settings.checkpoint_transfer
        self._group = group
        self._dial = dial
        self._fetching: dict[str, asyncio.Event] = {}
        self._offers: set[asyncio.Task[None]] = set()

    async def sweep(self) -> None:
        """For ever: remove what nobody waits for."""
        while True:
            await asyncio.to_thread(self._places.sweep)
            await asyncio.sleep(SWEEP_S)

    async def bring(self, key: str, checkpoint: Checkpoint) -> None:
        """Have it on this node, for the process `key`. CheckpointFailed: it is not, and why."""
        abort = self._fetching[key] = asyncio.Event()
        fetching = asyncio.ensure_future(self._bring(checkpoint))
        aborted = asyncio.ensure_future(abort.wait())
        try:
            await asyncio.wait((fetching, aborted), return_when=asyncio.FIRST_COMPLETED)
            if fetching.done():
                fetching.result()
                return
            raise CheckpointFailed("stopped: before its checkpoint was here")
        finally:
            del self._fetching[key]
            aborted.cancel()
            fetching.cancel()
            await asyncio.wait((fetching,))
            if not fetching.cancelled():
                fetching.exception()

    def abort(self, key: str) -> None:
        """The process `key` is not to begin any more; fine where nothing is fetched for it."""
        abort = self._fetching.get(key)
        if abort is not None:
            abort.set()

    async def failed(self, checkpoint: Checkpoint) -> None:
        """Nothing began from it here, and nothing will."""
        await asyncio.to_thread(self._places.discard, checkpoint)

    def offer(self, wish: OpenCheckpoint) -> None:
        """Send one that another node wants."""
        name = f"checkpoint of {wish.checkpoint.attempt_id}"
        task = self._group.create_task(self._offer(wish), name=name)
        self._offers.add(task)
        task.add_done_callback(self._offers.discard)

    def stop(self) -> None:
        """The worker ends: what is on its way begins anew in its next life."""
        for abort in self._fetching.values():
            abort.set()
        for task in self._offers:
            task.cancel()

    def forget(self, message: ForgetCheckpoints) -> None:
        """Nobody will begin from these any more."""
        for attempt_id in message.attempt_ids:
            self._group.create_task(asyncio.to_thread(self._places.remove, attempt_id))

    # ----

    async def _bring(self, checkpoint: Checkpoint) -> None:
        loop = asyncio.get_running_loop()
        if await asyncio.to_thread(self._places.keep, checkpoint) or not self._transfer:
            return  # without the sessions the supervisor says what there is
        begun = heard = loop.time()
        again_s = AGAIN_S

        def came() -> None:
            nonlocal heard
            heard = loop.time()

        while True:
            try:
                async with asyncio.timeout(begun + self._limit_s - loop.time()):
                    await self._fetch(checkpoint, came)
                log_event(
                    "info",
                    "checkpoint fetched",
                    attempt=checkpoint.attempt_id,
                    bytes=checkpoint.size_bytes,
                    seconds=round(loop.time() - begun, 3),
                )
                return
            except TimeoutError:
                raise CheckpointFailed(
                    f"its checkpoint was not here after {self._limit_s:g} s "
                    "(worker.checkpoint_transfer_limit_s)"
                ) from None
            except Unavailable as error:
                if loop.time() - heard > PATIENCE_S:
                    raise CheckpointFailed(f"its checkpoint does not come: {error}") from None
                log_event("info", "checkpoint comes again", why=str(error))
            except (TangoError, OSError) as error:
                raise CheckpointFailed(f"its checkpoint cannot be had: {error}") from None
            await asyncio.sleep(again_s * random.uniform(0.5, 1.0))
            again_s = min(again_s * 2, MAX_AGAIN_S)

    async def _fetch(self, checkpoint: Checkpoint, came: Callable[[], None]) -> None:
        partial, whole = await asyncio.to_thread(self._places.room, checkpoint)
        incoming: Incoming | None = None
        try:
            async with (
                self._dial() as edge,
                aclosing(edge.fetch_checkpoint(checkpoint, self._limit_s)) as parts,
            ):
                async for part in parts:
                    if incoming is None:
                        incoming = await asyncio.to_thread(
                            Incoming, partial, part.manifest, checkpoint.digest, self._max_bytes
                        )
                    await _to_the_end(incoming.take, part.data)
                    came()
                    if part.last:
                        await _to_the_end(incoming.finish, whole)
                        return
            raise Unavailable("the sender ended before its last piece")
        finally:
            if incoming is not None:
                incoming.close()

    async def _offer(self, wish: OpenCheckpoint) -> None:
        attempt = wish.checkpoint.attempt_id
        try:
            async with self._dial() as edge:
                await edge.offer_checkpoint(wish.transfer_id, self._parts(wish.checkpoint))
        except TangoError as error:
            log_event("warning", "checkpoint not sent", attempt=attempt, error=str(error))
        else:
            log_event("info", "checkpoint sent", attempt=attempt)

    async def _parts(self, checkpoint: Checkpoint) -> AsyncGenerator[CheckpointPart, None]:
        """The pieces of one that is here. Raises NotFound with the reason where it is not."""
        if not self._transfer:
            raise NotFound("worker.checkpoint_transfer is off at the node that has it")
        root = await asyncio.to_thread(self._places.find, checkpoint)
        if not root:
            raise NotFound(f"its node has no such checkpoint of {checkpoint.attempt_id}")
        path = Path(root, checkpoint.attempt_id)
        try:
            outgoing = await asyncio.to_thread(Outgoing, path, checkpoint.digest, self._max_bytes)
            yield CheckpointPart(manifest=outgoing.manifest)
            pieces = outgoing.pieces()
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield CheckpointPart(data=piece)
        except (CheckpointFailed, OSError) as error:
            raise NotFound(f"its node cannot read the checkpoint: {error}") from None
        yield CheckpointPart(last=True)


async def _to_the_end(function: Callable[[_Given], None], given: _Given) -> None:
    """In a thread; whoever is cancelled meanwhile still waits, for its files are closed next."""
    running = asyncio.ensure_future(asyncio.to_thread(function, given))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        if not running.cancelled():
            running.exception()
        raise
