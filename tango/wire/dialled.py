"""The life of a session on a stream that this side has dialled; the same for all who dial."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from tango.wire.errors import model_errors
from tango.wire.mailbox import Mailbox
from tango.wire.stream_session import StreamSession
from tango.wire.transports import ClientTransport

if TYPE_CHECKING:
    from tango.wire.transports import Call

In = TypeVar("In")
Out = TypeVar("Out")


async def dialled(
    call: Call,
    incarnation: int,
    encode: Callable[[Out, int, int], object],
    decode: Callable[[object], tuple[int, int, In]],
    serve: Callable[[StreamSession[In, Out]], Awaitable[str]],
) -> str:
    """Serve the session until it ends; returns why it did, and the stream is gone then."""
    session: StreamSession[In, Out] = StreamSession(
        ClientTransport(call),
        incarnation=incarnation,
        encode=encode,
        decode=decode,
        mailbox=Mailbox(),
    )
    try:
        with model_errors():
            return await serve(session)
    finally:
        call.cancel()
