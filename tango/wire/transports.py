"""The Transport of a session over gRPC, server side and client side, and in memory."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc

from tango.wire.errors import model_error

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Call = grpc.aio.StreamStreamCall[Any, Any]


_TCP_PEER = re.compile(r"ipv(?:4:(?P<four>[0-9.]+)|6:\[(?P<six>[0-9A-Fa-f:.]+)\]):\d+")


def peer_host(peer: str) -> str:
    """The host in gRPC's name of a peer ("ipv4:10.0.0.7:41022"); "" where it is no TCP address."""
    found = _TCP_PEER.fullmatch(unquote(peer))
    return "" if found is None else found["four"] or found["six"]


class ServerTransport:
    """The server's end of a bidirectional stream."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self) -> object | None:
        """The next envelope, None when the client has finished."""
        message = await self._context.read()
        return None if message is grpc.aio.EOF else message

    async def write(self, envelope: object) -> None:
        """Send one envelope."""
        await self._context.write(envelope)


class ClientTransport:
    """The client's end of a bidirectional stream."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def read(self) -> object | None:
        """The next envelope; at the end the server's status is raised unless it is OK."""
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise ConnectionError(str(model_error(error))) from error
        if message is not grpc.aio.EOF:
            return message
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            raise ConnectionError(f"{await self._call.details() or code.name.lower()}")
        return None

    async def write(self, envelope: object) -> None:
        """Send one envelope."""
        try:
            await self._call.write(envelope)
        except grpc.aio.AioRpcError as error:
            raise ConnectionError(str(model_error(error))) from error
        except asyncio.InvalidStateError as error:
            raise ConnectionError("the stream has ended") from error


class MemoryTransport:
    """One end of a stream inside a process; `pair` makes both. Bounded, so a writer can wait."""

    def __init__(
        self, incoming: asyncio.Queue[object | None], outgoing: asyncio.Queue[object | None]
    ) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    @classmethod
    def pair(cls, depth: int = 64) -> tuple[MemoryTransport, MemoryTransport]:
        """Two ends; what one writes the other reads."""
        first: asyncio.Queue[object | None] = asyncio.Queue(depth)
        second: asyncio.Queue[object | None] = asyncio.Queue(depth)
        return cls(first, second), cls(second, first)

    async def read(self) -> object | None:
        """The next envelope, None at the end."""
        return await self._incoming.get()

    async def write(self, envelope: object) -> None:
        """Send one envelope; None ends the stream."""
        await self._outgoing.put(envelope)
