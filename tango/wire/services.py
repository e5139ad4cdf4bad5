"""Which servicer serves which gRPC service, for `make_server`."""

from __future__ import annotations

from tango.v1.central_service_pb2_grpc import add_CentralServiceServicer_to_server
from tango.v1.edge_service_pb2_grpc import add_EdgeServiceServicer_to_server
from tango.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server
from tango.wire.backends import CentralBackend, EdgeBackend, WorkerBackend
from tango.wire.central_servicer import CentralServicer
from tango.wire.edge_servicer import EdgeServicer
from tango.wire.servers import Service
from tango.wire.worker_servicer import WorkerServicer


def edge_service(backend: EdgeBackend) -> Service:
    """tango.v1.EdgeService"""
    servicer = EdgeServicer(backend)
    return Service(
        "tango.v1.EdgeService", lambda server: add_EdgeServiceServicer_to_server(servicer, server)
    )


def central_service(backend: CentralBackend) -> Service:
    """tango.v1.CentralService"""
    servicer = CentralServicer(backend)
    return Service(
        "tango.v1.CentralService",
        lambda server: add_CentralServiceServicer_to_server(servicer, server),
    )


def worker_service(backend: WorkerBackend) -> Service:
    """tango.v1.WorkerService"""
    servicer = WorkerServicer(backend)
    return Service(
        "tango.v1.WorkerService",
        lambda server: add_WorkerServiceServicer_to_server(servicer, server),
    )
