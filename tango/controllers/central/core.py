"""What the parts of the central controller share: the books, the clock, and the one way to change
a job, which keeps the index of attempts, the queue and the disk in step with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tango.controllers.central.batch import Batch
from tango.controllers.central.edges import Sites
from tango.controllers.central.images import Images
from tango.controllers.central.jobs import ACTIVE, stopping
from tango.controllers.central.ledger import Effect, ForgetCheckpoint, Job, Ledger, SendStop
from tango.controllers.central.overtaking import DEFAULT_MAX_OVERTAKEN
from tango.controllers.central.site import Attempt
from tango.controllers.decisions import DEFAULT_RING, Decisions
from tango.model.commands import CentralCommand, Note, SendEdge
from tango.model.decision import Form
from tango.model.job import JobRecord, JobState, Migration, TaskRecord
from tango.model.messages import AckEnds, StopAttempt, ToEdge


class Core:
    """State of the central master and the commands that this `handle` has produced so far."""

    def __init__(
        self,
        seed: int,
        ring: int = DEFAULT_RING,
        be_floor: float = 0.0,
        max_overtaken: int = DEFAULT_MAX_OVERTAKEN,
        *,
        elastic: bool = False,
        strict: bool = False,
        needs_node: bool = False,
    ) -> None:
        self.ledger = Ledger()
        self.sites = Sites(be_floor, elastic=elastic)
        self.images = Images()
        self.decisions = Decisions(ring)
        self.batch = Batch(
            self.ledger.jobs,
            self.sites,
            seed,
            self.decisions.record,
            max_overtaken,
            strict=strict,
            needs_node=needs_node,
            images=self.images,
        )
        self.out: list[CentralCommand] = []
        self.now = 0.0
        self._acks: dict[int, list[str]] = {}
        self._wall_offset: float | None = None

    @property
    def wall(self) -> float:
        """Unix seconds, from the latest event that told them; 0 while none has."""
        return self.now + self._wall_offset if self._wall_offset is not None else 0.0

    def tell_time(self, now: float, wall: float) -> None:
        """An event happens now; wall is its unix time, 0 where it does not say."""
        self.now = now
        if wall > 0:
            first = self._wall_offset is None
            self._wall_offset = wall - now
            if first:
                self.batch.rearm(now, wall)

    # ---- jobs

    def restore(self, record: JobRecord) -> Job:
        """A job found on disk. What it had scheduled may have been started: treat it as sent."""
        job = self.ledger.restore(record)
        for index, task in enumerate(record.tasks):
            if task.state in ACTIVE:
                self._hold(record, index, sent=True)
            if moving(task):
                self._keep(record, index)
        self.batch.reconsider(job, self.now, self.wall)
        return job

    def change(self, job: Job, record: JobRecord, effects: Iterable[Effect] = ()) -> None:
        """The job is now this. Effects are released when it is on disk."""
        old = job.record
        effects = list(effects)
        for index, (before, after) in enumerate(zip(old.tasks, record.tasks, strict=True)):
            if before is after:
                continue
            was_active, is_active = before.state in ACTIVE, after.state in ACTIVE
            same = before.attempt_id == after.attempt_id
            if was_active and not (is_active and same):
                attempt = self.sites.attempts[before.attempt_id]
                if self.sites.release(attempt):
                    self.batch.room_grew()
            if is_active and not (was_active and same):
                self._hold(record, index, sent=False)
            self._keep_in_step(record, index, before)
            effects.extend(_forgotten(before.migration, after.migration))
        if stopping(record) and not stopping(old):
            effects.extend(
                SendStop(task.attempt_id, record.reason)
                for task in record.tasks
                if task.state in ACTIVE
            )
        self.ledger.change(job, record, effects)
        self.batch.reconsider(job, self.now, self.wall)

    def unsent(self, job: Job) -> frozenset[int]:
        """Indices of tasks that are scheduled but whose start nobody was told of yet."""
        return frozenset(
            index
            for index, task in enumerate(job.record.tasks)
            if task.state is JobState.SCHEDULED and not self.sites.attempts[task.attempt_id].sent
        )

    def _keep_in_step(self, record: JobRecord, index: int, before: TaskRecord) -> None:
        """Room on the target of a migration is kept until its source has ended."""
        was, now = moving(before), moving(record.tasks[index])
        if was is not None and now is None:
            if self.sites.let_go(was.to_edge, was.to_node, before.attempt_id):
                self.batch.room_grew()
        elif was is None and now is not None:
            self._keep(record, index)

    def _keep(self, record: JobRecord, index: int) -> None:
        task, spec = record.tasks[index], record.spec.tasks[index]
        migration = moving(task)
        assert migration is not None
        self.sites.keep(
            migration.to_edge,
            migration.to_node,
            task.attempt_id,
            spec.cpu_millis,
            spec.memory_bytes,
            migration.to_cores,
            spec.ports,
        )

    def _hold(self, record: JobRecord, index: int, *, sent: bool) -> None:
        task, spec = record.tasks[index], record.spec.tasks[index]
        self.sites.hold(
            Attempt(
                task.attempt_id,
                record.job_id,
                index,
                task.edge,
                task.node,
                spec.cpu_millis,
                spec.memory_bytes,
                sent=sent,
                cores=task.cores,
                ports=spec.ports,
            )
        )

    # ---- what goes out

    def send(self, edge: str, message: ToEdge) -> None:
        """Send to the edge's present session; dropped where it has none, for a resync repeats."""
        site = self.sites.by_name.get(edge)
        if site is not None and site.session is not None:
            self.out.append(SendEdge(site.session, message))

    def stop(self, edge: str, attempt_id: str, reason: str, grace_s: float | None = None) -> None:
        """Tell the edge to stop an attempt; a repeat does no harm."""
        self.send(edge, StopAttempt(attempt_id, reason, grace_s))

    def ack(self, edge: str, attempt_id: str) -> None:
        """Tell the edge that the end is stored (or of no interest); batched per `handle`."""
        site = self.sites.by_name.get(edge)
        if site is not None and site.session is not None:
            self._acks.setdefault(site.session, []).append(attempt_id)

    def note(self, level: str, event: str, **fields: object) -> None:
        """A structured log line."""
        self.out.append(Note(level, event, tuple(fields.items())))

    def record(self, form: Form, *parts: object) -> None:
        """A decision of now, for `explain`."""
        self.decisions.record(form, self.now, *parts)

    def finish(self) -> list[CentralCommand]:
        """All commands of this `handle`, the writes and the next solve among them."""
        solve = self.batch.pump(self.now)
        for session, attempt_ids in self._acks.items():
            self.out.append(SendEdge(session, AckEnds(tuple(attempt_ids))))
        self._acks.clear()
        self.out.extend(self.ledger.flush(self.now))
        if solve is not None:
            self.out.append(solve)
        out, self.out = self.out, []
        return out


def _forgotten(was: Migration | None, now: Migration | None) -> Iterator[Effect]:
    """Both nodes of a migration that is over may have its checkpoint."""
    if was is not None and was.checkpoint is not None and now is None:
        left = was.checkpoint.attempt_id
        yield ForgetCheckpoint(was.from_edge, was.from_node, left)
        yield ForgetCheckpoint(was.to_edge, was.to_node, left)


def moving(task: TaskRecord) -> Migration | None:
    """The task's migration, as long as its source has not ended with a checkpoint."""
    migration = task.migration
    return migration if migration is not None and migration.checkpoint is None else None
