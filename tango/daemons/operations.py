"""Users' operations that wait for a controller's Answer, and the writes that it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from tango.model.commands import Answer, Persist
from tango.model.events import Persisted, PersistFailed
from tango.ports import Store, StoreFailed


class Operations:
    """One future for each operation under way, by the id that its Answer carries."""

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        self._waiting: dict[int, asyncio.Future[object]] = {}

    @property
    def pending(self) -> int:
        """How many are under way."""
        return len(self._waiting)

    async def run(self, begin: Callable[[int], None]) -> object:
        """Begin an operation under a new id; its Answer's result. Raises its Answer's error."""
        op_id = next(self._ids)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting[op_id] = future
        try:
            begin(op_id)
            return await future
        finally:
            self._waiting.pop(op_id, None)

    def answer(self, command: Answer) -> None:
        """The end of an operation; whoever waited may have gone."""
        future = self._waiting.pop(command.op_id, None)
        if future is None or future.done():
            return
        if command.error is not None:
            future.set_exception(command.error)
        else:
            future.set_result(command.result)


async def persist(
    store: Store, command: Persist, post: Callable[[Persisted | PersistFailed], None]
) -> None:
    """Commit, and tell the controller how it went."""
    try:
        await store.commit(command.writes)
    except StoreFailed as error:
        post(PersistFailed(command.persist_id, str(error)))
    else:
        post(Persisted(command.persist_id))


async def first_of(*events: asyncio.Event) -> None:
    """Return when one of them is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
