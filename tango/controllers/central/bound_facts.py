"""What a rule for bounds and backups is shown, from the books: where tasks are, what nodes have.

A node that is away, or has not dialled in since a restart, is taken as it was, without free room:
backups there stay. One that is dead, drained, or unknown to its edge is gone: tasks that were there
run again on their backups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tango.controllers.central.core import Core
from tango.controllers.central.jobs import ACTIVE, stopping
from tango.controllers.central.ledger import Job
from tango.model.bounds import (
    ANYWHERE,
    BoundNode,
    BoundTask,
    node_name,
    task_name,
)
from tango.model.job import JobRecord, JobState
from tango.model.placements import (
    BoundRecord,
    PodRecord,
    RequirementRecord,
    ReservationRecord,
    TolerationRecord,
)

MAX_WINDOW = 128
_NOTHING = (0, 0)


class Facts:
    """One reading. known: tasks that have, or had, a place. failed: nodes that are gone, whose
    tasks want to run. gangs: those without a place, in order; unknown: (job, why) of those that
    name a node that nobody knows. settled: a site that has not dialled in by now may never do."""

    def __init__(
        self,
        core: Core,
        bound: dict[str, BoundRecord],
        reservations: dict[str, ReservationRecord],
        *,
        settled: bool,
    ) -> None:
        self._core = core
        self._settled = settled
        self._reservations = reservations
        self._nodes = {
            node_name(site.edge, name): (site, view)
            for site in core.sites.by_name.values()
            for name, view in site.nodes.items()
        }
        self._bare: dict[str, list[str]] = {}
        for name in sorted(self._nodes):
            self._bare.setdefault(name.partition("/")[2], []).append(name)
        self.failed: dict[str, None] = {}
        self.known: dict[str, BoundTask] = {}
        for job in core.batch.bound_jobs.values():
            self._tasks(job, bound)
        if self.failed:
            # A backup that does not answer now is no place to run again.
            for name, one in self.known.items():
                if one.bound.backup and not self._answers(one.bound.backup):
                    self.known[name] = replace(one, bound=replace(one.bound, backup=""))
        self.gangs: list[tuple[str, tuple[PodRecord, ...]]] = []
        self.unknown: list[tuple[str, str]] = []
        self._gangs()

    # ---- nodes

    def nodes(self) -> tuple[BoundNode, ...]:
        """All that matter: those that are known, and those that tasks or backups are on."""
        holds: dict[str, tuple[int, int]] = {}
        claims = claimed(self.known.values(), self._reservations)
        for one in self.known.values():
            if one.at:
                holds[one.at] = _plus(holds.get(one.at, _NOTHING), one.bound.pod)
        names = self._nodes.keys() | holds.keys() | claims.keys()
        return tuple(
            self._node(name, holds.get(name, _NOTHING), claims.get(name, _NOTHING))
            for name in sorted(names)
        )

    def _node(self, name: str, holds: tuple[int, int], claims: tuple[int, int]) -> BoundNode:
        edge = name.partition("/")[0]
        if name not in self._nodes:
            cpu, memory = holds[0] + claims[0], holds[1] + claims[1]
            return BoundNode(name, edge, cpu, memory, open=not self._gone(name))
        site, view = self._nodes[name]
        free = site.free(view.node) or _NOTHING
        # What is reserved stays so even while LC, which comes first, is in its place.
        cpu = holds[0] + max(free[0], claims[0])
        memory = holds[1] + max(free[1], claims[1])
        if not view.dead:
            cpu = max(holds[0], min(cpu, view.capacity.cpu_millis))
            memory = max(holds[1], min(memory, view.capacity.memory_bytes))
        taking = not (view.cordoned or self._gone(name))
        return BoundNode(
            name, edge, cpu, memory, open=taking, labels=view.labels, taints=view.taints
        )

    def _gone(self, name: str) -> bool:
        edge, _, node = name.partition("/")
        site = self._core.sites.by_name.get(edge)
        if site is None:
            return False
        view = site.nodes.get(node)
        if view is None:
            return site.session is not None and node not in site.held
        return view.dead or view.draining

    def _answers(self, name: str) -> bool:
        found = self._nodes.get(name)
        return found is not None and found[0].session is not None and found[1].ready

    # ---- tasks

    def _tasks(self, job: Job, kept: dict[str, BoundRecord]) -> None:
        record = job.record
        for index, task in enumerate(record.tasks):
            name = task_name(record.job_id, index)
            before = kept.get(name)
            if before is not None and not self.unknown_node(record, index):
                # What it wants to be near to may have ended, or be elsewhere by now.
                before = replace(before, pod=self._pod(record, index))
            if task.state in ACTIVE:
                at = node_name(task.edge, task.node)
                bound = before or BoundRecord(self._pod(record, index), at)
                if not bound.node or not task.evicting:
                    # Where it is counts, unless it was told to go elsewhere.
                    bound = replace(bound, node=at)
                self.known[name] = BoundTask(bound, at)
            elif task.state is JobState.PENDING and before is not None and not stopping(record):
                last = node_name(task.edge, task.node) if task.node else ""
                if self._stays(before, last, refused=bool(job.refusals.get(index))):
                    self.known[name] = BoundTask(before)

    def _stays(self, before: BoundRecord, last: str, *, refused: bool) -> bool:
        """Whether what was kept of a task without an attempt says where it shall run."""
        node = before.node
        if not node:
            return True
        edge, _, name = node.partition("/")
        if self._gone(node):
            site = self._core.sites.by_name[edge]
            view = site.nodes.get(name)
            if name in site.held and not (view is not None and view.draining):
                # Others are not given up yet: they must not be taken along.
                return False
            self.failed[node] = None
            return True
        found = self._nodes.get(node)
        if found is None or found[0].session is None:
            # No attempt is there: it need not wait for a site that may never come back.
            return not self._settled
        return not found[1].cordoned and node != last and not refused

    def _gangs(self) -> None:
        n_tasks = 0
        for _, gang in self._core.batch.bound_queue.after(None):
            n_tasks += len(gang.tasks)
            if n_tasks > MAX_WINDOW:
                break
            record = self._core.ledger.jobs[gang.job_id].record
            new = [
                task.task_index
                for task in gang.tasks
                if task_name(gang.job_id, task.task_index) not in self.known
            ]
            why = next(filter(None, (self.unknown_node(record, index) for index in new)), "")
            if why:
                self.unknown.append((gang.job_id, why))
            elif new:
                pods = tuple(self._pod(record, index) for index in new)
                self.gangs.append((gang.job_id, pods))

    def unknown_node(self, record: JobRecord, index: int) -> str:
        """Why the node that a task wants to be near to is none that is known; "" if it is."""
        near = record.spec.tasks[index].near
        if near is None or not near.node or near.node in self._nodes:
            return ""
        found = self._bare.get(near.node, ())
        if len(found) == 1:
            return ""
        if found:
            return f"several sites have a node {near.node}: write {' or '.join(found)}"
        return f"no node is named {near.node}"

    def _pod(self, record: JobRecord, index: int) -> PodRecord:
        spec = record.spec.tasks[index]
        near, within_s = ANYWHERE, None
        if spec.near is not None:
            within_s = spec.near.within_s
            near = self._reference(record, spec.near.node, spec.near.task)
        return PodRecord(
            task_name(record.job_id, index),
            spec.cpu_millis,
            spec.memory_bytes,
            near=near,
            bound_s=within_s,
            requires=tuple(
                RequirementRecord(one.key, one.operator, one.values) for one in spec.requires
            ),
            tolerations=tuple(
                TolerationRecord(one.key, one.value, one.effect) for one in spec.tolerations
            ),
            priority=record.spec.priority,
            protected=spec.backup,
        )

    def _reference(self, record: JobRecord, node: str, task: str) -> str:
        if node:
            found = self._bare.get(node, ())
            return found[0] if len(found) == 1 else node
        index = next(i for i, spec in enumerate(record.spec.tasks) if spec.name == task)
        reference = record.tasks[index]
        if reference.state.ended and reference.node:
            return node_name(reference.edge, reference.node)
        return task_name(record.job_id, index)


def claimed(
    tasks: Iterable[BoundTask], reservations: Mapping[str, ReservationRecord]
) -> dict[str, tuple[int, int]]:
    """What nodes keep for backups, and for tasks that shall run there and do not yet."""
    claims = {name: (one.cpu_millis, one.memory_bytes) for name, one in reservations.items()}
    for one in tasks:
        node = one.bound.node
        if node and node != one.at:
            claims[node] = _plus(claims.get(node, _NOTHING), one.bound.pod)
    return claims


def _plus(sums: tuple[int, int], pod: PodRecord) -> tuple[int, int]:
    return sums[0] + pod.cpu_millis, sums[1] + pod.memory_bytes
