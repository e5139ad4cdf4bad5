"""Checkpoints on streams of their own, alike at both services: what is fetched, what is offered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Protocol

import grpc

from tango.model.errors import NotFound, TangoError, Unavailable
from tango.model.job import CheckpointPart
from tango.v1 import types_pb2 as pb
from tango.wire.convert_checkpoints import checkpoint_part_from_pb, checkpoint_part_to_pb
from tango.wire.errors import cut, model_error, model_errors

OFFER_LIMIT_S = 86_400.0


class Offered(Protocol):
    """An Offer...Request of either service."""

    @property
    def transfer_id(self) -> str:
        """In the first one."""
        ...

    @property
    def part(self) -> pb.CheckpointPart:
        """The piece."""
        ...

    @property
    def error(self) -> str:
        """Why there is none."""
        ...

    @property
    def again(self) -> bool:
        """That may pass."""
        ...


async def first_offered(messages: AsyncIterator[Offered]) -> Offered:
    """The message that carries the id. Raises Unavailable where the stream ends without it."""
    async for message in messages:
        return message
    raise Unavailable("the offer ended before it began")


async def offered(
    first: Offered, messages: AsyncIterator[Offered]
) -> AsyncGenerator[CheckpointPart, None]:
    """The pieces of an offer. Raises NotFound or Unavailable with what the sender says."""
    message = first
    while True:
        if message.error:
            raise Unavailable(message.error) if message.again else NotFound(message.error)
        yield checkpoint_part_from_pb(message.part)
        following = await anext(messages, None)
        if following is None:
            return
        message = following


async def fetched(stream: Any) -> AsyncGenerator[CheckpointPart, None]:
    """The pieces that a Fetch... call brings; the call ends with this generator."""
    try:
        with model_errors():
            async for response in stream:
                yield checkpoint_part_from_pb(response.part)
    finally:
        stream.cancel()


# The generated classes of the two services share no type that says what they have in common.
async def send_offer(
    call: Any, request: Any, transfer_id: str, parts: AsyncGenerator[CheckpointPart, None]
) -> None:
    """Write the pieces as the other side takes them; an error of ours travels in their place.

    Raises what the other side answers.
    """
    try:
        try:
            async for part in parts:
                await call.write(request(transfer_id=transfer_id, part=checkpoint_part_to_pb(part)))
        except TangoError as error:
            again = isinstance(error, Unavailable)
            said = request(transfer_id=transfer_id, error=cut(str(error)), again=again)
            await call.write(said)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass  # the call is over: its status tells
    except BaseException:
        call.cancel()
        raise
    finally:
        await parts.aclose()
    try:
        await call
    except grpc.aio.AioRpcError as error:
        # grpc.aio puts this in place of the status that came while a write was under way.
        if error.details() == "Internal error from Core":
            raise Unavailable("the other side took no more of it") from error
        raise model_error(error) from error
