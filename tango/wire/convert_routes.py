"""Converts pb2 <-> model published routes and what their followers report."""

from __future__ import annotations

from tango.model.errors import InvalidField
from tango.model.routes import FollowReport, ReplicaRoute, ReplicaTally, RouteTable
from tango.v1 import edge_service_pb2 as edge
from tango.wire.convert_fields import finite, ms_from_seconds, seconds_from_ms

# A follower is given no more replicas than a service can have.
MAX_TALLIES = 4096
# More than any client does between two reports, so that nobody's slip ruins the counts.
MAX_COUNT = 1_000_000
MAX_LATENCY_MS = 3.6e12


def route_table_to_pb(table: RouteTable) -> edge.RouteTable:
    """Field by field."""
    return edge.RouteTable(
        service=table.service,
        edge=table.edge,
        incarnation=table.incarnation,
        version=table.version,
        routes=[
            edge.ReplicaRoute(
                replica=route.replica,
                node=route.node,
                host=route.host,
                port=route.port,
                weight=route.weight,
                slots=route.slots,
            )
            for route in table.routes
        ],
        deadline_ms=ms_from_seconds(table.deadline_s),
        timeout_ms=ms_from_seconds(table.timeout_s),
        idempotent=table.idempotent,
        lease_s=table.lease_s,
        reason=table.reason,
    )


def route_table_from_pb(message: edge.RouteTable) -> RouteTable:
    """Field by field."""
    return RouteTable(
        service=message.service,
        edge=message.edge,
        incarnation=message.incarnation,
        version=message.version,
        routes=tuple(
            ReplicaRoute(
                route.replica, route.node, route.host, route.port, route.weight, route.slots
            )
            for route in message.routes
        ),
        deadline_s=seconds_from_ms(message.deadline_ms),
        timeout_s=seconds_from_ms(message.timeout_ms),
        idempotent=message.idempotent,
        lease_s=message.lease_s,
        reason=message.reason,
    )


def follow_report_to_pb(report: FollowReport) -> edge.FollowReport:
    """Field by field."""
    return edge.FollowReport(
        number=report.number,
        version=report.version,
        wanted=report.wanted,
        replicas=[
            edge.ReplicaTally(
                replica=tally.replica,
                in_flight=tally.in_flight,
                completed=tally.completed,
                late=tally.late,
                failed=tally.failed,
                latency_ms=ms_from_seconds(tally.latency_s),
            )
            for tally in report.replicas
        ],
        last=report.last,
    )


def follow_report_from_pb(message: edge.FollowReport) -> FollowReport:
    """Raises InvalidField for what no follower can have had."""
    if len(message.replicas) > MAX_TALLIES:
        problem = f"{len(message.replicas)} are too many"
        raise InvalidField("report.replicas", problem, f"at most {MAX_TALLIES}")
    return FollowReport(
        number=message.number,
        version=message.version,
        wanted=message.wanted,
        replicas=tuple(
            _tally(tally, f"report.replicas[{index}]")
            for index, tally in enumerate(message.replicas)
        ),
        last=message.last,
    )


def _tally(tally: edge.ReplicaTally, field: str) -> ReplicaTally:
    counts = {
        "completed": tally.completed,
        "late": tally.late,
        "failed": tally.failed,
        "in_flight": tally.in_flight,
    }
    for name, count in counts.items():
        if count > MAX_COUNT:
            raise InvalidField(f"{field}.{name}", f"{count} is too much", f"at most {MAX_COUNT}")
    latency_ms = finite(tally.latency_ms, f"{field}.latency_ms", MAX_LATENCY_MS)
    return ReplicaTally(
        tally.replica,
        in_flight=tally.in_flight,
        completed=tally.completed,
        late=tally.late,
        failed=tally.failed,
        latency_s=seconds_from_ms(latency_ms),
    )
