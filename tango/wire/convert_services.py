"""Converts what runs of a service, pb2 <-> model: ReplicaStatus, ServiceView and its parts."""

from __future__ import annotations

from tango.model.service import ReplicaState, ReplicaStatus
from tango.model.views import QosView, ReplicaView, RequestCounts, ServiceView
from tango.v1 import types_pb2 as pb
from tango.wire.convert_fields import inverse, required, text
from tango.wire.convert_specs import service_spec_from_pb, service_spec_to_pb

_STATE = {
    ReplicaState.STARTING: pb.REPLICA_STATE_STARTING,
    ReplicaState.READY: pb.REPLICA_STATE_READY,
    ReplicaState.UNHEALTHY: pb.REPLICA_STATE_UNHEALTHY,
    ReplicaState.BACKOFF: pb.REPLICA_STATE_BACKOFF,
    ReplicaState.STOPPING: pb.REPLICA_STATE_STOPPING,
}
_STATE_BACK = inverse(_STATE)


def replica_status_to_pb(replica: ReplicaStatus) -> pb.ReplicaStatus:
    """Field by field."""
    return pb.ReplicaStatus(
        replica_id=replica.replica_id,
        service=replica.service,
        generation=replica.generation,
        state=_STATE[replica.state],
        port=replica.port,
        pid=replica.pid,
        restarts=replica.restarts,
        in_flight=replica.in_flight,
        reason=text(replica.reason),
    )


def replica_status_from_pb(message: pb.ReplicaStatus, where: str = "replica") -> ReplicaStatus:
    """Raises InvalidField for an unspecified or unknown state."""
    return ReplicaStatus(
        replica_id=message.replica_id,
        service=message.service,
        generation=message.generation,
        state=required(_STATE_BACK, message.state, f"{where}.state", pb.ReplicaState.keys()[1:]),
        port=message.port,
        pid=message.pid,
        restarts=message.restarts,
        in_flight=message.in_flight,
        reason=message.reason,
    )


def request_counts_to_pb(counts: RequestCounts) -> pb.RequestCounts:
    """Field by field."""
    return pb.RequestCounts(
        sent=counts.sent,
        completed=counts.completed,
        late=counts.late,
        rejected=counts.rejected,
        failed=counts.failed,
    )


def request_counts_from_pb(message: pb.RequestCounts) -> RequestCounts:
    """Field by field."""
    return RequestCounts(
        sent=message.sent,
        completed=message.completed,
        late=message.late,
        rejected=message.rejected,
        failed=message.failed,
    )


def service_view_to_pb(view: ServiceView) -> pb.ServiceView:
    """Replicas keep their order."""
    return pb.ServiceView(
        spec=service_spec_to_pb(view.spec, "service.spec"),
        generation=view.generation,
        edge=view.edge,
        replicas=[
            pb.ReplicaView(status=replica_status_to_pb(replica.status), node=replica.node)
            for replica in view.replicas
        ],
        ready=view.ready,
        queued=view.queued,
        in_flight=view.in_flight,
        counts=request_counts_to_pb(view.counts),
        service_time_ms=view.service_time_ms,
        reason=text(view.reason),
        published=view.published,
        qos=[
            pb.QosView(
                node=qos.node,
                cpu_per_request_millis=qos.cpu_per_request_millis,
                samples=qos.samples,
                slack=qos.slack,
                latency_ms=qos.latency_ms,
                saturated=qos.saturated,
                why=text(qos.why),
            )
            for qos in view.qos
        ],
    )


def service_view_from_pb(message: pb.ServiceView, where: str = "service") -> ServiceView:
    """Raises InvalidField for an enum value that is missing or unknown."""
    return ServiceView(
        spec=service_spec_from_pb(message.spec, f"{where}.spec"),
        generation=message.generation,
        edge=message.edge,
        replicas=tuple(
            ReplicaView(
                replica_status_from_pb(replica.status, f"{where}.replicas[{index}].status"),
                replica.node,
            )
            for index, replica in enumerate(message.replicas)
        ),
        ready=message.ready,
        queued=message.queued,
        in_flight=message.in_flight,
        counts=request_counts_from_pb(message.counts),
        service_time_ms=message.service_time_ms,
        reason=message.reason,
        published=message.published,
        qos=tuple(
            QosView(
                qos.node,
                qos.cpu_per_request_millis,
                qos.samples,
                qos.slack,
                qos.latency_ms,
                qos.saturated,
                qos.why,
            )
            for qos in message.qos
        ),
    )
