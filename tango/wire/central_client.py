"""Calls CentralService in words of the model: users' side, and the edge's dial."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, cast

import grpc

from tango.model.errors import Unavailable
from tango.model.explanation import Explanation, Subject
from tango.model.improvement import ImproveView, TriedJob
from tango.model.job import Checkpoint, CheckpointPart, JobRecord, JobSpec, JobState
from tango.model.messages import FromEdge, ToEdge
from tango.model.views import BatchPolicyView, EdgeView, ImagesView, JobCounts
from tango.v1 import central_service_pb2 as pb
from tango.v1.central_service_pb2_grpc import CentralServiceStub
from tango.wire.call_client import Metadata
from tango.wire.checkpoint_streams import OFFER_LIMIT_S, fetched, send_offer
from tango.wire.convert_checkpoints import checkpoint_to_pb
from tango.wire.convert_explanations import explanation_from_pb, subject_to_pb
from tango.wire.convert_improvement import improve_view_from_pb, tried_job_from_pb
from tango.wire.convert_jobs import job_counts_from_pb, job_record_from_pb, job_state_to_pb
from tango.wire.convert_nodes import edge_view_from_pb
from tango.wire.convert_policy import batch_policy_view_from_pb
from tango.wire.convert_specs import job_spec_to_pb
from tango.wire.dialled import dialled
from tango.wire.errors import model_errors
from tango.wire.image_pages import MAX_PAGE, joined
from tango.wire.sessions import decode_to_edge, encode_from_edge
from tango.wire.stream_session import StreamSession

if TYPE_CHECKING:
    # Only the type stubs have it: at run time one class serves both kinds of channel.
    from tango.v1.central_service_pb2_grpc import CentralServiceAsyncStub
    from tango.wire.transports import Call

ADMIN_TIMEOUT_S = 15.0


class CentralClient:
    """The central master. Raises errors of the model; every call but a stream has a deadline."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._stub: CentralServiceAsyncStub = CentralServiceStub(channel)
        self._metadata = tuple(metadata)

    async def submit_job(
        self, spec: JobSpec, submission_id: str = "", *, require_fit: bool = False
    ) -> JobRecord:
        """Durable when it returns. The same submission_id again gives the same job.

        Raises AlreadyExists where another job came with that submission_id, ResourceExhausted, and
        under require_fit FailedPrecondition where it could not run even if nothing else did.
        """
        request = pb.SubmitJobRequest(
            spec=job_spec_to_pb(spec), submission_id=submission_id, require_fit=require_fit
        )
        with model_errors():
            response = await self._stub.SubmitJob(
                request, metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return job_record_from_pb(response.job)

    async def job(self, job_id: str) -> JobRecord:
        """One job. Raises NotFound."""
        with model_errors():
            response = await self._stub.GetJob(
                pb.GetJobRequest(job_id=job_id), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return job_record_from_pb(response.job)

    async def jobs(
        self, states: tuple[JobState, ...] = (), limit: int = 0
    ) -> tuple[tuple[JobRecord, ...], JobCounts]:
        """The newest jobs of these states, newest last, and the counts over all jobs."""
        request = pb.ListJobsRequest(
            states=[job_state_to_pb(state) for state in states], limit=limit
        )
        with model_errors():
            response = await self._stub.ListJobs(
                request, metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        jobs = tuple(job_record_from_pb(job) for job in response.jobs)
        return jobs, job_counts_from_pb(response.counts)

    async def watch_job(self, job_id: str) -> AsyncGenerator[JobRecord, None]:
        """The job now and after each change, until it has ended."""
        stream = self._stub.WatchJob(pb.WatchJobRequest(job_id=job_id), metadata=self._metadata)
        try:
            with model_errors():
                async for response in stream:
                    yield job_record_from_pb(response.job)
        finally:
            stream.cancel()

    async def cancel_job(self, job_id: str) -> JobRecord:
        """The job as it is after the cancel was taken. Raises NotFound."""
        with model_errors():
            response = await self._stub.CancelJob(
                pb.CancelJobRequest(job_id=job_id),
                metadata=self._metadata,
                timeout=ADMIN_TIMEOUT_S,
            )
        return job_record_from_pb(response.job)

    async def migrate_job(
        self, job_id: str, node: str, task: str = "", edge: str = ""
    ) -> JobRecord:
        """The job once it is decided. Raises NotFound, InvalidField, FailedPrecondition."""
        request = pb.MigrateJobRequest(job_id=job_id, task=task, node=node, edge=edge)
        with model_errors():
            response = await self._stub.MigrateJob(
                request, metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return job_record_from_pb(response.job)

    async def read_job_log(
        self, job_id: str, task: str = "", tail_bytes: int = 65536, *, follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """The log of a task's latest attempt. Raises NotFound, Unavailable."""
        stream = self._stub.GetJobLog(
            pb.GetJobLogRequest(job_id=job_id, task=task, tail_bytes=tail_bytes, follow=follow),
            metadata=self._metadata,
        )
        try:
            with model_errors():
                async for response in stream:
                    yield response.data
        finally:
            stream.cancel()

    async def edges(self) -> tuple[EdgeView, ...]:
        """All sites with their nodes."""
        with model_errors():
            response = await self._stub.ListEdges(
                pb.ListEdgesRequest(), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return tuple(edge_view_from_pb(view) for view in response.edges)

    async def images(self, edge: str = "") -> ImagesView:
        """What nodes of a site (all: "") hold, and what registries say; all pages of it.

        Raises NotFound, and Unavailable where the pages come to no end.
        """
        pages: list[pb.ListImagesResponse] = []
        tokens: set[str] = set()
        token = ""
        while not pages or token:
            if token in tokens:
                raise Unavailable("the central master lists the same page of images again")
            tokens.add(token)
            request = pb.ListImagesRequest(edge=edge, page_size=MAX_PAGE, page_token=token)
            with model_errors():
                page = await self._stub.ListImages(
                    request, metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
                )
            pages.append(page)
            token = page.next_page_token
        return joined(pages)

    async def batch_policy(self) -> BatchPolicyView:
        """By which policy jobs are placed."""
        with model_errors():
            response = await self._stub.GetBatchPolicy(
                pb.GetBatchPolicyRequest(), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return batch_policy_view_from_pb(response.policy)

    async def set_batch_policy(self, name: str) -> BatchPolicyView:
        """Place by another policy from the next solve on. Raises InvalidField."""
        with model_errors():
            response = await self._stub.SetBatchPolicy(
                pb.SetBatchPolicyRequest(policy=name),
                metadata=self._metadata,
                timeout=ADMIN_TIMEOUT_S,
            )
        return batch_policy_view_from_pb(response.policy)

    async def explain(
        self, name: str, subjects: Sequence[Subject] = (), limit: int = 0
    ) -> tuple[Explanation, ...]:
        """Why what has that name is as it is. Raises NotFound, InvalidField."""
        request = pb.CentralServiceExplainRequest(
            name=name, subjects=[subject_to_pb(one) for one in subjects], limit=limit
        )
        with model_errors():
            response = await self._stub.Explain(
                request, metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return tuple(explanation_from_pb(one) for one in response.explanations)

    async def improve_placement(
        self, max_moves: int, *, apply: bool
    ) -> AsyncGenerator[ImproveView, None]:
        """The plan, and how it stands until it is carried out. Raises Refused, Unavailable."""
        request = pb.ImprovePlacementRequest(max_moves=max_moves, apply=apply)
        stream = self._stub.ImprovePlacement(request, metadata=self._metadata)
        try:
            with model_errors():
                async for response in stream:
                    yield improve_view_from_pb(response)
        finally:
            stream.cancel()

    async def try_job(self, spec: JobSpec) -> TriedJob:
        """Where it would go now. Raises InvalidField, Refused, Unavailable."""
        request = pb.TryJobRequest(spec=job_spec_to_pb(spec))
        with model_errors():
            response = await self._stub.TryJob(
                request, metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return tried_job_from_pb(response)

    async def connect_edge(
        self,
        incarnation: int,
        serve: Callable[[StreamSession[ToEdge, FromEdge]], Awaitable[str]],
    ) -> str:
        """Dial as an edge and serve the session until it ends; returns why it did."""
        call = cast("Call", self._stub.ConnectEdge(metadata=self._metadata))
        return await dialled(call, incarnation, encode_from_edge, decode_to_edge, serve)

    def fetch_checkpoint(
        self, checkpoint: Checkpoint, limit_s: float
    ) -> AsyncGenerator[CheckpointPart, None]:
        """The pieces of a checkpoint of another node. Raises Unavailable, NotFound, Refused."""
        request = pb.CentralServiceFetchCheckpointRequest(checkpoint=checkpoint_to_pb(checkpoint))
        return fetched(
            self._stub.FetchCheckpoint(request, metadata=self._metadata, timeout=limit_s)
        )

    async def offer_checkpoint(
        self, transfer_id: str, parts: AsyncGenerator[CheckpointPart, None]
    ) -> None:
        """Send a checkpoint that was asked for. Raises NotFound, Unavailable, Refused."""
        call = self._stub.OfferCheckpoint(metadata=self._metadata, timeout=OFFER_LIMIT_S)
        await send_offer(call, pb.CentralServiceOfferCheckpointRequest, transfer_id, parts)
