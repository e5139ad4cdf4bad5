"""Converts pb2 <-> model what a worker and its edge say to one another."""

from __future__ import annotations

from tango.model.messages import (
    CancelDispatches,
    Dispatches,
    EdgeWelcome,
    NodeTargets,
    PublishedShares,
    ReplicaChanged,
    ReplicaGone,
    ReplicaTarget,
    ReportUsage,
    RequestsDone,
    WorkerHello,
    WorkerPing,
    WorkerPong,
    WorkerState,
)
from tango.v1 import edge_service_pb2 as edge
from tango.wire.convert_affinity import taint_to_pb, taints_from_pb
from tango.wire.convert_calls import (
    dispatch_from_pb,
    dispatch_to_pb,
    request_done_from_pb,
    request_done_to_pb,
)
from tango.wire.convert_fields import core_ids_from_pb, finite, pairs_from_map, text
from tango.wire.convert_jobs import attempt_status_from_pb, attempt_status_to_pb
from tango.wire.convert_nodes import (
    enforcement_from_pb,
    enforcement_to_pb,
    node_capacity_from_pb,
    node_capacity_to_pb,
    node_report_from_pb,
    node_report_to_pb,
)
from tango.wire.convert_services import replica_status_from_pb, replica_status_to_pb
from tango.wire.convert_specs import service_spec_from_pb, service_spec_to_pb

MAX_KEEP_S = 3600.0


def worker_hello_to_pb(hello: WorkerHello) -> edge.WorkerHello:
    """Field by field."""
    return edge.WorkerHello(
        node=hello.node,
        key=hello.key,
        incarnation=hello.incarnation,
        capacity=node_capacity_to_pb(hello.capacity),
        enforcement=enforcement_to_pb(hello.enforcement),
        version=hello.version,
        labels=dict(hello.labels),
        observe_only=hello.observe_only,
        checkpoints=hello.checkpoints,
        checkpoint_note=text(hello.checkpoint_note),
        checkpoint_shared=hello.checkpoint_shared,
        checkpoint_transfer=hello.checkpoint_transfer,
        dial=hello.dial,
        cores=hello.cores,
        cores_note=text(hello.cores_note),
        taints=[taint_to_pb(taint) for taint in hello.taints],
        loopback=hello.loopback,
    )


def worker_hello_from_pb(message: edge.WorkerHello) -> WorkerHello:
    """Labels come back sorted by name."""
    return WorkerHello(
        node=message.node,
        key=message.key,
        incarnation=message.incarnation,
        capacity=node_capacity_from_pb(message.capacity),
        enforcement=enforcement_from_pb(message.enforcement),
        version=message.version,
        labels=pairs_from_map(message.labels),
        observe_only=message.observe_only,
        checkpoints=message.checkpoints,
        checkpoint_note=message.checkpoint_note,
        checkpoint_shared=message.checkpoint_shared,
        checkpoint_transfer=message.checkpoint_transfer,
        dial=message.dial,
        cores=core_ids_from_pb(message.cores, "hello.cores"),
        cores_note=message.cores_note,
        taints=taints_from_pb(message.taints),
        loopback=message.loopback,
    )


def worker_state_to_pb(state: WorkerState) -> edge.WorkerState:
    """Field by field."""
    return edge.WorkerState(
        replicas=[replica_status_to_pb(replica) for replica in state.replicas],
        attempts=[attempt_status_to_pb(attempt) for attempt in state.attempts],
        in_flight=state.in_flight,
    )


def worker_state_from_pb(message: edge.WorkerState) -> WorkerState:
    """Raises InvalidField for a state that is missing or unknown."""
    return WorkerState(
        replicas=tuple(
            replica_status_from_pb(replica, f"state.replicas[{index}]")
            for index, replica in enumerate(message.replicas)
        ),
        attempts=tuple(
            attempt_status_from_pb(attempt, f"state.attempts[{index}]")
            for index, attempt in enumerate(message.attempts)
        ),
        in_flight=tuple(message.in_flight),
    )


def replica_changed_to_pb(changed: ReplicaChanged) -> edge.ReplicaChanged:
    """Field by field."""
    return edge.ReplicaChanged(replica=replica_status_to_pb(changed.replica))


def replica_changed_from_pb(message: edge.ReplicaChanged) -> ReplicaChanged:
    """Raises InvalidField for a state that is missing or unknown."""
    return ReplicaChanged(replica_status_from_pb(message.replica, "replica_changed.replica"))


