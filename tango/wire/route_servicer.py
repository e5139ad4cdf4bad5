"""Published routes over EdgeService: tables to who watches or follows, reports from followers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from tango.model.errors import InvalidField
from tango.v1 import edge_service_pb2 as pb
from tango.wire.backends import EdgeBackend, RouteFollower
from tango.wire.convert_routes import follow_report_from_pb, route_table_to_pb

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

HELLO_TIMEOUT_S = 5.0


class RouteServicer:
    """Converts tables and reports; who gets which slots is the backend's business."""

    def __init__(self, backend: EdgeBackend) -> None:
        self._backend = backend

    async def watch(
        self, request: pb.WatchRoutesRequest
    ) -> AsyncGenerator[pb.WatchRoutesResponse, None]:
        """The table now and after each change."""
        async with aclosing(self._backend.watch_routes(request.service)) as tables:
            async for table in tables:
                yield pb.WatchRoutesResponse(table=route_table_to_pb(table))

    async def follow(self, context: Context) -> None:
        """Reports in, tables out, until either side has enough."""
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            first = await context.read()
        if first is grpc.aio.EOF or not first.service:
            raise InvalidField("service", "is missing", "name it in the first message")
        follower = self._backend.follow_routes(first.service)
        reader = asyncio.ensure_future(self._read(context, follower))
        writer = asyncio.ensure_future(self._write(context, follower))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            follower.close()
            for task in (reader, writer):
                task.cancel()
            ends = await asyncio.gather(reader, writer, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _read(self, context: Context, follower: RouteFollower) -> None:
        while True:
            message = await context.read()
            if message is grpc.aio.EOF:
                return
            follower.report(follow_report_from_pb(message.report))

    async def _write(self, context: Context, follower: RouteFollower) -> None:
        while (news := await follower.next()) is not None:
            taken, table = news
            response = pb.FollowRoutesResponse(taken=taken)
            if table is not None:
                response.table.CopyFrom(route_table_to_pb(table))
            await context.write(response)
