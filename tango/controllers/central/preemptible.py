"""Which running attempts may be stopped so that jobs of higher priority have their room."""

from __future__ import annotations

from collections.abc import Mapping

from tango.controllers.central.edges import Sites
from tango.controllers.central.jobs import ACTIVE, stopping
from tango.controllers.central.ledger import Job
from tango.controllers.central.site import Attempt
from tango.model.plan import RunningTask

# A task that has been stopped so often, for whatever reason, must get to its end some day.
MAX_PREEMPTIONS = 3


def preemptible(sites: Sites, all_jobs: Mapping[str, Job]) -> tuple[RunningTask, ...]:
    """What an elastic policy may ask to stop, on the nodes that offer anything."""
    found: list[RunningTask] = []
    for site in sites.by_session.values():
        for attempt in site.attempts():
            if attempt.node in site.offers and may_be_preempted(attempt, all_jobs):
                record = all_jobs[attempt.job_id].record
                found.append(
                    RunningTask(
                        attempt.attempt_id, attempt.edge, attempt.node, record.spec.priority,
                        attempt.cpu_millis, attempt.memory_bytes,
                        record.tasks[attempt.index].started_at, attempt.cores,
                        attempt.ports,
                    )
                )  # fmt: skip
    return tuple(found)


def may_be_preempted(
    attempt: Attempt, all_jobs: Mapping[str, Job], above: int | None = None
) -> bool:
    """Whether the attempt is at its node, may be stopped, and is of lower priority than `above`."""
    record = all_jobs[attempt.job_id].record
    task = record.tasks[attempt.index]
    return (
        task.state in ACTIVE
        and attempt.sent
        and not task.evicting
        and task.migration is None
        and task.evictions < MAX_PREEMPTIONS
        and not stopping(record)
        and (above is None or record.spec.priority < above)
    )
