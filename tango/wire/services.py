"""The gRPC services, ready for `make_server`: daemons never see generated code.

Each is imported when it is asked for: a worker, which must stay small, has no use for the others.
"""

from __future__ import annotations

import grpc

from tango.wire.backends import CentralBackend, EdgeBackend, PeerBackend, WorkerBackend
from tango.wire.servers import Service


def edge_service(backend: EdgeBackend) -> Service:
    """EdgeService, for users and workers."""
    from tango.v1 import edge_service_pb2
    from tango.v1.edge_service_pb2_grpc import add_EdgeServiceServicer_to_server
    from tango.wire.edge_servicer import EdgeServicer

    def register(server: grpc.aio.Server) -> None:
        add_EdgeServiceServicer_to_server(EdgeServicer(backend), server)

    return Service(edge_service_pb2.DESCRIPTOR.services_by_name["EdgeService"].full_name, register)


def peer_service(backend: PeerBackend) -> Service:
    """PeerService, for edges of other sites."""
    from tango.v1 import peer_service_pb2
    from tango.v1.peer_service_pb2_grpc import add_PeerServiceServicer_to_server
    from tango.wire.peer_servicer import PeerServicer

    def register(server: grpc.aio.Server) -> None:
        add_PeerServiceServicer_to_server(PeerServicer(backend), server)

    return Service(peer_service_pb2.DESCRIPTOR.services_by_name["PeerService"].full_name, register)


def central_service(backend: CentralBackend) -> Service:
    """CentralService, for users and edges."""
    from tango.v1 import central_service_pb2
    from tango.v1.central_service_pb2_grpc import add_CentralServiceServicer_to_server
    from tango.wire.central_servicer import CentralServicer

    def register(server: grpc.aio.Server) -> None:
        add_CentralServiceServicer_to_server(CentralServicer(backend), server)

    return Service(
        central_service_pb2.DESCRIPTOR.services_by_name["CentralService"].full_name, register
    )


def worker_service(backend: WorkerBackend) -> Service:
    """WorkerService, for operators."""
    from tango.v1 import worker_service_pb2
    from tango.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server
    from tango.wire.worker_servicer import WorkerServicer

    def register(server: grpc.aio.Server) -> None:
        add_WorkerServiceServicer_to_server(WorkerServicer(backend), server)

    return Service(
        worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name, register
    )
