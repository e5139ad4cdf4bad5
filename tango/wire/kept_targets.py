"""What the edge wants to run on a node, as bytes that a worker can keep for its next life."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from tango.model.messages import NodeTargets
from tango.v1 import edge_service_pb2 as pb
from tango.wire.sessions import TO_WORKER
from tango.wire.stream_session import BadEnvelope


def targets_to_bytes(targets: NodeTargets) -> bytes:
    """As the edge sent them."""
    return TO_WORKER.encode(targets, 0, 0).SerializeToString()


def targets_from_bytes(data: bytes) -> NodeTargets | None:
    """The targets; None where the bytes hold none, or what this version cannot read."""
    try:
        _, _, message = TO_WORKER.decode(pb.ConnectWorkerResponse.FromString(data))
    except (DecodeError, BadEnvelope):
        return None
    return message if isinstance(message, NodeTargets) else None
