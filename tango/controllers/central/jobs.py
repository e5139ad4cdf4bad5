"""The state machine of a job: pure functions from one JobRecord to the next, no capacity, no I/O.

A task:

    PENDING --assigned--> SCHEDULED --running--> RUNNING --ended--> SUCCEEDED | PENDING | FAILED
       ^                      |                     |
       |                      |                     +-- job cancelled or failed: CANCELLED
       +------ refused -------+

- An end with exit code 0, no signal and no failure is SUCCEEDED; any other end is a failure.
- A failure with retries left goes back to PENDING with retry_at; without any, to FAILED.
- A refusal has not run: back to PENDING, not counted as a failure. Its attempt id is never used
  again: every assignment takes the next attempt number.
- A lost attempt (its node came back without it after it ran) is a failure like any other.
- An attempt that is given up with its node goes back to PENDING and costs no retry; after
  MAX_LOSSES of them the task is FAILED. One that was stopped to run elsewhere (`evicting`) costs no
  retry either, unless it ends well, which counts.
- A migration (migration.py) that is under way when its attempt ends otherwise is over with it.
- An attempt that its edge evicted for LC, or that was shut down with its node, costs no retry; its
  task is PENDING again, with the backoff of a failure, and FAILED after MAX_EVICTIONS of them.
- cpu_s adds up over all attempts; the other fields are those of the latest one.

A job, from its tasks, in this order: one FAILED -> FAILED; all ended -> SUCCEEDED (CANCELLED after
a cancel); one RUNNING -> RUNNING; one SCHEDULED -> SCHEDULED; else PENDING. An ended job never
changes its state. A FAILED one may still hold tasks that are being stopped; those, and all tasks of
a job whose cancel was asked for, end CANCELLED, or SUCCEEDED where they were faster than the stop.

A gang is placed whole while none of its tasks runs or has ended (`waiting`); afterwards a task that
needs another attempt waits alone and is placed alone, while the others run on.

Each function adds one to `version`. Times are unix seconds of the central master's wall clock; an
edge's times are cut to lie between the job's submission and that clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tango.controllers.central.outcomes import not_moved, outcome
from tango.model.job import (
    AttemptState,
    AttemptStatus,
    JobRecord,
    JobSpec,
    JobState,
    TaskRecord,
    TaskSpec,
    attempt_id,
)

ACTIVE = frozenset({JobState.SCHEDULED, JobState.RUNNING})
LOST = "lost with its node or supervisor"
NEVER_STARTED = "stopped before it started"
CANCELLING = "cancelling"
# A task that takes its nodes down with it must not go through all of them for ever.
MAX_LOSSES = 5
# Nor one that services push away wherever it goes.
MAX_EVICTIONS = 10
_LEADING = (JobState.FAILED, JobState.RUNNING, JobState.SCHEDULED, JobState.PENDING)
_NO_TASKS: frozenset[int] = frozenset()


def new_job(job_id: str, submission_id: str, spec: JobSpec, wall: float) -> JobRecord:
    """A job as it arrives: everything PENDING, version 1."""
    tasks = tuple(TaskRecord() for _ in spec.tasks)
    return JobRecord(job_id, submission_id, spec, JobState.PENDING, tasks, wall, version=1)


def stopping(record: JobRecord) -> bool:
    """Whether nothing of this job shall run any more."""
    return record.cancel_requested or record.state.ended


def waiting(record: JobRecord) -> tuple[tuple[int, ...], float]:
    """The tasks to place next, together or not at all, and the unix time from which on.

    The whole gang while all of it is PENDING; else the one PENDING task that is due first, of those
    that do not want to be near to another one. Empty where nothing waits.
    """
    if stopping(record):
        return (), 0.0
    pending = [i for i, task in enumerate(record.tasks) if task.state is JobState.PENDING]
    if not pending:
        return (), 0.0
    if len(pending) == len(record.tasks):
        return tuple(pending), max(task.retry_at for task in record.tasks)
    names = {record.spec.tasks[index].name for index in pending}
    near = {index: record.spec.tasks[index].near for index in pending}
    free = [index for index, one in near.items() if one is None or one.task not in names]
    first = min(free, key=lambda index: (record.tasks[index].retry_at, index))
    return (first,), record.tasks[first].retry_at


def assigned(
    record: JobRecord,
    nodes: Mapping[int, tuple[str, str]],
    cores: Mapping[int, tuple[int, ...]] | None = None,
) -> JobRecord:
    """Each of these tasks gets its next attempt on (edge, node), with these cores of it."""
    changed: dict[int, TaskRecord] = {}
    for index, (edge, node) in nodes.items():
        task = record.tasks[index]
        attempt = task.attempt + 1
        changed[index] = TaskRecord(
            state=JobState.SCHEDULED,
            attempt=attempt,
            attempt_id=attempt_id(record.job_id, index, attempt),
            edge=edge,
            node=node,
            cpu_s=task.cpu_s,
            failures=task.failures,
            losses=task.losses,
            evictions=task.evictions,
            moved=task.moved,
            cores=(cores or {}).get(index, ()),
            migrations=task.migrations,
        )
    return settled(record, changed, 0.0)


def running(record: JobRecord, index: int, status: AttemptStatus, wall: float) -> JobRecord:
    """The attempt of this task runs."""
    started_at = clipped(status.started_at, record, wall)
    task = replace(record.tasks[index], state=JobState.RUNNING, started_at=started_at)
    migration = task.migration
    if migration is not None:
        task = replace(task, migration=None, moved=outcome(migration))
    return settled(record, {index: task}, wall)


def refused(record: JobRecord, index: int, reason: str, wall: float, delay_s: float) -> JobRecord:
    """The edge did not admit the attempt of this task: it has not run, and is placed again."""
    task = replace(
        record.tasks[index],
        attempt_id="",
        edge="",
        node="",
        reason=reason,
        evicting="",
        cores=(),
    )
    if stopping(record):
        task = replace(task, state=JobState.CANCELLED, reason=NEVER_STARTED, ended_at=wall)
    else:
        task = replace(task, state=JobState.PENDING, retry_at=wall + delay_s)
    return settled(record, {index: task}, wall)


def ended(
    record: JobRecord,
    index: int,
    status: AttemptStatus,
    wall: float,
    unsent: frozenset[int] = _NO_TASKS,
) -> JobRecord:
    """The attempt of this task is over. unsent: tasks whose start nobody was told of yet."""
    before = record.tasks[index]
    if before.migration is not None:
        before = replace(
            before, migration=None, moved=not_moved(before.migration, "it ended before")
        )
    started_at = before.started_at
    if not started_at and status.started_at:
        started_at = clipped(status.started_at, record, wall)
    task = replace(
        before,
        reason=readable_end(record.spec.tasks[index], status),
        exit_code=status.exit_code,
        signal=status.signal,
        cpu_s=before.cpu_s + status.cpu_s,
        started_at=started_at,
        ended_at=clipped(status.ended_at, record, wall),
        evicting="",
    )
    if status.exit_code == 0 and not status.signal and not status.failure:
        task = replace(task, state=JobState.SUCCEEDED)
    elif stopping(record):
        ran = status.failure != NEVER_STARTED
        reason = f"stopped: {task.reason}" if ran else NEVER_STARTED
        task = replace(task, state=JobState.CANCELLED, reason=reason)
    elif before.evicting:
        task = replace(
            task,
            state=JobState.PENDING,
            reason=f"stopped to run elsewhere: {before.evicting}",
            evictions=task.evictions + 1,
            moved=before.evicting,
            retry_at=wall,
        )
    elif status.evicted:
        task = _evicted(record.spec, task, status.evicted, wall)
    elif task.failures < record.spec.retries:
        delay = backoff_s(record.spec, task.failures)
        task = replace(
            task, state=JobState.PENDING, failures=task.failures + 1, retry_at=wall + delay
        )
    else:
        task = replace(task, state=JobState.FAILED, failures=task.failures + 1)
    return settled(record, {index: task}, wall, unsent)


def _evicted(spec: JobSpec, task: TaskRecord, why: str, wall: float) -> TaskRecord:
    """It made room for LC: it waits for room again, each time longer, but not for ever."""
    evictions = task.evictions + 1
    task = replace(task, evictions=evictions, moved=why, reason=why)
    if evictions > MAX_EVICTIONS:
        reason = f"{why}; that was the {evictions}th time, and at most {MAX_EVICTIONS} are borne"
        return replace(task, state=JobState.FAILED, failures=task.failures + 1, reason=reason)
    delay = backoff_s(spec, task.evictions - 1)
    return replace(task, state=JobState.PENDING, retry_at=wall + delay)


def lost(
    record: JobRecord, index: int, wall: float, unsent: frozenset[int] = _NO_TASKS
) -> JobRecord:
    """The attempt is gone without a trace: a failure, or the end that a stop waits for."""
    task = record.tasks[index]
    failure = LOST if task.state is JobState.RUNNING else NEVER_STARTED
    status = AttemptStatus(task.attempt_id, AttemptState.ENDED, failure=failure)
    return ended(record, index, status, wall, unsent)


def evicting(record: JobRecord, index: int, reason: str) -> JobRecord:
    """The attempt of this task is about to be stopped, so that it runs elsewhere."""
    task = replace(record.tasks[index], evicting=reason)
    return settled(record, {index: task}, 0.0)


def given_up(
    record: JobRecord,
    index: int,
    reason: str,
    wall: float,
    unsent: frozenset[int] = _NO_TASKS,
) -> JobRecord:
    """The attempt of this task is out of reach with its node: what becomes of it does not count."""
    before = record.tasks[index]
    task = replace(
        before,
        reason=reason,
        ended_at=wall,
        losses=before.losses + 1,
        moved=reason,
        evicting="",
        migration=None,
    )
    if stopping(record):
        task = replace(task, state=JobState.CANCELLED, reason=f"stopped: {reason}")
    elif task.losses <= MAX_LOSSES:
        task = replace(task, state=JobState.PENDING, retry_at=wall)
    else:
        reason = f"{reason}: {task.losses} attempts were lost with their nodes"
        task = replace(task, state=JobState.FAILED, reason=reason, failures=before.failures + 1)
    return settled(record, {index: task}, wall, unsent)


def cancelled(record: JobRecord, wall: float, unsent: frozenset[int] = _NO_TASKS) -> JobRecord:
    """A user's cancel: what does not run is CANCELLED now, what runs is to be stopped."""
    return settled(replace(record, cancel_requested=True), {}, wall, unsent)


