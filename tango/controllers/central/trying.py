"""Where a job with delay bounds or backups would go now: a plan that nobody takes."""

from __future__ import annotations

from dataclasses import replace

from tango.controllers.central import jobs as rules
from tango.controllers.central.bounds import Bounds
from tango.controllers.central.core import Core
from tango.controllers.central.fits import gang_of
from tango.controllers.central.never_fits import never_fits
from tango.model.bounds import BoundPlan, task_name
from tango.model.commands import Answer, Solve
from tango.model.errors import InvalidField, TangoError, Unavailable
from tango.model.events import BoundsSolved, TryJob
from tango.model.improvement import TriedJob, TriedTask
from tango.model.job import JobSpec, has_bounds

SOLVE_TIMEOUT_S = 30.0
MOST_AT_ONCE = 16
# No job is called so, for a name has no blank.
TRIAL = "a trial"


class Trials:
    """Each is answered by its own plan, which sees no other job that waits."""

    def __init__(self, core: Core, bounds: Bounds) -> None:
        self._core = core
        self._bounds = bounds
        # Those that wait for the facts; those that are solved, and since when.
        self._waiting: list[TryJob] = []
        self._asked: dict[int, tuple[TryJob, float]] = {}

    @property
    def due_at(self) -> float | None:
        """When the facts are to be read on, or a plan has had its time."""
        if self._waiting:
            return self._core.now
        return min((at + SOLVE_TIMEOUT_S for _, at in self._asked.values()), default=None)

    def ask(self, event: TryJob) -> None:
        """Raises InvalidField for a job that cannot be placed so, Unavailable for too many."""
        event.spec.validate()
        if not has_bounds(event.spec):
            problem = "has no task with `near` or `backup`"
            raise InvalidField("spec", problem, "other jobs are tried by `tango place --dry-run`")
        self._bounds.check(event.spec)
        if len(self._waiting) + len(self._asked) >= MOST_AT_ONCE:
            raise Unavailable("too many jobs are being tried; try again in a moment")
        self._waiting.append(event)

    def solved(self, event: BoundsSolved) -> None:
        """A plan has come, perhaps one of these."""
        asked, _ = self._asked.pop(event.solve_id, (None, 0.0))
        if asked is not None:
            self._core.out.append(Answer(asked.op_id, _tried(asked.spec, event.plan)))

    def solve_failed(self, solve_id: int, error: str) -> bool:
        """The rule raised, or could not be asked. False: none of these."""
        asked, _ = self._asked.pop(solve_id, (None, 0.0))
        if asked is None:
            return False
        self._fail(asked, Unavailable(f"it could not be tried: {error}"))
        return True

    def pump(self) -> None:
        """After `bounds` has followed what changed: ask what waits."""
        now = self._core.now
        for number, (event, at) in list(self._asked.items()):
            if now >= at + SOLVE_TIMEOUT_S:
                del self._asked[number]
                self._fail(event, Unavailable("no plan came in time; try again"))
        reading = self._bounds.reading() if self._waiting else None
        if reading is None:
            return
        snapshot, _ = reading
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            record = rules.new_job(TRIAL, "", event.spec, event.wall)
            pods, unknown = self._bounds.pods(record)
            gang = gang_of(record, range(len(record.tasks)))
            if never := never_fits(gang, record, self._core.sites):
                self._core.out.append(Answer(event.op_id, TriedJob(reason=never)))
            elif snapshot.failed:
                self._fail(event, Unavailable("nodes have just failed; try again in a moment"))
            elif unknown:
                self._core.out.append(Answer(event.op_id, TriedJob(reason=unknown)))
            else:
                number = self._core.batch.next_solve()
                self._asked[number] = event, now
                services = self._bounds.services(pods)
                tried = replace(snapshot, gangs=((TRIAL, pods),), services=services)
                self._core.out.append(Solve(number, tried))

    def _fail(self, event: TryJob, error: TangoError) -> None:
        self._core.out.append(Answer(event.op_id, None, error))


def _tried(spec: JobSpec, plan: BoundPlan) -> TriedJob:
    reason = dict(plan.unplaced).get(TRIAL, "")
    if reason:
        return TriedJob(reason=reason)
    records = {record.pod.name: record for record in plan.records}
    return TriedJob(
        tuple(
            TriedTask(task.name, one.node, one.backup, one.warning)
            for index, task in enumerate(spec.tasks)
            if (one := records.get(task_name(TRIAL, index))) is not None
        )
    )
