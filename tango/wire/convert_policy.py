"""Converts what daemons say of their policies, pb2 <-> model."""

from __future__ import annotations

from tango.model.views import BatchPolicyView, TrafficPolicyView
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as pb


def traffic_policy_view_to_pb(view: TrafficPolicyView) -> pb.TrafficPolicyView:
    """Field by field."""
    return pb.TrafficPolicyView(
        edge=view.edge, policy=view.policy, configured=view.configured, known=view.known
    )


def traffic_policy_view_from_pb(message: pb.TrafficPolicyView) -> TrafficPolicyView:
    """Field by field."""
    return TrafficPolicyView(message.edge, message.policy, message.configured, tuple(message.known))


def batch_policy_view_to_pb(view: BatchPolicyView) -> central.BatchPolicyView:
    """Field by field."""
    return central.BatchPolicyView(policy=view.policy, configured=view.configured, known=view.known)


def batch_policy_view_from_pb(message: central.BatchPolicyView) -> BatchPolicyView:
    """Field by field."""
    return BatchPolicyView(message.policy, message.configured, tuple(message.known))
