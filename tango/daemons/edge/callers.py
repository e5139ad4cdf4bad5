"""Who waits for which call at this edge: each is answered once, also where the edge stops first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from tango.daemons.edge.metrics import EdgeMetrics
from tango.model.events import CallArrived, CallCancelled
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.wire.errors import stopping

STREAM_PARTS = 1024


class Callers:
    """CallDesk over a controller that takes `post`.

    waiting: request id -> who takes the reply. parts: request id -> who takes parts of it.
    """

    def __init__(
        self, post: Callable[[CallArrived | CallCancelled], None], metrics: EdgeMetrics
    ) -> None:
        self.waiting: dict[str, Callable[[CallReply], None]] = {}
        self.parts: dict[str, Callable[[ReplyPart], None]] = {}
        self._post = post
        self._metrics = metrics
        self._closed = False

    def is_pending(self, request_id: str) -> bool:
        """Whether a call of that id awaits its answer."""
        return request_id in self.waiting

    def submit(self, request: CallRequest, on_reply: Callable[[CallReply], None]) -> None:
        """Take a call. A second one with an id that is still pending never replaces the first."""
        if self._closed:
            on_reply(_rejected(request.request_id, Code.UNAVAILABLE, stopping("edge")))
            return
        self._metrics.arrived()
        if request.request_id in self.waiting:
            error = f"request id {request.request_id!r} is already on its way; use another"
            on_reply(_rejected(request.request_id, Code.INVALID, error))
            return
        self.waiting[request.request_id] = on_reply
        self._post(CallArrived(request))

    def cancel(self, request_id: str) -> None:
        """The caller has gone."""
        if self.waiting.pop(request_id, None) is not None:
            self._post(CallCancelled(request_id))

    async def streamed(self, request: CallRequest) -> AsyncGenerator[ReplyPart | CallReply, None]:
        """Parts, then the end; a caller that reads too slowly ends with RESOURCE_EXHAUSTED."""
        items: asyncio.Queue[ReplyPart | CallReply] = asyncio.Queue()
        request_id = request.request_id

        def on_part(part: ReplyPart) -> None:
            if items.qsize() < STREAM_PARTS:
                items.put_nowait(part)
                return
            self.parts.pop(request_id, None)
            self.cancel(request_id)
            error = f"the caller is {STREAM_PARTS} parts behind"
            items.put_nowait(_failed(request_id, Code.RESOURCE_EXHAUSTED, error))

        self.parts[request_id] = on_part
        try:
            self.submit(request, items.put_nowait)
            while True:
                item = await items.get()
                yield item
                if isinstance(item, CallReply):
                    return
        finally:
            self.parts.pop(request_id, None)
            self.cancel(request_id)

    def close(self) -> None:
        """Take no more calls: each is refused from now on, unseen by any replica."""
        self._closed = True

    def fail_all(self, error: str, has_begun: Callable[[str], bool]) -> None:
        """Answer all that still wait, and have no replica work for them any more."""
        for request_id, on_reply in tuple(self.waiting.items()):
            begun = has_begun(request_id)
            self.cancel(request_id)
            reply = _failed(request_id, Code.UNAVAILABLE, error, may_have_run=begun)
            self._metrics.ended(reply)
            on_reply(reply)


def _rejected(request_id: str, code: Code, error: str) -> CallReply:
    return CallReply(request_id, Outcome.REJECTED, code, error=error)


def _failed(request_id: str, code: Code, error: str, *, may_have_run: bool = True) -> CallReply:
    return CallReply(request_id, Outcome.FAILED, code, error=error, may_have_run=may_have_run)
