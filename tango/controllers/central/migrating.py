"""The steps of a migration as pure functions from one JobRecord to the next, as in jobs.py."""

from __future__ import annotations

from dataclasses import replace

from tango.controllers.central.jobs import assigned, clipped, settled
from tango.controllers.central.outcomes import not_moved
from tango.model.job import AttemptStatus, JobRecord, JobState, Migration


def migrating(record: JobRecord, index: int, migration: Migration) -> JobRecord:
    """The attempt of this task is about to be checkpointed, to go on at the migration's target."""
    task = replace(record.tasks[index], migrations=migration.number, migration=migration)
    return settled(record, {index: task}, 0.0)


def migration_over(record: JobRecord, index: int, why: str) -> JobRecord:
    """The attempt of this task could not be checkpointed, and goes on where it is."""
    task = record.tasks[index]
    assert task.migration is not None
    task = replace(task, migration=None, moved=not_moved(task.migration, why))
    return settled(record, {index: task}, 0.0)


def checkpointed(record: JobRecord, index: int, status: AttemptStatus, wall: float) -> JobRecord:
    """The attempt of this task has ended, and its state is on disk; `restoring` follows at once."""
    before = record.tasks[index]
    assert before.migration is not None
    task = replace(
        before,
        state=JobState.SCHEDULED,
        cpu_s=before.cpu_s + status.cpu_s,
        ended_at=clipped(status.ended_at, record, wall),
        migration=replace(before.migration, checkpoint=status.checkpoint),
    )
    return replace(record, tasks=(*record.tasks[:index], task, *record.tasks[index + 1 :]))


def restoring(record: JobRecord, index: int, back: str = "") -> JobRecord:
    """This task gets its next attempt from its checkpoint: on the target, or back on the source."""
    migration = record.tasks[index].migration
    assert migration is not None
    place = (migration.to_edge, migration.to_node)
    if back:
        migration = replace(migration, back=back)
        place = (migration.from_edge, migration.from_node)
    record = assigned(record, {index: place})
    task = replace(record.tasks[index], migration=migration)
    return replace(record, tasks=(*record.tasks[:index], task, *record.tasks[index + 1 :]))


def state_lost(record: JobRecord, index: int, why: str, wall: float) -> JobRecord:
    """This task could be restored nowhere: it is placed anew, and begins at its beginning."""
    task = record.tasks[index]
    assert task.migration is not None
    moved = f"{not_moved(task.migration, task.migration.back)}; its state is lost: {why}"
    task = replace(
        task,
        state=JobState.PENDING,
        attempt_id="",
        edge="",
        node="",
        reason=moved,
        moved=moved,
        evictions=task.evictions + 1,
        retry_at=wall,
        migration=None,
    )
    return settled(record, {index: task}, wall)
