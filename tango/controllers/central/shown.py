"""Jobs as users see them: what is on disk, with the reason why they wait, which is not stored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from heapq import nlargest
from itertools import islice

from tango.controllers.central.bounds import Bounds
from tango.controllers.central.core import Core
from tango.controllers.central.ledger import Job
from tango.model.job import JobRecord, JobState

DEFAULT_LIMIT = 1000


def shown(core: Core, bounds: Bounds, job: Job) -> JobRecord:
    """The job, which must be on disk."""
    record = job.durable
    assert record is not None
    batch = core.batch
    if record.job_id in batch.bound_jobs:
        record = bounds.shown(record)
    reason = job.wait_reason
    if not reason and (record.job_id in batch.queue or record.job_id in batch.bound_queue):
        some = core.sites.has_offers()
        reason = "waiting to be placed" if some else "waiting for room: no node is ready"
    if not reason or record.state is not JobState.PENDING:
        return record
    return replace(record, reason=f"{record.reason}; {reason}" if record.reason else reason)


def newest(
    core: Core, bounds: Bounds, states: Collection[JobState], limit: int
) -> tuple[JobRecord, ...]:
    """At most `limit` jobs (0: DEFAULT_LIMIT) in these states (none: all), newest last."""
    limit = limit or DEFAULT_LIMIT
    ledger = core.ledger
    wanted = frozenset(states) or frozenset(JobState)
    n_found = sum(len(ledger.by_state[state]) for state in wanted)
    if 20 * n_found < len(ledger.jobs):
        ids = (job_id for state in wanted for job_id in ledger.by_state[state])
        rare = (ledger.jobs[job_id] for job_id in ids)
        found = nlargest(limit, rare, key=lambda job: job.arrival)
    else:
        latest = reversed(ledger.jobs.values())
        matching = (job for job in latest if job.durable and job.durable.state in wanted)
        found = list(islice(matching, min(limit, n_found)))
    return tuple(shown(core, bounds, job) for job in reversed(found))
