"""Envelopes of session streams, pb2 <-> model: (incarnation, sequence) around one message of many.

Four directions, each with `encode_*(message, incarnation, sequence) -> envelope` and
`decode_*(envelope) -> (incarnation, sequence, message)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

from tango.model import messages as m
from tango.model.errors import InvalidField
from tango.model.layers import NodeImages
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as edge
from tango.wire import convert_checkpoints as of_checkpoints
from tango.wire import convert_session_edge as of_edge
from tango.wire import convert_session_shared as shared
from tango.wire import convert_session_worker as of_worker
from tango.wire.convert_calls import reply_part_from_pb, reply_part_to_pb
from tango.wire.convert_images import node_images_from_pb, node_images_to_pb
from tango.wire.stream_session import BadEnvelope, UnknownMessage

Message = TypeVar("Message")
Envelope = TypeVar("Envelope")

# Protobuf messages have no common typed face: which converter takes which is in the tables below.
_ToPb = Callable[[Any], Any]
_FromPb = Callable[[Any], Any]
_Row = tuple[type, _ToPb, _FromPb]


class Direction(Generic[Message, Envelope]):
    """One direction of one kind of session: oneof field -> (model class, to pb, from pb)."""

    def __init__(self, envelope: Callable[..., Envelope], rows: Mapping[str, _Row]) -> None:
        self._envelope = envelope
        self._to_pb = {model: (field, to_pb) for field, (model, to_pb, _) in rows.items()}
        self._from_pb = {field: from_pb for field, (_, _, from_pb) in rows.items()}

    @property
    def fields(self) -> frozenset[str]:
        """Names of the oneof fields that this direction knows."""
        return frozenset(self._from_pb)

    def encode(self, message: Message, incarnation: int, sequence: int) -> Envelope:
        """The envelope. Raises TypeError for a message of another direction, ValueError or
        InvalidField for a value that does not fit the wire: both are bugs of the sender."""
        row = self._to_pb.get(type(message))
        if row is None:
            raise TypeError(f"{type(message).__name__} does not travel in this direction")
        field, to_pb = row
        return self._envelope(incarnation=incarnation, sequence=sequence, **{field: to_pb(message)})

    def decode(self, envelope: object) -> tuple[int, int, Message]:
        """(incarnation, sequence, message). Raises UnknownMessage, BadEnvelope."""
        # Any: the generated classes share WhichOneof and the two numbers, but no type that says so.
        pb: Any = envelope
        field = pb.WhichOneof("message")
        if field is None:
            raise UnknownMessage(
                "a message that this version does not know", pb.incarnation, pb.sequence
            )
        try:
            message = self._from_pb[field](getattr(pb, field))
        except InvalidField as error:
            raise BadEnvelope(str(error), pb.incarnation, pb.sequence) from error
        return pb.incarnation, pb.sequence, cast("Message", message)


_ATTEMPT_CHANGED: _Row = (
    m.AttemptChanged,
    shared.attempt_changed_to_pb,
    shared.attempt_changed_from_pb,
)
_IMAGES: _Row = (NodeImages, node_images_to_pb, node_images_from_pb)
_LOG_PART: _Row = (m.LogPart, shared.log_part_to_pb, shared.log_part_from_pb)
_DOWN: Mapping[str, _Row] = {
    "start_attempt": (
        m.StartAttempt,
        shared.start_attempt_to_pb,
        shared.start_attempt_from_pb,
    ),
    "stop_attempt": (m.StopAttempt, shared.stop_attempt_to_pb, shared.stop_attempt_from_pb),
    "ack_ends": (m.AckEnds, shared.ack_ends_to_pb, shared.ack_ends_from_pb),
    "forget_logs": (m.ForgetLogs, shared.forget_logs_to_pb, shared.forget_logs_from_pb),
    "open_checkpoint": (
        m.OpenCheckpoint,
        of_checkpoints.open_checkpoint_to_pb,
        of_checkpoints.open_checkpoint_from_pb,
    ),
    "forget_checkpoints": (
        m.ForgetCheckpoints,
        of_checkpoints.forget_checkpoints_to_pb,
        of_checkpoints.forget_checkpoints_from_pb,
    ),
    "open_log": (m.OpenLog, shared.open_log_to_pb, shared.open_log_from_pb),
    "close_log": (m.CloseLog, shared.close_log_to_pb, shared.close_log_from_pb),
}

FROM_WORKER: Direction[m.FromWorker, edge.ConnectWorkerRequest] = Direction(
    edge.ConnectWorkerRequest,
    {
        "hello": (
            m.WorkerHello,
            of_worker.worker_hello_to_pb,
            of_worker.worker_hello_from_pb,
        ),
        "state": (
            m.WorkerState,
            of_worker.worker_state_to_pb,
            of_worker.worker_state_from_pb,
        ),
        "replica_changed": (
            m.ReplicaChanged,
            of_worker.replica_changed_to_pb,
            of_worker.replica_changed_from_pb,
        ),
        "replica_gone": (
            m.ReplicaGone,
            of_worker.replica_gone_to_pb,
            of_worker.replica_gone_from_pb,
        ),
        "attempt_changed": _ATTEMPT_CHANGED,
        "requests_done": (
            m.RequestsDone,
            of_worker.requests_done_to_pb,
            of_worker.requests_done_from_pb,
        ),
        "reply_part": (m.ReplyPart, reply_part_to_pb, reply_part_from_pb),
        "report_usage": (
            m.ReportUsage,
            of_worker.report_usage_to_pb,
            of_worker.report_usage_from_pb,
        ),
        "log_part": _LOG_PART,
        "pong": (
            m.WorkerPong,
            of_worker.worker_pong_to_pb,
            of_worker.worker_pong_from_pb,
        ),
        "images": _IMAGES,
    },
)
TO_WORKER: Direction[m.ToWorker, edge.ConnectWorkerResponse] = Direction(
    edge.ConnectWorkerResponse,
    {
        "welcome": (
            m.EdgeWelcome,
            of_worker.edge_welcome_to_pb,
            of_worker.edge_welcome_from_pb,
        ),
        "targets": (
            m.NodeTargets,
            of_worker.node_targets_to_pb,
            of_worker.node_targets_from_pb,
        ),
        "dispatches": (
            m.Dispatches,
            of_worker.dispatches_to_pb,
            of_worker.dispatches_from_pb,
        ),
        "cancel_dispatches": (
            m.CancelDispatches,
            of_worker.cancel_dispatches_to_pb,
            of_worker.cancel_dispatches_from_pb,
        ),
        "ping": (
            m.WorkerPing,
            of_worker.worker_ping_to_pb,
            of_worker.worker_ping_from_pb,
        ),
        "published_shares": (
            m.PublishedShares,
            of_worker.published_shares_to_pb,
            of_worker.published_shares_from_pb,
        ),
        **_DOWN,
    },
)
FROM_EDGE: Direction[m.FromEdge, central.ConnectEdgeRequest] = Direction(
    central.ConnectEdgeRequest,
    {
        "hello": (m.EdgeHello, of_edge.edge_hello_to_pb, of_edge.edge_hello_from_pb),
        "state": (m.EdgeState, of_edge.edge_state_to_pb, of_edge.edge_state_from_pb),
        "nodes_changed": (
            m.NodesChanged,
            of_edge.nodes_changed_to_pb,
            of_edge.nodes_changed_from_pb,
        ),
        "node_resynced": (
            m.NodeResynced,
            of_edge.node_resynced_to_pb,
            of_edge.node_resynced_from_pb,
        ),
        "attempt_changed": _ATTEMPT_CHANGED,
        "attempt_refused": (
            m.AttemptRefused,
            of_edge.attempt_refused_to_pb,
            of_edge.attempt_refused_from_pb,
        ),
        "log_part": _LOG_PART,
        "images": _IMAGES,
    },
)
TO_EDGE: Direction[m.ToEdge, central.ConnectEdgeResponse] = Direction(
    central.ConnectEdgeResponse,
    {
        "welcome": (
            m.CentralWelcome,
            of_edge.central_welcome_to_pb,
            of_edge.central_welcome_from_pb,
        ),
        **_DOWN,
    },
)

encode_from_worker = FROM_WORKER.encode
decode_from_worker = FROM_WORKER.decode
encode_to_worker = TO_WORKER.encode
decode_to_worker = TO_WORKER.decode
encode_from_edge = FROM_EDGE.encode
decode_from_edge = FROM_EDGE.decode
encode_to_edge = TO_EDGE.encode
decode_to_edge = TO_EDGE.decode
