"""Jobs in memory beside what is on disk of them, and what waits for the disk.

A job changes in memory at once and is written afterwards; at most one write of a job is under way,
and the next one carries the latest record, so writes of one job are never out of order. Effects
(a start, a stop, an acknowledgement, an answer) wait until the version that they belong to is on
disk, and are then released in the order in which they were added. Jobs that change in one
`handle` share one Persist.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from tango.model.commands import Persist, Put
from tango.model.job import JobRecord, JobState
from tango.model.views import JobCounts

KIND = "job"
MAX_WRITES = 100
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class SendStart:
    """Tell the edge to start this attempt, if it is still wanted."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class SendStop:
    """Tell the edge to stop this attempt, if it is still active, or this edge in any case."""

    attempt_id: str
    reason: str
    grace_s: float | None = None
    edge: str = ""


@dataclass(frozen=True, slots=True)
class SendCheckpoint:
    """Tell the edge to have this attempt checkpointed, if it is still to migrate."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class ForgetCheckpoint:
    """Tell the node that nobody will begin from the checkpoint of this attempt any more."""

    edge: str
    node: str
    attempt_id: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Tell the edge that this end is stored."""

    edge: str
    attempt_id: str


@dataclass(frozen=True, slots=True)
class AnswerJob:
    """Answer a user with the job."""

    op_id: int


Effect = SendStart | SendStop | SendCheckpoint | ForgetCheckpoint | Acknowledge | AnswerJob


@dataclass(slots=True, eq=False)
class Job:
    """One job. record: as it is now; durable: as it is on disk, None before its first write.

    arrival: its place among jobs of its priority. saving: version under way to the disk, or 0.
    refusals: by task index, in a row. wait_reason: what the last solve said of it; told_reason: the
    last that was recorded since it was placed. fits_under: version of the sites under which it was
    found that it could fit. overtaken: later jobs that were placed while it was the first to wait.
    hopeless_under: version under which nothing else ran, and it was not placed all the same.
    """

    record: JobRecord
    arrival: int
    durable: JobRecord | None = None
    saving: int = 0
    effects: deque[tuple[int, Effect]] = field(default_factory=deque)
    refusals: dict[int, int] = field(default_factory=dict)
    waits_for: tuple[int, ...] = ()
    timer: int = 0
    wait_reason: str = ""
    told_reason: str = ""
    fits_under: int = -1
    overtaken: int = 0
    hopeless_under: int = -1


