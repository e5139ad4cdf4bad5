"""Tasks with delay bounds and backups: placed, kept within their bounds, and run again elsewhere.

A BoundRule says where; this carries it out by the means that every task has. A task whose bound is
broken is marked on disk and stopped, as on a drained node, and placed when its attempt has ended; a
task whose node is given up is placed on its backup. So of no task two attempts are wanted at once.
What a plan keeps free, for backups and for tasks on their way, no other job is offered.

Plans are made after every change of such a job, and every LOOK_S while there are any: delays,
nodes and free room change meanwhile. They are made here and not as a Solve: what they rest on and
what comes of them is then one step, and no plan is old.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tango.controllers.central import jobs as rules
from tango.controllers.central.bound_facts import Facts, claimed
from tango.controllers.central.bound_store import BoundStore
from tango.controllers.central.bound_words import (
    NO_RULE,
    NO_RULE_FIX,
    check_nodes,
    refuse,
    what_became,
)
from tango.controllers.central.core import Core
from tango.controllers.central.delay_table import DelayTable
from tango.controllers.central.jobs import ACTIVE, stopping
from tango.controllers.central.ledger import Job, SendStart, SendStop
from tango.model.bounds import BoundPlan, BoundRule, BoundSnapshot, BoundTask, node_name, task_name
from tango.model.decision import JOB_BOUND, JOB_EVICT
from tango.model.events import DelaysMeasured
from tango.model.job import JobRecord, JobSpec, has_bounds
from tango.model.messages import EdgeState, NodesChanged
from tango.model.placements import BoundRecord, ReservationRecord
from tango.model.round_trips import RoundTrip
from tango.model.settings import DelaySettings, DelaySource

# Between two plans, and until the next where nothing asks for one.
GAP_S = 0.1
LOOK_S = 1.0
# Edges tell their nodes more often than they have measured anew.
OWN_UPDATE_S = 1.0
# After a site has dialled in, its nodes, and other sites, may be yet to come.
SETTLE_S = 10.0
ELSEWHERE = "it shall run within its bound again, on"


class Bounds:
    """rule: None where the central master runs without numpy: such jobs are refused."""

    def __init__(self, core: Core, settings: DelaySettings, rule: BoundRule | None) -> None:
        self._core = core
        self._rule = rule
        self._own = settings.source is DelaySource.OWN
        every_s = OWN_UPDATE_S if self._own else 0.0
        self.table = DelayTable(settings.updates, settings.max_age_s, every_s)
        self.store = BoundStore(core)
        self._due_at = math.inf
        self._last = -math.inf
        self._seen: object = None
        # From when on a node that is not known is none.
        self._settled_at = math.inf

    def load(
        self, bound: Mapping[str, BoundRecord], reservations: Mapping[str, ReservationRecord]
    ) -> None:
        """What is on disk, after the jobs. What it reserves is reserved from now on."""
        self.store.load(bound, reservations)
        self._reserve()
        if bound or reservations:
            self._due_at = 0.0

    @property
    def due_at(self) -> float | None:
        """When the next plan, or write, is due."""
        times = [self.store.retry_at] if self.store.retry_at is not None else []
        if self._due_at < math.inf and self._rule is not None:
            times.append(self._due_at)
        return min(times, default=None)

    # ---- events

    def check(self, spec: JobSpec) -> None:
        """Raise InvalidField for a job that this cannot place; others are none of its business."""
        if not has_bounds(spec):
            return
        if self._rule is None:
            refuse(spec)
        known = [
            node_name(site.edge, node)
            for site in self._core.sites.by_name.values()
            for node in site.nodes
        ]
        check_nodes(spec, known, settled=self._core.now >= self._settled_at)

    def edge_told(self, edge: str, message: EdgeState | NodesChanged) -> None:
        """An edge told its nodes, and its round trips."""
        if self._own:
            trips = [RoundTrip(edge, trip.target, trip.rtt_s) for trip in message.trips]
            self.table.told(edge, trips, self._core.now)
        if isinstance(message, EdgeState):
            self._settled_at = self._core.now + SETTLE_S
        self._look_soon()

    def measured(self, event: DelaysMeasured) -> None:
        """A file or Goldpinger was read."""
        self.table.told("", event.trips, self._core.now)
        self._look_soon()

    def _look_soon(self) -> None:
        if self._core.batch.bound_jobs or self.store.bound:
            self._due_at = min(self._due_at, max(self._last + LOOK_S, self._core.now))

    def shown(self, record: JobRecord) -> JobRecord:
        """The job, its tasks with their backups and what is not as it should be."""
        tasks = tuple(
            replace(task, backup=one.backup, warning=one.warning)
            if (one := self.store.bound.get(task_name(record.job_id, index))) is not None
            and not task.state.ended
            else task
            for index, task in enumerate(record.tasks)
        )
        return replace(record, tasks=tasks)

    # ---- plans

    def pump(self) -> None:
        """Make a plan if one is due, and carry it out; write what is to be written."""
        core, batch = self._core, self._core.batch
        batch.enter_due(core.now)
        if batch.bounds_due:
            batch.bounds_due = False
            self._due_at = min(self._due_at, max(self._last + GAP_S, core.now))
        if core.now >= self._due_at:
            self._due_at = math.inf
            if self._rule is None:
                self._wait_for_rule()
            else:
                self._last = core.now
                self._plan(self._rule)
        self.store.flush()

    def _wait_for_rule(self) -> None:
        for _, gang in self._core.batch.bound_queue.after(None):
            job = self._core.ledger.jobs[gang.job_id]
            self._core.batch.wait(job, f"it {NO_RULE}: {NO_RULE_FIX}", self._core.now)

    def _plan(self, rule: BoundRule) -> None:
        core = self._core
        self._forget()
        before = self.store.bound
        settled = core.now >= self._settled_at
        facts = Facts(core, before, self.store.reservations, settled=settled)
        snapshot = BoundSnapshot(
            facts.nodes(),
            tuple(facts.known.values()),
            tuple(facts.gangs),
            tuple(sorted(self.store.reservations.items())),
            self.table.trips(),
            tuple(facts.failed),
            through_edges=self._own,
        )
        if not self._new(snapshot):
            return
        plan = rule.plan(snapshot)
        self.store.take(dict(plan.bound), dict(plan.reservations))
        for name, record in sorted(plan.bound.items()):
            self._carry_out(name, record, before.get(name), facts)
        self._place(plan, facts)
        self._reserve()

    def _new(self, snapshot: BoundSnapshot) -> bool:
        """Whether the plan may be another than the last one. Where nobody wants anything, how much
        is free does not matter."""
        nodes: tuple[object, ...] = snapshot.nodes
        if not any(
            one.bound.warning or one.bound.node != one.at for one in snapshot.tasks
        ) and not (snapshot.gangs or snapshot.failed):
            nodes = tuple((one.name, one.open) for one in snapshot.nodes)
        seen = nodes, replace(snapshot, nodes=())
        new = seen != self._seen or bool(self._core.batch.bound_queue)
        self._seen = seen
        return new

    def _reserve(self) -> None:
        """Keep free what is kept, of what no attempt of its own has taken by now."""
        at = {
            task_name(job_id, index): node_name(task.edge, task.node)
            for job_id, job in self._core.batch.bound_jobs.items()
            for index, task in enumerate(job.record.tasks)
            if task.state in ACTIVE
        }
        bound = self.store.bound
        tasks = (BoundTask(one, at.get(name, "")) for name, one in bound.items())
        claims = claimed(tasks, self.store.reservations)
        wanted = {}
        for name, size in claims.items():
            edge, _, node = name.partition("/")
            wanted[edge, node] = size
        if self._core.sites.reserve(wanted):
            self._core.batch.room_grew()

    def _forget(self) -> None:
        """Jobs that have ended, or were never stored, are of no interest any more."""
        jobs = self._core.batch.bound_jobs
        for job_id, job in list(jobs.items()):
            known = self._core.ledger.jobs.get(job_id) is job
            active = any(task.state in ACTIVE for task in job.record.tasks)
            if not known or (job.record.state.ended and not active):
                del jobs[job_id]

    def _carry_out(
        self, name: str, record: BoundRecord, before: BoundRecord | None, facts: Facts
    ) -> None:
        """Tell what changed; stop what shall run elsewhere."""
        core = self._core
        job_id, _, number = name.rpartition(".")
        job, index = core.ledger.jobs[job_id], int(number)
        task = job.record.tasks[index]
        known = facts.known.get(name)
        said = what_became(known, before, record, facts)
        if said:
            edge, _, node = record.node.partition("/")
            spec = job.record.spec.tasks[index]
            core.record(JOB_BOUND, job_id, spec.name, edge, node, record.backup, said)
        if known is None or not known.at or record.node in ("", known.at):
            return
        if task.evicting or task.migration is not None or stopping(job.record):
            return
        reason = f"{ELSEWHERE} {record.node}"
        if index in core.unsent(job):
            core.change(job, rules.refused(job.record, index, reason, core.wall, 0.0))
            return
        attempt = core.sites.attempts[task.attempt_id]
        core.record(
            JOB_EVICT, job_id, job.record.spec.tasks[index].name, task.attempt_id, attempt.edge,
            attempt.node, reason,
        )  # fmt: skip
        moved = rules.evicting(job.record, index, reason)
        core.change(job, moved, (SendStop(task.attempt_id, reason),))
        core.note("info", "attempt_moved", attempt=task.attempt_id, node=attempt.node)

    def _place(self, plan: BoundPlan, facts: Facts) -> None:
        """Start what has a place; tell the others why they wait."""
        core = self._core
        why = dict(plan.unplaced) | dict(facts.unknown)
        waits = dict(plan.waits)
        for _, gang in list(core.batch.bound_queue.after(None)):
            job = core.ledger.jobs[gang.job_id]
            places: dict[int, str] = {}
            reason = why.get(gang.job_id, "")
            for task in gang.tasks:
                name = task_name(gang.job_id, task.task_index)
                record = plan.bound.get(name)
                if record is not None and record.node:
                    places[task.task_index] = record.node
                else:
                    reason = reason or waits.get(name, "it has not been looked at yet")
            if len(places) == len(gang.tasks):
                reason = self._no_room(job, places)
            if reason:
                core.batch.wait(job, f"waiting for room: {reason}", core.now)
            else:
                self._start(job, places)

    def _no_room(self, job: Job, places: Mapping[int, str]) -> str:
        """Why these places cannot be taken yet, though they are kept: somebody is to leave first,
        or LC is in the way."""
        needs: dict[str, tuple[int, int]] = {}
        for index, node in places.items():
            spec = job.record.spec.tasks[index]
            cpu, memory = needs.get(node, (0, 0))
            needs[node] = cpu + spec.cpu_millis, memory + spec.memory_bytes
        for name, (cpu, memory) in sorted(needs.items()):
            edge, _, node = name.partition("/")
            free = self._core.sites.site(edge).free(node)
            if free is None:
                return f"its place, {name}, takes nothing new now"
            if free[0] < cpu or free[1] < memory:
                return f"its place, {name}, is not free yet"
        return ""

    def _start(self, job: Job, places: Mapping[int, str]) -> None:
        core = self._core
        nodes: dict[int, tuple[str, str]] = {}
        for index, name in places.items():
            edge, _, node = name.partition("/")
            nodes[index] = edge, node
        record = rules.assigned(job.record, nodes)
        job.told_reason = ""
        starts = [SendStart(record.tasks[index].attempt_id) for index in places]
        for start in starts:
            self.store.rest(start.attempt_id)
        core.change(job, record, starts)
        for index, (edge, node) in nodes.items():
            core.note("info", "placed", job=record.job_id, task=index, edge=edge, node=node)
