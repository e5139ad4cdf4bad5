"""Preemption: running attempts are stopped so that a waiting job of higher priority has their room.

Only an elastic policy asks for it (`is_elastic`). One request is carried out at a time, whole, and
only if it still makes sense: the job waits at the head of the queue, and every victim is there,
is of lower priority and is not being stopped already. Each victim is marked in its task, on disk,
before it is stopped, as on a drained node: its end costs no retry, and it waits for another place
at once.

Until the last one has ended, their nodes offer nothing to anybody, and then the head of the queue
is looked at first: otherwise a victim, which queues again, could take its own place back.
"""

from __future__ import annotations

from tango.controllers.central import jobs
from tango.controllers.central.core import Core
from tango.controllers.central.ledger import SendStop
from tango.controllers.central.preemptible import may_be_preempted
from tango.model.decision import JOB_EVICT
from tango.model.plan import Preemption


class Preemptions:
    """Carries out what plans ask for, and keeps the room free meanwhile."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._under_way: set[str] = set()
        self._places: set[tuple[str, str]] = set()

    def asked(self, preempt: Preemption) -> None:
        """A plan asks for this."""
        core = self._core
        gang = core.batch.queue.get(preempt.job_id)
        if gang is None or any(self._connected(one) for one in self._under_way):
            return
        victims = [core.sites.attempts.get(one) for one in preempt.attempt_ids]
        if not victims or not all(
            one is not None and may_be_preempted(one, core.ledger.jobs, gang.priority)
            for one in victims
        ):
            return
        if not core.batch.at_head:
            core.batch.head_first()
            return
        reason = f"preempted for job {preempt.job_id} of priority {gang.priority}"
        for attempt in victims:
            assert attempt is not None
            self._under_way.add(attempt.attempt_id)
            job = core.ledger.jobs[attempt.job_id]
            name = job.record.spec.tasks[attempt.index].name
            core.record(
                JOB_EVICT, attempt.job_id, name, attempt.attempt_id, attempt.edge, attempt.node,
                reason,
            )  # fmt: skip
            record = jobs.evicting(job.record, attempt.index, reason)
            core.change(job, record, (SendStop(attempt.attempt_id, reason),))
            core.note("info", "attempt_preempted", attempt=attempt.attempt_id, node=attempt.node)
            self._places.add((attempt.edge, attempt.node))
        core.batch.keep_free(self._places)

    def pump(self) -> None:
        """Let the head of the queue be first when all have ended."""
        if self._under_way and not self._under_way & self._core.sites.attempts.keys():
            self._under_way.clear()
            self._places.clear()
            self._core.batch.keep_free(())
            self._core.batch.head_first()

    def _connected(self, attempt_id: str) -> bool:
        """Whether it is still to end, at a site that can say so."""
        attempt = self._core.sites.attempts.get(attempt_id)
        return attempt is not None and self._core.sites.site(attempt.edge).session is not None
