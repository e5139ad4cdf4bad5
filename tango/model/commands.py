"""What a controller wants done; a daemon or the simulator carries these commands out."""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.bounds import BoundSnapshot, ImproveSnapshot
from tango.model.cgroup import GroupTarget
from tango.model.job import JobRecord
from tango.model.messages import FromEdge, FromWorker, ToEdge, ToWorker
from tango.model.peers import PeerCommand
from tango.model.placements import BoundRecord, ReservationRecord
from tango.model.plan import BatchSnapshot, TrafficSnapshot
from tango.model.process import ProcessSpec
from tango.model.request import CallReply, Dispatch
from tango.model.routes import RouteTable
from tango.model.service import ServiceSpec

# ---- all three


@dataclass(frozen=True, slots=True)
class PlacementRecord:
    """Where the replicas of a service are: (replica_id, node), durable at the edge."""

    service: str
    generation: int
    nodes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class OlderSpec:
    """What replicas of an earlier generation run, for as long as there are any."""

    generation: int
    spec: ServiceSpec


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A service as the edge stores it. older: of generations that still have replicas."""

    spec: ServiceSpec
    generation: int
    next_replica: int = 0
    older: tuple[OlderSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A cordoned node, durable at the edge; grace_s: of a drain, None for the tasks' own."""

    node: str
    draining: bool = False
    grace_s: float | None = None


Stored = JobRecord | ServiceRecord | PlacementRecord | NodeRecord | BoundRecord | ReservationRecord


@dataclass(frozen=True, slots=True)
class Put:
    """Write a record under (kind, key), replacing what was there."""

    kind: str
    key: str
    value: Stored


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove (kind, key); fine if absent."""

    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class Persist:
    """All of these writes or none; answered by Persisted or PersistFailed, in order."""

    persist_id: int
    writes: tuple[Put | Delete, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a user's operation. error: None is success, else the exception to raise there."""

    op_id: int
    result: object
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Solve:
    """Ask the policy; answered by RouteSolved, BatchSolved, BoundsSolved, ImproveSolved or
    SolveFailed."""

    solve_id: int
    snapshot: TrafficSnapshot | BatchSnapshot | BoundSnapshot | ImproveSnapshot


@dataclass(frozen=True, slots=True)
class Note:
    """One structured log line: an event name and its fields."""

    level: str
    event: str
    fields: tuple[tuple[str, object], ...] = ()


# ---- edge


@dataclass(frozen=True, slots=True)
class Reply:
    """The one end of a call."""

    reply: CallReply


@dataclass(frozen=True, slots=True)
class SendWorker:
    """Send to a worker's stream; dropped if that session is gone."""

    session: int
    message: ToWorker


@dataclass(frozen=True, slots=True)
class CloseWorker:
    """End a worker's stream: it is refused, superseded or dead."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class SendCentral:
    """Send to the central master; dropped if that session is gone."""

    session: int
    message: FromEdge


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """Listings and watches of this service may want to look again."""

    service: str


@dataclass(frozen=True, slots=True)
class SendRoutes:
    """A follower's table is now this one."""

    follower: int
    table: RouteTable


# ---- central


@dataclass(frozen=True, slots=True)
class SendEdge:
    """Send to an edge's stream; dropped if that session is gone."""

    session: int
    message: ToEdge


@dataclass(frozen=True, slots=True)
class CloseEdge:
    """End an edge's stream."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The job is now this, durably: for watchers."""

    job: JobRecord


# ---- worker


@dataclass(frozen=True, slots=True)
class SendUpstream:
    """Send to the edge; dropped if that session is gone."""

    session: int
    message: FromWorker


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """Make a group (and its parents) and give it targets, before a process enters it."""

    group: str
    target: GroupTarget


@dataclass(frozen=True, slots=True)
class ApplyGroup:
    """Set absolute targets of a group; answered by GroupApplied where something differs."""

    group: str
    target: GroupTarget


@dataclass(frozen=True, slots=True)
class RemoveGroup:
    """Remove a group once it is empty; the shell retries while processes die."""

    group: str


@dataclass(frozen=True, slots=True)
class KillGroup:
    """End what still runs in a group and is nobody's, for its record is lost."""

    group: str


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Answered by ProcessStarted or ProcessStartFailed."""

    spec: ProcessSpec


@dataclass(frozen=True, slots=True)
class StopProcess:
    """TERM to the whole tree, KILL after grace_s; its end comes as ProcessEnded."""

    key: str
    grace_s: float


@dataclass(frozen=True, slots=True)
class CheckpointProcess:
    """Write its state to disk and end it: ProcessEnded tells; or CheckpointFailed, and it runs."""

    key: str


@dataclass(frozen=True, slots=True)
class ForgetProcess:
    """Its end is known where it matters: the runtime may drop the record. keep_log: for `logs`."""

    key: str
    keep_log: bool


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """HTTP GET on the replica's port; answered by HealthChecked."""

    key: str
    port: int
    path: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Forward:
    """Serve a request at a replica; answered by exactly one RequestFinished."""

    request: Dispatch
    replica_id: str
    port: int


@dataclass(frozen=True, slots=True)
class AbortForward:
    """Close the connection of a request; its RequestFinished comes with code CANCELLED."""

    request_id: str


@dataclass(frozen=True, slots=True)
class SampleUsage:
    """Read the kernel's counters of these groups; answered by UsageSampled."""

    groups: tuple[str, ...]


EdgeCommand = (
    Persist
    | Answer
    | Solve
    | Note
    | Reply
    | SendWorker
    | CloseWorker
    | SendCentral
    | ServiceChanged
    | PeerCommand
    | SendRoutes
    | Forward
    | AbortForward
)
CentralCommand = Persist | Answer | Solve | Note | SendEdge | CloseEdge | JobChanged
WorkerCommand = (
    Note
    | SendUpstream
    | CreateGroup
    | ApplyGroup
    | RemoveGroup
    | KillGroup
    | StartProcess
    | StopProcess
    | CheckpointProcess
    | ForgetProcess
    | CheckHealth
    | Forward
    | AbortForward
    | SampleUsage
)
