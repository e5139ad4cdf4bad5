"""A server interceptor for mutual TLS: each RPC only for the roles that may call it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import grpc

from tango.model.access import RPCS, refusal
from tango.model.errors import Refused
from tango.wire.certificate import holder_of
from tango.wire.guard import without_frames
from tango.wire.refusals import Refusals

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]

Behaviour = Callable[[Any, Any], Any]
Message = TypeVar("Message")

EXPIRED = "the certificate has expired; connect again with a new one"
NO_ROLE = (
    "the certificate states no role: it needs one URI like tango://user/ada among its "
    "alternative names"
)


class RoleGate(grpc.aio.ServerInterceptor):
    """Answers PERMISSION_DENIED unless the certificate's role may call the method.

    And UNAUTHENTICATED once the certificate has expired, also in the midst of a stream: what was
    valid at the handshake is not for ever. called: told the peer of every RPC.
    """

    def __init__(self, refusals: Refusals, called: Callable[[str], None]) -> None:
        self._refusals = refusals
        self._called = called
        self._gated: dict[str, Handler] = {}
        self._closed: Handler = grpc.stream_stream_rpc_method_handler(self._refuse)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler behind the gate, or one that refuses what is not in the table."""
        method = handler_call_details.method
        known = self._gated.get(method)
        if known is not None:
            return known
        if method not in RPCS:
            return self._closed
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        gated = self._gated[method] = self._gate(handler, method)
        return gated

    async def _refuse(self, _requests: object, context: Context) -> NoReturn:
        self._called(context.peer())
        await self._deny(context, "a method that is open to nobody")

    def _gate(self, handler: Handler, method: str) -> Handler:
        one: dict[str, Any] = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        # The guard below has made coroutines of all of them.
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._short(handler.unary_unary, method), **one
            )
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(
                self._long(handler.stream_unary, method), **one
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._long(handler.unary_stream, method), **one
            )
        behaviour = handler.stream_stream
        assert behaviour is not None
        return grpc.stream_stream_rpc_method_handler(self._long(behaviour, method), **one)

    def _short(self, inner: Behaviour, method: str) -> Behaviour:
        async def gated(request: Any, context: Context) -> Any:
            try:
                await self._admit(context, method)
                return await inner(request, context)
            except grpc.aio.AbortError as abort:
                del request, context
                raise without_frames(abort) from None

        return gated

    def _long(self, inner: Behaviour, method: str) -> Behaviour:
        async def gated(request: Any, context: Context) -> Any:
            try:
                expires = await self._admit(context, method)
                limit = asyncio.timeout(expires - time.time())
                try:
                    async with limit:
                        return await inner(request, context)
                except TimeoutError:
                    if not limit.expired():
                        raise
                return await self._unauthenticated(context, method)
            except grpc.aio.AbortError as abort:
                del request, context
                raise without_frames(abort) from None

        return gated

    async def _admit(self, context: Context, method: str) -> float:
        """When the caller's certificate expires; aborts the RPC of one that may not make it."""
        peer = context.peer()
        self._called(peer)
        holder = holder_of(context)
        if holder is None or holder.identity is None:
            await self._deny(context, NO_ROLE, method)
        reason = refusal(method, holder.identity)
        if reason:
            await self._deny(context, reason, method)
        if holder.expires <= time.time():
            await self._unauthenticated(context, method)
        return holder.expires

    async def _deny(self, context: Context, reason: str, method: str = "") -> NoReturn:
        self._refusals.note(context.peer(), reason, method)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)

    async def _unauthenticated(self, context: Context, method: str) -> NoReturn:
        self._refusals.note(context.peer(), EXPIRED, method)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, EXPIRED)


def as_certified(
    context: Context,
    decode: Callable[[object], tuple[int, int, Message]],
    claimed: Callable[[Message], str | None],
) -> Callable[[object], tuple[int, int, Message]]:
    """The decoder of a session whose sender may only call itself what its certificate does.

    claimed: the name in a message that has one. Without TLS there is no certificate to compare
    with, and the decoder is returned as it is. The decoder made here raises Refused.
    """
    holder = holder_of(context)
    if holder is None or holder.identity is None:
        return decode
    identity = holder.identity

    def checked(envelope: object) -> tuple[int, int, Message]:
        incarnation, sequence, message = decode(envelope)
        name = claimed(message)
        if name is not None and name != identity.name:
            raise Refused(f"the certificate is for {identity}, not for {name}")
        return incarnation, sequence, message

    return checked
