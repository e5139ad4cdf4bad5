"""What waits to go out on a session stream: in order, bounded, the latest report only, batched.

Commands and events keep their order. A report (ReportUsage, NodesChanged) that still waits is
replaced by a newer one, in its place in the queue: it is absolute, so it may overtake events, and a
busy stream neither piles reports up nor starves them. Batches (RequestsDone, Dispatches,
CancelDispatches, AckEnds, and those between sites) that wait one behind the other become one
message, within bounds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tango.model.layers import NodeImages
from tango.model.messages import (
    AckEnds,
    CancelDispatches,
    Dispatches,
    LogPart,
    NodesChanged,
    NodeTargets,
    ReplyPart,
    ReportUsage,
    RequestsDone,
)
from tango.model.peers import ForwardReplies, Forwards, RecallForwards
from tango.model.request import CallReply, CallRequest, Dispatch, RequestDone

LIMIT = 20_000
LIMIT_BYTES = 64 * 2**20
BATCH_ITEMS = 512
BATCH_BYTES = 2**20

# A rough size of what is not measured: the fields of a message beside its body and headers.
_FLAT_BYTES = 256
_SPEC_BYTES = 1024


def _size_of_dispatch(item: Dispatch | CallRequest) -> int:
    size = _FLAT_BYTES + len(item.body) + len(item.path)
    for name, value in item.headers:
        size += len(name) + len(value)
    return size


def _size_of_done(item: RequestDone | CallReply) -> int:
    size = _FLAT_BYTES + len(item.body) + len(item.error)
    for name, value in item.headers:
        size += len(name) + len(value)
    return size


def _size_of_names(names: tuple[str, ...]) -> int:
    return _FLAT_BYTES + sum(len(name) for name in names)


def _size_of_id(item: str) -> int:
    return 16 + len(item)


# Batch class -> (its items, size of an item). The class takes the tuple of items.
_BATCHES: dict[type, tuple[Callable[[Any], tuple[Any, ...]], Callable[[Any], int]]] = {
    Dispatches: (lambda batch: batch.requests, _size_of_dispatch),
    RequestsDone: (lambda batch: batch.done, _size_of_done),
    CancelDispatches: (lambda batch: batch.request_ids, _size_of_id),
    AckEnds: (lambda batch: batch.attempt_ids, _size_of_id),
    Forwards: (lambda batch: batch.requests, _size_of_dispatch),
    ForwardReplies: (lambda batch: batch.replies, _size_of_done),
    RecallForwards: (lambda batch: batch.request_ids, _size_of_id),
}
_REPORTS = (ReportUsage, NodesChanged)


def _size_of(message: object) -> int:
    match message:
        case ReplyPart(data=data) | LogPart(data=data):
            return _FLAT_BYTES + len(data)
        case NodeTargets(replicas=replicas):
            return _FLAT_BYTES + _SPEC_BYTES * len(replicas)
        case NodeImages(images=images):
            return _FLAT_BYTES + sum(_size_of_names(image.names) for image in images)
        case _:
            return _FLAT_BYTES


class _Entry:
    """One message to be: items of a batch, or a single message in a list of one."""

    __slots__ = ("items", "kind", "size")

    def __init__(self, kind: type, items: list[Any], size: int) -> None:
        self.kind = kind
        self.items = items
        self.size = size


class Mailbox:
    """The outbound queue of one session stream: many `put`, one `get`; all on one event loop.

    limit, limit_bytes: bounds of all that waits, in items (a request in a batch is one) and bytes;
    the sizes are estimates. batch_items, batch_bytes: bounds of one batch, which only a single item
    larger than that exceeds. Reports are outside the bounds: there is one of a kind at most.
    """

    def __init__(
        self,
        limit: int = LIMIT,
        limit_bytes: int = LIMIT_BYTES,
        batch_items: int = BATCH_ITEMS,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._batch_items = batch_items
        self._batch_bytes = batch_bytes
        self._entries: deque[_Entry] = deque()
        self._last: _Entry | None = None  # the youngest entry that is no report
        self._reports: dict[type, _Entry] = {}
        self._items = 0
        self._bytes = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """Items that wait, reports aside."""
        return self._items

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def put(self, message: object) -> bool:
        """Queue a message whole, or nothing of it: False when it does not fit, or after `close`.

        False for a full mailbox means that the other side reads too slowly: end the session.
        """
        if self._closed:
            return False
        kind = type(message)
        batch = _BATCHES.get(kind)
        if batch is not None:
            items_of, size_of = batch
            if not self._put_batch(kind, items_of(message), size_of):
                return False
        elif kind in _REPORTS:
            self._put_report(kind, message)
        else:
            size = _size_of(message)
            if self._items + 1 > self._limit or self._bytes + size > self._limit_bytes:
                return False
            self._append(_Entry(kind, [message], size))
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return True

    def _append(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._last = entry
        self._items += len(entry.items)
        self._bytes += entry.size

    def _put_batch(self, kind: type, items: tuple[Any, ...], size_of: Callable[[Any], int]) -> bool:
        sizes = [size_of(item) for item in items]
        total = sum(sizes)
        if self._items + len(items) > self._limit or self._bytes + total > self._limit_bytes:
            return False
        last = self._last
        for item, size in zip(items, sizes, strict=True):
            if (
                last is None
                or last.kind is not kind
                or len(last.items) >= self._batch_items
                or last.size + size > self._batch_bytes
            ):
                last = _Entry(kind, [], 0)
                self._entries.append(last)
                self._last = last
            last.items.append(item)
            last.size += size
        self._items += len(items)
        self._bytes += total
        return True

    def _put_report(self, kind: type, message: object) -> None:
        waiting = self._reports.get(kind)
        if waiting is None:
            entry = _Entry(kind, [message], 0)
            self._entries.append(entry)
            self._reports[kind] = entry
            return
        old = waiting.items[0]
        if (
            isinstance(message, ReportUsage)
            and isinstance(old, ReportUsage)
            and old.report.groups
            and not message.report.groups
        ):
            # Groups come only with every tenth report: a newer one without them keeps the old ones.
            message = ReportUsage(replace(message.report, groups=old.report.groups))
        waiting.items[0] = message

    async def get(self, *, after: float = 0.0) -> object | None:
        """The next message, waiting for one; None once the mailbox is closed and empty.

        after: not before the loop's clock shows this, so that more can join the batch.
        One task at a time; RuntimeError for a second one.
        """
        while not self._entries:
            if self._closed:
                return None
            if self._waiter is not None:
                raise RuntimeError("a mailbox has one reader")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        early = after - asyncio.get_running_loop().time()
        if early > 0:
            await asyncio.sleep(early)
        entry = self._entries.popleft()
        if entry is self._last:
            self._last = None
        if entry.kind in _REPORTS:
            del self._reports[entry.kind]
            return entry.items[0]  # type: ignore[no-any-return]
        self._items -= len(entry.items)
        self._bytes -= entry.size
        if entry.kind in _BATCHES:
            return entry.kind(tuple(entry.items))  # type: ignore[no-any-return]
        return entry.items[0]  # type: ignore[no-any-return]

    def close(self) -> None:
        """Take nothing more; what waits can still be got, then `get` returns None."""
        self._closed = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
