"""The following side of published routes: a stream of reports out and tables in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from tango.model.errors import Unavailable
from tango.model.routes import FollowReport, RouteTable
from tango.v1 import edge_service_pb2 as pb
from tango.wire.convert_routes import follow_report_to_pb, route_table_from_pb
from tango.wire.errors import model_errors

if TYPE_CHECKING:
    Stream = grpc.aio.StreamStreamCall[pb.FollowRoutesRequest, pb.FollowRoutesResponse]


class RouteStream:
    """One FollowRoutes stream. Raises errors of the model; Unavailable where it has ended."""

    def __init__(self, stream: Stream, service: str) -> None:
        self._stream = stream
        self._service = service

    async def open(self) -> None:
        """Name the service."""
        await self._write(pb.FollowRoutesRequest(service=self._service))

    async def report(self, report: FollowReport) -> None:
        """Say what is under way."""
        await self._write(pb.FollowRoutesRequest(report=follow_report_to_pb(report)))

    async def read(self) -> tuple[int, RouteTable | None]:
        """(number of the latest report taken, the table where it is a new one)."""
        with model_errors():
            message = await self._stream.read()
            if not isinstance(message, pb.FollowRoutesResponse):
                raise Unavailable("the edge ended the stream of routes")
        table = route_table_from_pb(message.table) if message.HasField("table") else None
        return message.taken, table

    async def finish(self) -> None:
        """Nothing more to report; fine where the stream has ended."""
        try:
            await self._stream.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return

    def close(self) -> None:
        """End it."""
        self._stream.cancel()

    async def _write(self, message: pb.FollowRoutesRequest) -> None:
        try:
            with model_errors():
                await self._stream.write(message)
        except asyncio.InvalidStateError as error:
            raise Unavailable("the stream of routes has ended") from error
