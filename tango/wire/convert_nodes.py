"""Converts nodes and their reports, pb2 <-> model: NodeView, NodeReport and what they hold.

From pb: an unspecified or unknown Enforcement is NONE, for it is claimed only after a check; a part
of a report that is left out is all zeros.
"""

from __future__ import annotations

from tango.model.cgroup import Mismatch
from tango.model.cluster import (
    Enforcement,
    GroupReport,
    NodeCapacity,
    NodeReport,
    NodeView,
    SideUsage,
)
from tango.model.views import DrainItem, DrainView, EdgeView
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as edge
from tango.v1 import types_pb2 as pb
from tango.wire.convert_affinity import taint_to_pb, taints_from_pb
from tango.wire.convert_fields import core_ids_from_pb, inverse, pairs_from_map, text

_ENFORCEMENT = {
    Enforcement.NONE: pb.ENFORCEMENT_NONE,
    Enforcement.PRIORITY: pb.ENFORCEMENT_PRIORITY,
    Enforcement.CGROUP: pb.ENFORCEMENT_CGROUP,
}
_ENFORCEMENT_BACK = inverse(_ENFORCEMENT)


def enforcement_to_pb(enforcement: Enforcement) -> pb.Enforcement.ValueType:
    """The wire's number."""
    return _ENFORCEMENT[enforcement]


def enforcement_from_pb(number: int) -> Enforcement:
    """NONE where it is unspecified or unknown."""
    return _ENFORCEMENT_BACK.get(number, Enforcement.NONE)


def node_capacity_to_pb(capacity: NodeCapacity) -> pb.NodeCapacity:
    """Field by field."""
    return pb.NodeCapacity(cpu_millis=capacity.cpu_millis, memory_bytes=capacity.memory_bytes)


def node_capacity_from_pb(message: pb.NodeCapacity) -> NodeCapacity:
    """Field by field."""
    return NodeCapacity(message.cpu_millis, message.memory_bytes)


def side_usage_to_pb(side: SideUsage) -> pb.SideUsage:
    """Field by field."""
    return pb.SideUsage(
        cpu_s=side.cpu_s,
        cpu_millis=side.cpu_millis,
        memory_bytes=side.memory_bytes,
        throttled_s=side.throttled_s,
    )


def side_usage_from_pb(message: pb.SideUsage) -> SideUsage:
    """Field by field."""
    return SideUsage(message.cpu_s, message.cpu_millis, message.memory_bytes, message.throttled_s)


def group_report_to_pb(group: GroupReport) -> pb.GroupReport:
    """quota_millis keeps its -1 for "unlimited"."""
    return pb.GroupReport(
        group=group.group,
        cpu_s=group.cpu_s,
        memory_bytes=group.memory_bytes,
        quota_millis=group.quota_millis,
        n_throttled=group.n_throttled,
        throttled_s=group.throttled_s,
        n_oom_kills=group.n_oom_kills,
    )


def group_report_from_pb(message: pb.GroupReport) -> GroupReport:
    """Field by field."""
    return GroupReport(
        group=message.group,
        cpu_s=message.cpu_s,
        memory_bytes=message.memory_bytes,
        quota_millis=message.quota_millis,
        n_throttled=message.n_throttled,
        throttled_s=message.throttled_s,
        n_oom_kills=message.n_oom_kills,
    )


def mismatch_to_pb(mismatch: Mismatch) -> pb.Mismatch:
    """Field by field."""
    return pb.Mismatch(
        group=mismatch.group,
        field=mismatch.field,
        wanted=mismatch.wanted,
        found=text(mismatch.found),
    )


def mismatch_from_pb(message: pb.Mismatch) -> Mismatch:
    """Field by field."""
    return Mismatch(message.group, message.field, message.wanted, message.found)


def node_report_to_pb(report: NodeReport) -> pb.NodeReport:
    """Field by field."""
    return pb.NodeReport(
        node=report.node,
        at_s=report.at_s,
        lc=side_usage_to_pb(report.lc),
        be=side_usage_to_pb(report.be),
        in_flight=report.in_flight,
        be_tasks=report.be_tasks,
        mismatches=[mismatch_to_pb(mismatch) for mismatch in report.mismatches],
        groups=[group_report_to_pb(group) for group in report.groups],
        problem=text(report.problem),
        memory_short_bytes=report.memory_short_bytes,
        be_satisfaction=report.be_satisfaction,
    )


def node_report_from_pb(message: pb.NodeReport) -> NodeReport:
    """Field by field."""
    return NodeReport(
        node=message.node,
        at_s=message.at_s,
        lc=side_usage_from_pb(message.lc),
        be=side_usage_from_pb(message.be),
        in_flight=message.in_flight,
        be_tasks=message.be_tasks,
        mismatches=tuple(mismatch_from_pb(mismatch) for mismatch in message.mismatches),
        groups=tuple(group_report_from_pb(group) for group in message.groups),
        problem=message.problem,
        memory_short_bytes=message.memory_short_bytes,
        be_satisfaction=message.be_satisfaction if message.HasField("be_satisfaction") else 1.0,
    )