def replica_gone_to_pb(gone: ReplicaGone) -> edge.ReplicaGone:
    """Field by field."""
    return edge.ReplicaGone(replica_id=gone.replica_id)


def replica_gone_from_pb(message: edge.ReplicaGone) -> ReplicaGone:
    """Field by field."""
    return ReplicaGone(message.replica_id)


def requests_done_to_pb(batch: RequestsDone) -> edge.RequestsDone:
    """In order."""
    return edge.RequestsDone(done=[request_done_to_pb(done) for done in batch.done])


def requests_done_from_pb(message: edge.RequestsDone) -> RequestsDone:
    """In order."""
    return RequestsDone(tuple([request_done_from_pb(done) for done in message.done]))


def report_usage_to_pb(usage: ReportUsage) -> edge.ReportUsage:
    """Field by field."""
    return edge.ReportUsage(report=node_report_to_pb(usage.report))


def report_usage_from_pb(message: edge.ReportUsage) -> ReportUsage:
    """Field by field."""
    return ReportUsage(node_report_from_pb(message.report))


def edge_welcome_to_pb(welcome: EdgeWelcome) -> edge.EdgeWelcome:
    """Field by field."""
    return edge.EdgeWelcome(edge=welcome.edge, incarnation=welcome.incarnation)


def edge_welcome_from_pb(message: edge.EdgeWelcome) -> EdgeWelcome:
    """Field by field."""
    return EdgeWelcome(message.edge, message.incarnation)


def node_targets_to_pb(targets: NodeTargets) -> edge.NodeTargets:
    """Field by field."""
    return edge.NodeTargets(
        version=targets.version,
        replicas=[
            edge.ReplicaTarget(
                replica_id=target.replica_id,
                generation=target.generation,
                spec=service_spec_to_pb(target.spec, "targets.spec"),
                cpu_per_request_millis=target.cpu_per_request_millis,
            )
            for target in targets.replicas
        ],
    )


def node_targets_from_pb(message: edge.NodeTargets) -> NodeTargets:
    """Raises InvalidField for an enum value that this version does not know."""
    return NodeTargets(
        version=message.version,
        replicas=tuple(
            ReplicaTarget(
                replica_id=target.replica_id,
                generation=target.generation,
                spec=service_spec_from_pb(target.spec, f"targets.replicas[{index}].spec"),
                cpu_per_request_millis=target.cpu_per_request_millis,
            )
            for index, target in enumerate(message.replicas)
        ),
    )


def dispatches_to_pb(batch: Dispatches) -> edge.Dispatches:
    """In order."""
    return edge.Dispatches(requests=[dispatch_to_pb(request) for request in batch.requests])


def dispatches_from_pb(message: edge.Dispatches) -> Dispatches:
    """In order."""
    return Dispatches(tuple([dispatch_from_pb(request) for request in message.requests]))


def cancel_dispatches_to_pb(cancel: CancelDispatches) -> edge.CancelDispatches:
    """Field by field."""
    return edge.CancelDispatches(request_ids=cancel.request_ids)


def cancel_dispatches_from_pb(message: edge.CancelDispatches) -> CancelDispatches:
    """Field by field."""
    return CancelDispatches(tuple(message.request_ids))


def worker_ping_to_pb(ping: WorkerPing) -> edge.WorkerPing:
    """Field by field."""
    return edge.WorkerPing(number=ping.number)


def worker_ping_from_pb(message: edge.WorkerPing) -> WorkerPing:
    """Field by field."""
    return WorkerPing(message.number)


def worker_pong_to_pb(pong: WorkerPong) -> edge.WorkerPong:
    """Field by field."""
    return edge.WorkerPong(number=pong.number)


def worker_pong_from_pb(message: edge.WorkerPong) -> WorkerPong:
    """Field by field."""
    return WorkerPong(message.number)


def published_shares_to_pb(message: PublishedShares) -> edge.PublishedShares:
    """In order."""
    shares = [edge.PublishedShare(replica_id=name, slots=slots) for name, slots in message.shares]
    return edge.PublishedShares(shares=shares, keep_s=message.keep_s)


def published_shares_from_pb(message: edge.PublishedShares) -> PublishedShares:
    """Raises InvalidField for a time that is none."""
    shares = tuple((share.replica_id, share.slots) for share in message.shares)
    return PublishedShares(shares, finite(message.keep_s, "published_shares.keep_s", MAX_KEEP_S))
