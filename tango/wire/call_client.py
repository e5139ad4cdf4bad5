"""The calling side of the request path: unary, multiplexed and streamed calls to an edge."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc

from tango.model.errors import Refused, Unavailable
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.v1 import edge_service_pb2 as pb
from tango.v1 import types_pb2 as types
from tango.wire.batches import batches
from tango.wire.convert_calls import call_reply_from_pb, call_request_to_pb
from tango.wire.errors import model_error, never_sent
from tango.wire.options import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    # Only the type stubs have it: at run time one class serves both kinds of channel.
    from tango.v1.edge_service_pb2_grpc import EdgeServiceAsyncStub

    Stream = grpc.aio.StreamStreamCall[pb.CallManyRequest, pb.CallManyResponse]

Metadata = Sequence[tuple[str, str]]
# The edge ends a call at its own timeout; this much later the client stops waiting for the edge.
TIMEOUT_MARGIN_S = 5.0
NO_TIMEOUT_S = 3600.0
# What fits into one message of a stream beside a batch, headers and all.
MAX_STREAMED_BYTES = MAX_MESSAGE_BYTES - 2**20
# gRPC's words for a request that was too large to leave, or to be let in.
_NEVER_ARRIVED = re.compile(r"CLIENT: Sent message larger|SERVER: Received message larger")
# What grpc.aio says where a write failed, in place of the other side's status.
CORE_ERROR = "Internal error from Core"
ASK_TIMEOUT_S = 2.0
REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
CODES = {
    grpc.StatusCode.NOT_FOUND: Code.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT: Code.INVALID,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Code.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE: Code.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Code.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED: Code.CANCELLED,
}


class RequestIds:
    """Ids that are unique over callers without asking anybody."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(5)
        self._next = itertools.count(1).__next__

    def __call__(self) -> str:
        """The next id."""
        return f"{self._prefix}-{self._next()}"


def client_timeout(request: CallRequest) -> float:
    """How long the client waits for the edge before it gives up by itself."""
    return request.timeout_s + TIMEOUT_MARGIN_S if request.timeout_s > 0 else NO_TIMEOUT_S


async def call(stub: EdgeServiceAsyncStub, metadata: Metadata, request: CallRequest) -> CallReply:
    """One unary call; every end is a CallReply. Raises AioRpcError only for REFUSALS."""
    try:
        response = await stub.Call(
            pb.CallRequest(request=call_request_to_pb(request)),
            metadata=tuple(metadata),
            timeout=client_timeout(request),
        )
    except grpc.aio.AioRpcError as error:
        return _reply_of(request.request_id, error)
    return call_reply_from_pb(response.reply)


async def call_streamed(
    stub: EdgeServiceAsyncStub, metadata: Metadata, request: CallRequest
) -> AsyncGenerator[ReplyPart | CallReply, None]:
    """Parts as they come, the CallReply last."""
    stream = stub.CallStreamed(
        pb.CallStreamedRequest(request=call_request_to_pb(request)),
        metadata=tuple(metadata),
        timeout=client_timeout(request),
    )
    try:
        async for item in stream:
            if item.HasField("end"):
                yield call_reply_from_pb(item.end)
                return
            headers = tuple((header.name, header.value) for header in item.headers)
            yield ReplyPart(request.request_id, item.data, item.http_status, headers)
    except grpc.aio.AioRpcError as error:
        yield _reply_of(request.request_id, error)
    finally:
        stream.cancel()


def _reply_of(request_id: str, error: grpc.aio.AioRpcError) -> CallReply:
    if error.code() in REFUSALS:
        raise error
    if _NEVER_ARRIVED.search(error.details() or ""):
        text = str(model_error(error))
        return CallReply(request_id, Outcome.REJECTED, Code.INVALID, error=text)
    trailers = {str(key): str(value) for key, value in error.trailing_metadata() or ()}
    code = CODES.get(error.code(), Code.INTERNAL)
    if "tango-outcome" not in trailers:
        # The connection broke, and the request may be anywhere; or there never was one.
        meant = model_error(error)
        return CallReply(
            request_id,
            Outcome.FAILED,
            Code.UNAVAILABLE if code is Code.INTERNAL and isinstance(meant, Unavailable) else code,
            error=str(meant),
            may_have_run=not never_sent(error),
        )
    return CallReply(
        trailers.get("tango-request-id", request_id),
        Outcome(trailers["tango-outcome"]),
        code,
        error=error.details() or error.code().name.lower(),
        may_have_run=trailers.get("tango-may-have-run", "true") == "true",
        retry_after_ms=float(trailers.get("tango-retry-after-ms", "0")),
        site=trailers.get("tango-site", ""),
    )


