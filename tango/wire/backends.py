"""What a daemon offers to its gRPC servicers, in words of the model: servicers only convert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from tango.model.cluster import Enforcement, NodeCapacity, NodeReport, NodeView
from tango.model.explanation import Explanation, Subject
from tango.model.improvement import ImproveView, TriedJob
from tango.model.job import AttemptStatus, Checkpoint, CheckpointPart, JobRecord, JobSpec, JobState
from tango.model.messages import FromEdge, FromWorker, ReplyPart, ToEdge, ToWorker
from tango.model.peers import FromPeer, PeerView, ToPeer
from tango.model.request import CallReply, CallRequest
from tango.model.routes import FollowReport, RouteTable
from tango.model.service import ReplicaStatus, ServiceSpec
from tango.model.views import (
    BatchPolicyView,
    DrainView,
    EdgeView,
    ImagesView,
    JobCounts,
    ServiceView,
    TrafficPolicyView,
)
from tango.wire.stream_session import StreamSession

WorkerSession = StreamSession[FromWorker, ToWorker]
EdgeSession = StreamSession[FromEdge, ToEdge]
GuestSession = StreamSession[FromPeer, ToPeer]


class RouteFollower(Protocol):
    """One follower of a service's routes at the edge master."""

    def report(self, report: FollowReport) -> None:
        """What it has under way."""
        ...

    async def next(self) -> tuple[int, RouteTable | None] | None:
        """(number of the latest report taken, the latest table if it is new); None at the end."""
        ...

    def close(self) -> None:
        """Its stream has ended; fine to do again."""
        ...


class CheckpointBackend(Protocol):
    """A daemon by which checkpoints pass on their way between nodes."""

    def fetch_checkpoint(self, checkpoint: Checkpoint) -> AsyncGenerator[CheckpointPart, None]:
        """Its pieces, from the node that has it. Raises Unavailable, and what that node says."""
        ...

    async def take_checkpoint(self, transfer_id: str, parts: AsyncIterator[CheckpointPart]) -> None:
        """An offer's pieces, to whoever waits for them. Raises NotFound, Unavailable, Refused."""
        ...


