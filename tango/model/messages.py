"""What the daemons say to one another on their session streams.

The lower side dials: worker -> edge, edge -> central. Each direction is numbered by the sender's
(incarnation, sequence); after a (re)connect the lower side says Hello and a full state, so nothing
that follows depends on what an earlier stream carried.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.affinity import Taints
from tango.model.cluster import Enforcement, NodeCapacity, NodeReport, NodeView
from tango.model.job import AttemptStatus, Checkpoint, TaskSpec
from tango.model.layers import NodeImages
from tango.model.request import Dispatch, RequestDone
from tango.model.round_trips import EdgeTrip
from tango.model.service import ReplicaStatus, ServiceSpec

# ---- worker -> edge


@dataclass(frozen=True, slots=True)
class WorkerHello:
    """Who dials. key: drawn once, kept in the worker's state directory; proves the same node.

    dial: counts this incarnation's streams from 1; 0 from a version that does not count.
    cores: ids of those that tasks may have; cores_note: why there are no others.
    checkpoints: it can write and restore checkpoints; checkpoint_note: by what, or why it cannot.
    checkpoint_shared, checkpoint_transfer: they leave it by a directory, over the sessions.
    loopback: whose 127.0.0.1 its replicas listen on; see adapters/loopback.py. "": not known.
    """

    node: str
    key: str
    incarnation: int
    capacity: NodeCapacity
    enforcement: Enforcement
    version: str
    labels: tuple[tuple[str, str], ...] = ()
    observe_only: bool = False
    dial: int = 0
    cores: tuple[int, ...] = ()
    cores_note: str = ""
    checkpoints: bool = False
    checkpoint_note: str = ""
    taints: Taints = ()
    checkpoint_shared: bool = False
    checkpoint_transfer: bool = False
    loopback: str = ""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Full resync: everything that lives on the node, and every end not yet acknowledged."""

    replicas: tuple[ReplicaStatus, ...]
    attempts: tuple[AttemptStatus, ...]
    in_flight: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplicaChanged:
    """A replica's status is now this."""

    replica: ReplicaStatus


@dataclass(frozen=True, slots=True)
class ReplicaGone:
    """A replica that shall not run any more has no process left."""

    replica_id: str


@dataclass(frozen=True, slots=True)
class AttemptChanged:
    """An attempt's status is now this; an ENDED one is repeated until acknowledged."""

    attempt: AttemptStatus


@dataclass(frozen=True, slots=True)
class RequestsDone:
    """Answers to dispatches, batched as they come."""

    done: tuple[RequestDone, ...]


@dataclass(frozen=True, slots=True)
class ReplyPart:
    """A piece of a streamed reply; the first carries status and headers, RequestDone ends it."""

    request_id: str
    data: bytes
    http_status: int = 0
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ReportUsage:
    """Latest usage; an older one that was not sent yet is replaced."""

    report: NodeReport


@dataclass(frozen=True, slots=True)
class WorkerPong:
    """Answer to the WorkerPing of that number, at once."""

    number: int


@dataclass(frozen=True, slots=True)
class LogPart:
    """A piece of a log; last ends it, error says why there is no (more) log."""

    log_id: str
    data: bytes = b""
    last: bool = False
    error: str = ""


# ---- edge -> worker


@dataclass(frozen=True, slots=True)
class EdgeWelcome:
    """The session is on. superseding an older stream of the same node is the edge's business."""

    edge: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class WorkerPing:
    """The time until its pong is the delay to the node and back."""

    number: int


@dataclass(frozen=True, slots=True)
class ReplicaTarget:
    """A replica that shall run. generation counts the changes of the service's spec.

    cpu_per_request_millis: what its quota follows, where re-assurance has adjusted it; 0: the
    spec's.
    """

    replica_id: str
    generation: int
    spec: ServiceSpec
    cpu_per_request_millis: int = 0