class CallStream:
    """Many calls on one CallMany stream; calls that wait together travel together.

    Use it as an async context manager. When the stream breaks, every call that is under way ends
    with UNAVAILABLE (may_have_run is False where there never was a connection), and later ones
    raise Unavailable: open a new one. Where the edge refuses the caller all raise Refused.
    """

    def __init__(self, stub: EdgeServiceAsyncStub, metadata: Metadata) -> None:
        self._stub = stub
        self._metadata = tuple(metadata)
        self._waiting: dict[str, asyncio.Future[CallReply]] = {}
        self._outgoing: list[types.LcRequest] = []
        self._cancelled: list[str] = []
        self._wake = asyncio.Event()
        self._new_id = RequestIds()
        self._broken = ""
        self._refused: Refused | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> CallStream:
        self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def open(self) -> None:
        """Begin; calls may be started at once."""
        stream = self._stub.CallMany(metadata=self._metadata)
        self._stream = stream
        self._tasks = [
            asyncio.create_task(self._read(stream), name="call stream reader"),
            asyncio.create_task(self._write(stream), name="call stream writer"),
        ]

    async def close(self) -> None:
        """End the calls under way, and the stream; fine to do again."""
        self._break("the stream was closed")
        self._stream.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def call(self, request: CallRequest) -> CallReply:
        """One call; cancelling it cancels it at the edge too."""
        if not request.request_id:
            request = replace(request, request_id=self._new_id())
        request_id = request.request_id
        future = self.start(request)
        try:
            return await future
        except asyncio.CancelledError:
            if self._waiting.pop(request_id, None) is not None:
                self._cancelled.append(request_id)
                self._wake.set()
            raise

    def start(self, request: CallRequest) -> asyncio.Future[CallReply]:
        """Send a call that has an id, without a task of its own; the future is its reply."""
        if self._broken:
            raise self._refused or Unavailable(self._broken)
        future: asyncio.Future[CallReply] = asyncio.get_running_loop().create_future()
        if len(request.body) > MAX_STREAMED_BYTES:
            # It would break the stream, and with it every other call.
            error = f"body: {len(request.body)} bytes is too large; at most {MAX_STREAMED_BYTES}"
            reply = CallReply(request.request_id, Outcome.REJECTED, Code.INVALID, error=error)
            future.set_result(reply)
            return future
        self._waiting[request.request_id] = future
        self._outgoing.append(call_request_to_pb(request))
        self._wake.set()
        return future

    @property
    def broken(self) -> bool:
        """Whether it takes no more calls."""
        return bool(self._broken)

    def new_id(self) -> str:
        """An id for `start`."""
        return self._new_id()

    async def _write(self, stream: Stream) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if not (self._outgoing or self._cancelled):
                    continue
                outgoing, self._outgoing = self._outgoing, []
                cancelled, self._cancelled = self._cancelled, []
                *early, last = batches(outgoing)
                for batch in early:
                    await stream.write(pb.CallManyRequest(requests=batch))
                # With the last: what is cancelled may be among those that are only sent now.
                await stream.write(pb.CallManyRequest(requests=last, cancel_ids=cancelled))
        except asyncio.InvalidStateError:
            # The call has ended; its reader knows why.
            return
        except grpc.aio.AioRpcError as error:
            self._end(await self._true(error))

    async def _read(self, stream: Stream) -> None:
        try:
            while True:
                message: Any = await stream.read()
                if message is grpc.aio.EOF:
                    code, details = await stream.code(), await stream.details()
                    if code in REFUSALS:
                        self._refused = Refused(details or code.name.lower())
                    self._break(details or "the edge closed the stream")
                    return
                for reply in message.replies:
                    future = self._waiting.pop(reply.request_id, None)
                    if future is not None and not future.done():
                        future.set_result(call_reply_from_pb(reply))
        except grpc.aio.AioRpcError as error:
            self._end(await self._true(error))

    async def _true(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The error, or the refusal that grpc.aio hid where it came while a write was under way."""
        if error.details() == CORE_ERROR:
            try:
                # Open to the same callers; without a name it asks for nothing.
                asked = pb.GetServiceRequest()
                await self._stub.GetService(asked, metadata=self._metadata, timeout=ASK_TIMEOUT_S)
            except grpc.aio.AioRpcError as answer:
                if answer.code() in REFUSALS:
                    return answer
        return error

    def _end(self, error: grpc.aio.AioRpcError) -> None:
        meant = model_error(error)
        if error.details() == CORE_ERROR:
            meant = Unavailable("the connection broke")
        if error.code() in REFUSALS:
            self._refused = Refused(str(meant))
        trailers = dict(error.trailing_metadata() or ())
        if trailers.get("tango-outcome") == Outcome.REJECTED.value:
            # The edge has answered all that it had taken; it has not begun the others.
            self._break(str(meant), Outcome.REJECTED, may_have_run=False)
        else:
            self._break(str(meant), may_have_run=not never_sent(error))

    def _break(
        self, reason: str, outcome: Outcome = Outcome.FAILED, *, may_have_run: bool = True
    ) -> None:
        self._broken = self._broken or reason
        waiting, self._waiting = self._waiting, {}
        for request_id, future in waiting.items():
            if future.done():
                continue
            if self._refused is not None:
                future.set_exception(self._refused)
            else:
                future.set_result(
                    CallReply(
                        request_id,
                        outcome,
                        Code.UNAVAILABLE,
                        error=self._broken,
                        may_have_run=may_have_run,
                    )
                )
