"""A better plan for tasks with bounds and backups while it is carried out, wave by wave."""

from __future__ import annotations

from dataclasses import replace

from tango.controllers.central.bounds import Bounds
from tango.controllers.central.core import Core
from tango.controllers.central.jobs import ACTIVE, stopping
from tango.model.bounds import node_name, task_of
from tango.model.improvement import (
    BoundTotals,
    Improvement,
    ImproveView,
    MoveState,
    TaskMove,
    Wish,
)
from tango.model.job import JobRecord

# For a wave: whoever has no room at its target by then waits there without the others.
WAVE_S = 300.0
CHANGED = "things have changed since the plan was made"
ENDED = "it has ended"
# How the warning of a task begins that is outside its bound (delay_books, which needs numpy).
OUTSIDE = "outside its bound"


class Run:
    """moves: of the plan, by task. stopped: why not all of it was done. delays: the version that it
    was made with."""

    def __init__(self, core: Core, bounds: Bounds, plan: Improvement, delays: int) -> None:
        self._core = core
        self._bounds = bounds
        self._plan = plan
        self._delays = delays
        self._waves = list(plan.waves)
        self._moving: tuple[Wish, ...] = ()
        self._begun = False
        self.due_at: float | None = None
        self.stopped = ""
        self.moves: dict[str, TaskMove] = {}
        rebacked: set[str] = set()
        for wish in (wish for wave in plan.waves for wish in wave):
            known = bounds.store.bound.get(wish.task)
            if wish.task in self.moves:
                self.moves[wish.task] = replace(self.moves[wish.task], backup=wish.backup)
            elif known is not None and known.node == wish.node:
                rebacked.add(wish.task)
            else:
                self.moves[wish.task] = self._move(wish)
        self._rebacked = len(rebacked - self.moves.keys())

    @property
    def done(self) -> bool:
        """Nothing more will happen."""
        return not self._waves and not self._moving

    def view(self) -> ImproveView:
        """For people."""
        return ImproveView(
            self._plan.before, self._plan.after, totals(self._bounds),
            tuple(self.moves.values()), self._rebacked, self._plan.why_not,
            applied=self._begun, done=self.done or not self._begun, stopped=self.stopped,
        )  # fmt: skip

    def begin(self) -> None:
        """The first wave, and all that need not wait for it."""
        self._begun = True
        self._go_on()

    def pump(self) -> bool:
        """See who has arrived; the next wave, when all have. Whether nothing more will happen."""
        self._moving = tuple(wish for wish in self._moving if self._on_its_way(wish))
        if self._moving and self.due_at is not None and self._core.now >= self.due_at:
            task = self.moves[self._moving[0].task]
            self.stopped = f"{task.job_id}/{task.task} has not begun again after {WAVE_S:g} s"
            self._moving = ()
        if not self._moving:
            self._go_on()
        return self.done

    def _go_on(self) -> None:
        self.due_at = None
        while self._waves and not self._moving and not self.stopped:
            self._begin(self._waves.pop(0))
        if self.stopped and not self._moving:
            self._waves = []

    def _begin(self, wave: tuple[Wish, ...]) -> None:
        """What of a wave holds; where something does not, what follows is no plan any more."""
        taken = self._bounds.wish(wave, self._delays)
        leaving: list[Wish] = []
        for wish in wave:
            move = self.moves.get(wish.task)
            # One that moves may get another backup before that, and after it.
            moves = (
                move is not None and move.state is MoveState.PLANNED and move.target == wish.node
            )
            if wish.task in taken:
                if moves:
                    self._note(wish, MoveState.MOVING)
                    leaving.append(wish)
                continue
            if moves:
                gone = self._record(wish) is None
                self._drop(wish, ENDED if gone else f"{wish.node} does not take it any more")
            else:
                self.stopped = CHANGED
        self._moving = tuple(leaving)
        if leaving:
            self.due_at = self._core.now + WAVE_S

    def _on_its_way(self, wish: Wish) -> bool:
        record, kept = self._record(wish), self._bounds.store.bound.get(wish.task)
        task = record.tasks[task_of(wish.task)[1]] if record is not None else None
        if record is None or task is None or task.state.ended or stopping(record):
            self._drop(wish, ENDED)
        elif task.state in ACTIVE and node_name(task.edge, task.node) == wish.node:
            self._note(wish, MoveState.MOVED)
        elif kept is None or kept.node != wish.node:
            where = kept.node if kept is not None and kept.node else "nowhere yet"
            self._drop(wish, f"it runs elsewhere: {where}")
        else:
            return True
        return False

    def _record(self, wish: Wish) -> JobRecord | None:
        job = self._core.ledger.jobs.get(task_of(wish.task)[0])
        return job.record if job is not None else None

    def _drop(self, wish: Wish, why: str) -> None:
        """What comes after it was planned with it."""
        self._note(wish, MoveState.DROPPED, why)
        self.stopped = CHANGED

    def _note(self, wish: Wish, state: MoveState, detail: str = "") -> None:
        self.moves[wish.task] = replace(self.moves[wish.task], state=state, detail=detail)

    def _move(self, wish: Wish) -> TaskMove:
        job_id, index = task_of(wish.task)
        record = self._record(wish)
        if record is None:
            return TaskMove(job_id, str(index), "", wish.node, wish.backup, 0.0)
        task = record.tasks[index]
        ran_s = max(0.0, self._core.wall - task.started_at) if task.started_at else 0.0
        return TaskMove(
            job_id, record.spec.tasks[index].name, node_name(task.edge, task.node),
            wish.node, wish.backup, ran_s,
        )  # fmt: skip


def totals(bounds: Bounds) -> BoundTotals:
    """As things stand, by what is kept."""
    known, kept = bounds.store.bound.values(), bounds.store.reservations.values()
    return BoundTotals(
        tasks=len(known),
        placed=sum(bool(one.node) for one in known),
        unprotected=sum(bool(one.node) and one.pod.protected and not one.backup for one in known),
        outside=sum(one.warning.startswith(OUTSIDE) for one in known),
        reserved_millis=sum(one.cpu_millis for one in kept),
        reserved_bytes=sum(one.memory_bytes for one in kept),
    )