class EdgeBackend(CheckpointBackend, Protocol):
    """The edge master behind EdgeService. stopping: set once it takes no new calls."""

    incarnation: int
    stopping: asyncio.Event

    async def apply_service(self, spec: ServiceSpec, *, dry_run: bool) -> ServiceView:
        """Declare or change a service; durable when it returns. Raises InvalidField."""
        ...

    async def delete_service(self, name: str) -> None:
        """Raises NotFound."""
        ...

    def service(self, name: str) -> ServiceView:
        """Raises NotFound."""
        ...

    def services(self) -> tuple[ServiceView, ...]:
        """All services of the site, by name."""
        ...

    def watch_service(self, name: str) -> AsyncGenerator[ServiceView, None]:
        """The service now and after each change; ends when it is deleted or the edge stops."""
        ...

    def nodes(self) -> tuple[NodeView, ...]:
        """All nodes of the site, by name."""
        ...

    async def cordon_node(self, node: str, *, cordoned: bool) -> NodeView:
        """Take a node out of service for what is new, or into it again. Raises NotFound."""
        ...

    def drain_node(self, node: str, grace_s: float | None) -> AsyncGenerator[DrainView, None]:
        """Cordon a node and move what it has; how it stands, until nothing moves any more.

        Raises NotFound, InvalidField.
        """
        ...

    def traffic_policy(self) -> TrafficPolicyView:
        """By which policy requests are routed now."""
        ...

    async def set_traffic_policy(self, name: str) -> TrafficPolicyView:
        """Route by another policy from the next solve on. Raises InvalidField."""
        ...

    def new_request_id(self) -> str:
        """For callers who gave none."""
        ...

    def submit(self, request: CallRequest, on_reply: Callable[[CallReply], None]) -> None:
        """Take a call; on_reply comes exactly once, maybe before this returns, unless cancelled."""
        ...

    def cancel(self, request_id: str) -> None:
        """The caller has gone; on_reply will not come any more."""
        ...

    def call_streamed(self, request: CallRequest) -> AsyncGenerator[ReplyPart | CallReply, None]:
        """Parts as the replica sends them, the CallReply last."""
        ...

    def watch_routes(self, service: str) -> AsyncGenerator[RouteTable, None]:
        """Where a service can be called directly, now and after each change. Raises NotFound."""
        ...

    def follow_routes(self, service: str) -> RouteFollower:
        """Follow a service's routes. Raises NotFound, Unavailable where too many do."""
        ...

    def read_log(
        self, target: str, tail_bytes: int, *, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        """A replica's or attempt's log. Raises NotFound, Unavailable."""
        ...

    async def explain(
        self, name: str, subjects: tuple[Subject, ...], limit: int
    ) -> tuple[Explanation, ...]:
        """How everything of that name and kind stands, and why. Raises NotFound."""
        ...

    async def worker_session(self, session: WorkerSession) -> None:
        """Serve a worker's stream until it ends. Raises FailedPrecondition."""
        ...


class PeerBackend(Protocol):
    """The edge master behind PeerService."""

    incarnation: int

    def peers(self) -> tuple[PeerView, ...]:
        """The sites that it dials, by name."""
        ...

    async def guest_session(self, session: GuestSession) -> None:
        """Serve another site's stream until it ends. Raises FailedPrecondition."""
        ...


class CentralBackend(CheckpointBackend, Protocol):
    """The central master behind CentralService."""

    incarnation: int

    async def submit_job(
        self, spec: JobSpec, submission_id: str, *, require_fit: bool = False
    ) -> JobRecord:
        """Durable when it returns.

        Raises InvalidField, AlreadyExists for a submission_id that another job came with,
        ResourceExhausted, and FailedPrecondition or Unavailable under require_fit.
        """
        ...

    async def migrate_job(self, job_id: str, task: str, node: str, edge: str) -> JobRecord:
        """The job once it is decided that tasks of it move.

        Raises NotFound, InvalidField, FailedPrecondition.
        """
        ...

    async def cancel_job(self, job_id: str) -> JobRecord:
        """Raises NotFound."""
        ...

    def job(self, job_id: str) -> JobRecord:
        """Raises NotFound."""
        ...

    def jobs(self, states: tuple[JobState, ...], limit: int) -> tuple[JobRecord, ...]:
        """The newest `limit` of these states (none given: all), newest last."""
        ...

    def job_counts(self) -> JobCounts:
        """Over all jobs in the store."""
        ...

    def watch_job(self, job_id: str) -> AsyncGenerator[JobRecord, None]:
        """The job now and after each change, until it has ended. Raises NotFound."""
        ...

    def read_job_log(
        self, job_id: str, task: str, tail_bytes: int, *, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        """The log of a task's latest attempt. Raises NotFound, Unavailable."""
        ...

    def edges(self) -> tuple[EdgeView, ...]:
        """All sites, by name."""
        ...

    def images(self, edge: str) -> ImagesView:
        """What nodes of a site (all: "") hold, and what registries say. Raises NotFound."""
        ...

    def batch_policy(self) -> BatchPolicyView:
        """By which policy jobs are placed now."""
        ...

    async def set_batch_policy(self, name: str) -> BatchPolicyView:
        """Place by another policy from the next solve on. Raises InvalidField."""
        ...

    async def explain(
        self, name: str, subjects: tuple[Subject, ...], limit: int
    ) -> tuple[Explanation, ...]:
        """How the job or node of that name stands, and why. Raises NotFound."""
        ...

    def improve_placement(
        self, max_moves: int, *, apply: bool
    ) -> AsyncGenerator[ImproveView, None]:
        """A better plan for tasks with bounds that run, and how it stands while it is carried out.

        Raises Refused, Unavailable.
        """
        ...

    async def try_job(self, spec: JobSpec) -> TriedJob:
        """Where a job with bounds would go. Raises InvalidField, Refused, Unavailable."""
        ...

    async def edge_session(self, session: EdgeSession) -> None:
        """Serve an edge's stream until it ends. Raises FailedPrecondition."""
        ...


class WorkerBackend(Protocol):
    """The worker behind WorkerService."""

    node: str
    capacity: NodeCapacity
    enforcement: Enforcement

    def connected(self) -> bool:
        """Whether the session to the edge is up."""
        ...

    def report(self) -> NodeReport | None:
        """The latest, None before the first."""
        ...

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """All replicas on the node."""
        ...

    def attempts(self) -> tuple[AttemptStatus, ...]:
        """All attempts on the node, ends not yet acknowledged included."""
        ...
