"""Snapshots that policies read and Plans that they return; both immutable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypedDict

from tango.model.affinity import Labels, NodeTerms, Taints, barred
from tango.model.cores import lowest, mask_of
from tango.model.fast_init import fast_init


@fast_init
@dataclass(frozen=True, slots=True)
class Demand:
    """Queued requests of one service and origin: `count` of them, each needing this much of a node.

    origin: the peer that forwarded them, "" for this site's own users. Those of a peer are served
    here or nowhere: a request is forwarded once.
    service_s: expected time at an idle replica. slack_s: the most that one of them has left to its
    deadline: a neighbour's node that needs longer is of no use; each is looked at when it is sent.
    dispatched: requests of the service that were dispatched before, since the edge started.
    """

    service: str
    count: int
    cpu_millis: int
    memory_bytes: int
    priority: int
    origin: str = ""
    service_s: float = 0.0
    slack_s: float = math.inf
    dispatched: int = 0


@fast_init
@dataclass(frozen=True, slots=True)
class NodeOffer:
    """What a node can still take. slots: (service, free request slots of its ready replicas).

    load: share of the node's CPU held by in-flight requests, 0 and up.
    rtt_s: measured delay from this edge to the node. wait_s: expected wait once there, and by how
    much the service takes longer there than here (less than 0 where it is faster).
    site: the peer that owns the node, "" for this edge's own.
    in_flight: (service, requests of it there now), of the services in slots. services: how many
    have ready replicas on the node, whether or not they are in slots.
    needs: (service, millicores a request takes here) where that differs from the demand's.
    """

    node: str
    cpu_millis: int
    memory_bytes: int
    slots: tuple[tuple[str, int], ...]
    load: float
    rtt_s: float = 0.0
    wait_s: float = 0.0
    site: str = ""
    in_flight: tuple[tuple[str, int], ...] = ()
    services: int = 1
    needs: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficSnapshot:
    """All that a traffic policy may look at. Demands come in priority order, oldest first."""

    demands: tuple[Demand, ...]
    offers: tuple[NodeOffer, ...]
    seed: int = 0


@fast_init
@dataclass(frozen=True, slots=True)
class Route:
    """Send `count` of the oldest queued requests of this service and origin to the node.

    score: the policy's own, lower is better; runner_up: (node, score) or ("", 0.0).
    rejected: (node, why) of the candidates that were filtered out.
    """

    service: str
    node: str
    count: int
    score: float = 0.0
    runner_up: tuple[str, float] = ("", 0.0)
    rejected: tuple[tuple[str, str], ...] = ()
    origin: str = ""


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """Routes in the order in which they are to be dispatched; what is not routed stays queued."""

    routes: tuple[Route, ...]


class TrafficPolicy(Protocol):
    """Routes queued LC requests to nodes. Pure: same snapshot, same plan."""

    name: str

    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        """A plan that never exceeds an offer's CPU, memory or slots, nor a demand's count."""
        ...


OTHER_NODE = "not the node that it names"
# (millicores, bytes, cores, node, cpuset, terms, ports)
TaskShape = tuple[int, int, int, str, tuple[int, ...], NodeTerms | None, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class BatchTask:
    """One task that waits for a node. cores, node, cpuset, ports: as in TaskSpec; images: in full.

    terms: what it says of nodes, None for nothing.
    """

    job_id: str
    task_index: int
    cpu_millis: int
    memory_bytes: int
    cores: int = 0
    node: str = ""
    cpuset: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    terms: NodeTerms | None = None
    ports: tuple[int, ...] = ()

    @property
    def shape(self) -> TaskShape:
        """What it asks for: tasks of one shape fit the same nodes."""
        return (
            self.cpu_millis, self.memory_bytes, self.cores, self.node, self.cpuset, self.terms,
            self.ports,
        )  # fmt: skip

    def cores_among(self, free: int) -> int | None:
        """The cores that it takes of the free ones, as bits: those that it names, or the lowest.

        None where it asks for more than are there, or for one that is not.
        """
        if not self.cores:
            return 0
        if self.cpuset:
            named = mask_of(self.cpuset)
            return named if named & free == named else None
        return lowest(free, self.cores) if free.bit_count() >= self.cores else None


@dataclass(frozen=True, slots=True)
class Gang:
    """Tasks that are placed together or not at all."""

    job_id: str
    priority: int
    tasks: tuple[BatchTask, ...]


@dataclass(frozen=True, slots=True)
class BatchOffer:
    """What a node of some site can still give to BE, beside what LC and BE hold and use there.

    For an elastic policy (`is_elastic`) full nodes are offered too, and what is free may be below
    zero; reclaimable_millis: of the CPU that BE holds, what its tasks measurably do not use. 0 for
    every other policy.
    lc_used_millis: a mean over some 10 s; be_used_millis: as last reported.
    core_mask: a bit for the id of each core that no task has.
    labels, taints: of the node; `bars` says whom they keep away. ports: fixed ones that somebody
    has there, or shall have.
    """

    edge: str
    node: str
    cpu_millis: int
    memory_bytes: int
    be_tasks: int = 0
    lc_held_millis: int = 0
    lc_memory_bytes: int = 0
    be_held_millis: int = 0
    be_memory_bytes: int = 0
    lc_used_millis: int = 0
    be_used_millis: int = 0
    reclaimable_millis: int = 0
    core_mask: int = 0
    labels: Labels = ()
    taints: Taints = ()
    ports: tuple[int, ...] = ()

    def bars(self, task: BatchTask) -> str:
        """Why the node will not do for the task, whatever is free there; "" where it will."""
        if task.node and task.node != self.node:
            return OTHER_NODE
        if task.terms is None and not self.taints:
            return ""
        return barred(task.terms, self.labels, self.taints)

    @property
    def all_cpu_millis(self) -> int:
        """The node's capacity."""
        return self.cpu_millis + self.lc_held_millis + self.be_held_millis

    @property
    def all_memory_bytes(self) -> int:
        """The node's capacity."""
        return self.memory_bytes + self.lc_memory_bytes + self.be_memory_bytes


