"""Converts better plans for tasks with bounds, and trials of such jobs, pb2 <-> model."""

from __future__ import annotations

from tango.model.improvement import (
    BoundTotals,
    ImproveView,
    MoveState,
    TaskMove,
    TriedJob,
    TriedTask,
)
from tango.v1 import central_service_pb2 as pb
from tango.wire.convert_fields import inverse, text

_STATES = {
    MoveState.PLANNED: pb.MOVE_STATE_PLANNED,
    MoveState.MOVING: pb.MOVE_STATE_MOVING,
    MoveState.MOVED: pb.MOVE_STATE_MOVED,
    MoveState.DROPPED: pb.MOVE_STATE_DROPPED,
}
_STATES_BACK = inverse(_STATES)


def improve_view_to_pb(view: ImproveView) -> pb.ImprovePlacementResponse:
    """Field by field."""
    return pb.ImprovePlacementResponse(
        before=_totals_to_pb(view.before),
        after=_totals_to_pb(view.after),
        now=_totals_to_pb(view.now),
        moves=[_move_to_pb(one) for one in view.moves],
        rebacked=view.rebacked,
        why_not=text(view.why_not),
        applied=view.applied,
        done=view.done,
        stopped=text(view.stopped),
    )


def improve_view_from_pb(message: pb.ImprovePlacementResponse) -> ImproveView:
    """Field by field; an unknown state is PLANNED."""
    return ImproveView(
        _totals_from_pb(message.before),
        _totals_from_pb(message.after),
        _totals_from_pb(message.now),
        tuple(_move_from_pb(one) for one in message.moves),
        message.rebacked,
        message.why_not,
        message.applied,
        message.done,
        message.stopped,
    )


def _totals_to_pb(one: BoundTotals) -> pb.BoundTotals:
    return pb.BoundTotals(
        tasks=one.tasks,
        placed=one.placed,
        unprotected=one.unprotected,
        outside=one.outside,
        reserved_millis=one.reserved_millis,
        reserved_bytes=one.reserved_bytes,
    )


def _totals_from_pb(message: pb.BoundTotals) -> BoundTotals:
    return BoundTotals(
        message.tasks,
        message.placed,
        message.unprotected,
        message.outside,
        message.reserved_millis,
        message.reserved_bytes,
    )


def _move_to_pb(one: TaskMove) -> pb.TaskMove:
    return pb.TaskMove(
        job_id=one.job_id,
        task=one.task,
        source=one.source,
        target=one.target,
        backup=one.backup,
        ran_s=one.ran_s,
        state=_STATES[one.state],
        detail=text(one.detail),
    )


def _move_from_pb(message: pb.TaskMove) -> TaskMove:
    return TaskMove(
        message.job_id,
        message.task,
        message.source,
        message.target,
        message.backup,
        message.ran_s,
        _STATES_BACK.get(message.state, MoveState.PLANNED),
        message.detail,
    )


def tried_job_to_pb(tried: TriedJob) -> pb.TryJobResponse:
    """Field by field."""
    tasks = [
        pb.TriedTask(task=one.task, node=one.node, backup=one.backup, warning=text(one.warning))
        for one in tried.tasks
    ]
    return pb.TryJobResponse(tasks=tasks, reason=text(tried.reason))


def tried_job_from_pb(message: pb.TryJobResponse) -> TriedJob:
    """Field by field."""
    tasks = (TriedTask(one.task, one.node, one.backup, one.warning) for one in message.tasks)
    return TriedJob(tuple(tasks), message.reason)
