"""Which RPCs a server has, asked of the server itself (reflection), and what they take."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from grpc_health.v1 import health_pb2  # noqa: F401 - its descriptors go into the pool
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import tango.v1


@dataclass(frozen=True)
class Rpc:
    """One method of one server. session: its requests are numbered envelopes."""

    server: str
    address: str
    method: str
    takes: Descriptor
    client_streaming: bool
    server_streaming: bool

    @property
    def session(self) -> bool:
        return self.client_streaming and "message" in self.takes.oneofs_by_name


async def rpcs_of(server: str, address: str, metadata: Any) -> list[Rpc]:
    """Every method of every service that the server tells of."""
    for module in pkgutil.iter_modules(tango.v1.__path__):
        importlib.import_module(f"tango.v1.{module.name}")
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        stream = stub.ServerReflectionInfo(asked, metadata=metadata, timeout=10)
        answers = [answer async for answer in stream]
    pool = descriptor_pool.Default()
    return [
        Rpc(
            server,
            address,
            f"/{service.full_name}/{method.name}",
            method.input_type,
            method.client_streaming,
            method.server_streaming,
        )
        for named in answers[0].list_services_response.service
        for service in [pool.FindServiceByName(named.name)]
        for method in service.methods
    ]
