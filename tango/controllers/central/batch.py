"""Placement: which gangs wait, when the policy is asked, and what is committed of its plan.

One solve is outstanding at most. It sees a bounded window of the queue, so that the policy's cost
does not grow with the backlog, and all offers. The windows go through the queue by a cursor:
what stands before it was looked at under offers that have not grown since, so gangs that arrive
behind it are seen at once. When offers grow, the head of the queue gets the next solve (priority,
then arrival), and then the cursor goes on, in turns: constant small growth must neither let the
tail overtake the head nor keep the tail from ever being seen.

A plan is a proposal made on a reading that may be old by now: each gang of it is checked against
the present and committed whole, or stays in the queue.

Overtaking is bounded (overtaking.py): while one gang holds up the others, it alone is looked at.

A gang that could not run even if nothing else did is parked outside the queue, as soon as it would
enter it, until the nodes change: such gangs neither fill the windows nor hold anybody up.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from tango.controllers.central.edges import Sites
from tango.controllers.central.fits import Cores, fits, gang_of
from tango.controllers.central.images import Images
from tango.controllers.central.jobs import waiting
from tango.controllers.central.ledger import Job
from tango.controllers.central.never_fits import never_fits
from tango.controllers.central.overtaking import DEFAULT_MAX_OVERTAKEN, Overtaking
from tango.controllers.central.preemptible import preemptible
from tango.controllers.central.queue import GangQueue, Key
from tango.model.commands import Solve
from tango.model.decision import JOB_WAIT, Record
from tango.model.job import has_bounds
from tango.model.plan import BatchOffer, BatchPlan, BatchSnapshot, Gang, Placement

MAX_WINDOW = 128
GAP_S = 0.005
BARREN_GAP_S = 0.05
FAILED_GAP_S = 1.0
SOLVE_TIMEOUT_S = 30.0
_DUE_S = 1e-3


Commit = Callable[[Job, Mapping[int, Placement], Cores, int], None]


@dataclass(frozen=True, slots=True)
class Window:
    """The gangs of an outstanding solve, by job id. candidates: how many nodes it was shown."""

    solve_id: int
    gangs: dict[str, Gang]
    asked_at: float
    candidates: int


class Batch:
    """Waiting gangs and the outstanding solve. `now` is the shell's clock, `wall` unix seconds.

    max_overtaken: how many later jobs may be placed before the first that waits.
    strict, needs_node: what `marks_of` says of the policy.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        sites: Sites,
        seed: int,
        record: Record,
        max_overtaken: int = DEFAULT_MAX_OVERTAKEN,
        *,
        strict: bool = False,
        needs_node: bool = False,
        images: Images | None = None,
    ) -> None:
        self.strict = strict
        self.needs_node = needs_node
        self.queue = GangQueue()
        # Gangs that `bounds` places, and jobs that it is about.
        self.bound_queue = GangQueue()
        self.bound_jobs: dict[str, Job] = {}
        self.bounds_due = False
        # Those that have changed since `bounds` read them.
        self.bounds_changed: dict[str, None] = {}
        self.parked: dict[str, Job] = {}
        self.outstanding: Window | None = None
        self._jobs = jobs
        self._sites = sites
        self._images = images or Images()
        # Jobs that wait with tasks that name images.
        self._name_images: set[str] = set()
        self._overtaking = Overtaking(self.queue, jobs, sites, max_overtaken)
        self._record = record
        self._random = random.Random(seed)
        self._timers: list[tuple[float, int, Job]] = []
        self._timer_ids = 0
        self._solves = 0
        self._not_before = 0.0
        self._cursor: Key | None = None
        self._head_due = False
        self._head_had_turn = False
        self._again = False
        self._kept_free: frozenset[tuple[str, str]] = frozenset()
        # Of the latest placement that was committed.
        self._last = ("", "")
        self._parked_under = sites.version

    # ---- the queue

    def reconsider(self, job: Job, now: float, wall: float) -> None:
        """Bring queue and timers in line with the job as it is now."""
        record = job.record
        if has_bounds(record.spec):
            self.bound_jobs[record.job_id] = job
            self.reconsider_bounds(job)
        tasks, due_at = waiting(record) if job.durable is not None else ((), 0.0)
        if tasks == job.waits_for:
            return
        self._forget(job)
        if not tasks:
            return
        job.waits_for = tasks
        # The stored time is a wall time, and walls move: never wait longer than the rules say.
        delay = min(due_at - wall, max(record.spec.backoff_max_s, 10.0))
        if delay > _DUE_S:
            self._timer_ids += 1
            job.timer = self._timer_ids
            heapq.heappush(self._timers, (now + delay, job.timer, job))
        else:
            self._enter(job, now)

    def reconsider_bounds(self, job: Job) -> None:
        """Have a job with bounds read again, if it is one."""
        if job.record.job_id in self.bound_jobs:
            self.bounds_changed[job.record.job_id] = None
            self.bounds_due = True

    def rearm(self, now: float, wall: float) -> None:
        """The wall clock has become known: set all timers by it."""
        for job in [entry[2] for entry in self._timers if not _stale(entry)]:
            self._forget(job)
            self.reconsider(job, now, wall)

    def room_grew(self) -> None:
        """Some node offers more than before: every gang that waits deserves a new look."""
        self._head_due = True
        self._again = True

    @property
    def at_head(self) -> bool:
        """Whether the latest solve was shown the head of the queue."""
        return self._head_had_turn

    def keep_free(self, places: Collection[tuple[str, str]]) -> None:
        """Offer nothing of these nodes (edge, node) to anybody, from now on."""
        self._kept_free = frozenset(places)

    def head_first(self) -> None:
        """Whatever else is due, the head of the queue gets the next solve."""
        self._head_due = True
        self._head_had_turn = False

    def switched(self, *, strict: bool, needs_node: bool) -> None:
        """Another policy is asked from now on: every gang deserves a look, parked ones too."""
        self.strict = strict
        self.needs_node = needs_node
        self._sites.version += 1
        self.room_grew()

    def _forget(self, job: Job) -> None:
        job.waits_for = ()
        job.timer = 0
        job.wait_reason = ""
        job.fits_under = -1
        first = self.queue.first()
        if self.strict and first is not None and first[2] == job.record.job_id:
            # It may have kept lower priorities waiting.
            self.room_grew()
        self.queue.drop(job.record.job_id)
        self._name_images.discard(job.record.job_id)
        self.bound_queue.drop(job.record.job_id)
        self.parked.pop(job.record.job_id, None)

    def _enter(self, job: Job, now: float) -> None:
        job_id = job.record.job_id
        job.timer = 0
        gang = gang_of(job.record, job.waits_for)
        if self._never_fits(gang, job, now):
            self.parked[job_id] = job
            return
        if job_id in self.bound_jobs:
            self.bound_queue.put(job.arrival, gang)
            self.bounds_due = True
            return
        if any(task.images for task in gang.tasks):
            self._name_images.add(job_id)
        key = self.queue.put(job.arrival, gang)
        if self._cursor is not None and key <= self._cursor:
            self._cursor = (key[0], key[1], "")

    def _never_fits(self, gang: Gang, job: Job, now: float) -> bool:
        """Whether it could not run even if nothing else did; then that is why it waits."""
        if job.fits_under == self._sites.version or _has_backup(gang, job):
            return False
        needs_node = self.needs_node and gang.job_id not in self.bound_jobs
        reason = never_fits(gang, job.record, self._sites, needs_node=needs_node)
        if reason:
            self.wait(job, reason, now)
            return True
        job.fits_under = self._sites.version
        return False

    # ---- solves

    def enter_due(self, now: float) -> None:
        """Gangs whose backoff is over enter the queue, and who was parked before nodes changed."""
        while self._timers and (self._timers[0][0] <= now or _stale(self._timers[0])):
            entry = heapq.heappop(self._timers)
            if not _stale(entry):
                self._enter(entry[2], now)
        if self._parked_under != self._sites.version:
            self._parked_under = self._sites.version
            parked, self.parked = self.parked, {}
            for job in parked.values():
                job.wait_reason = ""
                self._enter(job, now)

    def pump(self, now: float) -> Solve | None:
        """Do what is due: retries enter the queue, and the policy is asked if that makes sense."""
        self.enter_due(now)
        if self._overtaking.over():
            # Others were not looked at meanwhile, whatever became free.
            self.room_grew()
        if self.outstanding is not None and now >= self.outstanding.asked_at + SOLVE_TIMEOUT_S:
            self.outstanding = None
            self.room_grew()
        if self.outstanding is not None or now < self._not_before or not self._due(now):
            return None
        offers = self._offers()
        gangs = self._window(now) if offers else {}
        if not gangs:
            return None
        self.outstanding = Window(self.next_solve(), gangs, now, len(offers))
        seed = self._random.getrandbits(31)
        running = preemptible(self._sites, self._jobs) if self._sites.elastic else ()
        asked = tuple(gangs.values())
        images = self._images.facts(asked) if not self._name_images.isdisjoint(gangs) else None
        snapshot = BatchSnapshot(asked, offers, seed, self._last, running, images)
        return Solve(self._solves, snapshot)

    def next_solve(self) -> int:
        """A number for a solve; those of `bounds` are from the same row."""
        self._solves += 1
        return self._solves

    def solved(self, solve_id: int, plan: BatchPlan, now: float, commit: Commit) -> int | None:
        """Commit what stands of the plan; returns how many gangs, None for another solve's plan."""
        window = self.outstanding
        if window is None or window.solve_id != solve_id:
            return None
        self.outstanding = None
        proposed: dict[str, dict[int, Placement]] = {}
        for placement in plan.placements:
            proposed.setdefault(placement.job_id, {})[placement.task_index] = placement
        n_placed = 0
        for job_id, nodes in proposed.items():
            gang = window.gangs.get(job_id)
            if gang is None or self.queue.get(job_id) is not gang:
                continue
            cores = fits(gang, nodes, self._sites)
            if cores is not None:
                self._overtaking.placed(job_id, self._cursor)
                commit(self._jobs[job_id], nodes, cores, window.candidates)
                self._last = [(one.edge, one.node) for one in nodes.values()][-1]
                n_placed += 1
            else:
                self.room_grew()
        reasons = {unplaced.job_id: unplaced.reason for unplaced in plan.unplaced}
        for job_id, gang in window.gangs.items():
            if self.queue.get(job_id) is gang:
                reason = reasons.get(job_id)
                text = f"waiting for room: {reason}" if reason else "waiting for room"
                job = self._jobs[job_id]
                self._overtaking.not_placed(job)
                self.wait(job, text, now)
        self._not_before = now + (GAP_S if n_placed else BARREN_GAP_S)
        return n_placed

    def solve_failed(self, solve_id: int, now: float) -> bool:
        """The policy raised: ask again after a while. False: not the outstanding solve."""
        if self.outstanding is None or self.outstanding.solve_id != solve_id:
            return False
        self.outstanding = None
        self._not_before = now + FAILED_GAP_S
        self.room_grew()
        return True

    def wake_at(self) -> float | None:
        """When `pump` has something to do by itself."""
        times = [self._timers[0][0]] if self._timers else []
        if self.outstanding is not None:
            times.append(self.outstanding.asked_at + SOLVE_TIMEOUT_S)
        elif self._due(math.inf) and self._has_offers():
            idle = self._overtaking.holds_up and not (self._head_due or self._again)
            at = self._overtaking.again_at if idle else 0.0
            times.append(max(self._not_before, at))
        return min(times, default=None)

    def _offers(self) -> tuple[BatchOffer, ...]:
        offers = self._sites.offers()
        if self._kept_free:
            offers = tuple(one for one in offers if (one.edge, one.node) not in self._kept_free)
        return offers

    def _has_offers(self) -> bool:
        return bool(self._offers()) if self._kept_free else self._sites.has_offers()

    def _due(self, now: float) -> bool:
        last = self.queue.last()
        if last is None:
            return False
        if self._overtaking.holds_up:
            return self._head_due or self._again or now >= self._overtaking.again_at
        return self._head_due or self._again or self._cursor is None or last > self._cursor

    def wait(self, job: Job, reason: str, now: float) -> None:
        """The job waits for this; recorded where it waited for something else before."""
        if job.told_reason != reason:
            self._record(JOB_WAIT, now, job.record.job_id, reason)
            job.told_reason = reason
        job.wait_reason = reason

    def _window(self, now: float) -> dict[str, Gang]:
        """The next gangs to look at, and the cursor moved behind them."""
        held_up = self._overtaking.holds_up
        alone = self._overtaking.alone(now)
        if alone is not None and not self._parks(alone, now):
            self._head_due = self._again = False
            self._head_had_turn = True
            return {alone.job_id: alone}
        if held_up or alone is not None:
            # No more: nobody was looked at meanwhile.
            self._cursor = None
        last = self.queue.last()
        behind = self._cursor is None or (last is not None and last > self._cursor)
        head = not behind or (self._head_due and not self._head_had_turn)
        if not behind or self._cursor is None:
            self._cursor = None
            self._again = False
        if head:
            self._head_due = False
        self._head_had_turn = head
        gangs: dict[str, Gang] = {}
        hopeless: list[Gang] = []
        n_tasks = 0
        begin = None if head else self._cursor
        first_key = self.queue.first()
        passed_over = begin is not None and first_key is not None and first_key <= begin
        for key, gang in self.queue.after(begin):
            n_tasks += len(gang.tasks)
            if n_tasks > MAX_WINDOW:
                break
            job = self._jobs[gang.job_id]
            if self._never_fits(gang, job, now):
                hopeless.append(gang)
            elif not (self.strict and passed_over and first_key and key[0] > first_key[0]):
                # Under a strict policy what was passed over keeps lower priorities waiting.
                gangs[gang.job_id] = gang
            if self._cursor is None or key > self._cursor:
                self._cursor = key
        else:
            if head:
                self._again = False
        for gang in hopeless:
            self._parks(gang, now)
        return gangs

    def _parks(self, gang: Gang, now: float) -> bool:
        """It could not run even if nothing else did: it leaves the queue."""
        job = self._jobs[gang.job_id]
        if not self._never_fits(gang, job, now):
            return False
        self.queue.drop(gang.job_id)
        self.parked[gang.job_id] = job
        return True


def _has_backup(gang: Gang, job: Job) -> bool:
    """Whether one of its tasks may run where its backup was, whatever node it names."""
    tasks, specs = job.record.tasks, job.record.spec.tasks
    return any(specs[one.task_index].backup and tasks[one.task_index].attempt for one in gang.tasks)


def _stale(entry: tuple[float, int, Job]) -> bool:
    return entry[2].timer != entry[1]
