"""Bounded overtaking: who has been passed over so often that nothing else is placed before it.

Counted for the first gang that waits and was looked at; one further back becomes the first some
day. It holds nobody up where that would not help: where it would not fit either if all BE were gone
(LC is in its way, or a node that is away), or did not when nothing else ran (only a cleverer
packing could place it).
"""

from __future__ import annotations

from collections.abc import Mapping

from tango.controllers.central.edges import Sites
from tango.controllers.central.fits import fits_without_be
from tango.controllers.central.ledger import Job
from tango.controllers.central.queue import GangQueue, Key
from tango.model.plan import Gang

# Until a job that holds the others up is looked at again although nothing has become free.
HELD_UP_S = 1.0
DEFAULT_MAX_OVERTAKEN = 64


class Overtaking:
    """holds_up: the job that all others wait for, "" for none; again_at: when it is looked at again
    at the latest. most: how many later jobs may be placed before it; 0 for any number."""

    def __init__(self, queue: GangQueue, jobs: Mapping[str, Job], sites: Sites, most: int) -> None:
        self._queue = queue
        self._jobs = jobs
        self._sites = sites
        self._most = most
        self.holds_up = ""
        self.again_at = 0.0

    def placed(self, job_id: str, looked_at: Key | None) -> None:
        """This job leaves the queue for its nodes. looked_at: how far the queue was looked at."""
        self._jobs[job_id].overtaken = 0
        first = self._queue.first()
        if first is None or looked_at is None or first > looked_at:
            return
        if first < self._queue.key(job_id):
            self._jobs[first[2]].overtaken += 1

    def not_placed(self, job: Job) -> None:
        """It was looked at in vain: if nothing else runs, no waiting will help."""
        if job.record.job_id == self.holds_up and not self._sites.attempts:
            job.hopeless_under = self._sites.version

    def alone(self, now: float) -> Gang | None:
        """The gang before which nothing else may be placed, from now on; None for none."""
        self.holds_up = ""
        first = self._queue.first()
        job = self._jobs[first[2]] if first is not None else None
        if job is None or not self._most or job.overtaken < self._most:
            return None
        gang = self._queue.get(job.record.job_id)
        assert gang is not None
        if job.hopeless_under == self._sites.version:
            return None
        if not fits_without_be(gang, self._sites.emptied()):
            return None
        self.holds_up = gang.job_id
        self.again_at = now + HELD_UP_S
        return gang

    def over(self) -> bool:
        """Whether the job that held the others up is gone; told once."""
        if not self.holds_up or self.holds_up in self._queue:
            return False
        self.holds_up = ""
        return True
