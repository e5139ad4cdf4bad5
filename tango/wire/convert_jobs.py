"""Converts the life of jobs, pb2 <-> model: TaskRecord, JobRecord, JobCounts, AttemptStatus."""

from __future__ import annotations

from tango.model.job import (
    AttemptState,
    AttemptStatus,
    JobRecord,
    JobState,
    Migration,
    TaskRecord,
)
from tango.model.views import JobCounts
from tango.v1 import central_service_pb2 as central
from tango.v1 import types_pb2 as pb
from tango.wire.convert_checkpoints import checkpoint_from_pb, checkpoint_to_pb
from tango.wire.convert_fields import core_ids_from_pb, inverse, required, text
from tango.wire.convert_specs import job_spec_from_pb, job_spec_to_pb

_JOB_STATE = {
    JobState.PENDING: pb.JOB_STATE_PENDING,
    JobState.SCHEDULED: pb.JOB_STATE_SCHEDULED,
    JobState.RUNNING: pb.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    JobState.FAILED: pb.JOB_STATE_FAILED,
    JobState.CANCELLED: pb.JOB_STATE_CANCELLED,
}
_JOB_STATE_BACK = inverse(_JOB_STATE)
_ATTEMPT_STATE = {
    AttemptState.STARTING: pb.ATTEMPT_STATE_STARTING,
    AttemptState.RUNNING: pb.ATTEMPT_STATE_RUNNING,
    AttemptState.ENDED: pb.ATTEMPT_STATE_ENDED,
}
_ATTEMPT_STATE_BACK = inverse(_ATTEMPT_STATE)


def job_state_to_pb(state: JobState) -> pb.JobState.ValueType:
    """The wire's number of a state."""
    return _JOB_STATE[state]


def job_state_from_pb(number: int, where: str) -> JobState:
    """Raises InvalidField for an unspecified or unknown state."""
    return required(_JOB_STATE_BACK, number, where, pb.JobState.keys()[1:])


def _migration_to_pb(migration: Migration | None) -> pb.Migration | None:
    if migration is None:
        return None
    return pb.Migration(
        number=migration.number,
        from_edge=migration.from_edge,
        from_node=migration.from_node,
        to_edge=migration.to_edge,
        to_node=migration.to_node,
        checkpoint=checkpoint_to_pb(migration.checkpoint),
        back=text(migration.back),
        from_cores=migration.from_cores,
        to_cores=migration.to_cores,
    )


def _migration_from_pb(message: pb.Migration) -> Migration:
    return Migration(
        number=message.number,
        from_edge=message.from_edge,
        from_node=message.from_node,
        to_edge=message.to_edge,
        to_node=message.to_node,
        checkpoint=checkpoint_from_pb(message.checkpoint)
        if message.HasField("checkpoint")
        else None,
        back=message.back,
        from_cores=core_ids_from_pb(message.from_cores, "migration.from_cores"),
        to_cores=core_ids_from_pb(message.to_cores, "migration.to_cores"),
    )


def task_record_to_pb(task: TaskRecord) -> pb.TaskRecord:
    """exit_code stays unset where there is none."""
    return pb.TaskRecord(
        state=_JOB_STATE[task.state],
        attempt=task.attempt,
        attempt_id=task.attempt_id,
        edge=task.edge,
        node=task.node,
        reason=text(task.reason),
        exit_code=task.exit_code,
        signal=task.signal,
        cpu_s=task.cpu_s,
        started_at=task.started_at,
        ended_at=task.ended_at,
        retry_at=task.retry_at,
        failures=task.failures,
        losses=task.losses,
        evictions=task.evictions,
        evicting=text(task.evicting),
        moved=text(task.moved),
        cores=task.cores,
        migrations=task.migrations,
        migration=_migration_to_pb(task.migration),
        backup=task.backup,
        warning=text(task.warning),
    )


def task_record_from_pb(message: pb.TaskRecord, where: str = "task") -> TaskRecord:
    """Raises InvalidField for an unspecified or unknown state."""
    return TaskRecord(
        state=job_state_from_pb(message.state, f"{where}.state"),
        attempt=message.attempt,
        attempt_id=message.attempt_id,
        edge=message.edge,
        node=message.node,
        reason=message.reason,
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.signal,
        cpu_s=message.cpu_s,
        started_at=message.started_at,
        ended_at=message.ended_at,
        retry_at=message.retry_at,
        failures=message.failures,
        losses=message.losses,
        evictions=message.evictions,
        evicting=message.evicting,
        moved=message.moved,
        cores=core_ids_from_pb(message.cores, f"{where}.cores"),
        migrations=message.migrations,
        migration=_migration_from_pb(message.migration) if message.HasField("migration") else None,
        backup=message.backup,
        warning=message.warning,
    )


