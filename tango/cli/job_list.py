"""The jobs of `tango get jobs`: what has not ended, and of what has the newest."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from tango.model.job import JobRecord, JobState
from tango.model.views import JobCounts

# Of those that have not ended. Central keeps the ended ones to a number, but not these.
MAX_ACTIVE = 1000


class Jobs(Protocol):
    """What is asked of a cluster; Client is one."""

    async def jobs(
        self, *states: JobState, limit: int = 0
    ) -> tuple[tuple[JobRecord, ...], JobCounts]:
        """The newest jobs of these states, newest last; and the counts over all."""
        ...


async def listed(
    client: Jobs, states: Collection[JobState], limit: int
) -> tuple[tuple[JobRecord, ...], JobCounts]:
    """Jobs of these states (none: all), newest last, and the counts over all jobs.

    limit: at most so many that have ended. The others are all there, up to 1000 or the limit,
    where that is more: a running job is not to be hidden by newer ones that are over.
    """
    wanted = _wanted(states)
    active = tuple(state for state in wanted if not state.ended)
    ended = tuple(state for state in wanted if state.ended)
    found: dict[str, JobRecord] = {}
    counts = JobCounts()
    # In this order: a job that ends between the two is found twice, and never missed.
    for some, at_most in ((active, max(limit, MAX_ACTIVE)), (ended, limit)):
        if some:
            jobs, counts = await client.jobs(*some, limit=at_most)
            found.update((job.job_id, job) for job in jobs)
    # Stable: those of one moment stay as central has them.
    return tuple(sorted(found.values(), key=lambda job: job.submitted_at)), counts


def not_shown(jobs: Collection[JobRecord], counts: JobCounts, states: Collection[JobState]) -> str:
    """How many of these states are not in the list; "" where all are."""
    total = sum(getattr(counts, state.value) for state in _wanted(states))
    if total <= len(jobs):
        return ""
    n_active = sum(not job.state.ended for job in jobs)
    all_active = sum(getattr(counts, s.value) for s in _wanted(states) if not s.ended)
    which = "with all that have not ended" if n_active >= all_active else "the newest"
    return f"{len(jobs)} of {total} jobs, {which}; --limit shows more"


def _wanted(states: Collection[JobState]) -> tuple[JobState, ...]:
    return tuple(state for state in JobState if not states or state in states)