@dataclass(frozen=True, slots=True)
class RunningTask:
    """An attempt that may be preempted, and what it holds. started_at: unix seconds, 0 unknown."""

    attempt_id: str
    edge: str
    node: str
    priority: int
    cpu_millis: int
    memory_bytes: int
    started_at: float = 0.0
    cores: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of the images that some tasks name. Nodes are (edge, node).

    layers: (digest, bytes) by image; one that nobody knows is not there. whole: by image, the nodes
    that have all of it as it is now. holders: by digest of those layers. bandwidth: bytes/s.
    """

    layers: Mapping[str, tuple[tuple[str, int], ...]]
    whole: Mapping[str, frozenset[tuple[str, str]]]
    holders: Mapping[str, frozenset[tuple[str, str]]]
    bandwidth: Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class BatchSnapshot:
    """All that a batch policy may look at. Gangs come in the order in which they queue.

    last: (edge, node) of the latest placement that was committed, ("", "") for none.
    running: what may be preempted; empty for a policy that is not elastic.
    images: None where no task names any.
    """

    gangs: tuple[Gang, ...]
    offers: tuple[BatchOffer, ...]
    seed: int = 0
    last: tuple[str, str] = ("", "")
    running: tuple[RunningTask, ...] = ()
    images: ImageFacts | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """One task to one node, with what decided it; a lower score is better.

    rejected: (node, why) of the first few candidates that were filtered out.
    scores: (plugin, weight, of the node, of the runner-up), 0 to 100, higher is better; empty for a
    policy without plugins.
    """

    job_id: str
    task_index: int
    edge: str
    node: str
    score: float = 0.0
    runner_up: tuple[str, float] = ("", 0.0)
    rejected: tuple[tuple[str, str], ...] = ()
    scores: tuple[tuple[str, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A gang that stays queued, and why: shown to its owner."""

    job_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Preemption:
    """Stop these running attempts, all of lower priority than the job that shall have their room.

    The job itself stays unplaced: it is placed when they have ended.
    """

    job_id: str
    attempt_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Whole gangs only: every task of a job appears in placements, or the job in unplaced."""

    placements: tuple[Placement, ...]
    unplaced: tuple[Unplaced, ...] = ()
    preempt: Preemption | None = None


class BatchPolicy(Protocol):
    """Places waiting gangs on nodes of all sites. Pure: same snapshot, same plan."""

    name: str

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """A plan that never exceeds an offer's CPU or memory, nor gives a port twice; an elastic
        one's CPU may be what is free and what is reclaimable. Tasks get nodes that do not bar them
        (`BatchOffer.bars`): what breaks that is not committed. Which cores they have
        there follows (`BatchTask.cores_among`), in the order of the placements of a gang, those
        that name theirs first."""
        ...


def is_elastic(policy: BatchPolicy) -> bool:
    """Whether the policy takes CPU that others hold, or stops them: its class has `elastic` set."""
    return bool(getattr(policy, "elastic", False))


class Marks(TypedDict):
    """What the central master must know of a policy; its class has them set.

    elastic: see `is_elastic`. strict: no job overtakes one of higher priority. needs_node: it
    starts only tasks that name their node.
    """

    elastic: bool
    strict: bool
    needs_node: bool


def marks_of(policy: BatchPolicy) -> Marks:
    """By their names, as who starts a controller passes them on."""
    return Marks(
        elastic=is_elastic(policy),
        strict=bool(getattr(policy, "strict", False)),
        needs_node=bool(getattr(policy, "needs_node", False)),
    )
