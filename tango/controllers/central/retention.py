"""Which ended jobs are kept: the newest by number and age; the others go, with their logs.

A job may go when it has ended, all of it is on disk, and none of its attempts is active. It is
removed from memory when the disk has forgotten it; then its nodes are told that the logs of its
attempts may go too. A node that cannot be told keeps them until its own bound.
An end that a worker repeats for a job that is gone is acknowledged, so nothing waits for ever.
"""

from __future__ import annotations

import heapq
import math

from tango.controllers.central.core import Core
from tango.controllers.central.jobs import ACTIVE
from tango.controllers.central.ledger import KIND, Job
from tango.model.commands import Delete, Persist
from tango.model.job import attempt_id
from tango.model.messages import ForgetLogs
from tango.model.settings import CentralSettings

MAX_DELETES = 100
# Between two looks, where something could not go yet or the disk has refused.
PAUSE_S = 5.0


class Retention:
    """Removes the oldest ended jobs; at most one write of that kind is under way."""

    def __init__(self, core: Core, settings: CentralSettings) -> None:
        self._core = core
        self._keep = settings.keep_jobs
        self._keep_s = settings.keep_jobs_s
        self._ended: list[tuple[float, str]] = []
        self._known: set[str] = set()
        self._under_way: tuple[int, tuple[Job, ...]] | None = None
        self._not_before = -math.inf

    def ended(self, job: Job) -> None:
        """The job is on disk, and has ended; told again at each later change of it."""
        record = job.record
        if record.job_id not in self._known:
            self._known.add(record.job_id)
            heapq.heappush(self._ended, (record.ended_at, record.job_id))

    @property
    def due_at(self) -> float | None:
        """When the next job is too old, or too many are there."""
        core = self._core
        if self._under_way is not None or not self._ended or not core.wall:
            return None
        if len(self._ended) > self._keep:
            return max(core.now, self._not_before)
        return max(core.now + self._ended[0][0] + self._keep_s - core.wall, self._not_before)

    def pump(self) -> None:
        """Ask the disk to forget those that are due."""
        core = self._core
        due_at = self.due_at
        if due_at is None or core.now < due_at:
            return
        gone: list[Job] = []
        later: list[tuple[float, str]] = []
        while self._ended and len(gone) < MAX_DELETES and len(later) < MAX_DELETES:
            ended_at, job_id = self._ended[0]
            excess = len(self._ended) + len(later) - self._keep
            if excess <= 0 and core.wall < ended_at + self._keep_s:
                break
            entry = heapq.heappop(self._ended)
            job = core.ledger.jobs[job_id]
            if self._may_go(job):
                gone.append(job)
            else:
                later.append(entry)
        for entry in later:
            heapq.heappush(self._ended, entry)
        if later or not gone:
            self._not_before = core.now + PAUSE_S
        if gone:
            number = core.ledger.next_persist()
            self._under_way = number, tuple(gone)
            writes = tuple(Delete(KIND, job.record.job_id) for job in gone)
            core.out.append(Persist(number, writes))

    def persisted(self, persist_id: int) -> None:
        """The disk has forgotten them."""
        jobs = self._take(persist_id)
        logs: dict[tuple[str, str], list[str]] = {}
        for job in jobs:
            record = job.record
            self._known.discard(record.job_id)
            self._core.ledger.remove(job)
            for index, task in enumerate(record.tasks):
                if task.edge and task.attempt_id:
                    ids = (attempt_id(record.job_id, index, n + 1) for n in range(task.attempt))
                    logs.setdefault((task.edge, task.node), []).extend(ids)
        for (edge, node), attempt_ids in logs.items():
            self._core.send(edge, ForgetLogs(node, tuple(attempt_ids)))
        if jobs:
            self._core.note("info", "jobs_removed", jobs=len(jobs))

    def persist_failed(self, persist_id: int) -> None:
        """The disk refused: they stay, and are tried again."""
        for job in self._take(persist_id):
            heapq.heappush(self._ended, (job.record.ended_at, job.record.job_id))
            self._not_before = self._core.now + PAUSE_S

    def _take(self, persist_id: int) -> tuple[Job, ...]:
        if self._under_way is None or self._under_way[0] != persist_id:
            return ()
        jobs, self._under_way = self._under_way[1], None
        return jobs

    def _may_go(self, job: Job) -> bool:
        return (
            job.durable is not None
            and job.durable.version == job.record.version
            and not job.effects
            and not self._core.ledger.awaits_write(job)
            and not any(task.state in ACTIVE for task in job.record.tasks)
        )