def readable_end(spec: TaskSpec, status: AttemptStatus) -> str:
    """Why an attempt ended, for people; empty where it succeeded."""
    failure = status.failure
    if "deadline" in failure and spec.deadline_s:
        return f"deadline of {spec.deadline_s:g} s exceeded"
    if status.signal:
        killed = f"killed by signal {status.signal}"
        return failure if killed in failure else killed + (f" ({failure})" if failure else "")
    if failure:
        return failure
    if status.exit_code is None:
        return "ended while nobody could see its exit code"
    return f"exit code {status.exit_code}" if status.exit_code else ""


def backoff_s(spec: JobSpec, retry: int) -> float:
    """Seconds before retry number `retry`, from 0: doubling, bounded."""
    return float(min(spec.backoff_s * 2.0 ** min(retry, 60), spec.backoff_max_s))


def state_of(tasks: Sequence[TaskRecord], cancel_requested: bool) -> JobState:
    """What the tasks say of a job that has not ended."""
    states = {task.state for task in tasks}
    for state in _LEADING:
        if state in states:
            return state
    return JobState.CANCELLED if cancel_requested else JobState.SUCCEEDED


def settled(
    record: JobRecord,
    changed: Mapping[int, TaskRecord],
    wall: float,
    unsent: frozenset[int] = _NO_TASKS,
) -> JobRecord:
    """The record with these tasks, its own state and reason brought in line with them."""
    tasks = list(record.tasks)
    for index, task in changed.items():
        tasks[index] = task
    if any(task.state is JobState.FAILED for task in tasks) or record.cancel_requested:
        why = "cancelled" if record.cancel_requested else "another task failed"
        for index, task in enumerate(tasks):
            if task.state is JobState.PENDING or (
                task.state is JobState.SCHEDULED and index in unsent
            ):
                tasks[index] = replace(
                    task,
                    state=JobState.CANCELLED,
                    reason=why,
                    ended_at=wall,
                    retry_at=0.0,
                    migration=None,
                )
    if record.state.ended:
        return replace(record, tasks=tuple(tasks), version=record.version + 1)
    state = state_of(tasks, record.cancel_requested)
    started_at = record.started_at
    if not started_at:
        started_at = min((task.started_at for task in tasks if task.started_at), default=0.0)
    return replace(
        record,
        state=state,
        tasks=tuple(tasks),
        started_at=started_at,
        ended_at=wall if state.ended else 0.0,
        reason=_reason(record, tasks, state),
        version=record.version + 1,
    )


def _reason(record: JobRecord, tasks: Sequence[TaskRecord], state: JobState) -> str:
    """One line for a job that did not just run or succeed."""
    if state is JobState.SUCCEEDED:
        return ""
    if state is JobState.CANCELLED:
        return "cancelled"
    if record.cancel_requested:
        return CANCELLING
    for wanted in (JobState.FAILED, JobState.PENDING):
        for index, task in enumerate(tasks):
            if task.state is wanted and task.reason:
                name = record.spec.tasks[index].name
                place = f"task {name}: " if len(tasks) > 1 else ""
                retry = f"; retry {task.failures} of {record.spec.retries}" if task.failures else ""
                return place + task.reason + (retry if wanted is JobState.PENDING else "")
    return ""


def clipped(at: float, record: JobRecord, wall: float) -> float:
    """A worker's time between the submission and now; now where it gave none."""
    if not at or at > wall > 0:
        return wall
    return max(at, record.submitted_at)
