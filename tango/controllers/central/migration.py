"""Migrations: a task that runs goes on at another node, with its state (ADR 0014).

    RUNNING, migration          its worker is told to write a checkpoint; room is kept on the target
      ended with a checkpoint   -> SCHEDULED on the target, from it
      ended without             -> as any end; the migration is over
      the worker says why not   -> RUNNING as before; the migration is over
    SCHEDULED, migration        restored on the target
      running                   -> RUNNING; the migration is over
      refused, not begun, lost  -> SCHEDULED on the source again, from the same checkpoint
    SCHEDULED, going back
      running                   -> RUNNING; the migration is over, in vain
      refused, not begun, lost  -> PENDING: it is placed anew, and begins at its beginning

Each step is on disk before anybody is told of it, and each attempt has an id of its own that runs
once: whoever restarts in between, at most one attempt of the task can run, and one will.
"""

from __future__ import annotations

from collections.abc import Iterator

from tango.controllers.central import jobs, migrating
from tango.controllers.central.core import Core
from tango.controllers.central.fits import Cores, batch_task, fits, gang_of
from tango.controllers.central.ledger import (
    Acknowledge,
    AnswerJob,
    Effect,
    Job,
    SendCheckpoint,
    SendStart,
    SendStop,
)
from tango.controllers.central.named import no_such_job
from tango.controllers.central.site import Attempt, Site
from tango.model.affinity import barred
from tango.model.cluster import NodeView
from tango.model.cores import format_cores, ids_of, mask_of
from tango.model.decision import JOB_MIGRATE, JOB_STAY, Form
from tango.model.errors import FailedPrecondition, InvalidField, NotFound, TangoError
from tango.model.events import MigrateJob
from tango.model.fixed_ports import port_taken
from tango.model.job import (
    AttemptState,
    AttemptStatus,
    JobRecord,
    JobState,
    Migration,
    TaskRecord,
)
from tango.model.messages import StopAttempt
from tango.model.plan import Placement
from tango.model.units import format_cpu, format_memory


