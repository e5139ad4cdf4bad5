"""Converts pb2 <-> model what passes on both kinds of session streams: attempts and logs."""

from __future__ import annotations

from google.protobuf.message import Message

from tango.model.checks import check_range
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    CloseLog,
    ForgetLogs,
    LogPart,
    OpenLog,
    StartAttempt,
    StopAttempt,
)
from tango.v1 import types_pb2 as pb
from tango.wire.convert_checkpoints import checkpoint_from_pb, checkpoint_to_pb
from tango.wire.convert_fields import core_ids_from_pb, text
from tango.wire.convert_jobs import attempt_status_from_pb, attempt_status_to_pb
from tango.wire.convert_specs import task_spec_from_pb, task_spec_to_pb

MAX_GRACE_S = 86_400.0


def attempt_changed_to_pb(changed: AttemptChanged) -> pb.AttemptChanged:
    """Field by field."""
    return pb.AttemptChanged(attempt=attempt_status_to_pb(changed.attempt))


def attempt_changed_from_pb(message: pb.AttemptChanged) -> AttemptChanged:
    """Raises InvalidField for a state that is missing or unknown."""
    return AttemptChanged(attempt_status_from_pb(message.attempt, "attempt_changed.attempt"))


def start_attempt_to_pb(start: StartAttempt) -> pb.StartAttempt:
    """Field by field."""
    return pb.StartAttempt(
        attempt_id=start.attempt_id,
        spec=task_spec_to_pb(start.spec, "start_attempt.spec"),
        node=start.node,
        priority=start.priority,
        cores=start.cores,
        restore=checkpoint_to_pb(start.restore),
    )


def start_attempt_from_pb(message: pb.StartAttempt) -> StartAttempt:
    """Raises InvalidField for core ids that are none."""
    spec = task_spec_from_pb(message.spec)
    cores = core_ids_from_pb(message.cores, "start_attempt.cores")
    restore = checkpoint_from_pb(message.restore) if message.HasField("restore") else None
    return StartAttempt(message.attempt_id, spec, message.node, message.priority, restore, cores)


def stop_attempt_to_pb(stop: StopAttempt) -> pb.StopAttempt:
    """grace_s stays unset for the task's own."""
    return pb.StopAttempt(
        attempt_id=stop.attempt_id,
        reason=text(stop.reason),
        grace_s=stop.grace_s,
        evict=stop.evict,
        checkpoint=stop.checkpoint,
    )


def stop_attempt_from_pb(message: pb.StopAttempt) -> StopAttempt:
    """Raises InvalidField for a grace that is none."""
    grace_s = grace_from_pb(message, "grace_s", "stop_attempt")
    return StopAttempt(
        message.attempt_id, message.reason, grace_s, message.evict, message.checkpoint
    )


def grace_from_pb(message: Message, field: str, where: str) -> float | None:
    """An optional number of seconds; raises InvalidField below 0, above MAX_GRACE_S and for NaN."""
    if not message.HasField(field):
        return None
    value: float = getattr(message, field)
    check_range(f"{where}.{field}", value, 0, MAX_GRACE_S)
    return value


def ack_ends_to_pb(ack: AckEnds) -> pb.AckEnds:
    """Field by field."""
    return pb.AckEnds(attempt_ids=ack.attempt_ids)


def ack_ends_from_pb(message: pb.AckEnds) -> AckEnds:
    """Field by field."""
    return AckEnds(tuple(message.attempt_ids))


def forget_logs_to_pb(forget: ForgetLogs) -> pb.ForgetLogs:
    """Field by field."""
    return pb.ForgetLogs(node=forget.node, attempt_ids=forget.attempt_ids)


def forget_logs_from_pb(message: pb.ForgetLogs) -> ForgetLogs:
    """Field by field."""
    return ForgetLogs(message.node, tuple(message.attempt_ids))


def open_log_to_pb(log: OpenLog) -> pb.OpenLog:
    """Field by field."""
    return pb.OpenLog(
        log_id=log.log_id, target=log.target, tail_bytes=log.tail_bytes, follow=log.follow
    )


def open_log_from_pb(message: pb.OpenLog) -> OpenLog:
    """Field by field."""
    return OpenLog(message.log_id, message.target, message.tail_bytes, message.follow)


def close_log_to_pb(log: CloseLog) -> pb.CloseLog:
    """Field by field."""
    return pb.CloseLog(log_id=log.log_id)


def close_log_from_pb(message: pb.CloseLog) -> CloseLog:
    """Field by field."""
    return CloseLog(message.log_id)


def log_part_to_pb(part: LogPart) -> pb.LogPart:
    """Field by field."""
    return pb.LogPart(log_id=part.log_id, data=part.data, last=part.last, error=text(part.error))


def log_part_from_pb(message: pb.LogPart) -> LogPart:
    """Field by field."""
    return LogPart(message.log_id, message.data, message.last, message.error)
