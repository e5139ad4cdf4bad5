"""A server interceptor: whatever a handler raises becomes a status, and no client is left hanging.

A server that is stopping answers what comes then, but for questions about its health, with
UNAVAILABLE and the reason, where gRPC would close the connection.

A message that is none is the client's mistake: INVALID_ARGUMENT, where grpc.aio would answer
UNKNOWN and log a traceback. grpc.aio takes any CancelledError that leaves a handler for the end of
the RPC and sends no status, also when some inner task was cancelled and the client still waits. And
the text of an unexpected exception would go to the client. All three end here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from tango.model.errors import Refused, TangoError
from tango.wire.errors import NOT_BEGUN, cut, status_of, stopping
from tango.wire.refusals import Refusals

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]

# A handler's first argument is a request or an iterator of them; its result an answer, an iterator
# or nothing. What it is depends on the kind of RPC, which gRPC's own types do not tell apart.
Behaviour = Callable[[Any, Any], Any]

log = logging.getLogger("tango.wire")
_UNPARSABLE = object()
HEALTH = "/grpc.health.v1.Health/"
INTERNAL_TEXT = "internal error; the daemon's log tells more"
UNPARSABLE_TEXT = "message: cannot be parsed as what this method takes"
CANCELLED_TEXT = "internal error: what this call waited for was cancelled"


class Guard(grpc.aio.ServerInterceptor):
    """Wraps each method's handler once, at its first call; what a handler refuses is logged.

    daemon: in words for users.
    """

    def __init__(self, refusals: Refusals, daemon: str = "daemon") -> None:
        self._refusals = refusals
        self._wrapped: dict[str, Handler] = {}
        self._closed: Handler | None = None
        self._daemon = daemon

    def close(self) -> None:
        """Refuse all calls from now on."""
        self._closed = _closed(stopping(self._daemon))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The guarded handler; None for a method that nobody serves."""
        method = handler_call_details.method
        if self._closed is not None and not method.startswith(HEALTH):
            return self._closed
        known = self._wrapped.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        wrapped = self._wrapped[method] = _wrap(handler, method, self._refusals)
        return wrapped


def _closed(details: str) -> Handler:
    async def refuse(_requests: object, context: Context) -> NoReturn:
        await context.abort(grpc.StatusCode.UNAVAILABLE, details, NOT_BEGUN)

    # On the wire all kinds of RPC are alike; this kind answers without waiting for a message.
    return grpc.stream_stream_rpc_method_handler(refuse)


def _wrap(handler: Handler, method: str, refusals: Refusals) -> Handler:
    one: dict[str, Any] = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if not handler.request_streaming:
        one["request_deserializer"] = _forgiving(handler.request_deserializer)
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(
            _answering(handler.unary_unary, method, refusals), **one
        )
    if handler.stream_unary is not None:
        return grpc.stream_unary_rpc_method_handler(
            _answering(handler.stream_unary, method, refusals), **one
        )
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(
            _streaming(handler.unary_stream, method, refusals), **one
        )
    if handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(
            _streaming(handler.stream_stream, method, refusals), **one
        )
    return handler


def _answering(inner: Behaviour, method: str, refusals: Refusals) -> Behaviour:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            if request is _UNPARSABLE:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNPARSABLE_TEXT)
            try:
                return await inner(request, context)
            except grpc.aio.AbortError:
                raise
            except BaseException as error:  # noqa: BLE001 - every end is told to the client
                await _end(error, context, method, refusals)
        except grpc.aio.AbortError as abort:
            del request, context
            raise without_frames(abort) from None

    return guarded


def _streaming(inner: Behaviour, method: str, refusals: Refusals) -> Behaviour:
    behaviour = _written_out(inner) if inspect.isasyncgenfunction(inner) else inner
    # grpc.aio sends its headers with the first message, and once more with the status where that
    # write was cancelled under way: the core refuses those, and the client is never told the end.

    async def guarded(request: Any, context: Context) -> None:
        try:
            if request is _UNPARSABLE:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNPARSABLE_TEXT)
            try:
                await context.send_initial_metadata(())
                await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except BaseException as error:  # noqa: BLE001 - every end is told to the client
                await _end(error, context, method, refusals)
        except grpc.aio.AbortError as abort:
            del request, context
            raise without_frames(abort) from None

    return guarded


def without_frames(abort: grpc.aio.AbortError) -> grpc.aio.AbortError:
    """The same, holding on to nothing; to be raised where `request` and `context` are deleted.

    gRPC keeps the exception in the RPC's state, which the context refers to: a frame in its
    traceback that has the context makes a ring of them, and the request in it, 4 MiB perhaps, stays
    until the collector comes round. So does an error that was set on a future, by its own frames.
    """
    if abort.__context__ is not None:
        abort.__context__.__traceback__ = None
        abort.__context__ = None
    return abort.with_traceback(None)


def _forgiving(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """It gives _UNPARSABLE for what is no message; in a stream, reading raises DecodeError."""
    if deserializer is None:
        return None

    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError:
            return _UNPARSABLE

    return deserialize


def _written_out(generator: Callable[[Any, Any], AsyncIterator[Any]]) -> Behaviour:
    # Writing each item here, as grpc.aio would, spares a second generator around the handler's.
    async def written_out(request: Any, context: Context) -> None:
        items: Any = generator(request, context)
        async with aclosing(items):
            async for item in items:
                await context.write(item)

    return written_out


async def _end(error: BaseException, context: Context, method: str, refusals: Refusals) -> NoReturn:
    """Abort the RPC with what the error means; re-raise what is not the handler's to answer."""
    fields: dict[str, object] = {"method": method, "peer": context.peer()}
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is None or task.cancelling() > 0 or context.cancelled():
            raise error
        log.error("inner task cancelled", exc_info=error, extra={"fields": fields})
        await context.abort(grpc.StatusCode.INTERNAL, CANCELLED_TEXT)
    if not isinstance(error, Exception):
        raise error
    if isinstance(error, DecodeError):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNPARSABLE_TEXT)
    if isinstance(error, Refused):
        refusals.note(context.peer(), str(error), method)
    status = status_of(error) if isinstance(error, TangoError) else None
    if status is not None:
        code, details, trailers = status
        await context.abort(code, details, trailers)
    if isinstance(error, NotImplementedError):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this daemon does not serve it")
    if type(error) is TangoError:
        await context.abort(grpc.StatusCode.INTERNAL, cut(str(error)))
    if context.cancelled() or context.done():
        # The client has gone; what a write on its dead stream raises is no bug.
        raise error
    log.error("handler failed", exc_info=error, extra={"fields": fields})
    await context.abort(grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
