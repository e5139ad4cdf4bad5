"""What users ask of jobs: to take one on, and to cancel one."""

from __future__ import annotations

from tango.controllers.central import jobs as rules
from tango.controllers.central.bounds import Bounds
from tango.controllers.central.core import Core
from tango.controllers.central.fits import gang_of
from tango.controllers.central.ledger import AnswerJob
from tango.controllers.central.named import no_such_job
from tango.controllers.central.never_fits import never_fits
from tango.controllers.central.shown import shown
from tango.controllers.central.submissions import check_same
from tango.model.commands import Answer
from tango.model.decision import JOB_CANCEL
from tango.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    ResourceExhausted,
    TangoError,
    Unavailable,
)
from tango.model.events import CancelJob, SubmitJob
from tango.model.job import JobRecord, JobState, has_bounds


class Users:
    """Each is answered once what it changed is on disk. max_jobs_waiting: more are refused."""

    def __init__(self, core: Core, bounds: Bounds, max_jobs_waiting: int) -> None:
        self._core = core
        self._bounds = bounds
        self._max_jobs_waiting = max_jobs_waiting

    def submit(self, event: SubmitJob) -> None:
        """Take it on; one with a known submission id is the job that this made."""
        ledger = self._core.ledger
        try:
            event.spec.validate()
            known = ledger.submissions.get(event.submission_id) if event.submission_id else None
            if known is None:
                self._admit(event)
            else:
                check_same(ledger.jobs[known].record, event.spec)
        except TangoError as error:
            self.fail(event.op_id, error)
            return
        job = ledger.jobs[known or event.job_id]
        if job.durable is not None:
            self._core.out.append(Answer(event.op_id, shown(self._core, self._bounds, job)))
        else:
            ledger.when_durable(job, AnswerJob(event.op_id))

    def cancel(self, event: CancelJob) -> None:
        """What does not run is over at once, what runs is stopped; one that has ended stays so."""
        job = self._core.ledger.jobs.get(event.job_id)
        if job is None or job.durable is None:
            self.fail(event.op_id, no_such_job(self._core.ledger, event.job_id))
            return
        if not rules.stopping(job.record):
            unsent = self._core.unsent(job)
            self._core.record(JOB_CANCEL, event.job_id)
            self._core.change(job, rules.cancelled(job.record, event.wall, unsent))
        if not self._core.ledger.when_durable(job, AnswerJob(event.op_id)):
            self._core.out.append(Answer(event.op_id, shown(self._core, self._bounds, job)))

    def fail(self, op_id: int, error: TangoError) -> None:
        """The answer is that it was not done."""
        self._core.out.append(Answer(op_id, None, error))

    def _admit(self, event: SubmitJob) -> None:
        ledger = self._core.ledger
        self._bounds.check(event.spec)
        if event.job_id in ledger.jobs:
            raise AlreadyExists(f"job {event.job_id} exists already")
        n_waiting = len(ledger.by_state[JobState.PENDING]) + ledger.new
        if n_waiting >= self._max_jobs_waiting:
            raise ResourceExhausted(f"{n_waiting} jobs are waiting already; try again later")
        record = rules.new_job(event.job_id, event.submission_id, event.spec, event.wall)
        if event.require_fit:
            self._require_fit(record)
        ledger.create(record)

    def _require_fit(self, record: JobRecord) -> None:
        core, name = self._core, record.spec.name
        if not core.sites.has_nodes:
            raise Unavailable(f"whether job {name} fits cannot be said: no node is known yet")
        gang = gang_of(record, range(len(record.tasks)))
        # The policy that wants nodes named has no say in tasks with bounds.
        needs_node = core.batch.needs_node and not has_bounds(record.spec)
        why = never_fits(gang, record, core.sites, needs_node=needs_node)
        if why:
            raise FailedPrecondition(f"job {name} can never run here: {why}")
