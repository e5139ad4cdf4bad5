"""What people read of a job on one line: reason, and warnings of bounds and backups."""

from __future__ import annotations

from dataclasses import replace

from central_bench import spec

from tango.cli.jobs import describe
from tango.cli.reasons import why
from tango.controllers.central.jobs import new_job
from tango.model.job import JobRecord, JobState

ALONE = "unprotected: no other node within its bound"


def record(n_tasks: int = 1, **more: object) -> JobRecord:
    made = new_job("j1", "", spec(n_tasks=n_tasks), 0.0)
    task = replace(made.tasks[0], state=JobState.RUNNING, warning=ALONE)
    first = replace(task, **more)  # type: ignore[arg-type]
    return replace(made, state=JobState.RUNNING, tasks=(first, *made.tasks[1:]))


def test_a_warning_stands_beside_the_state() -> None:
    assert why(record()) == ALONE
    assert describe(record()) == f"running ({ALONE})"


def test_a_reason_comes_first_and_several_tasks_are_named() -> None:
    job = record(3, reason="exit code 3")
    job = replace(job, tasks=(*job.tasks[:2], replace(job.tasks[2], warning=ALONE)))
    assert why(job) == f"exit code 3; t0, t2: {ALONE}"


def test_what_has_ended_is_not_warned_about() -> None:
    assert why(record(state=JobState.SUCCEEDED)) == ""
