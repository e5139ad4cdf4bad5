"""A better plan for tasks with bounds and backups that run already: made on wish, and carried out.

The plan is a Solve. It comes in waves; of each, `bounds` takes what holds by the facts of then, so
what has changed meanwhile is never overrun. A task that moves is stopped as on a drained node, once
its new place and its backup are on disk, and begins anew when its attempt has ended; its room is
kept at both ends until then. The next wave begins when this one has arrived.

The plan is in memory alone. After a crash of the central master what was told to move goes on to
where it was to go, for that is on disk, and all else stays where it is: a good state, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tango.controllers.central.bound_words import NO_RULE, NO_RULE_FIX
from tango.controllers.central.bounds import Bounds
from tango.controllers.central.core import Core
from tango.controllers.central.improving import Run, totals
from tango.controllers.central.jobs import stopping
from tango.model.bounds import NOTHING, BoundTask, ImproveSnapshot, node_name, task_of
from tango.model.commands import Answer, Solve
from tango.model.errors import FailedPrecondition, TangoError, Unavailable
from tango.model.events import ImproveBounds, ImproveSolved
from tango.model.improvement import ImproveView
from tango.model.job import JobState

SOLVE_TIMEOUT_S = 120.0
UNDER_WAY = "a better plan is being carried out; it goes on when its caller has gone"
BUSY = "another plan is being made; ask again in a moment"
NO_PLAN_IN_TIME = f"no plan came within {SOLVE_TIMEOUT_S:g} s"
NONE_RUNS = "no task that runs has a delay bound or a backup"


class Improvements:
    """One plan at a time is made, and one carried out."""

    def __init__(self, core: Core, bounds: Bounds) -> None:
        self._core = core
        self._bounds = bounds
        # Who asked, when, and by which solve, 0 before that; the version of the delays then.
        self._asked: ImproveBounds | None = None
        self._asked_at = 0.0
        self._solve_id = 0
        self._delays = 0
        self._run: Run | None = None

    @property
    def due_at(self) -> float | None:
        """When the facts are to be read on, or something has had its time."""
        if self._asked is not None:
            return self._asked_at + SOLVE_TIMEOUT_S if self._solve_id else self._core.now
        return self._run.due_at if self._run is not None else None

    @property
    def view(self) -> ImproveView | None:
        """The one that is carried out, or was last."""
        return self._run.view() if self._run is not None else None

    # ---- events

    def ask(self, event: ImproveBounds) -> TangoError | None:
        """Ask for a plan; or why not."""
        if not self._bounds.has_rule:
            return FailedPrecondition(f"a better plan {NO_RULE}: {NO_RULE_FIX}")
        if self._asked is not None:
            return Unavailable(BUSY)
        if event.apply and self._run is not None and not self._run.done:
            return FailedPrecondition(UNDER_WAY)
        self._asked, self._asked_at, self._solve_id = event, self._core.now, 0
        return None

    def solved(self, event: ImproveSolved) -> None:
        """The plan is there: told, and begun where that was wished."""
        asked = self._asked
        if asked is None or self._solve_id != event.solve_id:
            return
        self._asked = None
        run = Run(self._core, self._bounds, event.plan, self._delays)
        if asked.apply and not run.done:
            self._run = run
            run.begin()
            self._core.note("info", "improvement_begun", moves=len(run.moves))
        self._core.out.append(Answer(asked.op_id, run.view()))

    def solve_failed(self, solve_id: int, error: str) -> bool:
        """The rule raised, or could not be asked. False: not the outstanding solve."""
        if self._asked is None or self._solve_id != solve_id:
            return False
        self._fail(Unavailable(f"no plan could be made: {error}"))
        return True

    def pump(self) -> None:
        """After `bounds` has followed what changed: go on."""
        if self._asked is not None and not self._solve_id:
            self._read()
        elif self._asked is not None and self._core.now >= self._asked_at + SOLVE_TIMEOUT_S:
            self._fail(Unavailable(NO_PLAN_IN_TIME))
        run = self._run
        if run is not None and not run.done and run.pump():
            self._core.note("info", "improvement_done", stopped=run.stopped)

    def _fail(self, error: TangoError) -> None:
        assert self._asked is not None
        self._core.out.append(Answer(self._asked.op_id, None, error))
        self._asked = None

    # ---- what a plan is made from

    def _read(self) -> None:
        asked, reading = self._asked, self._bounds.reading()
        assert asked is not None
        if reading is None:
            return
        now, self._delays = reading
        if now.failed:
            self._fail(Unavailable("nodes have just failed; ask again in a moment"))
        elif not any(one.at for one in now.tasks):
            here = totals(self._bounds)
            view = ImproveView(here, here, here, why_not=NONE_RUNS, done=True)
            self._core.out.append(Answer(asked.op_id, view))
            self._asked = None
        else:
            self._solve_id = self._core.batch.next_solve()
            snapshot = ImproveSnapshot(
                now,
                asked.max_moves,
                tuple(sorted(self._fixed(now.tasks))),
                tuple(sorted(self._targets())),
            )
            self._core.out.append(Solve(self._solve_id, snapshot))

    def _fixed(self, tasks: Iterable[BoundTask]) -> Iterator[str]:
        """Tasks that do not run, or are on their way already."""
        for one in tasks:
            name = one.bound.pod.name
            job_id, index = task_of(name)
            record = self._core.ledger.jobs[job_id].record
            task = record.tasks[index]
            away = one.bound.node != one.at or task.evicting or task.migration is not None
            if task.state is not JobState.RUNNING or away or stopping(record):
                yield name

    def _targets(self) -> Iterator[str]:
        """Nodes that take something new now, and have what is reserved of them."""
        for site in self._core.sites.by_name.values():
            for node in site.nodes:
                free = site.free(node)
                if free is not None and site.reserved.get(node, NOTHING).within(free):
                    yield node_name(site.edge, node)
