"""`tango get jobs`: running jobs are not hidden by newer ones that have ended."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import pytest

from tango.cli import job_list
from tango.cli.job_list import listed, not_shown
from tango.cli.listing import get
from tango.model.job import JobRecord, JobSpec, JobState, TaskRecord, TaskSpec
from tango.model.views import JobCounts

SPEC = JobSpec("crunch", (TaskSpec("main", ("true",)),))


def record(number: int, state: JobState) -> JobRecord:
    return JobRecord(f"j{number}", "s", SPEC, state, (TaskRecord(),), float(number))


class Central:
    """Lists as the central master does, from all jobs, oldest first."""

    def __init__(self, *states: JobState) -> None:
        self.all = [record(number, state) for number, state in enumerate(states)]
        self.ends_after_a_list: str = ""
        self.limits: list[int] = []

    async def jobs(
        self, *states: JobState, limit: int = 0
    ) -> tuple[tuple[JobRecord, ...], JobCounts]:
        self.limits.append(limit)
        found = [job for job in self.all if not states or job.state in states]
        numbers = {s.value: sum(job.state is s for job in self.all) for s in JobState}
        self.all = [
            replace(job, state=JobState.FAILED) if job.job_id == self.ends_after_a_list else job
            for job in self.all
        ]
        return tuple(found[-(limit or 1000) :]), JobCounts(**numbers)


def ids(jobs: tuple[JobRecord, ...]) -> list[str]:
    return [job.job_id for job in jobs]


async def test_a_running_job_is_there_behind_newer_ones_that_ended() -> None:
    central = Central(
        JobState.SUCCEEDED, JobState.RUNNING, *[JobState.SUCCEEDED] * 50, JobState.PENDING
    )
    jobs, counts = await listed(central, (), 50)
    assert ids(jobs) == ["j1", *(f"j{number}" for number in range(2, 53))]
    said = "52 of 53 jobs, with all that have not ended; --limit shows more"
    assert not_shown(jobs, counts, ()) == said
    jobs, counts = await listed(central, (), 51)
    assert (len(jobs), not_shown(jobs, counts, ())) == (53, "")


async def test_only_the_states_that_were_named_are_asked_for_and_counted() -> None:
    central = Central(JobState.FAILED, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED)
    failed = (JobState.FAILED,)
    jobs, counts = await listed(central, failed, 1)
    assert (ids(jobs), central.limits) == (["j3"], [1])
    assert not_shown(jobs, counts, failed).startswith("1 of 2 jobs, ")
    jobs, counts = await listed(central, failed, 2)
    assert not_shown(jobs, counts, failed) == "", "what was not asked for is not left out"
    jobs, _ = await listed(central, (JobState.RUNNING,), 1)
    assert ids(jobs) == ["j1"]


async def test_what_has_not_ended_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_list, "MAX_ACTIVE", 3)
    central = Central(*[JobState.PENDING] * 5)
    jobs, counts = await listed(central, (), 1)
    assert ids(jobs) == ["j2", "j3", "j4"]
    assert not_shown(jobs, counts, ()) == "3 of 5 jobs, the newest; --limit shows more"
    jobs, counts = await listed(central, (), 5)
    assert (len(jobs), not_shown(jobs, counts, ())) == (5, "")


async def test_one_that_ends_meanwhile_is_there_once_as_it_ended() -> None:
    central = Central(JobState.RUNNING, JobState.RUNNING)
    central.ends_after_a_list = "j0"
    jobs, _ = await listed(central, (), 50)
    assert [(job.job_id, job.state.value) for job in jobs] == [("j0", "failed"), ("j1", "running")]


async def test_the_command_lists_so(capsys: pytest.CaptureFixture[str]) -> None:
    central = Central(JobState.RUNNING, JobState.FAILED, JobState.SUCCEEDED)
    command = inspect.unwrap(get.callback)  # type: ignore[arg-type]
    assert await command(central, kind="jobs", limit=1, job_state=(), output="json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [job["job_id"] for job in shown["jobs"]] == ["j0", "j2"]
    assert (shown["counts"]["running"], shown["counts"]["failed"]) == (1, 1)
