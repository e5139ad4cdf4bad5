"""The three gRPC services, ready for `make_server`: daemons never see generated code."""

from __future__ import annotations

import grpc

from tango.v1 import central_service_pb2, edge_service_pb2, worker_service_pb2
from tango.v1.central_service_pb2_grpc import add_CentralServiceServicer_to_server
from tango.v1.edge_service_pb2_grpc import add_EdgeServiceServicer_to_server
from tango.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server
from tango.wire.backends import CentralBackend, EdgeBackend, WorkerBackend
from tango.wire.central_servicer import CentralServicer
from tango.wire.edge_servicer import EdgeServicer
from tango.wire.servers import Service
from tango.wire.worker_servicer import WorkerServicer


def edge_service(backend: EdgeBackend) -> Service:
    """EdgeService, for users and workers."""

    def register(server: grpc.aio.Server) -> None:
        add_EdgeServiceServicer_to_server(EdgeServicer(backend), server)

    return Service(edge_service_pb2.DESCRIPTOR.services_by_name["EdgeService"].full_name, register)


def central_service(backend: CentralBackend) -> Service:
    """CentralService, for users and edges."""

    def register(server: grpc.aio.Server) -> None:
        add_CentralServiceServicer_to_server(CentralServicer(backend), server)

    return Service(
        central_service_pb2.DESCRIPTOR.services_by_name["CentralService"].full_name, register
    )


def worker_service(backend: WorkerBackend) -> Service:
    """WorkerService, for operators."""

    def register(server: grpc.aio.Server) -> None:
        add_WorkerServiceServicer_to_server(WorkerServicer(backend), server)

    return Service(
        worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name, register
    )
