"""The central master as a state machine: users' jobs, their placement, and what becomes of them.

Rules that hold throughout:
- A submit is answered after the job is on disk; a known submission_id gets the old job, or none if
  it comes with another one.
- An assignment is on disk before its StartAttempt is sent; an end is on disk before its AckEnds is
  sent; a cancel is on disk before it is answered and before anything is stopped.
- What users see of a job (answers, listings, JobChanged) is what is on disk of it, plus the reason
  why it waits, which is not stored.
- Where a write fails: a new job does not exist and its submitter is told; any other job is written
  again after a while, and nothing that depends on the write happens before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tango.controllers.central.bounds import Bounds
from tango.controllers.central.core import Core
from tango.controllers.central.explain import findings
from tango.controllers.central.fits import Cores
from tango.controllers.central.improve import Improvements
from tango.controllers.central.invariants import check
from tango.controllers.central.ledger import (
    Acknowledge,
    AnswerJob,
    Effect,
    ForgetCheckpoint,
    Job,
    SendCheckpoint,
    SendStart,
    SendStop,
)
from tango.controllers.central.named import namesakes, no_such_job
from tango.controllers.central.placing import place
from tango.controllers.central.preemption import Preemptions
from tango.controllers.central.reports import Reports
from tango.controllers.central.retention import Retention
from tango.controllers.central.shown import DEFAULT_LIMIT, newest, shown
from tango.controllers.central.trying import Trials
from tango.controllers.central.users import Users
from tango.controllers.decisions import Decisions
from tango.model.bounds import BoundRule
from tango.model.commands import Answer, CentralCommand, JobChanged
from tango.model.errors import (
    TangoError,
    Unavailable,
)
from tango.model.events import (
    BatchSolved,
    BoundsSolved,
    CancelJob,
    CentralEvent,
    DelaysMeasured,
    EdgeDown,
    EdgeSaid,
    EdgeUp,
    ImagesLearned,
    ImproveBounds,
    ImproveSolved,
    MigrateJob,
    Persisted,
    PersistFailed,
    PolicySwitched,
    SolveFailed,
    SubmitJob,
    Tick,
    TryJob,
)
from tango.model.explanation import Finding, Subject
from tango.model.improvement import ImproveView
from tango.model.job import JobRecord, JobState
from tango.model.layers import NodeImages
from tango.model.messages import ForgetCheckpoints
from tango.model.placements import BoundRecord, ReservationRecord
from tango.model.plan import Placement
from tango.model.settings import CentralSettings
from tango.model.views import EdgeView, JobCounts


class CentralController:
    """Pure: no I/O, no clock. `handle` takes each event once, in order, and returns commands.

    incarnation: drawn by the shell, higher at each start. seed: for the policies' snapshots.
    elastic, strict, needs_node: what `marks_of` says of the policy that will solve. bound_rule:
    places tasks with delay bounds and backups; None refuses them.
    """

    def __init__(
        self,
        settings: CentralSettings,
        *,
        incarnation: int,
        seed: int = 0,
        elastic: bool = False,
        strict: bool = False,
        needs_node: bool = False,
        bound_rule: BoundRule | None = None,
    ) -> None:
        self._core = Core(
            seed,
            settings.decisions.ring,
            settings.be_floor,
            settings.max_overtaken,
            elastic=elastic,
            strict=strict,
            needs_node=needs_node,
        )
        # Of placements, by name, for their records.
        self.policy = settings.batch_policy
        self._bounds = Bounds(self._core, settings.delays, bound_rule)
        self._users = Users(self._core, self._bounds, settings.max_jobs_waiting)
        self._improvements = Improvements(self._core, self._bounds)
        self._trials = Trials(self._core, self._bounds)
        self._reports = Reports(self._core, settings, incarnation, self._bounds)
        self._retention = Retention(self._core, settings)
        self._preemptions = Preemptions(self._core)

    def load(
        self,
        jobs: Mapping[str, JobRecord],
        bounds: Mapping[str, BoundRecord] | None = None,
        reservations: Mapping[str, ReservationRecord] | None = None,
    ) -> None:
        """Take over what is on disk; once, before the first event."""
        for record in sorted(jobs.values(), key=lambda job: (job.submitted_at, job.job_id)):
            job = self._core.restore(record)
            if record.state.ended:
                self._retention.ended(job)
        self._bounds.load(bounds or {}, reservations or {})

    def handle(self, event: CentralEvent, now: float) -> list[CentralCommand]:
        """What is to be done about this event. now: seconds on the shell's monotonic clock."""
        core = self._core
        core.tell_time(now, getattr(event, "wall", 0.0))
        match event:
            case Tick():
                pass  # what is due is done below, after every event
            case SubmitJob():
                self._users.submit(event)
            case CancelJob():
                self._users.cancel(event)
            case MigrateJob():
                error = self._reports.migrations.ask(event)
                if error is not None:
                    self._users.fail(event.op_id, error)
            case Persisted():
                self._persisted(event)
            case PersistFailed():
                self._persist_failed(event)
            case EdgeSaid():
                self._reports.edge_said(event)
            case EdgeUp():
                self._reports.edge_up(event)
            case EdgeDown():
                self._reports.edge_down(event)
            case DelaysMeasured():
                self._bounds.measured(event)
            case ImagesLearned():
                core.images.learned(event.images)
            case ImproveBounds():
                error = self._improvements.ask(event)
                if error is not None:
                    self._users.fail(event.op_id, error)
            case TryJob():
                try:
                    self._trials.ask(event)
                except TangoError as refused:
                    self._users.fail(event.op_id, refused)
            case ImproveSolved():
                self._improvements.solved(event)
            case BatchSolved():
                n_placed = core.batch.solved(event.solve_id, event.plan, now, self._place)
                if n_placed is not None and event.plan.preempt is not None:
                    self._preemptions.asked(event.plan.preempt)
            case BoundsSolved():
                self._bounds.solved(event)
                self._trials.solved(event)
            case PolicySwitched():
                self.policy = event.policy
                core.sites.set_elastic(event.elastic)
                core.batch.switched(strict=event.strict, needs_node=event.needs_node)
            case SolveFailed():
                number = event.solve_id
                if (
                    self._bounds.solve_failed(number)
                    or self._improvements.solve_failed(number, event.error)
                    or self._trials.solve_failed(number, event.error)
                    or core.batch.solve_failed(number, now)
                ):
                    core.note("error", "solve_failed", error=event.error)
        self._reports.departures.pump()
        self._preemptions.pump()
        self._bounds.pump()
        self._improvements.pump()
        self._trials.pump()
        self._retention.pump()
        return core.finish()

    @property
    def wake_at(self) -> float | None:
        """When a Tick is wanted, on the clock of `now`; None while only events matter."""
        times = [
            self._core.batch.wake_at(),
            self._core.ledger.retry_at,
            self._reports.departures.due_at,
            self._retention.due_at,
            self._bounds.due_at,
            self._improvements.due_at,
            self._trials.due_at,
        ]
        return min((at for at in times if at is not None), default=None)

    def validate(self) -> None:
        """Raise AssertionError where the books contradict one another. Linear: for tests."""
        check(self._core)
        self._bounds.validate()

    # ---- queries

    def job(self, job_id: str) -> JobRecord | None:
        """The job as users may see it; None for none."""
        job = self._core.ledger.jobs.get(job_id)
        if job is None or job.durable is None:
            return None
        return shown(self._core, self._bounds, job)

    def existing_job(self, job_id: str) -> JobRecord:
        """The same; raises NotFound, which tells the ids where it is a name of jobs."""
        record = self.job(job_id)
        if record is None:
            raise no_such_job(self._core.ledger, job_id)
        return record

    def namesakes(self, record: JobRecord) -> str:
        """A warning where other jobs of its name have not ended; "" where none is."""
        return namesakes(self._core.ledger, record)

    def jobs(
        self, states: Collection[JobState] = (), limit: int = DEFAULT_LIMIT
    ) -> tuple[JobRecord, ...]:
        """At most `limit` jobs (0: 1000) in these states (none: all), the newest, newest last."""
        return newest(self._core, self._bounds, states, limit)

    def counts(self) -> JobCounts:
        """Jobs on disk by state, and the CPU time of their attempts that have ended."""
        return self._core.ledger.counts()

    def edge_views(self) -> tuple[EdgeView, ...]:
        """Every edge seen since the start, or holding attempts, connected or not."""
        return tuple(site.view() for site in self._core.sites.by_name.values())

    def node_images(self) -> Mapping[tuple[str, str], NodeImages]:
        """What the engines of nodes (edge, node) hold by their latest word."""
        return self._core.images.told

    def images_of_jobs(self) -> frozenset[str]:
        """References that jobs name which have not ended. Linear in these."""
        return self._core.ledger.images()

    @property
    def improvement(self) -> ImproveView | None:
        """The better plan that is carried out, or was last, as it stands."""
        return self._improvements.view

    @property
    def decisions(self) -> Decisions:
        """The records that are still kept."""
        return self._core.decisions

    def explain(
        self, name: str, subjects: Collection[Subject], limit: int, now: float
    ) -> tuple[Finding, ...]:
        """What is known of the job, or the nodes, of that name; at most `limit` records each.

        Raises NotFound, which says whether it may have been forgotten.
        """
        return findings(self._core, self.job(name), name, subjects, limit, now)

    # ---- the disk

    def _persisted(self, event: Persisted) -> None:
        for job, effects in self._core.ledger.persisted(event.persist_id):
            self._core.batch.reconsider(job, self._core.now, self._core.wall)
            seen = shown(self._core, self._bounds, job)
            for effect in effects:
                self._release(job, effect, seen)
            self._core.out.append(JobChanged(seen))
            if seen.state.ended:
                self._retention.ended(job)
        self._retention.persisted(event.persist_id)
        for attempt_id in self._bounds.store.persisted(event.persist_id):
            self._start(attempt_id)

    def _persist_failed(self, event: PersistFailed) -> None:
        self._core.note("error", "store_failed", error=event.error)
        self._retention.persist_failed(event.persist_id)
        self._bounds.store.persist_failed(event.persist_id)
        for job, answers in self._core.ledger.failed(event.persist_id, self._core.now):
            later = "" if job.durable is None else "; the change is kept and written again"
            error = Unavailable(f"the job could not be stored: {event.error}{later}")
            for answer in answers:
                self._users.fail(answer.op_id, error)
            self._core.batch.reconsider_bounds(job)

    def _release(self, job: Job, effect: Effect, seen: JobRecord) -> None:
        core = self._core
        match effect:
            case AnswerJob(op_id):
                core.out.append(Answer(op_id, seen))
            case Acknowledge(edge, attempt_id):
                core.ack(edge, attempt_id)
            case SendStart(attempt_id):
                if not self._bounds.store.holds(attempt_id):
                    self._start(attempt_id)
            case SendCheckpoint(attempt_id):
                attempt = core.sites.attempts.get(attempt_id)
                if attempt is not None:
                    self._reports.migrations.checkpoint(attempt)
            case ForgetCheckpoint(edge, node, attempt_id):
                core.send(edge, ForgetCheckpoints(node, (attempt_id,)))
            case SendStop(attempt_id, reason, grace_s, edge):
                attempt = core.sites.attempts.get(attempt_id)
                if edge or attempt is not None:
                    to = edge or (attempt.edge if attempt is not None else "")
                    core.stop(to, attempt_id, reason, grace_s)

    def _start(self, attempt_id: str) -> None:
        """All that the attempt rests on is on disk."""
        core = self._core
        attempt = core.sites.attempts.get(attempt_id)
        if attempt is not None:
            self._reports.start(core.ledger.jobs[attempt.job_id], attempt)

    def _place(
        self, job: Job, nodes: Mapping[int, Placement], cores: Cores, candidates: int
    ) -> None:
        place(self._core, self.policy, job, nodes, cores, candidates)
