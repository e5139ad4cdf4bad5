"""A server interceptor: without TLS every RPC, reflection and health too, carries the token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from tango.wire.channels import AUTHORIZATION
from tango.wire.refusals import Refusals

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]

HINT = "send the metadata 'authorization: Bearer TOKEN' with the content of the daemon's token_file"
NO_TOKEN = f"no token: {HINT}"
WRONG_TOKEN = f"wrong token: {HINT}"
# Who else looked at the call may have gone by the other one.
SEVERAL_TOKENS = "several tokens: send 'authorization' once"


class TokenGate(grpc.aio.ServerInterceptor):
    """Answers UNAUTHENTICATED, without reading the request, unless the token is right."""

    def __init__(self, token: str, refusals: Refusals) -> None:
        self._expected = f"Bearer {token}".encode()
        self._no_token = _refusal(NO_TOKEN, refusals)
        self._wrong_token = _refusal(WRONG_TOKEN, refusals)
        self._several_tokens = _refusal(SEVERAL_TOKENS, refusals)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, or one that refuses."""
        found = [v for key, v in handler_call_details.invocation_metadata if key == AUTHORIZATION]
        if len(found) != 1:
            return self._several_tokens if found else self._no_token
        given = found[0] if isinstance(found[0], bytes) else found[0].encode()
        if hmac.compare_digest(given, self._expected):
            return await continuation(handler_call_details)
        return self._wrong_token


def _refusal(details: str, refusals: Refusals) -> Handler:
    reason = details.partition(":")[0]

    async def refuse(_requests: object, context: Context) -> NoReturn:
        refusals.note(context.peer(), reason)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, details)

    # On the wire all kinds of RPC are alike; this kind answers without waiting for a message.
    return grpc.stream_stream_rpc_method_handler(refuse)
