"""Jobs that want whole cores, as the queue knows them; states and strategies of RESTfulSwarm."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tango.algorithms.placement.pod import Pod
from tango.model.errors import InvalidField
from tango.model.placement_profile import Profile, Use

STRATEGIES = (
    "first-fit",
    "best-fit",
    "first-fit-decreasing",
    "best-fit-decreasing",
    "node",
    "priority",
)


class JobState(Enum):
    """RESTfulSwarm's Ready is PENDING, its Deployed RUNNING; the others are its Down."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class CoreJob:
    """A gang. Each task may name its node and core ids; tasks' names are unique in the cluster."""

    name: str
    tasks: tuple[Pod, ...]
    priority: int = 0

    def __post_init__(self) -> None:
        names = {task.name for task in self.tasks}
        if not self.name:
            raise InvalidField("job.name", "is empty", "name it")
        if not names or len(names) != len(self.tasks):
            problem = "are none, or two have one name"
            raise InvalidField(f"jobs.{self.name}.tasks", problem, "give tasks of different names")


@dataclass(slots=True)
class JobRecord:
    """A job and what became of it. waiting: tasks without a node; ended: task -> whether well.

    started_at: of its first task. never_fits: why not, "" where it may. overtaken: later jobs that
    went first.
    """

    job: CoreJob
    number: int
    submitted_at: float
    state: JobState = JobState.PENDING
    started_at: float | None = None
    ended_at: float | None = None
    waiting: set[str] = field(default_factory=set)
    ended: dict[str, bool] = field(default_factory=dict)
    never_fits: str = ""
    overtaken: int = 0

    @property
    def down(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state not in (JobState.PENDING, JobState.RUNNING)


def profile_of(strategy: str) -> Profile:
    """Filters all; only the cores' strategy scores. Raises InvalidField for an unknown one."""
    if strategy not in STRATEGIES:
        fix = f"use one of: {', '.join(STRATEGIES)}"
        raise InvalidField("strategy", f"{strategy!r} is unknown", fix)
    packing = "best-fit" if strategy.startswith("best-fit") else "first-fit"
    filters = (Use("affinity", 0.0), Use("taints", 0.0), Use("delay", 0.0), Use("fit", 0.0))
    return Profile(strategy, (*filters, Use("cores", parameters=(("strategy", packing),))))
