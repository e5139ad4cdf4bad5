"""CentralService over a CentralBackend: converts, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from tango.model.errors import NotFound
from tango.model.improvement import DEFAULT_MAX_MOVES
from tango.model.messages import EdgeHello, FromEdge
from tango.v1 import central_service_pb2 as pb
from tango.v1.central_service_pb2_grpc import CentralServiceServicer
from tango.wire.backends import CentralBackend, EdgeSession
from tango.wire.checkpoint_streams import first_offered, offered
from tango.wire.convert_checkpoints import checkpoint_from_pb, checkpoint_part_to_pb
from tango.wire.convert_explanations import explained_from_pb, explanation_to_pb
from tango.wire.convert_improvement import improve_view_to_pb, tried_job_to_pb
from tango.wire.convert_jobs import job_counts_to_pb, job_record_to_pb, job_state_from_pb
from tango.wire.convert_nodes import edge_view_to_pb, node_view_to_pb
from tango.wire.convert_policy import batch_policy_view_to_pb
from tango.wire.convert_requests import job_from_pb, submitted_job_from_pb
from tango.wire.image_pages import page_of
from tango.wire.mailbox import Mailbox
from tango.wire.role_gate import as_certified
from tango.wire.sessions import decode_from_edge, encode_to_edge
from tango.wire.stream_session import StreamSession
from tango.wire.transports import ServerTransport

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

DEFAULT_LIMIT = 1000


class CentralServicer(CentralServiceServicer):
    """What grpc calls; errors of the model become statuses in the guard interceptor."""

    def __init__(self, backend: CentralBackend) -> None:
        self._backend = backend

    async def SubmitJob(
        self, request: pb.SubmitJobRequest, context: Context
    ) -> pb.SubmitJobResponse:
        """Durable when it answers."""
        spec = submitted_job_from_pb(request)
        job = await self._backend.submit_job(
            spec, request.submission_id, require_fit=request.require_fit
        )
        return pb.SubmitJobResponse(job=job_record_to_pb(job))

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        """One job."""
        return pb.GetJobResponse(job=job_record_to_pb(self._backend.job(request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """The newest jobs of these states."""
        states = tuple(
            job_state_from_pb(state, f"states[{index}]")
            for index, state in enumerate(request.states)
        )
        jobs = self._backend.jobs(states, request.limit or DEFAULT_LIMIT)
        return pb.ListJobsResponse(
            jobs=[job_record_to_pb(job) for job in jobs],
            counts=job_counts_to_pb(self._backend.job_counts()),
        )

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncGenerator[pb.WatchJobResponse, None]:
        """The job now and after each change, until it has ended."""
        async with aclosing(self._backend.watch_job(request.job_id)) as jobs:
            async for job in jobs:
                yield pb.WatchJobResponse(job=job_record_to_pb(job))

    async def CancelJob(
        self, request: pb.CancelJobRequest, context: Context
    ) -> pb.CancelJobResponse:
        """The job as it is after the cancel was taken."""
        job = await self._backend.cancel_job(request.job_id)
        return pb.CancelJobResponse(job=job_record_to_pb(job))

    async def MigrateJob(
        self, request: pb.MigrateJobRequest, context: Context
    ) -> pb.MigrateJobResponse:
        """The job once the migration is decided."""
        job = await self._backend.migrate_job(
            request.job_id, request.task, request.node, request.edge
        )
        return pb.MigrateJobResponse(job=job_record_to_pb(job))

    async def GetJobLog(
        self, request: pb.GetJobLogRequest, context: Context
    ) -> AsyncGenerator[pb.GetJobLogResponse, None]:
        """The log of a task, in pieces."""
        async with aclosing(
            self._backend.read_job_log(
                request.job_id, request.task, request.tail_bytes, follow=request.follow
            )
        ) as chunks:
            async for chunk in chunks:
                yield pb.GetJobLogResponse(data=chunk)

    async def ListEdges(
        self, request: pb.ListEdgesRequest, context: Context
    ) -> pb.ListEdgesResponse:
        """All sites."""
        return pb.ListEdgesResponse(edges=[edge_view_to_pb(view) for view in self._backend.edges()])

    async def ListNodes(
        self, request: pb.CentralServiceListNodesRequest, context: Context
    ) -> pb.CentralServiceListNodesResponse:
        """The nodes of all sites, or of one."""
        views = self._backend.edges()
        if request.edge:
            views = tuple(view for view in views if view.edge == request.edge)
            if not views:
                raise NotFound(f"site {request.edge!r} is unknown; `tango get edges` lists them")
        nodes = [node_view_to_pb(node) for view in views for node in view.nodes]
        return pb.CentralServiceListNodesResponse(nodes=nodes)

    async def ListImages(
        self, request: pb.ListImagesRequest, context: Context
    ) -> pb.ListImagesResponse:
        """What nodes hold and registries say, a page of it."""
        view = self._backend.images(request.edge)
        return page_of(view, request.edge, request.page_size, request.page_token)

    async def GetBatchPolicy(
        self, request: pb.GetBatchPolicyRequest, context: Context
    ) -> pb.GetBatchPolicyResponse:
        """By which policy jobs are placed."""
        view = self._backend.batch_policy()
        return pb.GetBatchPolicyResponse(policy=batch_policy_view_to_pb(view))

    async def SetBatchPolicy(
        self, request: pb.SetBatchPolicyRequest, context: Context
    ) -> pb.SetBatchPolicyResponse:
        """Place by another policy."""
        view = await self._backend.set_batch_policy(request.policy)
        return pb.SetBatchPolicyResponse(policy=batch_policy_view_to_pb(view))

    async def Explain(
        self, request: pb.CentralServiceExplainRequest, context: Context
    ) -> pb.CentralServiceExplainResponse:
        """Why it is as it is."""
        found = await self._backend.explain(*explained_from_pb(request))
        return pb.CentralServiceExplainResponse(
            explanations=[explanation_to_pb(one) for one in found]
        )

    async def ImprovePlacement(
        self, request: pb.ImprovePlacementRequest, context: Context
    ) -> AsyncGenerator[pb.ImprovePlacementResponse, None]:
        """The plan, and how it stands until it is carried out."""
        moves = request.max_moves if request.HasField("max_moves") else DEFAULT_MAX_MOVES
        async with aclosing(self._backend.improve_placement(moves, apply=request.apply)) as views:
            async for view in views:
                yield improve_view_to_pb(view)

    async def TryJob(self, request: pb.TryJobRequest, context: Context) -> pb.TryJobResponse:
        """Where it would go."""
        return tried_job_to_pb(await self._backend.try_job(job_from_pb(request)))

    async def ConnectEdge(  # type: ignore[override]  # grpc.aio takes a coroutine that uses the context
        self, request_iterator: AsyncIterator[pb.ConnectEdgeRequest], context: Context
    ) -> None:
        """An edge's session, until it ends."""
        session: EdgeSession = StreamSession(
            ServerTransport(context),
            incarnation=self._backend.incarnation,
            encode=encode_to_edge,
            decode=as_certified(context, decode_from_edge, _claimed_site),
            mailbox=Mailbox(),
        )
        await self._backend.edge_session(session)

    async def FetchCheckpoint(
        self, request: pb.CentralServiceFetchCheckpointRequest, context: Context
    ) -> AsyncGenerator[pb.CentralServiceFetchCheckpointResponse, None]:
        """A checkpoint of another node, in pieces."""
        wanted = checkpoint_from_pb(request.checkpoint)
        async with aclosing(self._backend.fetch_checkpoint(wanted)) as parts:
            async for part in parts:
                yield pb.CentralServiceFetchCheckpointResponse(part=checkpoint_part_to_pb(part))

    async def OfferCheckpoint(
        self,
        request_iterator: AsyncIterator[pb.CentralServiceOfferCheckpointRequest],
        context: Context,
    ) -> pb.CentralServiceOfferCheckpointResponse:
        """A checkpoint that was asked for, piece by piece as somebody takes it."""
        first = await first_offered(request_iterator)
        async with aclosing(offered(first, request_iterator)) as parts:
            await self._backend.take_checkpoint(first.transfer_id, parts)
        return pb.CentralServiceOfferCheckpointResponse()


def _claimed_site(message: FromEdge) -> str | None:
    return message.edge if isinstance(message, EdgeHello) else None
