"""Why a job is as it is, and what is not as it should be with it, on one line."""

from __future__ import annotations

from tango.model.job import JobRecord


def why(job: JobRecord) -> str:
    """The job's reason, else that of a task of it; then warnings of bounds and backups."""
    reason = job.reason or next((task.reason for task in job.tasks if task.reason), "")
    return "; ".join(filter(None, (reason, *warnings(job))))


def warnings(job: JobRecord) -> list[str]:
    """Each warning once, with the tasks that it is about, where the job has several."""
    about: dict[str, list[str]] = {}
    for spec, task in zip(job.spec.tasks, job.tasks, strict=True):
        if task.warning and not task.state.ended:
            about.setdefault(task.warning, []).append(spec.name)
    if len(job.tasks) == 1:
        return list(about)
    return [f"{', '.join(names)}: {warning}" for warning, names in about.items()]
