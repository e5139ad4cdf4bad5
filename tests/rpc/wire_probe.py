"""A real server on loopback whose EdgeService does on purpose what handlers do by mistake."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from tango.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidField,
    NotFound,
    Refused,
    ResourceExhausted,
    TangoError,
    Unavailable,
)
from tango.v1 import edge_service_pb2 as pb
from tango.v1.edge_service_pb2_grpc import EdgeServiceServicer, EdgeServiceStub
from tango.v1.edge_service_pb2_grpc import add_EdgeServiceServicer_to_server as add_edge
from tango.wire.channels import bearer, open_channel
from tango.wire.servers import RpcServer, Service, make_server

TOKEN = "a-token-that-nobody-guesses"
AUTH = bearer(TOKEN)
ERRORS: dict[str, BaseException] = {
    "invalid": InvalidField("spec.tasks[0].argv", "is émpty", "give the program"),
    "long": InvalidField("spec.name", "é" * 100_000, "shorten it"),
    "not-found": NotFound("service 'x' is unknown"),
    "exists": AlreadyExists("service 'x' exists"),
    "unavailable": Unavailable("central is away"),
    "exhausted": ResourceExhausted("9 jobs are waiting already"),
    "refused": Refused("wrong key"),
    "too-late": FailedPrecondition("job 'x' has ended"),
    "other": TangoError("something of ours"),
    "bug": ValueError("the secret is 42"),
}


class Probe(EdgeServiceServicer):
    """The name in a request says what shall happen."""

    def __init__(self) -> None:
        self.closing: asyncio.Event | None = None
        self.ends: list[str] = []
        self.session: Callable[[Any], Any] | None = None

    async def GetService(self, request: pb.GetServiceRequest, context: Any) -> Any:
        match request.name:
            case name if name in ERRORS:
                raise ERRORS[name]
            case "inner-cancel":
                inner = asyncio.ensure_future(asyncio.sleep(60))
                inner.cancel()
                await inner
            case "abort":
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "by hand")
            case "slow":
                try:
                    await asyncio.sleep(60)
                finally:
                    self.ends.append("slow")
        return pb.GetServiceResponse(service={"edge": request.name})

    async def WatchService(self, request: pb.WatchServiceRequest, context: Any) -> Any:
        try:
            yield pb.WatchServiceResponse()
            if request.name in ERRORS:
                raise ERRORS[request.name]
            if request.name == "inner-cancel":
                raise asyncio.CancelledError
            assert self.closing is not None
            await self.closing.wait()
        finally:
            self.ends.append("watch")

    async def ConnectWorker(self, request_iterator: Any, context: Any) -> None:
        assert self.session is not None
        await self.session(context)


@contextlib.asynccontextmanager
async def probed(
    listen: str = "127.0.0.1:0", **options: Any
) -> AsyncIterator[tuple[Probe, RpcServer]]:
    probe = Probe()
    service = Service("tango.v1.EdgeService", lambda server: add_edge(probe, server))
    server = make_server(listen, TOKEN, [service], **options)
    probe.closing = server.closing
    await server.start()
    try:
        yield probe, server
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def stub_of(server: RpcServer, **options: Any) -> AsyncIterator[Any]:
    async with open_channel(str(server.address), **options) as channel:
        yield EdgeServiceStub(channel)
