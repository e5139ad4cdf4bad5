"""Carries out what is decided of tasks with bounds and backups, by the means of every task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tango.controllers.central import jobs as rules
from tango.controllers.central.bound_store import BoundStore
from tango.controllers.central.bound_words import what_became
from tango.controllers.central.core import Core
from tango.controllers.central.jobs import ACTIVE
from tango.controllers.central.ledger import Job, SendStart, SendStop
from tango.model.bounds import NOTHING, BoundLook, BoundTask, Size, node_name, task_name, task_of
from tango.model.cores import format_cores, ids_of, lowest
from tango.model.decision import JOB_BOUND, JOB_EVICT
from tango.model.fixed_ports import port_taken
from tango.model.placements import BoundRecord

ELSEWHERE = "it shall run within its bound again, on"
BETTER = "by a better plan it shall run on"


class Carrier:
    """Moves and starts; what is decided is on its way to the disk already.

    leaving: tasks that are stopped as soon as their new place and the room for their backup are on
    disk, and why.
    """

    def __init__(self, core: Core, store: BoundStore) -> None:
        self._core = core
        self._store = store
        self.leaving: dict[str, str] = {}

    def _job(self, name: str) -> tuple[Job, int]:
        job_id, index = task_of(name)
        return self._core.ledger.jobs[job_id], index

    def carry_out(
        self,
        name: str,
        record: BoundRecord,
        before: BoundRecord | None,
        known: BoundTask | None,
        failed: Iterable[str],
        look: BoundLook | None = None,
        *,
        wished: bool = False,
    ) -> None:
        """Tell what changed; what shall run elsewhere leaves. wished: by a better plan."""
        core = self._core
        job, index = self._job(name)
        job_id, spec = job.record.job_id, job.record.spec.tasks[index]
        task = job.record.tasks[index]
        said = what_became(known, before, record, failed, wished=wished)
        if said:
            edge, _, node = record.node.partition("/")
            core.record(JOB_BOUND, job_id, spec.name, edge, node, record.backup, said, look)
        if known is None or not known.at or record.node in ("", known.at) or task.evicting:
            return
        self.leaving[name] = f"{BETTER if wished else ELSEWHERE} {record.node}"

    def stop_ready(self) -> None:
        """Stop what is leaving, as far as all that it rests on is on disk."""
        for name, reason in list(self.leaving.items()):
            record = self._store.bound.get(name)
            if record is not None and self._store.unwritten(name, record.backup):
                continue
            del self.leaving[name]
            if record is not None and task_of(name)[0] in self._core.ledger.jobs:
                self._stop(name, record.node, reason)

    def _stop(self, name: str, target: str, reason: str) -> None:
        core = self._core
        job, index = self._job(name)
        job_id, spec = job.record.job_id, job.record.spec.tasks[index]
        task = job.record.tasks[index]
        there = task.state in ACTIVE and node_name(task.edge, task.node) not in ("", target)
        if not there or task.evicting or task.migration is not None or rules.stopping(job.record):
            # Where it is counts, after all.
            core.batch.reconsider_bounds(job)
            return
        if index in core.unsent(job):
            core.change(job, rules.refused(job.record, index, reason, core.wall, 0.0))
            return
        attempt = core.sites.attempts[task.attempt_id]
        core.record(
            JOB_EVICT, job_id, spec.name, task.attempt_id, attempt.edge, attempt.node, reason
        )
        moved = rules.evicting(job.record, index, reason)
        core.change(job, moved, (SendStop(task.attempt_id, reason),))
        core.note("info", "attempt_moved", attempt=task.attempt_id, node=attempt.node)

    def start_ready(self, jobs: Iterable[Job], tasks: Mapping[str, BoundTask]) -> None:
        """Start gangs of which each task has a place, and the room for it is free."""
        core = self._core
        for job in jobs:
            gang = core.batch.bound_queue.get(job.record.job_id)
            if gang is None:
                continue
            places: dict[int, str] = {}
            for task in gang.tasks:
                known = tasks.get(task_name(gang.job_id, task.task_index))
                if known is not None and known.bound.node:
                    places[task.task_index] = known.bound.node
            if len(places) < len(gang.tasks):
                continue
            reason = self._no_room(job, places)
            if reason:
                core.batch.wait(job, f"waiting for room: {reason}", core.now)
            else:
                self._start(job, places)

    def _no_room(self, job: Job, places: Mapping[int, str]) -> str:
        """Why these places cannot be taken yet, though they are kept: somebody is to leave first,
        or LC is in the way."""
        needs: dict[str, Size] = {}
        ports: dict[str, set[int]] = {}
        for index, node in places.items():
            spec = job.record.spec.tasks[index]
            need = Size(spec.cpu_millis, spec.memory_bytes, spec.cores)
            needs[node] = needs.get(node, NOTHING).plus(need)
            ports.setdefault(node, set()).update(spec.ports)
        for name, need in sorted(needs.items()):
            edge, _, node = name.partition("/")
            free = self._core.sites.site(edge).free(node)
            if free is None:
                return f"its place, {name}, takes nothing new now"
            if not need.within(free):
                return f"its place, {name}, is not free yet"
            taken = self._core.sites.site(edge).taken_ports(node) & ports[name]
            if taken:
                return f"its place, {name}, is not free yet: {port_taken(min(taken))}"
        return ""

    def _start(self, job: Job, places: Mapping[int, str]) -> None:
        core = self._core
        nodes: dict[int, tuple[str, str]] = {}
        cores: dict[int, tuple[int, ...]] = {}
        free: dict[str, int] = {}
        for index, name in places.items():
            edge, _, node = name.partition("/")
            nodes[index] = edge, node
            count = job.record.spec.tasks[index].cores
            if count:
                left = free[name] if name in free else core.sites.site(edge).free_cores(node)
                taken = lowest(left, count)
                cores[index], free[name] = ids_of(taken), left ^ taken
        record = rules.assigned(job.record, nodes, cores)
        job.told_reason = ""
        starts = [SendStart(record.tasks[index].attempt_id) for index in places]
        for start in starts:
            self._store.rest(start.attempt_id)
        core.change(job, record, starts)
        for index, (edge, node) in nodes.items():
            core.note(
                "info", "placed", job=record.job_id, task=index, edge=edge, node=node,
                cores=format_cores(record.tasks[index].cores),
            )  # fmt: skip
