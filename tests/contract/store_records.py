"""Small records for the store's tests."""

from __future__ import annotations

from tango.model.commands import PlacementRecord
from tango.model.job import JobRecord, JobSpec, JobState, TaskRecord, TaskSpec


def job(job_id: str, reason: str = "") -> JobRecord:
    spec = JobSpec("job", (TaskSpec("t", ("gzip", "-9", "file")),))
    return JobRecord(job_id, "", spec, JobState.PENDING, (TaskRecord(),), 1.5, reason=reason)


def placement(service: str, *nodes: str) -> PlacementRecord:
    return PlacementRecord(service, 1, tuple((f"{service}-{i}", n) for i, n in enumerate(nodes)))