class Migrations:
    """Takes users' requests, and what becomes of attempts that migrate."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def ask(self, event: MigrateJob) -> TangoError | None:
        """Begin, all tasks that are meant or none; answers, or returns why not."""
        core = self._core
        job = core.ledger.jobs.get(event.job_id)
        if job is None or job.durable is None:
            return no_such_job(core.ledger, event.job_id)
        try:
            site, view = self._target(event)
            meant = tuple(self._meant(job, event.task))
            cores = self._check(job, meant, site, view)
        except TangoError as error:
            return error
        record = job.record
        effects: list[Effect] = [AnswerJob(event.op_id)]
        for index in meant:
            task = record.tasks[index]
            number = task.migrations + 1
            migration = Migration(
                number, task.edge, task.node, site.edge, view.node, from_cores=task.cores,
                to_cores=cores[index],
            )  # fmt: skip
            record = migrating.migrating(record, index, migration)
            effects.append(SendCheckpoint(task.attempt_id))
            self._record(JOB_MIGRATE, job, index, migration, "a user asked for it")
        core.change(job, record, effects)
        return None

    def checkpoint(self, attempt: Attempt) -> None:
        """Tell the worker to write its state, if that is (still) what is wanted."""
        migration = self._dumping(attempt)
        if migration is not None:
            reason = f"it moves to {migration.to_node} of {migration.to_edge}"
            stop = StopAttempt(attempt.attempt_id, reason, checkpoint=migration.number)
            self._core.send(attempt.edge, stop)

    def still(self, status: AttemptStatus, job: Job, attempt: Attempt) -> None:
        """It runs: over, if its worker says that it could not write its state."""
        migration = job.record.tasks[attempt.index].migration
        if (
            migration is not None
            and migration.checkpoint is None
            and status.state is AttemptState.RUNNING
            and status.checkpoint_error
            and status.checkpoint_try == migration.number
        ):
            self._record(JOB_STAY, job, attempt.index, migration, status.checkpoint_error)
            record = migrating.migration_over(job.record, attempt.index, status.checkpoint_error)
            self._core.change(job, record)

    def ended(self, site: Site, job: Job, attempt: Attempt, status: AttemptStatus) -> bool:
        """Its attempt is over. False: what holds for any other end holds for this one."""
        migration = job.record.tasks[attempt.index].migration
        if migration is None or jobs.stopping(job.record):
            return False
        done = Acknowledge(site.edge, status.attempt_id)
        if migration.checkpoint is None:
            if status.checkpoint is None:
                return False
            record = migrating.checkpointed(job.record, attempt.index, status, self._core.wall)
            self._start(job, attempt.index, migrating.restoring(record, attempt.index), (done,))
            return True
        if status.started_at:
            return False  # it was restored, and ended before anybody heard that it ran
        self.not_begun(job, attempt, status.failure or "it never began", (done,))
        return True

    def not_begun(
        self, job: Job, attempt: Attempt, why: str, effects: tuple[Effect, ...] = ()
    ) -> bool:
        """An attempt from a checkpoint was refused, failed or lost. False: it was no such attempt.

        From the target it goes back to the source; from there to wherever there is room, anew.
        """
        core = self._core
        record, index = job.record, attempt.index
        task = record.tasks[index]
        migration = task.migration
        if (
            migration is None
            or migration.checkpoint is None
            or task.state is not JobState.SCHEDULED
            or jobs.stopping(record)
        ):
            return False
        self._record(JOB_STAY, job, index, migration, why)
        cores = self._at_source(job, index, migration)
        if not migration.back and cores is not None:
            restored = migrating.restoring(record, index, back=why, cores=cores)
            self._start(job, index, restored, effects)
        elif not migration.back:
            gone = self._port_gone(job, index, migration)
            what = "port at the source is" if gone else "cores at the source are"
            why += f"; its {what} taken"
            core.change(job, migrating.state_lost(record, index, why, core.wall), effects)
        else:
            core.change(job, migrating.state_lost(record, index, why, core.wall), effects)
        return True

    def lost(self, job: Job, attempt: Attempt, why: str, edge: str) -> bool:
        """Its node is given up. False: it was no attempt from a checkpoint that had not begun."""
        stop = SendStop(attempt.attempt_id, why, edge=edge)
        return self.not_begun(job, attempt, why, (stop,))

    # ----

    def _start(self, job: Job, index: int, record: JobRecord, effects: tuple[Effect, ...]) -> None:
        start = SendStart(record.tasks[index].attempt_id)
        self._core.change(job, record, (*effects, start))

    def _at_source(self, job: Job, index: int, migration: Migration) -> tuple[int, ...] | None:
        """The cores that it gets on its way back: its own, or others; None where there are none,
        or where somebody was given its port."""
        spec = job.record.spec.tasks[index]
        if self._port_gone(job, index, migration):
            return None
        if not spec.cores:
            return ()
        site = self._core.sites.site(migration.from_edge)
        own = mask_of(migration.from_cores)
        view, offer = site.nodes.get(migration.from_node), site.offer(migration.from_node)
        if offer is None:
            # It is away: whether it takes the attempt is to be seen. What we booked is known.
            held = site.held.get(migration.from_node)
            free = mask_of(view.cores) if view is not None else own
            free &= ~held.core_mask if held is not None else -1
        else:
            free = offer.core_mask
        if own & free == own:
            return migration.from_cores
        taken = batch_task(job.record, index).cores_among(free)
        return None if taken is None else ids_of(taken)

    def _port_gone(self, job: Job, index: int, migration: Migration) -> bool:
        """Whether another task was given a fixed port of its at the source meanwhile."""
        # What the edge said last may still be the attempt that has just left.
        booked = self._core.sites.site(migration.from_edge).booked_ports(migration.from_node)
        return not booked.isdisjoint(job.record.spec.tasks[index].ports)

    def _dumping(self, attempt: Attempt) -> Migration | None:
        durable = self._core.ledger.jobs[attempt.job_id].durable
        if durable is None or jobs.stopping(durable):
            return None
        task = durable.tasks[attempt.index]
        migration = task.migration
        if migration is None or migration.checkpoint is not None:
            return None
        return migration if task.attempt_id == attempt.attempt_id else None

    def _target(self, event: MigrateJob) -> tuple[Site, NodeView]:
        found = [
            (site, site.nodes[event.node])
            for site in self._core.sites.by_session.values()
            if event.node in site.nodes and event.edge in ("", site.edge)
        ]
        if not found:
            where = f" of {event.edge}" if event.edge else ""
            raise NotFound(f"there is no node {event.node!r}{where}; see `tango get nodes`")
        if len(found) > 1:
            sites = ", ".join(sorted(site.edge for site, _ in found))
            problem = f"{event.node!r} is the name of several nodes"
            raise InvalidField("edge", problem, f"say of which site: {sites}")
        return found[0]

    def _meant(self, job: Job, name: str) -> Iterator[int]:
        spec = job.record.spec
        names = [task.name for task in spec.tasks]
        if name and name not in names:
            told = ", ".join(names)
            raise NotFound(f"job {job.record.job_id} has no task {name!r}; it has: {told}")
        running = [
            index
            for index, task in enumerate(job.record.tasks)
            if (not name or names[index] == name) and task.state is JobState.RUNNING
        ]
        if not running:
            what = f"task {name} of job" if name else "no task of job"
            state = "does not run" if name else "runs"
            raise FailedPrecondition(
                f"{what} {job.record.job_id} {state}: only what runs has a state to move"
            )
        yield from running

    def _check(self, job: Job, meant: tuple[int, ...], site: Site, view: NodeView) -> Cores:
        """The cores that each gets there."""
        record = job.record
        if jobs.stopping(record):
            raise FailedPrecondition(f"job {record.job_id} is being stopped")
        cpu = memory = 0
        for index in meant:
            task, spec = record.tasks[index], record.spec.tasks[index]
            if spec.near is not None:
                raise FailedPrecondition(
                    f"task {spec.name} has a delay bound, which says where it may be"
                )
            _check_task(task, spec.name, site, view)
            if spec.node not in ("", view.node):
                raise FailedPrecondition(
                    f"task {spec.name} names node {spec.node}: it runs on no other"
                )
            bar = barred(spec.terms, view.labels, view.taints)
            if bar:
                raise FailedPrecondition(
                    f"node {view.node} will not do for task {spec.name}: {bar}"
                )
            source = self._core.sites.site(task.edge)
            at = _check_able(source, source.nodes.get(task.node), task.node)
            _check_way(at, view)
            cpu += spec.cpu_millis
            memory += spec.memory_bytes
        _check_able(site, view, view.node)
        offer = self._core.sites.offer(site.edge, view.node)
        if offer is None:
            raise FailedPrecondition(f"node {view.node} of {site.edge} takes no tasks now")
        free = offer.cpu_millis + offer.reclaimable_millis
        if free < cpu or offer.memory_bytes < memory:
            raise FailedPrecondition(
                f"node {view.node} of {site.edge} has {format_cpu(max(0, free))} CPU and "
                f"{format_memory(max(0, offer.memory_bytes))} free, "
                f"{format_cpu(cpu)} and {format_memory(memory)} are needed"
            )
        ports = {port for index in meant for port in record.spec.tasks[index].ports}
        taken = ports.intersection(offer.ports)
        if taken:
            raise FailedPrecondition(f"node {view.node} of {site.edge}: {port_taken(min(taken))}")
        if len(ports) < sum(len(record.spec.tasks[index].ports) for index in meant):
            raise FailedPrecondition("tasks of one fixed port do not go to one node")
        there = {index: Placement(record.job_id, index, site.edge, view.node) for index in meant}
        cores = fits(gang_of(record, meant), there, self._core.sites)
        if cores is None:
            free_cores = format_cores(ids_of(offer.core_mask)) or "no core"
            needed = sum(record.spec.tasks[index].cores for index in meant)
            raise FailedPrecondition(
                f"node {view.node} of {site.edge} has {free_cores} free, {needed} cores are needed"
            )
        return cores

    def _record(self, form: Form, job: Job, index: int, migration: Migration, why: str) -> None:
        task = job.record.tasks[index]
        self._core.record(
            form, job.record.job_id, job.record.spec.tasks[index].name, task.attempt_id,
            task.edge, task.node, migration.to_edge, migration.to_node, why,
        )  # fmt: skip
        self._core.note(
            "info", "migration", attempt=task.attempt_id, node=task.node, to=migration.to_node,
            why=why,
        )  # fmt: skip


def _check_task(task: TaskRecord, name: str, site: Site, view: NodeView) -> None:
    if task.migration is not None:
        raise FailedPrecondition(f"task {name} is on its way to {task.migration.to_node} already")
    if task.evicting:
        raise FailedPrecondition(f"task {name} is being stopped: {task.evicting}")
    if (task.edge, task.node) == (site.edge, view.node):
        raise FailedPrecondition(f"task {name} is on {view.node} of {site.edge} already")


def _check_way(source: NodeView, target: NodeView) -> None:
    """Checkpoints must get from the one to the other."""
    if source.checkpoint_transfer and target.checkpoint_transfer:
        return
    for view, other in ((source, target), (target, source)):
        # A worker that says neither is of a version that knows only the directory.
        if view.checkpoint_transfer and not view.checkpoint_shared:
            raise FailedPrecondition(
                f"a checkpoint does not get from {source.node} to {target.node}: {view.node} has "
                f"no worker.checkpoint_dir, and worker.checkpoint_transfer is off at {other.node}"
            )


def _check_able(site: Site, view: NodeView | None, node: str) -> NodeView:
    if view is None or site.session is None or not view.ready:
        raise FailedPrecondition(f"node {node} of {site.edge} is not connected")
    if not view.checkpoints:
        note = view.checkpoint_note or "its version does not know of it"
        raise FailedPrecondition(f"node {node} of {site.edge} cannot checkpoint: {note}")
    return view
