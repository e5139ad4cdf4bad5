"""What happens to a controller: `handle(event, now)` takes one of these.

`now` is seconds on whatever clock the shell keeps (monotonic); wall times travel inside events.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.bounds import BoundPlan
from tango.model.cgroup import Mismatch
from tango.model.fast_init import fast_init
from tango.model.improvement import Improvement
from tango.model.job import JobSpec
from tango.model.layers import ImageLayers, NodeImages
from tango.model.messages import (
    EdgeHello,
    EdgeState,
    FromEdge,
    FromWorker,
    NodeTargets,
    ToEdge,
    ToWorker,
    WorkerHello,
    WorkerState,
)
from tango.model.peers import PeerEvent
from tango.model.plan import BatchPlan, TrafficPlan
from tango.model.process import ProcessRecord
from tango.model.request import CallRequest, RequestDone
from tango.model.round_trips import RoundTrip
from tango.model.routes import FollowReport
from tango.model.service import ServiceSpec

# ---- all three


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that the controller asked for with `wake_at` has come (or gone by)."""


@dataclass(frozen=True, slots=True)
class Persisted:
    """The writes of Persist(persist_id) are on disk."""

    persist_id: int


@dataclass(frozen=True, slots=True)
class PersistFailed:
    """The store could not keep them; nothing of them is on disk."""

    persist_id: int
    error: str


# ---- edge


@dataclass(frozen=True, slots=True)
class ApplyService:
    """A user declares a service. op_id: who waits for the Answer. dry_run: check only."""

    op_id: int
    spec: ServiceSpec
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class DeleteService:
    """A user removes a service."""

    op_id: int
    name: str


@dataclass(frozen=True, slots=True)
class CordonNode:
    """An operator cordons, drains (cordoned too) or uncordons a node; answered with a NodeView.

    grace_s: of a drain, for BE tasks; None for their own.
    """

    op_id: int
    node: str
    cordoned: bool
    draining: bool = False
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker's stream said Hello and its full state. session: drawn by the shell, unique.

    address: the host that the stream came from, "" where that is not known.
    """

    session: int
    hello: WorkerHello
    state: WorkerState
    address: str = ""


@dataclass(frozen=True, slots=True)
class WorkerSaid:
    """A later message on that stream."""

    session: int
    message: FromWorker


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """That stream ended."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class CallArrived:
    """A user's call; it is answered by exactly one Reply."""

    request: CallRequest


@dataclass(frozen=True, slots=True)
class CallCancelled:
    """The user has gone; no Reply is wanted any more."""

    request_id: str


@dataclass(frozen=True, slots=True)
class FollowStarted:
    """Someone wants a service's routes. follower: drawn by the shell, unique.

    passive: only looks; it calls nothing by them that the edge answers for, and gets no slots.
    """

    follower: int
    service: str
    passive: bool = False


@dataclass(frozen=True, slots=True)
class FollowReported:
    """What a follower has under way and had since its last report."""

    follower: int
    report: FollowReport


@dataclass(frozen=True, slots=True)
class FollowEnded:
    """A follower's stream ended; what it may still have under way stays set aside for its lease."""

    follower: int


@fast_init
@dataclass(frozen=True, slots=True)
class RouteSolved:
    """The plan for Solve(solve_id); cost_s is the time it took.

    policy: whose plan it is, by name, for its records; "" for the configured one's.
    """

    solve_id: int
    plan: TrafficPlan
    cost_s: float
    policy: str = ""


@dataclass(frozen=True, slots=True)
class SolveFailed:
    """The policy raised; the queue stays as it is."""

    solve_id: int
    error: str


@dataclass(frozen=True, slots=True)
class CentralUp:
    """The stream to the central master is open, and the shell has said hello on it."""

    session: int


@dataclass(frozen=True, slots=True)
class CentralSaid:
    """A message from the central master."""

    session: int
    message: ToEdge


@dataclass(frozen=True, slots=True)
class CentralDown:
    """The stream to the central master ended."""

    session: int
    reason: str


# ---- central


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """A user submits. job_id is drawn by the shell; a known submission_id returns the old job.
    wall: unix seconds at arrival. require_fit: refuse it where it could not run on the nodes that
    are known even if nothing else did."""

    op_id: int
    job_id: str
    submission_id: str
    spec: JobSpec
    wall: float
    require_fit: bool = False


@dataclass(frozen=True, slots=True)
class CancelJob:
    """A user cancels; answered with the job as it is then."""

    op_id: int
    job_id: str
    wall: float


@dataclass(frozen=True, slots=True)
class MigrateJob:
    """A user wants a task (none named: every task that runs) on another node, with its state.

    edge: "" where the node's name says enough. Answered with the job once that is decided.
    """

    op_id: int
    job_id: str
    task: str
    node: str
    edge: str
    wall: float


@dataclass(frozen=True, slots=True)
class EdgeUp:
    """An edge's stream said Hello and its full state. wall: unix seconds at arrival."""

    session: int
    hello: EdgeHello
    state: EdgeState
    wall: float = 0.0


@dataclass(frozen=True, slots=True)
class EdgeSaid:
    """A later message on that stream. wall: unix seconds at arrival."""

    session: int
    message: FromEdge
    wall: float = 0.0


