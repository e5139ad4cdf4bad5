"""gRPC's own handlers, called from within: the same interceptors, the same servicer, no socket.

A REST call is not sent to the gRPC server: under mutual TLS that would need the caller's key. It is
given to the very handlers that the server would call, behind the very interceptors, with a context
that says who asks. So there is one admission and one table of roles, whatever was spoken outside.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc

from tango.wire.servers import Service

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Proceed = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

AuthContext = Mapping[str, Iterable[bytes]]
Metadata = tuple[tuple[str, str | bytes], ...]
OnMessage = Callable[[Any], Awaitable[None]]


class Aborted(Exception):
    """The call ended with a status other than OK."""

    def __init__(
        self, code: grpc.StatusCode, details: str, trailers: Iterable[tuple[str, str | bytes]]
    ) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailers = tuple(trailers)


class CallContext:
    """What handlers use of grpc.aio.ServicerContext, for one call.

    peer: as gRPC names it. auth: what the caller's certificate says, as gRPC's auth_context does.
    on_message: takes each message of a stream, and waits while the caller cannot take more.
    """

    def __init__(self, peer: str, auth: AuthContext, on_message: OnMessage) -> None:
        self._peer = peer
        self._auth = auth
        self._on_message = on_message
        self._gone = False
        self.aborted: Aborted | None = None

    def peer(self) -> str:
        """Who asks."""
        return self._peer

    def auth_context(self) -> AuthContext:
        """Who that is, by a certificate."""
        return self._auth

    def cancelled(self) -> bool:
        """Whether the caller has gone, as a write found out; else the task itself is cancelled."""
        return self._gone

    def done(self) -> bool:
        """Whether there is nobody left to answer."""
        return self._gone

    async def send_initial_metadata(self, _metadata: object) -> None:
        """Nothing: HTTP's status line waits for the first message, or for what came instead."""

    async def write(self, message: Any) -> None:
        """One message of a stream."""
        try:
            await self._on_message(message)
        except ConnectionError:
            self._gone = True
            raise

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> NoReturn:
        """End the call with this status."""
        self.aborted = Aborted(code, details, trailing_metadata)
        raise grpc.aio.AbortError(details)


class _Details(grpc.HandlerCallDetails):
    def __init__(self, method: str, metadata: Metadata) -> None:
        self.method = method
        self.invocation_metadata = metadata


class _Registered:
    """Takes what a service adds to a server."""

    def __init__(self) -> None:
        self.handlers: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self.handlers.extend(handlers)

    def add_registered_method_handlers(self, _service: str, _handlers: object) -> None:
        """The same handlers once more, by name."""


class Inside:
    """A service behind its interceptors, outermost first, as `grpc.aio.server` would have it."""

    def __init__(
        self, service: Service, interceptors: Sequence[grpc.aio.ServerInterceptor]
    ) -> None:
        registered = _Registered()
        service.register(cast("grpc.aio.Server", registered))
        self._handlers = tuple(registered.handlers)
        proceed: Proceed = self._find
        for interceptor in reversed(interceptors):
            # The types of gRPC's stubs want a handler in any case; gRPC itself takes None.
            intercept: Any = interceptor.intercept_service
            proceed = functools.partial(intercept, proceed)
        self._proceed = proceed

    async def open(self, method: str, metadata: Metadata) -> tuple[Handler | None, bool]:
        """(the handler for this caller, whether it is the method's own and wants a request).

        Where it is not, it refuses: it can be run at once, with None.
        """
        handler = await self._proceed(_Details(method, metadata))
        return handler, handler is not None and not handler.request_streaming

    async def run(self, handler: Handler, request: Any, context: CallContext) -> Any:
        """The answer; None of a stream, whose messages went to the context. Raises Aborted."""
        behaviour = cast(
            "Callable[[Any, CallContext], Awaitable[Any]]",
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream,
        )
        try:
            return await behaviour(request, context)
        except grpc.aio.AbortError:
            if context.aborted is None:
                raise
            raise context.aborted from None

    async def _find(self, details: grpc.HandlerCallDetails) -> Handler | None:
        found = (each.service(details) for each in self._handlers)
        return next((handler for handler in found if handler is not None), None)