@dataclass(frozen=True, slots=True)
class NodeTargets:
    """Every replica that shall run on the node; others are stopped. Absolute, idempotent."""

    version: int
    replicas: tuple[ReplicaTarget, ...]


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Run a task once under this attempt id; a repeat never runs it twice. node is set by central
    for the edge, and ignored by the worker. priority: of its job; lower ones are evicted first.
    restore: begin from this checkpoint instead of from argv. cores: ids that it is given, where it
    asks for cores."""

    attempt_id: str
    spec: TaskSpec
    node: str = ""
    priority: int = 0
    restore: Checkpoint | None = None
    cores: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StopAttempt:
    """Stop an attempt: TERM, grace, KILL; its end is reported as usual.

    grace_s: None for the task's own. evict: it makes room for LC, so its end costs no retry.
    checkpoint: above 0, write its state to disk, and only then end it; where that fails it goes on,
    and its status says why, with this number.
    """

    attempt_id: str
    reason: str = ""
    grace_s: float | None = None
    evict: bool = False
    checkpoint: int = 0


@dataclass(frozen=True, slots=True)
class AckEnds:
    """The central master has stored these ends; they need not be reported again."""

    attempt_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetLogs:
    """Jobs were removed for their age or number: logs of these attempts may go from the node."""

    node: str
    attempt_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """Send this checkpoint, which is at a node below, by an offer with this id."""

    transfer_id: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class ForgetCheckpoints:
    """Nobody will begin any more from what these attempts have left; the node may have it."""

    node: str
    attempt_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dispatches:
    """Requests to serve, batched as the plan commits them."""

    requests: tuple[Dispatch, ...]


@dataclass(frozen=True, slots=True)
class CancelDispatches:
    """Stop serving these; each is still answered by a RequestDone."""

    request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedShares:
    """(replica id, requests under way there that the worker does not carry); absolute.

    keep_s: how long they stand after the session that told them has ended.
    """

    shares: tuple[tuple[str, int], ...]
    keep_s: float


@dataclass(frozen=True, slots=True)
class OpenLog:
    """Send the last tail_bytes of a replica's or attempt's log, then follow it if asked."""

    log_id: str
    target: str
    tail_bytes: int = 65536
    follow: bool = False


@dataclass(frozen=True, slots=True)
class CloseLog:
    """Nobody reads this log any more."""

    log_id: str


# ---- edge -> central


@dataclass(frozen=True, slots=True)
class EdgeHello:
    """Which site dials, and where users reach it. dial: as WorkerHello's."""

    edge: str
    incarnation: int
    address: str
    version: str
    dial: int = 0


@dataclass(frozen=True, slots=True)
class EdgeState:
    """Full resync: the site's nodes and every attempt it knows of.

    complete_nodes: nodes whose worker has resynced since the edge started: only for these does a
    missing attempt mean that it is not there. trips: what it has measured, MAX_TRIPS at most.
    """

    nodes: tuple[NodeView, ...]
    attempts: tuple[AttemptStatus, ...]
    complete_nodes: tuple[str, ...]
    trips: tuple[EdgeTrip, ...] = ()


@dataclass(frozen=True, slots=True)
class NodesChanged:
    """The site's nodes and delays as they are now; an older one that was not sent is replaced."""

    nodes: tuple[NodeView, ...]
    trips: tuple[EdgeTrip, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeResynced:
    """A worker (re)connected: these are all the attempts on its node."""

    node: str
    attempts: tuple[AttemptStatus, ...]


@dataclass(frozen=True, slots=True)
class AttemptRefused:
    """The edge admits no such attempt now (no room, node gone): it has not run."""

    attempt_id: str
    reason: str


# ---- central -> edge (StartAttempt, StopAttempt, AckEnds, OpenLog, CloseLog as above)


@dataclass(frozen=True, slots=True)
class CentralWelcome:
    """The session is on."""

    incarnation: int


FromWorker = (
    WorkerHello
    | WorkerState
    | ReplicaChanged
    | ReplicaGone
    | AttemptChanged
    | RequestsDone
    | ReplyPart
    | ReportUsage
    | LogPart
    | WorkerPong
    | NodeImages
)
ToWorker = (
    EdgeWelcome
    | WorkerPing
    | NodeTargets
    | StartAttempt
    | StopAttempt
    | AckEnds
    | ForgetLogs
    | OpenCheckpoint
    | ForgetCheckpoints
    | Dispatches
    | CancelDispatches
    | PublishedShares
    | OpenLog
    | CloseLog
)
FromEdge = (
    EdgeHello
    | EdgeState
    | NodesChanged
    | NodeResynced
    | AttemptChanged
    | AttemptRefused
    | LogPart
    | NodeImages
)
ToEdge = (
    CentralWelcome
    | StartAttempt
    | StopAttempt
    | AckEnds
    | ForgetLogs
    | OpenCheckpoint
    | ForgetCheckpoints
    | OpenLog
    | CloseLog
)
