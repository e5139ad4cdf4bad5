"""A BE job: a gang of one or more tasks, its states, and the attempts that ran."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tango.model.checks import check_argv, check_env, check_range
from tango.model.errors import InvalidField
from tango.model.names import check_name

MAX_TASKS = 100


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One process of a job. deadline_s: it is stopped and failed when it ran longer; 0 is never."""

    name: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cpu_millis: int = 100
    memory_bytes: int = 128 * 2**20
    deadline_s: float = 0.0
    stop_grace_s: float = 5.0


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a user submits. retries: further attempts of a failed task, each after a backoff.

    Backoff before retry n (from 0) is backoff_s * 2**n, at most backoff_max_s.
    """

    name: str
    tasks: tuple[TaskSpec, ...]
    retries: int = 0
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    priority: int = 0

    def validate(self) -> None:
        """Raise InvalidField for the first field that is out of range."""
        check_name(self.name, "name")
        if not self.tasks:
            raise InvalidField("tasks", "is empty", "give at least one task")
        check_range("tasks", len(self.tasks), 1, MAX_TASKS)
        check_range("retries", self.retries, 0, 1000)
        check_range("backoff_s", self.backoff_s, 0, 3600)
        check_range("backoff_max_s", self.backoff_max_s, 0, 86_400)
        check_range("priority", self.priority, -1000, 1000)
        seen: set[str] = set()
        for index, task in enumerate(self.tasks):
            prefix = f"tasks[{index}]"
            check_name(task.name, f"{prefix}.name")
            if task.name in seen:
                raise InvalidField(f"{prefix}.name", f"{task.name!r} is given twice", "rename one")
            seen.add(task.name)
            check_argv(task.argv, f"{prefix}.argv")
            check_env(task.env, f"{prefix}.env")
            check_range(f"{prefix}.cpu", task.cpu_millis, 1, 1_000_000)
            check_range(f"{prefix}.memory", task.memory_bytes, 2**20, 2**50)
            check_range(f"{prefix}.deadline_s", task.deadline_s, 0, 30 * 86_400)
            check_range(f"{prefix}.stop_grace_s", task.stop_grace_s, 0, 600)


class JobState(enum.Enum):
    """The states a job and each of its tasks go through, forward only but for a retry."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in _ENDED


_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a task on disk, as an attempt left it; digest: of its manifest."""

    attempt_id: str
    digest: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Migration:
    """A task on its way to another node with its state (ADR 0014). number: from 1, of the task's.

    checkpoint: None until its attempt at the source has ended with one; from then on the task is
    SCHEDULED from it. back: why it returns to the source, "" while it does not.
    """

    number: int
    from_edge: str
    from_node: str
    to_edge: str
    to_node: str
    checkpoint: Checkpoint | None = None
    back: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task's latest attempt. Times are `now` of the central master's wall clock (unix seconds).

    exit_code is None until it ended, and where it ended by a signal or was lost.
    failures count against the job's retries. losses: attempts given up with their nodes; evictions:
    attempts stopped so that they run elsewhere. evicting: why this one is being stopped so; moved:
    why the latest of all these was. migrations: that were asked for; migration: the one under way,
    whose outcome `moved` tells.
    """

    state: JobState = JobState.PENDING
    attempt: int = 0
    attempt_id: str = ""
    edge: str = ""
    node: str = ""
    reason: str = ""
    exit_code: int | None = None
    signal: int = 0
    cpu_s: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    retry_at: float = 0.0
    failures: int = 0
    losses: int = 0
    evictions: int = 0
    evicting: str = ""
    moved: str = ""
    migrations: int = 0
    migration: Migration | None = None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the central master stores it; tasks are in the order of spec.tasks.

    cancel_requested: a user's cancel is stored; the job ends CANCELLED once nothing of it runs.
    """

    job_id: str
    submission_id: str
    spec: JobSpec
    state: JobState
    tasks: tuple[TaskRecord, ...]
    submitted_at: float
    started_at: float = 0.0
    ended_at: float = 0.0
    reason: str = ""
    version: int = 0
    cancel_requested: bool = False


def attempt_id(job_id: str, task_index: int, attempt: int) -> str:
    """The name of one attempt: unique for ever, and safe as a file name."""
    return f"{job_id}.{task_index}.{attempt}"


def parse_attempt_id(text: str) -> tuple[str, int, int] | None:
    """Job id, task index and attempt number of a name of attempt_id(); None for anything else."""
    rest, _, number = text.rpartition(".")
    job_id, _, index = rest.rpartition(".")
    numbers = index + number
    if not (job_id and index and number and numbers.isdecimal() and len(numbers) <= 20):
        return None
    return job_id, int(index), int(number)


class AttemptState(enum.Enum):
    """One attempt seen from its node."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class AttemptStatus:
    """One attempt as its worker reports it. failure is set where it never ran or was stopped.

    evicted: why it was stopped to make room for LC, "" if it was not; that costs no retry.
    checkpoint: it ended, and its state is there. checkpoint_error: why the checkpoint number
    checkpoint_try was not made; it goes on running.
    """

    attempt_id: str
    state: AttemptState
    node: str = ""
    cpu_millis: int = 0
    memory_bytes: int = 0
    exit_code: int | None = None
    signal: int = 0
    failure: str = ""
    cpu_s: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    priority: int = 0
    evicted: str = ""
    checkpoint: Checkpoint | None = None
    checkpoint_try: int = 0
    checkpoint_error: str = ""
