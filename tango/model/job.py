"""A BE job: a gang of one or more tasks, its states, and the attempts that ran."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tango.model.affinity import NodeTerms, Preferences, Requirement, Toleration, terms_of
from tango.model.checks import check_argv, check_env, check_range
from tango.model.cores import check_core_ids
from tango.model.errors import InvalidField
from tango.model.fixed_ports import check_ports
from tango.model.image import check_images
from tango.model.label_rules import check_terms
from tango.model.names import check_name
from tango.model.round_trips import MAX_RTT_S
from tango.model.units import MAX_CPU_MILLIS, format_cpu

MAX_TASKS = 100
MAX_TASK_CORES = MAX_CPU_MILLIS // 1000
DEFAULT_CPU_MILLIS = 100
# Of a TaskSpec: its CPU is that of its cores, or the default where it asks for none.
CPU_BY_CORES = -(2**31)


@dataclass(frozen=True, slots=True)
class Near:
    """Where a task wants to be: within_s of a round trip of a node, or of where a task runs, or of
    where a service has a ready replica: the nearest counts.

    node: "node", or "edge/node" where several sites have one of that name. task: of the same job.
    """

    node: str = ""
    task: str = ""
    within_s: float = 0.0
    service: str = ""

    @property
    def whom(self) -> str:
        """For people: what it wants to be near to."""
        if self.service:
            return f"service {self.service}"
        return self.node or f"task {self.task}"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One process of a job. deadline_s: it is stopped and failed when it ran longer; 0 is never.

    cores: whole ones, which no other task that asks for cores has; it runs on nothing else.
    cpu_millis: what of the node's CPU it holds; by default 1000 for each core, at most that, and
    less for one that does not need all of its cores. node: the only one that will do; cpuset: the
    ids of its cores there, as many as `cores`.
    near: a bound on the delay, None for none. backup: room is kept on another node (within the
    bound, where there is one), where it runs again if its own node fails.
    images: what its argv runs or unpacks: nodes that have them, or most of their layers, are
    preferred.
    requires: of the labels of its node, all of them; prefers: a score, under a policy that goes by
    such; tolerations: of taints.
    ports: fixed ones, which nothing else on its node has: PORT is the first, PORTS all of them.
    """

    name: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cpu_millis: int = CPU_BY_CORES
    memory_bytes: int = 128 * 2**20
    deadline_s: float = 0.0
    stop_grace_s: float = 5.0
    cores: int = 0
    node: str = ""
    cpuset: tuple[int, ...] = ()
    near: Near | None = None
    backup: bool = False
    images: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()
    prefers: Preferences = ()
    tolerations: tuple[Toleration, ...] = ()
    ports: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Complete what follows from the rest: cores from their ids, CPU from the cores."""
        if self.cpuset and not self.cores:
            object.__setattr__(self, "cores", len(self.cpuset))
        if self.cpu_millis == CPU_BY_CORES:
            millis = self.cores * 1000 if self.cores > 0 else DEFAULT_CPU_MILLIS
            object.__setattr__(self, "cpu_millis", millis)

    @property
    def terms(self) -> NodeTerms | None:
        """What it says of nodes, None for nothing."""
        return terms_of(self.requires, self.prefers, self.tolerations)


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
        pinned: dict[tuple[str, str], str] = {}
        for index, task in enumerate(self.tasks):
            prefix = f"tasks[{index}]"
            check_name(task.name, f"{prefix}.name")
            if task.name in seen:
                raise InvalidField(f"{prefix}.name", f"{task.name!r} is given twice", "rename one")
            seen.add(task.name)
            check_argv(task.argv, f"{prefix}.argv")
            check_env(task.env, f"{prefix}.env")
            # Before the CPU, which follows from them where nothing else is asked for.
            check_range(f"{prefix}.cores", task.cores, 0, MAX_TASK_CORES)
            check_range(f"{prefix}.cpu", task.cpu_millis, 1, MAX_CPU_MILLIS)
            _check_cores(task, prefix)
            check_ports(task.ports, f"{prefix}.ports")
            for field, what in _pinned(task):
                other = pinned.setdefault((task.node, what), task.name)
                if other != task.name:
                    problem = f"{what} of {task.node} is that of task {other!r}, too"
                    raise InvalidField(f"{prefix}.{field}", problem, "give each its own")
            check_range(f"{prefix}.memory", task.memory_bytes, 2**20, 2**50)
            check_range(f"{prefix}.deadline_s", task.deadline_s, 0, 30 * 86_400)
            check_range(f"{prefix}.stop_grace_s", task.stop_grace_s, 0, 600)
            check_images(task.images, f"{prefix}.images")
            check_terms(task.terms, f"{prefix}.")
        check_near(self.tasks)


def has_bounds(spec: JobSpec) -> bool:
    """Whether a task of it has a delay bound or a backup."""
    return any(task.near is not None or task.backup for task in spec.tasks)


# For a bound without its `within_ms`, wherever it is read.
FIX_WITHIN_MS = "give the round trip that is near enough, in milliseconds: 20"


def check_near(tasks: Sequence[TaskSpec]) -> None:
    """Raise InvalidField for a bound that is none, or names what it must not."""
    names = {task.name: task for task in tasks}
    bounds = any(task.near is not None or task.backup for task in tasks)
    for index, task in enumerate(tasks):
        near, field = task.near, f"tasks[{index}].near"
        if bounds and task.cpuset:
            problem = "names core ids, and the job has a task with `near` or `backup`"
            fix = "say how many with `cores` instead: another node may have other ids free"
            raise InvalidField(f"tasks[{index}].cpuset", problem, fix)
        if near is None:
            continue
        named = [name for name in ("node", "task", "service") if getattr(near, name)]
        if len(named) != 1:
            both = f"names both a {named[0]} and a {named[1]}" if named else ""
            fix = "give one of `node`, `task` and `service`"
            raise InvalidField(field, both or "names nothing to be near to", fix)
        check_range(f"{field}.within_ms", near.within_s * 1000, 0, MAX_RTT_S * 1000)
        if near.node:
            for part in near.node.split("/", 1):
                check_name(part, f"{field}.node")
        elif near.service:
            check_name(near.service, f"{field}.service")
        elif near.task == task.name:
            raise InvalidField(f"{field}.task", "names the task itself", "name another one")
        elif near.task not in names:
            fix = f"the job has: {', '.join(names)}"
            raise InvalidField(f"{field}.task", f"no task is named {near.task!r}", fix)
        elif _in_a_ring(names, task):
            problem = "goes round in a ring, so that none could be first"
            raise InvalidField(f"{field}.task", problem, "let one of them be near a node, or free")


def _in_a_ring(names: Mapping[str, TaskSpec], task: TaskSpec) -> bool:
    at, steps = task, 0
    while at.near is not None and at.near.task in names and steps <= len(names):
        at, steps = names[at.near.task], steps + 1
        if at is task:
            return True
    return False


def _pinned(task: TaskSpec) -> Iterator[tuple[str, str]]:
    """(field, words) of what it alone has of the one node that it names."""
    if task.node:
        yield from (("cpuset", f"core {core}") for core in task.cpuset)
        yield from (("ports", f"port {port}") for port in task.ports)


def _check_cores(task: TaskSpec, prefix: str) -> None:
    if task.node:
        check_name(task.node, f"{prefix}.node")
    check_core_ids(task.cpuset, f"{prefix}.cpuset")
    if task.cpuset and len(task.cpuset) != task.cores:
        problem = f"names {len(task.cpuset)} cores, and cores is {task.cores}"
        raise InvalidField(f"{prefix}.cpuset", problem, "leave one of the two out")
    if task.cpuset and not task.node:
        problem = "core ids mean something on one node only"
        raise InvalidField(f"{prefix}.cpuset", problem, "say which one with 'node'")
    if task.cores and task.cpu_millis > task.cores * 1000:
        problem = f"{format_cpu(task.cpu_millis)} is more than its {task.cores} cores can give"
        raise InvalidField(f"{prefix}.cpu", problem, f"at most {task.cores}, or leave it out")


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
    """The state of a task on disk, as an attempt left it; digest: of its manifest.

    edge, node: where it is, as central tells whoever begins from it; "" where that is known.
    """

    attempt_id: str
    digest: str
    size_bytes: int = 0
    edge: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointPart:
    """A piece of a checkpoint on its way between nodes.

    manifest: alone in the first piece. data: of its images, one after the other in its order.
    """

    manifest: bytes = b""
    data: bytes = b""
    last: bool = False


@dataclass(frozen=True, slots=True)
class Migration:
    """A task on its way to another node with its state (ADR 0014). number: from 1, of the task's.

    checkpoint: None until its attempt at the source has ended with one; from then on the task is
    SCHEDULED from it. back: why it returns to the source, "" while it does not. from_cores,
    to_cores: ids of the cores that it has at the source, and is to have at the target.
    """

    number: int
    from_edge: str
    from_node: str
    to_edge: str
    to_node: str
    checkpoint: Checkpoint | None = None
    back: str = ""
    from_cores: tuple[int, ...] = ()
    to_cores: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task's latest attempt. Times are `now` of the central master's wall clock (unix seconds).

    exit_code is None until it ended, and where it ended by a signal or was lost.
    failures count against the job's retries. losses: attempts given up with their nodes; evictions:
    attempts stopped so that they run elsewhere. evicting: why this one is being stopped so; moved:
    why the latest of all these was. migrations: that were asked for; migration: the one under way,
    whose outcome `moved` tells. cores: ids that the attempt has on its node.
    backup, warning: of a task with a bound or a backup, as users are shown them; not stored.
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
    cores: tuple[int, ...] = ()
    migrations: int = 0
    migration: Migration | None = None
    backup: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the central master stores it; tasks are in the order of spec.tasks.

    cancel_requested: a user's cancel is stored; the job ends CANCELLED once nothing of it runs.
    warning: what a user is told with the answer to a submit; not stored.
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
    warning: str = ""


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

    evicted: why it was stopped for no fault of its own (to make room for LC, or because its node
    was shut down), "" if it was not; that costs no retry.
    cores: ids that it was given; ports: fixed ones that it has.
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
    cores: tuple[int, ...] = ()
    checkpoint: Checkpoint | None = None
    checkpoint_try: int = 0
    checkpoint_error: str = ""
    ports: tuple[int, ...] = ()