def node_view_to_pb(view: NodeView) -> pb.NodeView:
    """report stays unset where there is none."""
    return pb.NodeView(
        node=view.node,
        edge=view.edge,
        ready=view.ready,
        capacity=node_capacity_to_pb(view.capacity),
        enforcement=_ENFORCEMENT[view.enforcement],
        lc_held_millis=view.lc_held_millis,
        be_held_millis=view.be_held_millis,
        lc_memory_bytes=view.lc_memory_bytes,
        be_memory_bytes=view.be_memory_bytes,
        replicas=view.replicas,
        be_tasks=view.be_tasks,
        report=None if view.report is None else node_report_to_pb(view.report),
        labels=dict(view.labels),
        observe_only=view.observe_only,
        checkpoints=view.checkpoints,
        checkpoint_note=text(view.checkpoint_note),
        checkpoint_shared=view.checkpoint_shared,
        checkpoint_transfer=view.checkpoint_transfer,
        dead=view.dead,
        cordoned=view.cordoned,
        draining=view.draining,
        drain_grace_s=view.drain_grace_s,
        saturated=view.saturated,
        be_reclaimable_millis=view.be_reclaimable_millis,
        cores=view.cores,
        cores_note=text(view.cores_note),
        be_cores=view.be_cores,
        reserved_millis=view.reserved_millis,
        reserved_bytes=view.reserved_bytes,
        taints=[taint_to_pb(taint) for taint in view.taints],
        lc_ports=view.lc_ports,
        be_ports=view.be_ports,
        reserved_ports=view.reserved_ports,
        services=view.services,
    )


def node_view_from_pb(message: pb.NodeView) -> NodeView:
    """Labels come back sorted by name."""
    return NodeView(
        node=message.node,
        edge=message.edge,
        ready=message.ready,
        capacity=node_capacity_from_pb(message.capacity),
        enforcement=enforcement_from_pb(message.enforcement),
        lc_held_millis=message.lc_held_millis,
        be_held_millis=message.be_held_millis,
        lc_memory_bytes=message.lc_memory_bytes,
        be_memory_bytes=message.be_memory_bytes,
        replicas=message.replicas,
        be_tasks=message.be_tasks,
        report=node_report_from_pb(message.report) if message.HasField("report") else None,
        labels=pairs_from_map(message.labels),
        observe_only=message.observe_only,
        checkpoints=message.checkpoints,
        checkpoint_note=message.checkpoint_note,
        checkpoint_shared=message.checkpoint_shared,
        checkpoint_transfer=message.checkpoint_transfer,
        dead=message.dead,
        cordoned=message.cordoned,
        draining=message.draining,
        drain_grace_s=message.drain_grace_s if message.HasField("drain_grace_s") else None,
        saturated=tuple(message.saturated),
        be_reclaimable_millis=message.be_reclaimable_millis,
        cores=core_ids_from_pb(message.cores, "node.cores"),
        cores_note=message.cores_note,
        be_cores=core_ids_from_pb(message.be_cores, "node.be_cores"),
        reserved_millis=message.reserved_millis,
        reserved_bytes=message.reserved_bytes,
        taints=taints_from_pb(message.taints),
        lc_ports=tuple(message.lc_ports),
        be_ports=tuple(message.be_ports),
        reserved_ports=tuple(message.reserved_ports),
        services=tuple(message.services),
    )


def drain_view_to_pb(view: DrainView) -> edge.DrainView:
    """Items keep their order."""
    return edge.DrainView(
        node=view.node,
        done=view.done,
        stuck=view.stuck,
        items=[
            edge.DrainItem(
                kind=item.kind, name=item.name, moved=item.moved, detail=text(item.detail)
            )
            for item in view.items
        ],
    )


def drain_view_from_pb(message: edge.DrainView) -> DrainView:
    """Items keep their order."""
    items = tuple(
        DrainItem(item.kind, item.name, item.moved, item.detail) for item in message.items
    )
    return DrainView(message.node, message.done, message.stuck, items)


def edge_view_to_pb(view: EdgeView) -> central.EdgeView:
    """Nodes keep their order."""
    return central.EdgeView(
        edge=view.edge,
        address=view.address,
        connected=view.connected,
        version=view.version,
        nodes=[node_view_to_pb(node) for node in view.nodes],
    )


def edge_view_from_pb(message: central.EdgeView) -> EdgeView:
    """Nodes keep their order."""
    return EdgeView(
        edge=message.edge,
        address=message.address,
        connected=message.connected,
        version=message.version,
        nodes=tuple(node_view_from_pb(node) for node in message.nodes),
    )
