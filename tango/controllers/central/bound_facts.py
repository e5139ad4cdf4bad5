"""Tasks as a rule for bounds and backups is shown them, read again only where a job has changed.

So that no `handle` walks through all of them: a job that changed is read at once, all jobs after
nodes came or went, a few at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tango.controllers.central.bound_books import BoundBooks
from tango.controllers.central.bound_nodes import BoundNodes
from tango.controllers.central.bound_store import BoundStore
from tango.controllers.central.bound_wants import Wants
from tango.controllers.central.core import Core
from tango.controllers.central.jobs import ACTIVE, stopping
from tango.controllers.central.ledger import Job
from tango.controllers.central.service_hosts import ServiceHosts
from tango.model.bounds import (
    BoundTask,
    node_name,
    service_of,
    task_name,
    task_of,
)
from tango.model.job import JobRecord, JobState
from tango.model.placements import BoundRecord, PodRecord
from tango.model.plan import Gang

MAX_WINDOW = 128
# Jobs that one `handle` reads because nodes came or went.
MOST_JOBS = 16


@dataclass(frozen=True, slots=True)
class Waiting:
    """A gang in the queue, and those of its tasks that have no place yet.

    unknown: why it cannot be looked at: it names a node that nobody knows.
    """

    gang: Gang
    pods: tuple[PodRecord, ...]
    unknown: str = ""


class Facts:
    """Follows the jobs with bounds.

    settled: a site that has not dialled in by now may never do. stale: tasks of which something is
    kept, and that have no place any more. adjusted: those that are otherwise than is kept. fresh:
    those whose place is of a plan since their latest attempt.
    leaving: tasks that are told to go elsewhere as soon as that is on disk. hosts: of services that
    tasks are near to; near_services: jobs by such a service.
    """

    def __init__(
        self, core: Core, store: BoundStore, leaving: Collection[str], hosts: ServiceHosts
    ) -> None:
        self._core = core
        self._store = store
        self._leaving = leaving
        self.near_services: dict[str, dict[str, None]] = {}
        self.books = BoundBooks()
        self.nodes = BoundNodes(core.sites, self.books)
        self._wants = Wants(self.nodes, hosts)
        self.settled = False
        self.stale: dict[str, None] = {}
        self.adjusted: dict[str, None] = {}
        self.fresh: dict[str, None] = {}
        # Of each job's tasks: what they ask for, and why that cannot be said.
        self._pods: dict[str, tuple[tuple[PodRecord, ...], tuple[str, ...]]] = {}
        # Jobs with a task that has no attempt, and of which is kept where it shall run.
        self._between: dict[str, Job] = {}
        # By task: its node, which is gone.
        self._fallen: dict[str, str] = {}
        self._read_under = 0
        self._again: dict[str, None] = {}

    def load(self) -> None:
        """What is on disk, after the jobs."""
        self.stale = dict.fromkeys(self._store.bound)
        self.follow()

    # ---- following

    def follow(self) -> bool:
        """Read what has changed. Whether all is read."""
        batch = self._core.batch
        if self._read_under != self.nodes.names_version:
            self._read_under = self.nodes.names_version
            self._again.update(dict.fromkeys(batch.bound_jobs))
        changed = (*batch.bounds_changed, *list(self._again)[:MOST_JOBS])
        batch.bounds_changed.clear()
        for job_id in changed:
            self._read(job_id)
        return not self._again

    def services_changed(self, services: Collection[str]) -> None:
        """They have other hosts: jobs that are near to one are read again."""
        changed = self._core.batch.bounds_changed
        for service in services:
            changed.update(self.near_services.get(service, {}))

    def look_between(self) -> None:
        """Tasks without an attempt stay where they are planned to be only while nodes allow it."""
        for job_id in list(self._between):
            self._read(job_id)

    def between(self) -> list[Job]:
        """Jobs that may be about to start: some task has a place, and no attempt. In order."""
        jobs = self._between.values()
        return sorted(jobs, key=lambda job: (-job.record.spec.priority, job.arrival))

    def forgotten(self) -> Sequence[str]:
        """The stale ones, which are not any more."""
        names = tuple(self.stale)
        self.stale.clear()
        return names

    @property
    def failed(self) -> tuple[str, ...]:
        """Nodes that are gone, whose tasks want to run."""
        return tuple(sorted(set(self._fallen.values())))

    def gangs(self) -> Iterator[Waiting]:
        """The head of the queue."""
        n_tasks = 0
        for _, gang in self._core.batch.bound_queue.after(None):
            n_tasks += len(gang.tasks)
            if n_tasks > MAX_WINDOW:
                break
            pods, unknown = self._pods[gang.job_id]
            new = [
                task.task_index
                for task in gang.tasks
                if pods[task.task_index].name not in self.books.tasks
            ]
            why = next((unknown[index] for index in new if unknown[index]), "")
            if new:
                yield Waiting(gang, tuple(pods[index] for index in new), why)

    def waits(self, waiting: Waiting) -> bool:
        """Whether it is in the queue as it was, and asks for the same."""
        gang = waiting.gang
        if self._core.batch.bound_queue.get(gang.job_id) is not gang:
            return False
        pods, _ = self._pods[gang.job_id]
        return all(
            pod.name not in self.books.tasks and pods[task_of(pod.name)[1]] == pod
            for pod in waiting.pods
        )

    def asked_by(self, record: JobRecord) -> tuple[tuple[PodRecord, ...], str]:
        """What the tasks of any job ask for; and why that cannot be said, "" where it can."""
        indices = range(len(record.tasks))
        why = next(filter(None, (self._wants.unknown(record, index) for index in indices)), "")
        return tuple(self._wants.pod(record, index) for index in indices), why

    # ---- one job

    def _read(self, job_id: str) -> None:
        self._again.pop(job_id, None)
        jobs = self._core.batch.bound_jobs
        job = jobs.get(job_id)
        if job is None:
            return
        record = job.record
        active = any(task.state in ACTIVE for task in record.tasks)
        if self._core.ledger.jobs.get(job_id) is not job or (record.state.ended and not active):
            # It has ended, or was never stored.
            for index in range(len(record.tasks)):
                self._set(task_name(job_id, index), None)
            del jobs[job_id]
            self._near(job_id, self._pods.pop(job_id, ((), ()))[0], leaves=True)
            self._between.pop(job_id, None)
            return
        indices = range(len(record.tasks))
        pods = tuple(self._wants.pod(record, index) for index in indices)
        unknown = tuple(self._wants.unknown(record, index) for index in indices)
        self._near(job_id, self._pods.get(job_id, ((), ()))[0], leaves=True)
        self._near(job_id, pods, leaves=False)
        self._pods[job_id] = pods, unknown
        between = False
        for index in indices:
            task = self._task(job, index, pods[index], known=not unknown[index])
            self._set(pods[index].name, task)
            between |= record.tasks[index].state is JobState.PENDING and (
                pods[index].name in self._store.bound
            )
        if between:
            self._between[job_id] = job
        else:
            self._between.pop(job_id, None)

    def _near(self, job_id: str, pods: Iterable[PodRecord], *, leaves: bool) -> None:
        for service in sorted({service_of(pod.near) for pod in pods} - {""}):
            if not leaves:
                self.near_services.setdefault(service, {})[job_id] = None
                continue
            jobs = self.near_services[service]
            del jobs[job_id]
            if not jobs:
                del self.near_services[service]

    def _set(self, name: str, task: BoundTask | None) -> None:
        if task != self.books.tasks.get(name):
            self.books.put(name, task)
        kept = self._store.bound.get(name)
        if kept is not None and task is None:
            self.stale[name] = None
        else:
            self.stale.pop(name, None)
        if task is not None and task.bound != kept:
            self.adjusted[name] = None
        else:
            self.adjusted.pop(name, None)
        if task is None or task.at:
            self._fallen.pop(name, None)
            self.fresh.pop(name, None)

    def _task(self, job: Job, index: int, pod: PodRecord, *, known: bool) -> BoundTask | None:
        record, task = job.record, job.record.tasks[index]
        before = self._store.bound.get(pod.name)
        if before is not None and known and before.pod != pod:
            # What it wants to be near to may have ended, or be elsewhere by now.
            before = replace(before, pod=pod)
        if task.state in ACTIVE:
            at = node_name(task.edge, task.node)
            bound = before or BoundRecord(pod, at)
            told = task.evicting or pod.name in self._leaving
            if bound.node != at and not (bound.node and told):
                # Where it is counts, unless it was told to go elsewhere.
                bound = replace(bound, node=at)
            return BoundTask(bound, at)
        if task.state is JobState.PENDING and before is not None and not stopping(record):
            last = node_name(task.edge, task.node) if task.node else ""
            anew = last == before.node or bool(job.refusals.get(index))
            if self._stays(before, anew=anew and pod.name not in self.fresh):
                return BoundTask(before)
        return None

    def _stays(self, before: BoundRecord, *, anew: bool) -> bool:
        """Whether what was kept of a task without an attempt says where it shall run.

        anew: it has just been there, or was refused somewhere, and is to be placed again.
        """
        node, name = before.node, before.pod.name
        self._fallen.pop(name, None)
        if not node:
            return True
        edge, _, bare = node.partition("/")
        site = self._core.sites.by_name.get(edge)
        view = site.nodes.get(bare) if site is not None else None
        if site is not None and self.nodes.gone(node):
            if bare in site.held and not (view is not None and view.draining):
                # Others are not given up yet: they must not be taken along.
                return False
            self._fallen[name] = node
            return True
        if site is None or view is None or site.session is None:
            # No attempt is there: it need not wait for a site that may never come back.
            return not self.settled
        return not view.cordoned and not anew
