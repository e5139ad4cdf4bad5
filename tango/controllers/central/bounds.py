"""Tasks with delay bounds and backups: placed, kept within their bounds, and run again elsewhere.

A BoundRule says where, beside the loop (Solve); this carries out what of its plan still holds, by
the means that every task has. A task whose bound is broken is marked on disk and stopped, as on a
drained node, and placed when its attempt has ended; a task whose node is given up is placed on its
backup. So of no task two attempts are wanted at once. What a plan keeps free, for backups and for
tasks on their way, no other job is offered.

One plan is asked for at a time: after every change of such a job, and every LOOK_S while there are
any, if the facts have changed: delays, nodes and free room do meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tango.controllers.central.bound_carry import Carrier
from tango.controllers.central.bound_check import Asked, Check
from tango.controllers.central.bound_facts import Facts
from tango.controllers.central.bound_invariants import check
from tango.controllers.central.bound_present import Present
from tango.controllers.central.bound_store import BoundStore
from tango.controllers.central.bound_words import (
    NO_RULE,
    NO_RULE_FIX,
    check_nodes,
    refuse,
)
from tango.controllers.central.core import Core
from tango.controllers.central.delay_table import DelayTable
from tango.controllers.central.service_hosts import ServiceHosts
from tango.model.bounds import (
    NOTHING,
    BoundPlan,
    BoundRule,
    BoundService,
    BoundSnapshot,
    BoundTask,
    kept_on,
    service_of,
    service_reference,
    size_of,
    task_name,
    task_of,
)
from tango.model.commands import Solve
from tango.model.events import BoundsSolved, DelaysMeasured
from tango.model.improvement import Wish
from tango.model.job import JobRecord, JobSpec, has_bounds
from tango.model.messages import EdgeState, NodesChanged
from tango.model.placements import BoundRecord, PodRecord, ReservationRecord
from tango.model.settings import DelaySettings, DelaySource

# Between two plans, and until the next where nothing asks for one.
GAP_S = 0.1
LOOK_S = 1.0
# After a plan that failed, and until one that never came is given up.
FAILED_GAP_S = 1.0
SOLVE_TIMEOUT_S = 30.0
# Edges tell their nodes more often than they have measured anew.
OWN_UPDATE_S = 1.0
# After a site has dialled in, its nodes, and other sites, may be yet to come.
SETTLE_S = 10.0
# Rows of nodes that one `handle` makes anew.
MOST_ROWS = 24
MOVED_ON = "it is planned again, for what it was planned on has changed meanwhile"


class Bounds:
    """has_rule: whether there is one (it needs numpy); else such jobs are refused."""

    def __init__(self, core: Core, settings: DelaySettings, rule: BoundRule | None) -> None:
        self._core = core
        self.has_rule = rule is not None
        self._own = settings.source is DelaySource.OWN
        every_s = OWN_UPDATE_S if self._own else 0.0
        self.table = DelayTable(settings.updates, settings.max_age_s, every_s)
        self.store = BoundStore(core)
        self._carrier = Carrier(core, self.store)
        self._hosts = ServiceHosts(settings.updates * OWN_UPDATE_S)
        self._facts = Facts(core, self.store, self._carrier.leaving, self._hosts)
        self._asked: Asked | None = None
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
        for record in reservations.values():
            self._facts.books.resize(record.node, size_of(record))
        self._facts.books.take_resized()
        self._facts.load()
        self._reserve()
        if bound or reservations:
            self._due_at = 0.0

    @property
    def due_at(self) -> float | None:
        """When the next plan, or write, is due."""
        times = [self.store.retry_at] if self.store.retry_at is not None else []
        if self._asked is not None:
            times.append(self._asked.at + SOLVE_TIMEOUT_S)
        elif self._due_at < math.inf and self.has_rule:
            times.append(self._due_at)
        return min(times, default=None)

    # ---- events

    def check(self, spec: JobSpec) -> None:
        """Raise InvalidField for a job that this cannot place; others are none of its business."""
        if not has_bounds(spec):
            return
        if not self.has_rule:
            refuse(spec)
        self._facts.nodes.refresh(0)
        check_nodes(spec, self._facts.nodes, settled=self._core.now >= self._settled_at)

    def edge_told(self, edge: str, message: EdgeState | NodesChanged) -> None:
        """An edge told its nodes, and its round trips."""
        if self._own:
            self.table.told(edge, message.trips, self._core.now)
        if isinstance(message, EdgeState):
            self._settled_at = self._core.now + SETTLE_S
        self._hosts.told(edge, message.nodes, self._core.now)
        self._facts.services_changed(sorted(self._hosts.take_changed()))
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

    def validate(self) -> None:
        """Raise AssertionError where the books contradict one another. Linear: for tests."""
        check(self._core, self._facts, self.store)

    # ---- plans

    def pump(self) -> None:
        """Follow what has changed, ask for a plan if one is due; write what is to be written."""
        core, batch = self._core, self._core.batch
        batch.enter_due(core.now)
        if batch.bounds_due:
            batch.bounds_due = False
            self._due_at = min(self._due_at, max(self._last + GAP_S, core.now))
        if batch.bound_jobs or self._facts.stale or self._facts.books.sizes:
            current = self._follow()
            self._carrier.stop_ready()
            if self._asked is not None and core.now >= self._asked.at + SOLVE_TIMEOUT_S:
                self._again(0.0)
            if self._asked is None and core.now >= self._due_at:
                self._look(current=current)
        else:
            self._due_at = math.inf
        self.store.flush()

    def solved(self, event: BoundsSolved) -> None:
        """A plan has come: take what holds of it."""
        asked = self._asked
        if asked is None or event.solve_id != asked.solve_id:
            return
        self._asked = None
        facts = self._facts
        self._follow()
        facts.look_between()
        records, whole = self._taken(asked, event.plan)
        self._tell(asked, event.plan, records)
        for name, record in records.items():
            known = asked.tasks.get(name)
            if record.node and (known is None or known.bound.node != record.node):
                facts.fresh[name] = None
        changed_jobs = (task_of(name)[0] for name in records)
        self._core.batch.bounds_changed.update(dict.fromkeys(changed_jobs))
        self._follow()
        self._carrier.start_ready(facts.between(), facts.books.tasks)
        self._follow()
        if not whole:
            self._again(GAP_S)

    def _taken(
        self, asked: Asked, plan: BoundPlan, *, wished: bool = False
    ) -> tuple[dict[str, BoundRecord], bool]:
        """What holds of a plan, kept and carried out; and whether that is all of it."""
        facts, nodes = self._facts, self._facts.nodes
        present = Present(
            self._core, nodes, self.table, asked.delays, self._hosts, through_edges=self._own
        )
        records, whole = Check(facts, asked, plan, present).take(least=wished)
        kept = self.store.bound
        changed = {name: kept.get(name) for name, one in records.items() if kept.get(name) != one}
        self.store.keep(records, ())
        failed = asked.snapshot.failed
        looks = {look.task: look for look in plan.looks}
        for name in sorted(changed):
            known, look = asked.tasks.get(name), looks.get(name)
            self._carrier.carry_out(
                name, records[name], changed[name], known, failed, look, wished=wished
            )
        return records, whole

    # ---- better plans for tasks that run (improve.py), and trials (trying.py)

    def reading(self) -> tuple[BoundSnapshot, int] | None:
        """The facts of now without what waits, and the version of the delays among them; None
        while they are being read: ask again in the next `handle`."""
        if not self._follow():
            return None
        facts, tasks = self._facts, tuple(self._facts.books.tasks.values())
        return self._snapshot(tasks, (), facts.failed), self.table.version

    def pods(self, record: JobRecord) -> tuple[tuple[PodRecord, ...], str]:
        """What the tasks of a job ask for; and why that cannot be said, "" where it can."""
        return self._facts.asked_by(record)

    def wish(self, wishes: Iterable[Wish], delays: int) -> set[str]:
        """Take what holds of these wishes now; answers with the tasks of which that is so.

        delays: the version that they were made with.
        """
        self._follow()
        tasks = dict(self._facts.books.tasks)
        records = tuple(
            replace(tasks[one.task].bound, node=one.node, backup=one.backup, warning=one.warning)
            for one in wishes
            if one.task in tasks and self._takes(tasks[one.task], one.node)
        )
        asked = Asked(0, self._snapshot((), (), ()), tasks, {}, (), delays, self._core.now)
        taken, _ = self._taken(asked, BoundPlan(records, (), ()), wished=True)
        self._core.batch.bounds_due = True
        self._follow()
        return set(taken)

    def _takes(self, task: BoundTask, node: str) -> bool:
        """Whether the task is there, and not on its way, or could be started there now for all that
        is known."""
        edge, _, bare = node.partition("/")
        stays = bool(task.at) and task.bound.node == task.at
        return stays and (task.at == node or self._core.sites.site(edge).free(bare) is not None)

    def _snapshot(
        self,
        tasks: tuple[BoundTask, ...],
        gangs: tuple[tuple[str, tuple[PodRecord, ...]], ...],
        failed: tuple[str, ...],
    ) -> BoundSnapshot:
        return BoundSnapshot(
            self._facts.nodes.all(),
            tasks,
            gangs,
            self.store.listed(),
            self.table.trips(),
            failed,
            through_edges=self._own,
            services=self.services(),
        )

    def services(self, pods: Iterable[PodRecord] = ()) -> tuple[BoundService, ...]:
        """Those that tasks are near to, or these are, with their hosts of now."""
        names = {service_of(pod.near) for pod in pods} - {""}
        sure = self._core.now >= self._settled_at
        return tuple(
            BoundService(service_reference(name), self._hosts.hosts(name), sure)
            for name in sorted(names | self._facts.near_services.keys())
        )

    def solve_failed(self, solve_id: int) -> bool:
        """The rule raised: ask again after a while. False: not the outstanding solve."""
        if self._asked is None or self._asked.solve_id != solve_id:
            return False
        self._again(FAILED_GAP_S)
        return True

    def _again(self, gap_s: float) -> None:
        """The same facts deserve another plan."""
        self._asked = None
        self._seen = None
        self._due_at = self._core.now + gap_s

    def _follow(self) -> bool:
        """Bring facts, reservations and rows up to what has changed. Whether all is as of now."""
        facts, books = self._facts, self._facts.books
        facts.settled = self._core.now >= self._settled_at
        read = facts.follow()
        self.store.keep({}, facts.forgotten())
        books.shrink()
        self._reserve()
        return facts.nodes.refresh(MOST_ROWS) and read

    def _reserve(self) -> None:
        """Keep free what is kept, of what no attempt of its own has taken by now."""
        core, books = self._core, self._facts.books
        for node in books.take_resized():
            self.store.reserve(kept_on(node, books.sizes.get(node, NOTHING)))
        for name in sorted(books.take_changed()):
            edge, _, node = name.partition("/")
            if core.sites.reserve(edge, node, books.claims(name), books.claimed_ports(name)):
                core.batch.room_grew()
            self._facts.nodes.keep(name)

    def _look(self, *, current: bool) -> None:
        """Ask for a plan, if it may be another than the last one."""
        core, facts = self._core, self._facts
        if not self.has_rule:
            self._due_at = math.inf
            self._wait_for_rule()
            return
        if not current:
            # What is to be read takes more than one `handle`: at once again.
            return
        self._due_at = math.inf
        self._last = core.now
        facts.look_between()
        self._carrier.start_ready(facts.between(), facts.books.tasks)
        self._follow()
        asked = self._ask()
        if asked is not None:
            self._asked = asked
            core.out.append(Solve(asked.solve_id, asked.snapshot))

    def _ask(self) -> Asked | None:
        """The facts of now, if they are new."""
        core, facts, books = self._core, self._facts, self._facts.books
        waiting = tuple(facts.gangs())
        for one in waiting:
            if one.unknown:
                job = core.ledger.jobs[one.gang.job_id]
                core.batch.wait(job, f"waiting for room: {one.unknown}", core.now)
        gangs = tuple(one for one in waiting if not one.unknown)
        failed = facts.failed
        # Where nobody wants anything, how much is free does not matter.
        wants = bool(books.uneasy or gangs or failed or facts.adjusted)
        nodes = facts.nodes.version if wants else facts.nodes.open_version
        delays = self.table.version, self.services()
        seen = (wants, nodes, books.version, delays, gangs, failed)
        if seen == self._seen:
            return None
        self._seen = seen
        if not (books.tasks or gangs or books.sizes):
            return None
        tasks = dict(books.tasks)
        wanted = {name: tasks[name].bound for name in facts.adjusted}
        shown: dict[str, BoundTask] = tasks
        if failed:
            # A backup that does not answer now is no place to run again.
            shown = {name: self._answering(task) for name, task in tasks.items()}
            wanted |= {name: task.bound for name, task in shown.items() if task is not tasks[name]}
        snapshot = self._snapshot(
            tuple(shown.values()), tuple((one.gang.job_id, one.pods) for one in gangs), failed
        )
        number = core.batch.next_solve()
        return Asked(number, snapshot, tasks, wanted, gangs, self.table.version, core.now)

    def _answering(self, task: BoundTask) -> BoundTask:
        backup = task.bound.backup
        if not backup or self._facts.nodes.answers(backup):
            return task
        return replace(task, bound=replace(task.bound, backup=""))

    def _wait_for_rule(self) -> None:
        for _, gang in self._core.batch.bound_queue.after(None):
            job = self._core.ledger.jobs[gang.job_id]
            self._core.batch.wait(job, f"it {NO_RULE}: {NO_RULE_FIX}", self._core.now)

    def _tell(self, asked: Asked, plan: BoundPlan, records: Mapping[str, BoundRecord]) -> None:
        """Why those wait that have no place."""
        core = self._core
        why = dict(plan.unplaced)
        for name, reason in plan.waits:
            why.setdefault(task_of(name)[0], reason)
        for one in asked.gangs:
            if any(pod.name not in records for pod in one.pods):
                why.setdefault(one.gang.job_id, MOVED_ON)
        for job_id, reason in why.items():
            if job_id in core.batch.bound_queue:
                core.batch.wait(core.ledger.jobs[job_id], f"waiting for room: {reason}", core.now)