class Ledger:
    """All jobs, in order of arrival."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.submissions: dict[str, str] = {}
        self.by_state: dict[JobState, dict[str, None]] = {state: {} for state in JobState}
        # Ids of jobs on disk that have not ended, by name.
        self.active_by_name: dict[str, dict[str, None]] = {}
        self.new = 0
        self.cpu_s = 0.0
        self.retry_at: float | None = None
        self._arrivals = 0
        self._persists = 0
        self._changed: dict[str, Job] = {}
        self._failed: dict[str, Job] = {}
        self._under_way: dict[int, tuple[tuple[Job, JobRecord], ...]] = {}
        self._delay_s = FIRST_RETRY_S

    def restore(self, record: JobRecord) -> Job:
        """A job found on disk."""
        job = self._add(record)
        self._became_durable(job, record)
        return job

    def images(self) -> frozenset[str]:
        """References that jobs name which have not ended. Linear in these."""
        ids = (i for state, jobs in self.by_state.items() if not state.ended for i in jobs)
        tasks = (task for job_id in ids for task in self.jobs[job_id].record.spec.tasks)
        return frozenset(image for task in tasks for image in task.images)

    def create(self, record: JobRecord) -> Job:
        """A job that arrived; it exists for others once its first write is done."""
        job = self._add(record)
        self.new += 1
        self._changed[record.job_id] = job
        return job

    def change(self, job: Job, record: JobRecord, effects: Iterable[Effect] = ()) -> None:
        """The job is now this; release the effects once it is on disk."""
        job.record = record
        job.effects.extend((record.version, effect) for effect in effects)
        self._changed[record.job_id] = job

    def when_durable(self, job: Job, effect: Effect) -> bool:
        """Add an effect of the job as it is now. False where it may be done at once."""
        if job.durable is not None and job.durable.version == job.record.version:
            return False
        job.effects.append((job.record.version, effect))
        return True

    def flush(self, now: float) -> list[Persist]:
        """The writes that are due."""
        commands: list[Persist] = []
        if self._failed and self.retry_at is not None and now >= self.retry_at:
            # One by one: a record that the disk will not take must not hold up the others.
            again, self._failed, self.retry_at = self._failed, {}, None
            commands.extend(self._persist([job]) for job in again.values())
        if self._changed:
            ready = [
                job
                for job_id, job in self._changed.items()
                if not job.saving and job_id not in self._failed
            ]
            self._changed.clear()
            commands.extend(
                self._persist(ready[begin : begin + MAX_WRITES])
                for begin in range(0, len(ready), MAX_WRITES)
            )
        return commands

    def persisted(self, persist_id: int) -> list[tuple[Job, list[Effect]]]:
        """A write is done: the jobs that it made durable, with the effects to release."""
        done: list[tuple[Job, list[Effect]]] = []
        for job, record in self._under_way.pop(persist_id, ()):
            job.saving = 0
            if job.durable is None:
                self.new -= 1
            self._became_durable(job, record)
            if job.record.version > record.version:
                self._changed[record.job_id] = job
            effects: list[Effect] = []
            while job.effects and job.effects[0][0] <= record.version:
                effects.append(job.effects.popleft()[1])
            done.append((job, effects))
        if done:
            self._delay_s = FIRST_RETRY_S
        return done

    def failed(self, persist_id: int, now: float) -> list[tuple[Job, list[AnswerJob]]]:
        """A write failed: the jobs concerned, with the users who must be told.

        A new job is forgotten; any other is written again after a while.
        """
        told: list[tuple[Job, list[AnswerJob]]] = []
        for job, record in self._under_way.pop(persist_id, ()):
            job.saving = 0
            answers = [effect for _, effect in job.effects if isinstance(effect, AnswerJob)]
            if job.durable is None:
                self.new -= 1
                job.effects.clear()
                self._changed.pop(record.job_id, None)
                del self.jobs[record.job_id]
                self.submissions.pop(record.submission_id, None)
            else:
                kept = [entry for entry in job.effects if not isinstance(entry[1], AnswerJob)]
                job.effects = deque(kept)
                self._failed[record.job_id] = job
            told.append((job, answers))
        if self._failed and self.retry_at is None:
            self.retry_at = now + self._delay_s
            self._delay_s = min(2 * self._delay_s, LAST_RETRY_S)
        return told

    def next_persist(self) -> int:
        """A number for a write; those of the ledger's own are from the same row."""
        self._persists += 1
        return self._persists

    def remove(self, job: Job) -> None:
        """The disk has forgotten the job, which had ended and was at rest."""
        record = job.durable
        assert record is not None
        del self.jobs[record.job_id]
        del self.by_state[record.state][record.job_id]
        if self.submissions.get(record.submission_id) == record.job_id:
            del self.submissions[record.submission_id]
        self.cpu_s -= sum(task.cpu_s for task in record.tasks)

    def counts(self) -> JobCounts:
        """Over all durable jobs."""
        numbers = {state.value: len(ids) for state, ids in self.by_state.items()}
        return JobCounts(cpu_s=self.cpu_s, **numbers)

    def awaits_write(self, job: Job) -> bool:
        """Whether a write of the job is under way or will follow by itself."""
        job_id = job.record.job_id
        return bool(job.saving) or job_id in self._changed or job_id in self._failed

    def _add(self, record: JobRecord) -> Job:
        self._arrivals += 1
        job = Job(record, self._arrivals)
        self.jobs[record.job_id] = job
        if record.submission_id:
            self.submissions[record.submission_id] = record.job_id
        return job

    def _persist(self, jobs: list[Job]) -> Persist:
        number = self.next_persist()
        for job in jobs:
            job.saving = job.record.version
        self._under_way[number] = tuple((job, job.record) for job in jobs)
        writes = tuple(Put(KIND, job.record.job_id, job.record) for job in jobs)
        return Persist(number, writes)

    def _became_durable(self, job: Job, record: JobRecord) -> None:
        old = job.durable
        job.durable = record
        self.cpu_s += sum(task.cpu_s for task in record.tasks)
        if old is not None:
            self.cpu_s -= sum(task.cpu_s for task in old.tasks)
            if old.state is record.state:
                return
            del self.by_state[old.state][old.job_id]
        self.by_state[record.state][record.job_id] = None
        self._keep_name(record)

    def _keep_name(self, record: JobRecord) -> None:
        name, job_id = record.spec.name, record.job_id
        if not record.state.ended:
            self.active_by_name.setdefault(name, {})[job_id] = None
        elif job_id in (active := self.active_by_name.get(name, {})):
            del active[job_id]
            if not active:
                del self.active_by_name[name]
