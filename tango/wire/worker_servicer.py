"""WorkerService over a WorkerBackend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from tango.v1 import worker_service_pb2 as pb
from tango.v1.worker_service_pb2_grpc import WorkerServiceServicer
from tango.wire.backends import WorkerBackend
from tango.wire.convert_jobs import attempt_status_to_pb
from tango.wire.convert_nodes import enforcement_to_pb, node_capacity_to_pb, node_report_to_pb
from tango.wire.convert_services import replica_status_to_pb

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class WorkerServicer(WorkerServiceServicer):
    """What grpc calls."""

    def __init__(self, backend: WorkerBackend) -> None:
        self._backend = backend

    async def GetNode(self, request: pb.GetNodeRequest, context: Context) -> pb.GetNodeResponse:
        """The node as its own worker sees it."""
        backend = self._backend
        report = backend.report()
        return pb.GetNodeResponse(
            node=backend.node,
            capacity=node_capacity_to_pb(backend.capacity),
            enforcement=enforcement_to_pb(backend.enforcement),
            connected=backend.connected(),
            report=node_report_to_pb(report) if report is not None else None,
            replicas=[replica_status_to_pb(replica) for replica in backend.replicas()],
            attempts=[attempt_status_to_pb(attempt) for attempt in backend.attempts()],
        )
