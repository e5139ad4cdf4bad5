"""Tasks with delay bounds and backups: what a rule is shown of them, and what it answers; no numpy.

Nodes are named "edge/node", tasks "job id.index": a name of one is never that of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tango.model.affinity import Labels, Taints
from tango.model.improvement import Improvement
from tango.model.placement_profile import Profile
from tango.model.placements import BoundRecord, PodRecord, ReservationRecord
from tango.model.round_trips import RoundTrip

# What a task is near to that may be anywhere: no node's name sorts behind it, or is it.
ANYWHERE = "~anywhere"
# Before the name of a service that a task is near to; these sort behind all nodes as well.
_SERVICE = "~service/"


def task_name(job_id: str, index: int) -> str:
    """What a task is called here, for ever."""
    return f"{job_id}.{index}"


def task_of(name: str) -> tuple[str, int]:
    """The job's id and the task's index of a task_name."""
    job_id, _, index = name.rpartition(".")
    return job_id, int(index)


def node_name(edge: str, node: str) -> str:
    """What a node is called here."""
    return f"{edge}/{node}"


def is_nowhere(name: str) -> bool:
    """Whether a name stands for what tasks are near to, and is no place where anything can be."""
    return name.startswith("~")


def service_reference(service: str) -> str:
    """What a service is called here, as that which tasks are near to."""
    return f"{_SERVICE}{service}"


def service_of(reference: str) -> str:
    """The service of a service_reference, "" for any other name."""
    return reference.removeprefix(_SERVICE) if reference.startswith(_SERVICE) else ""


def told_reference(reference: str) -> str:
    """For people: what something is near to."""
    service = service_of(reference)
    return f"service {service}" if service else reference


class Size(NamedTuple):
    """What a task takes of a node, or what a node keeps free. cores: whole ones, how many."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    cores: int = 0

    def plus(self, other: Size) -> Size:
        """Each added."""
        return Size(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def minus(self, other: Size) -> Size:
        """Each taken off."""
        return Size(self[0] - other[0], self[1] - other[1], self[2] - other[2])

    def most(self, other: Size) -> Size:
        """The greater of each."""
        return Size(max(self[0], other[0]), max(self[1], other[1]), max(self[2], other[2]))

    def least(self, other: Size) -> Size:
        """The smaller of each."""
        return Size(min(self[0], other[0]), min(self[1], other[1]), min(self[2], other[2]))

    def within(self, other: Size) -> bool:
        """Whether none exceeds the other's."""
        return self[0] <= other[0] and self[1] <= other[1] and self[2] <= other[2]


NOTHING = Size()


def size_of(one: PodRecord | ReservationRecord) -> Size:
    """What it takes, or keeps."""
    cores = one.cores if isinstance(one, PodRecord) else len(one.cores)
    return Size(one.cpu_millis, one.memory_bytes, cores)


def kept_on(node: str, size: Size) -> ReservationRecord:
    """That the node keeps this much. Of cores, as many as ids: any that are free when wanted."""
    return ReservationRecord(node, size.cpu_millis, size.memory_bytes, tuple(range(size.cores)))


@dataclass(frozen=True, slots=True)
class BoundNode:
    """A node. cpu_millis, memory_bytes, cores: what it has for these tasks and for backups, held or
    not; never less than tasks hold. open: it may get something new. ports: fixed ones that others
    have there."""

    name: str
    site: str
    cpu_millis: int
    memory_bytes: int
    open: bool = True
    cores: int = 0
    labels: Labels = ()
    taints: Taints = ()
    ports: tuple[int, ...] = ()

    @property
    def size(self) -> Size:
        """All that it has for them."""
        return Size(self.cpu_millis, self.memory_bytes, self.cores)


@dataclass(frozen=True, slots=True)
class BoundService:
    """A service that tasks are near to, by its service_reference: the nearest of its hosts counts.

    hosts: nodes that have ready replicas. sure: all of them are known; before that nobody who runs
    is too far from it.
    """

    name: str
    hosts: tuple[str, ...]
    sure: bool = True


@dataclass(frozen=True, slots=True)
class BoundTask:
    """A task that is known already. bound: as it was kept last; its node is where it shall be.

    at: the node where an attempt of it is now, "" for none.
    """

    bound: BoundRecord
    at: str = ""


@dataclass(frozen=True, slots=True)
class BoundSnapshot:
    """All that a plan depends on. gangs: (job id, tasks) that wait for a first place, in order.

    failed: nodes that are gone, whose tasks run again on their backups. trips: round trips as they
    count now; through_edges: of edges to their nodes and each other,
    else between nodes. services: all that tasks are near to.
    """

    nodes: tuple[BoundNode, ...]
    tasks: tuple[BoundTask, ...]
    gangs: tuple[tuple[str, tuple[PodRecord, ...]], ...]
    reservations: tuple[tuple[str, ReservationRecord], ...]
    trips: tuple[RoundTrip, ...]
    failed: tuple[str, ...] = ()
    through_edges: bool = True
    services: tuple[BoundService, ...] = ()


@dataclass(frozen=True, slots=True)
class ImproveSnapshot:
    """What a better plan for tasks that run depends on. now: without gangs.

    stay: tasks that are not to be stopped. targets: nodes where something can be started now.
    """

    now: BoundSnapshot
    max_moves: int
    stay: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoundLook:
    """On what grounds a task got its place, or only its backup.

    reference: node or task that it is near to, "" for none; bound_s: None for no bound. inside:
    (node, round trip) of the nearest few within it; n_inside: of all there are, full ones too.
    removed: (why, how many, the first few) of the nodes that would not do.
    node, free_bytes: where it goes, and the memory free there before; runner_up: who would have
    been next, "" for nobody.
    step: of the algorithm, by which the backup was found: 3, room that is reserved already, for
    tasks of other nodes only; 4, for tasks of this node, too; 5, new room, or more (grew). 0: none.
    shared: how many other tasks the backup's room is for.
    """

    task: str
    reference: str
    bound_s: float | None
    inside: tuple[tuple[str, float], ...]
    n_inside: int
    removed: tuple[tuple[str, int, tuple[str, ...]], ...]
    node: str
    free_bytes: int
    runner_up: str = ""
    runner_up_bytes: int = 0
    step: int = 0
    grew: bool = False
    shared: int = 0


@dataclass(frozen=True, slots=True)
class BoundPlan:
    """What shall be otherwise than the snapshot has it.

    records: of tasks that get a place, another one, another backup or warning. reservations: of
    nodes that keep another amount; dropped: nodes that keep nothing any more.
    unplaced: (job id, why) of the gangs that wait on; waits: (task, why) of known ones that do.
    looks: on what grounds, of some of the records.
    """

    records: tuple[BoundRecord, ...] = ()
    reservations: tuple[ReservationRecord, ...] = ()
    dropped: tuple[str, ...] = ()
    unplaced: tuple[tuple[str, str], ...] = ()
    waits: tuple[tuple[str, str], ...] = ()
    looks: tuple[BoundLook, ...] = ()


class BoundRule(Protocol):
    """Decides where tasks with bounds and backups are. Pure: the same snapshot, the same plan.

    profile: by which another process makes the same rule.
    """

    profile: Profile

    def plan(self, snapshot: BoundSnapshot) -> BoundPlan:
        """Tasks that run stay where they are unless their bound is broken."""
        ...

    def improve(self, snapshot: ImproveSnapshot) -> Improvement:
        """How tasks that run could better be placed, in at most so many moves."""
        ...
