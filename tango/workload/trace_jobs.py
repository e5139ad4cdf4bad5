"""Best-effort tasks of a trace to jobs that arrive: size, CPU work, tasks, priority."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tango.model.errors import InvalidField
from tango.model.fast_init import fast_init
from tango.model.job import MAX_TASKS
from tango.workload.bounds import require_number, require_whole
from tango.workload.trace_replay import ReplayRule, replayed
from tango.workload.trace_scale import NodeScale
from tango.workload.trace_tasks import Fate, TraceTask

NEVER_RAN = ("draw", "leave-out")
KEPT_RUNS = 1000
ENOUGH_RUNS = 30


@fast_init
@dataclass(frozen=True, slots=True)
class JobArrival:
    """One BE job. at_s: since the start of the replay. cpu_millis, memory_bytes, work_cpu_s (CPU
    seconds until it is done) are of each of its tasks. priority: the trace's own scale."""

    at_s: float
    cpu_millis: int
    memory_bytes: int
    work_cpu_s: float
    tasks: int = 1
    priority: int = 0
    name: str = ""

    @property
    def total_cpu_s(self) -> float:
        """Work of all tasks."""
        return self.work_cpu_s * self.tasks


@dataclass(frozen=True, slots=True)
class RunRule:
    """How long a task is taken to run, in seconds on a node that gives it what it asks for.

    One that ended (finished, or was stopped for good): its last run. Unfinished: what was seen of
    it, a lower bound. never_ran: "draw" one of the latest runs of its kind (a seeded reservoir of
    1,000; below 30 of them, a log-normal of median median_s and shape sigma), or "leave-out" the
    task. Drawing keeps a demand that the data centre refused; an unfinished one of 0 s draws too.
    run_factor: times this; an edge demo of minutes takes 0.01 or less of a data centre's hours.
    min_s, max_s: bounds after that.
    """

    never_ran: str = "draw"
    run_factor: float = 1.0
    median_s: float = 300.0
    sigma: float = 1.5
    min_s: float = 0.1
    max_s: float = 6 * 3600.0

    def __post_init__(self) -> None:
        if self.never_ran not in NEVER_RAN:
            fix = f"choose one of {', '.join(NEVER_RAN)}"
            raise InvalidField("never_ran", f"{self.never_ran!r} is no rule", fix)
        require_number("run_factor", self.run_factor, 0, 1e6, above=True)
        require_number("median_s", self.median_s, 0, 1e9, above=True)
        require_number("sigma", self.sigma, 0, 10)
        require_number("min_s", self.min_s, 0, 1e9, above=True)
        require_number("max_s", self.max_s, self.min_s, 1e9)


class Runs:
    """Gives each task its run in seconds; None leaves it out. Tasks come in order of submission."""

    def __init__(self, rule: RunRule, rng: random.Random) -> None:
        self._rule = rule
        self._rng = rng
        self._known: list[float] = []
        self._seen = 0

    def run_s(self, task: TraceTask) -> float | None:
        """The task's run."""
        rule = self._rule
        if task.run_s > 0 and task.fate is not Fate.NEVER_RAN:
            run_s = task.run_s
            if task.fate is not Fate.UNFINISHED:
                self._keep(run_s)
        elif task.fate in (Fate.FINISHED, Fate.STOPPED):
            run_s = 0.0
        elif rule.never_ran == "leave-out":
            return None
        elif len(self._known) >= ENOUGH_RUNS:
            run_s = self._rng.choice(self._known)
        else:
            run_s = self._rng.lognormvariate(math.log(rule.median_s), rule.sigma)
        return min(rule.max_s, max(rule.min_s, run_s * rule.run_factor))

    def _keep(self, run_s: float) -> None:
        """Algorithm R (Vitter, TOMS 11(1), 1985): each run so far is kept with equal chance."""
        self._seen += 1
        if len(self._known) < KEPT_RUNS:
            self._known.append(run_s)
        elif (place := self._rng.randrange(self._seen)) < KEPT_RUNS:
            self._known[place] = run_s


@dataclass(frozen=True, slots=True)
class JobRule:
    """How BE tasks become jobs.

    work_cpu_s = run * requested cores * cpu_use. cpu_use: the share of its request that a task
    really uses, 1.0 where nothing is known; `UsageShare` measures it from Borg's task_usage.
    gang: tasks of one trace job with equal requests that come at the same time make one job of up
    to so many tasks (100 at most), with their mean work; 1 makes each task a job.
    """

    replay: ReplayRule = field(default_factory=ReplayRule)
    runs: RunRule = field(default_factory=RunRule)
    cpu_use: float = 1.0
    gang: int = 1

    def __post_init__(self) -> None:
        require_number("cpu_use", self.cpu_use, 0, 10, above=True)
        require_whole("gang", self.gang, 1, MAX_TASKS)


def job_arrivals(
    tasks: Iterable[TraceTask], scale: NodeScale, rule: JobRule, rng: random.Random
) -> Iterator[JobArrival]:
    """The jobs of the BE tasks among `tasks`, in order of time; same tasks, rule and seed, same
    jobs."""
    singles = _singles(tasks, scale, rule, rng)
    if rule.gang == 1:
        return (arrival for _, arrival in singles)
    return _gangs(singles, rule.gang)


def _singles(
    tasks: Iterable[TraceTask], scale: NodeScale, rule: JobRule, rng: random.Random
) -> Iterator[tuple[str, JobArrival]]:
    runs = Runs(rule.runs, rng)
    best_effort = (task for task in tasks if not task.latency_critical)
    for at_s, task in replayed(best_effort, rule.replay, rng):
        run_s = runs.run_s(task)
        if run_s is None:
            continue
        cpu_millis = scale.request_cpu_millis(task.cpu)
        yield (
            task.job,
            JobArrival(
                at_s,
                cpu_millis,
                scale.request_memory_bytes(task.memory),
                run_s * cpu_millis / 1000 * rule.cpu_use,
                1,
                task.priority,
                task.name,
            ),
        )


def _gangs(singles: Iterator[tuple[str, JobArrival]], limit: int) -> Iterator[JobArrival]:
    """Neighbours of one trace job that differ in name and work only, as one."""
    gang: JobArrival | None = None
    gang_job, work_cpu_s = "", 0.0
    for job, single in singles:
        if (
            gang is not None
            and job == gang_job
            and gang.tasks < limit
            and single == replace(gang, tasks=1, work_cpu_s=single.work_cpu_s, name=single.name)
        ):
            work_cpu_s += single.work_cpu_s
            gang = replace(gang, tasks=gang.tasks + 1)
            continue
        if gang is not None:
            yield replace(gang, work_cpu_s=work_cpu_s / gang.tasks)
        gang, gang_job, work_cpu_s = single, job, single.work_cpu_s
    if gang is not None:
        yield replace(gang, work_cpu_s=work_cpu_s / gang.tasks)
