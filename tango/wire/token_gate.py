"""A server interceptor: every RPC, reflection and health included, must carry the token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from tango.wire.channels import AUTHORIZATION

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]

HINT = "send the metadata 'authorization: Bearer TOKEN' with the content of the daemon's token_file"
NO_TOKEN = f"no token: {HINT}"
WRONG_TOKEN = f"wrong token: {HINT}"


class TokenGate(grpc.aio.ServerInterceptor):
    """Answers UNAUTHENTICATED, without reading the request, unless the token is right."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._no_token = _refusal(NO_TOKEN)
        self._wrong_token = _refusal(WRONG_TOKEN)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, or one that refuses."""
        for key, value in handler_call_details.invocation_metadata:
            if key == AUTHORIZATION:
                given = value if isinstance(value, bytes) else value.encode()
                if hmac.compare_digest(given, self._expected):
                    return await continuation(handler_call_details)
                return self._wrong_token
        return self._no_token


def _refusal(details: str) -> Handler:
    async def refuse(_requests: object, context: Context) -> NoReturn:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, details)

    # On the wire all kinds of RPC are alike; this kind answers without waiting for a message.
    return grpc.stream_stream_rpc_method_handler(refuse)
