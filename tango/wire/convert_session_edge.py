"""Converts pb2 <-> model what an edge and the central master say to one another."""

from __future__ import annotations

from collections.abc import Sequence

from tango.model.checks import check_range
from tango.model.messages import (
    AttemptRefused,
    CentralWelcome,
    EdgeHello,
    EdgeState,
    NodeResynced,
    NodesChanged,
)
from tango.model.round_trips import MAX_RTT_S, MAX_TRIPS, EdgeTrip
from tango.v1 import central_service_pb2 as central
from tango.wire.convert_fields import ms_from_seconds, seconds_from_ms, text
from tango.wire.convert_jobs import attempt_status_from_pb, attempt_status_to_pb
from tango.wire.convert_nodes import node_view_from_pb, node_view_to_pb


def edge_hello_to_pb(hello: EdgeHello) -> central.EdgeHello:
    """Field by field."""
    return central.EdgeHello(
        edge=hello.edge,
        incarnation=hello.incarnation,
        address=hello.address,
        version=hello.version,
        dial=hello.dial,
    )


def edge_hello_from_pb(message: central.EdgeHello) -> EdgeHello:
    """Field by field."""
    return EdgeHello(
        message.edge, message.incarnation, message.address, message.version, message.dial
    )


def edge_state_to_pb(state: EdgeState) -> central.EdgeState:
    """Field by field."""
    return central.EdgeState(
        nodes=[node_view_to_pb(node) for node in state.nodes],
        attempts=[attempt_status_to_pb(attempt) for attempt in state.attempts],
        complete_nodes=state.complete_nodes,
        trips=[edge_trip_to_pb(trip) for trip in state.trips],
    )


def edge_state_from_pb(message: central.EdgeState) -> EdgeState:
    """Raises InvalidField for a state that is missing or unknown."""
    return EdgeState(
        nodes=tuple(node_view_from_pb(node) for node in message.nodes),
        attempts=tuple(
            attempt_status_from_pb(attempt, f"state.attempts[{index}]")
            for index, attempt in enumerate(message.attempts)
        ),
        complete_nodes=tuple(message.complete_nodes),
        trips=trips_from_pb(message.trips, "state.trips"),
    )


def nodes_changed_to_pb(changed: NodesChanged) -> central.NodesChanged:
    """Field by field."""
    return central.NodesChanged(
        nodes=[node_view_to_pb(node) for node in changed.nodes],
        trips=[edge_trip_to_pb(trip) for trip in changed.trips],
    )


def nodes_changed_from_pb(message: central.NodesChanged) -> NodesChanged:
    """Raises InvalidField for a trip that takes no time that there is."""
    return NodesChanged(
        tuple(node_view_from_pb(node) for node in message.nodes),
        trips_from_pb(message.trips, "nodes_changed.trips"),
    )


def edge_trip_to_pb(trip: EdgeTrip) -> central.EdgeTrip:
    """Field by field."""
    return central.EdgeTrip(target=trip.target, rtt_ms=ms_from_seconds(trip.rtt_s))


def edge_trip_from_pb(message: central.EdgeTrip, where: str = "trip") -> EdgeTrip:
    """Raises InvalidField for a time below 0 or above MAX_RTT_S."""
    check_range(f"{where}.rtt_ms", message.rtt_ms, 0, MAX_RTT_S * 1000)
    return EdgeTrip(message.target, seconds_from_ms(message.rtt_ms))


def trips_from_pb(messages: Sequence[central.EdgeTrip], where: str) -> tuple[EdgeTrip, ...]:
    """Raises InvalidField where there are too many, or one is wrong."""
    check_range(where, len(messages), 0, MAX_TRIPS)
    return tuple(edge_trip_from_pb(one, f"{where}[{index}]") for index, one in enumerate(messages))


def node_resynced_to_pb(resynced: NodeResynced) -> central.NodeResynced:
    """Field by field."""
    return central.NodeResynced(
        node=resynced.node,
        attempts=[attempt_status_to_pb(attempt) for attempt in resynced.attempts],
    )


def node_resynced_from_pb(message: central.NodeResynced) -> NodeResynced:
    """Raises InvalidField for a state that is missing or unknown."""
    return NodeResynced(
        message.node,
        tuple(
            attempt_status_from_pb(attempt, f"node_resynced.attempts[{index}]")
            for index, attempt in enumerate(message.attempts)
        ),
    )


def attempt_refused_to_pb(refused: AttemptRefused) -> central.AttemptRefused:
    """Field by field."""
    return central.AttemptRefused(attempt_id=refused.attempt_id, reason=text(refused.reason))


def attempt_refused_from_pb(message: central.AttemptRefused) -> AttemptRefused:
    """Field by field."""
    return AttemptRefused(message.attempt_id, message.reason)


def central_welcome_to_pb(welcome: CentralWelcome) -> central.CentralWelcome:
    """Field by field."""
    return central.CentralWelcome(incarnation=welcome.incarnation)


def central_welcome_from_pb(message: central.CentralWelcome) -> CentralWelcome:
    """Field by field."""
    return CentralWelcome(message.incarnation)