@dataclass(frozen=True, slots=True)
class EdgeDown:
    """That stream ended."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class DelaysMeasured:
    """Round trips between nodes, all that a file or Goldpinger says now."""

    trips: tuple[RoundTrip, ...]
    wall: float


@dataclass(frozen=True, slots=True)
class ImagesLearned:
    """What registries say of images (references in full) that is new; None: they are not known any
    more."""

    images: tuple[tuple[str, ImageLayers | None], ...]


@dataclass(frozen=True, slots=True)
class ImproveBounds:
    """A user wants a better plan for tasks with bounds and backups that run, in so many moves at
    most; apply: and wants it carried out. Answered with the ImproveView as it is then."""

    op_id: int
    max_moves: int
    apply: bool
    wall: float


@dataclass(frozen=True, slots=True)
class TryJob:
    """A user asks where a job with bounds or backups would go; answered with a TriedJob."""

    op_id: int
    spec: JobSpec
    wall: float


@dataclass(frozen=True, slots=True)
class ImproveSolved:
    """The plan for Solve(solve_id) of an ImproveSnapshot; cost_s is the time it took."""

    solve_id: int
    plan: Improvement
    cost_s: float
    wall: float


@dataclass(frozen=True, slots=True)
class BatchSolved:
    """The plan for Solve(solve_id). policy: which one made it; "" where that is not told."""

    solve_id: int
    plan: BatchPlan
    cost_s: float
    wall: float
    policy: str = ""


@dataclass(frozen=True, slots=True)
class BoundsSolved:
    """The plan for Solve(solve_id) of a BoundSnapshot; cost_s is the time it took."""

    solve_id: int
    plan: BoundPlan
    cost_s: float
    wall: float


@dataclass(frozen=True, slots=True)
class PolicySwitched:
    """Another batch policy is asked from now on; what `marks_of` says of it."""

    policy: str
    elastic: bool = False
    strict: bool = False
    needs_node: bool = False


# ---- worker


@dataclass(frozen=True, slots=True)
class UpstreamUp:
    """The stream to the edge is open; Hello is to be said first."""

    session: int


@dataclass(frozen=True, slots=True)
class UpstreamSaid:
    """A message from the edge."""

    session: int
    message: ToWorker


@dataclass(frozen=True, slots=True)
class UpstreamDown:
    """The stream to the edge ended; targets stand, payload runs on."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class ProcessesListed:
    """What the runtime already runs or remembers, told once before anything else.

    groups: all in the kernel below the node's own; those that no record accounts for were made by
    a worker that died before it could use them, and are removed. targets: the edge's last word.
    """

    records: tuple[ProcessRecord, ...]
    groups: tuple[str, ...] = ()
    targets: NodeTargets | None = None


@dataclass(frozen=True, slots=True)
class RuntimeDown:
    """The runtime (the supervisor) does not answer; what it started may still run."""

    reason: str


@dataclass(frozen=True, slots=True)
class RuntimeUp:
    """The runtime answers again. renewed: it is another one, which knows of no stop under way.
    adopted, lost: of what ran before, how many processes it found running, and how many not.
    """

    renewed: bool
    adopted: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """Answer to StartProcess. port: the one that was picked, 0 where none was asked for."""

    key: str
    record: ProcessRecord
    port: int


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """Its state was not written; it runs on, or its end is told as any other."""

    key: str
    error: str


@dataclass(frozen=True, slots=True)
class ProcessStartFailed:
    """Answer to StartProcess: nothing runs. lasting: a retry cannot help (no such program)."""

    key: str
    error: str
    lasting: bool


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """A process of ours ended; reported until ForgetProcess."""

    key: str
    record: ProcessRecord


@dataclass(frozen=True, slots=True)
class HealthChecked:
    """Answer to CheckHealth."""

    key: str
    healthy: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """Answer to Forward; exactly one a Forward, AbortForward included."""

    done: RequestDone


@fast_init
@dataclass(frozen=True, slots=True)
class GroupUsed:
    """Kernel counters of one group at a sample."""

    group: str
    cpu_s: float
    memory_bytes: int
    n_throttled: int
    throttled_s: float
    n_oom_kills: int


@dataclass(frozen=True, slots=True)
class UsageSampled:
    """Answer to SampleUsage. wall: unix seconds; memory_available_bytes: of the whole machine."""

    groups: tuple[GroupUsed, ...]
    wall: float
    memory_available_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ImagesListed:
    """The node's container engine holds these images, or does not answer; told where it is new."""

    images: NodeImages


@dataclass(frozen=True, slots=True)
class GroupApplied:
    """Answer to ApplyGroup: what the kernel holds now, and what differs from the target."""

    group: str
    mismatches: tuple[Mismatch, ...]


# The busiest first: compiled code goes through them in this order.
EdgeEvent = (
    WorkerSaid
    | CallArrived
    | RouteSolved
    | Tick
    | PeerEvent
    | Persisted
    | PersistFailed
    | ApplyService
    | DeleteService
    | CordonNode
    | WorkerUp
    | WorkerDown
    | CallCancelled
    | RequestFinished
    | FollowStarted
    | FollowReported
    | FollowEnded
    | SolveFailed
    | CentralUp
    | CentralSaid
    | CentralDown
)
CentralEvent = (
    Tick
    | Persisted
    | PersistFailed
    | SubmitJob
    | CancelJob
    | MigrateJob
    | EdgeUp
    | EdgeSaid
    | EdgeDown
    | DelaysMeasured
    | ImagesLearned
    | ImproveBounds
    | TryJob
    | ImproveSolved
    | BatchSolved
    | BoundsSolved
    | PolicySwitched
    | SolveFailed
)
WorkerEvent = (
    UpstreamSaid
    | RequestFinished
    | Tick
    | UsageSampled
    | UpstreamUp
    | UpstreamDown
    | ProcessesListed
    | RuntimeDown
    | RuntimeUp
    | ProcessStarted
    | ProcessStartFailed
    | CheckpointFailed
    | ProcessEnded
    | HealthChecked
    | ImagesListed
    | GroupApplied
)