def job_record_to_pb(job: JobRecord) -> pb.JobRecord:
    """Tasks keep their order."""
    return pb.JobRecord(
        job_id=job.job_id,
        submission_id=job.submission_id,
        spec=job_spec_to_pb(job.spec, "job.spec"),
        state=_JOB_STATE[job.state],
        tasks=[task_record_to_pb(task) for task in job.tasks],
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        reason=text(job.reason),
        version=job.version,
        cancel_requested=job.cancel_requested,
        warning=text(job.warning),
    )


def job_record_from_pb(message: pb.JobRecord, where: str = "job") -> JobRecord:
    """Raises InvalidField for an unspecified or unknown state."""
    return JobRecord(
        job_id=message.job_id,
        submission_id=message.submission_id,
        spec=job_spec_from_pb(message.spec),
        state=job_state_from_pb(message.state, f"{where}.state"),
        tasks=tuple(
            task_record_from_pb(task, f"{where}.tasks[{index}]")
            for index, task in enumerate(message.tasks)
        ),
        submitted_at=message.submitted_at,
        started_at=message.started_at,
        ended_at=message.ended_at,
        reason=message.reason,
        version=message.version,
        cancel_requested=message.cancel_requested,
        warning=message.warning,
    )


def job_counts_to_pb(counts: JobCounts) -> central.JobCounts:
    """Field by field."""
    return central.JobCounts(
        pending=counts.pending,
        scheduled=counts.scheduled,
        running=counts.running,
        succeeded=counts.succeeded,
        failed=counts.failed,
        cancelled=counts.cancelled,
        cpu_s=counts.cpu_s,
    )


def job_counts_from_pb(message: central.JobCounts) -> JobCounts:
    """Field by field."""
    return JobCounts(
        pending=message.pending,
        scheduled=message.scheduled,
        running=message.running,
        succeeded=message.succeeded,
        failed=message.failed,
        cancelled=message.cancelled,
        cpu_s=message.cpu_s,
    )


def attempt_status_to_pb(attempt: AttemptStatus) -> pb.AttemptStatus:
    """exit_code stays unset where there is none."""
    return pb.AttemptStatus(
        attempt_id=attempt.attempt_id,
        state=_ATTEMPT_STATE[attempt.state],
        node=attempt.node,
        cpu_millis=attempt.cpu_millis,
        memory_bytes=attempt.memory_bytes,
        exit_code=attempt.exit_code,
        signal=attempt.signal,
        failure=text(attempt.failure),
        cpu_s=attempt.cpu_s,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        priority=attempt.priority,
        evicted=text(attempt.evicted),
        cores=attempt.cores,
        checkpoint=checkpoint_to_pb(attempt.checkpoint),
        checkpoint_try=attempt.checkpoint_try,
        checkpoint_error=text(attempt.checkpoint_error),
        ports=attempt.ports,
    )


def attempt_status_from_pb(message: pb.AttemptStatus, where: str = "attempt") -> AttemptStatus:
    """Raises InvalidField for an unspecified or unknown state."""
    return AttemptStatus(
        attempt_id=message.attempt_id,
        state=required(
            _ATTEMPT_STATE_BACK, message.state, f"{where}.state", pb.AttemptState.keys()[1:]
        ),
        node=message.node,
        cpu_millis=message.cpu_millis,
        memory_bytes=message.memory_bytes,
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.signal,
        failure=message.failure,
        cpu_s=message.cpu_s,
        started_at=message.started_at,
        ended_at=message.ended_at,
        priority=message.priority,
        evicted=message.evicted,
        cores=core_ids_from_pb(message.cores, f"{where}.cores"),
        checkpoint=checkpoint_from_pb(message.checkpoint)
        if message.HasField("checkpoint")
        else None,
        checkpoint_try=message.checkpoint_try,
        checkpoint_error=message.checkpoint_error,
        ports=tuple(message.ports),
    )
