"""The request path of EdgeService: unary, multiplexed and streamed calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from tango.model.errors import InvalidField
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.v1 import edge_service_pb2 as pb
from tango.v1 import types_pb2 as types
from tango.wire.backends import EdgeBackend
from tango.wire.batches import batches
from tango.wire.convert_calls import (
    MAX_REQUEST_ID,
    call_reply_to_pb,
    call_request_from_pb,
    headers_to_pb,
)
from tango.wire.errors import NOT_BEGUN, cut, fate, stopping

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

MAX_CALLS_PER_STREAM = 4096
STATUS = {
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Code.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Code.CANCELLED: grpc.StatusCode.CANCELLED,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
}


class CallServicer:
    """Converts calls; the backend answers each exactly once through a callback."""

    def __init__(self, backend: EdgeBackend) -> None:
        self._backend = backend

    async def call(self, message: pb.CallRequest, context: Context) -> pb.CallResponse:
        """One request, one reply; what is not the replica's answer becomes a gRPC status."""
        lc_request = message.request
        request = await self._request(lc_request, context)
        done: asyncio.Future[CallReply] = asyncio.get_running_loop().create_future()

        def on_reply(reply: CallReply) -> None:
            if not done.done():
                done.set_result(reply)

        self._backend.submit(request, on_reply)
        try:
            reply = await done
        except asyncio.CancelledError:
            self._backend.cancel(request.request_id)
            raise
        if reply.code is not Code.OK:
            await context.abort(STATUS[reply.code], reply.error, trailing_metadata=_trailers(reply))
        return pb.CallResponse(reply=call_reply_to_pb(reply))

    async def call_streamed(
        self, message: pb.CallStreamedRequest, context: Context
    ) -> AsyncGenerator[pb.CallStreamedResponse, None]:
        """Parts as they come, the reply's end last."""
        lc_request = message.request
        request = await self._request(lc_request, context, stream=True)
        async with aclosing(self._backend.call_streamed(request)) as items:
            async for item in items:
                if isinstance(item, ReplyPart):
                    yield pb.CallStreamedResponse(
                        data=item.data,
                        http_status=item.http_status,
                        headers=headers_to_pb(item.headers),
                    )
                elif item.code is Code.OK:
                    yield pb.CallStreamedResponse(end=call_reply_to_pb(item))
                else:
                    await context.abort(
                        STATUS[item.code], item.error, trailing_metadata=_trailers(item)
                    )

    async def _request(
        self, message: types.LcRequest, context: Context, *, stream: bool = False
    ) -> CallRequest:
        """The request in words of the model; one that no replica may see ends the RPC."""
        if not message.request_id:
            message.request_id = self._backend.new_request_id()
        try:
            return call_request_from_pb(message, stream=stream)
        except InvalidField as error:
            reply = invalid(message.request_id, str(error))
            status = STATUS[reply.code]
            await context.abort(status, cut(reply.error), trailing_metadata=_trailers(reply))

    async def call_many(self, context: Context) -> None:
        """Read calls and write replies until the caller has finished and all is answered."""
        stream = _CallStream(self._backend, context)
        await stream.run()


class _CallStream:
    """One CallMany stream: replies that are ready together travel together."""

    def __init__(self, backend: EdgeBackend, context: Context) -> None:
        self._backend = backend
        self._context = context
        self._pending: set[str] = set()
        self._ready: list[types.LcReply] = []
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._read_all = False

    async def run(self) -> None:
        reader = asyncio.ensure_future(self._read())
        stopped = asyncio.ensure_future(self._backend.stopping.wait())
        stopped.add_done_callback(lambda _: self._wake.set())
        try:
            await self._write()
            if not self._read_all:
                # What the caller has no answer to came too late to be taken.
                await self._context.abort(
                    grpc.StatusCode.UNAVAILABLE, stopping("edge"), trailing_metadata=NOT_BEGUN
                )
            await reader
        finally:
            reader.cancel()
            stopped.cancel()
            for request_id in tuple(self._pending):
                self._backend.cancel(request_id)
            await asyncio.gather(reader, stopped, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                await self._room.wait()
                message = await self._context.read()
                if message is grpc.aio.EOF:
                    return
                for request in message.requests:
                    self._take(request)
                # After them: a caller may give up what it has only just asked for.
                for request_id in message.cancel_ids:
                    self._cancel(request_id)
        finally:
            self._read_all = True
            self._wake.set()

    def _take(self, message: types.LcRequest) -> None:
        if not message.request_id:
            message.request_id = self._backend.new_request_id()
        try:
            request = call_request_from_pb(message)
        except InvalidField as error:
            self._answer(invalid(message.request_id, str(error)))
            return
        if request.request_id in self._pending:
            text = f"request id {request.request_id!r} is already on its way; use another"
            self._answer(invalid(request.request_id, text))
            return
        self._pending.add(request.request_id)
        self._backend.submit(request, self._on_reply)
        self._make_room()

    def _on_reply(self, reply: CallReply) -> None:
        self._pending.discard(reply.request_id)
        self._answer(reply)

    def _cancel(self, request_id: str) -> None:
        if request_id in self._pending:
            self._pending.discard(request_id)
            self._backend.cancel(request_id)
            self._answer(
                CallReply(
                    request_id,
                    Outcome.FAILED,
                    Code.CANCELLED,
                    error="cancelled by its caller",
                    may_have_run=True,
                )
            )

    def _answer(self, reply: CallReply) -> None:
        self._ready.append(call_reply_to_pb(reply))
        self._make_room()
        self._wake.set()

    def _make_room(self) -> None:
        """Read on, or not: replies that nobody takes count too, also those of bad requests."""
        if len(self._pending) + len(self._ready) < MAX_CALLS_PER_STREAM:
            self._room.set()
        else:
            self._room.clear()

    def _is_over(self) -> bool:
        """Whether all is answered, and nothing more comes or is taken."""
        last = self._read_all or self._backend.stopping.is_set()
        return last and not self._pending and not self._ready

    async def _write(self) -> None:
        while not self._is_over():
            await self._wake.wait()
            self._wake.clear()
            if self._ready:
                # Counted until they are written: what a slow reader leaves is held here.
                taken = len(self._ready)
                for batch in batches(self._ready[:taken]):
                    await self._context.write(pb.CallManyResponse(replies=batch))
                del self._ready[:taken]
                self._make_room()


def invalid(request_id: str, error: str) -> CallReply:
    """Refused for what it is; no replica has seen it."""
    return CallReply(request_id, Outcome.REJECTED, Code.INVALID, error=error)


def _trailers(reply: CallReply) -> tuple[tuple[str, str], ...]:
    trailers = fate(
        reply.outcome, may_have_run=reply.may_have_run, retry_after_ms=reply.retry_after_ms
    )
    if reply.site:
        trailers = (*trailers, ("tango-site", reply.site))
    request_id = reply.request_id
    # One that was refused for what it is may not travel as metadata: the call would end otherwise.
    legal = len(request_id) <= MAX_REQUEST_ID and request_id.isascii() and request_id.isprintable()
    return (*trailers, ("tango-request-id", request_id)) if legal else trailers
