"""EdgeService over an EdgeBackend: converts, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from tango.model.messages import FromWorker, WorkerHello
from tango.v1 import edge_service_pb2 as pb
from tango.v1.edge_service_pb2_grpc import EdgeServiceServicer
from tango.wire.backends import EdgeBackend, WorkerSession
from tango.wire.call_servicer import CallServicer
from tango.wire.checkpoint_streams import first_offered, offered
from tango.wire.convert_checkpoints import checkpoint_from_pb, checkpoint_part_to_pb
from tango.wire.convert_explanations import explained_from_pb, explanation_to_pb
from tango.wire.convert_nodes import drain_view_to_pb, node_view_to_pb
from tango.wire.convert_policy import traffic_policy_view_to_pb
from tango.wire.convert_requests import applied_service_from_pb
from tango.wire.convert_services import service_view_to_pb
from tango.wire.convert_session_shared import grace_from_pb
from tango.wire.mailbox import Mailbox
from tango.wire.role_gate import as_certified
from tango.wire.route_servicer import RouteServicer
from tango.wire.sessions import decode_from_worker, encode_to_worker
from tango.wire.stream_session import StreamSession
from tango.wire.transports import ServerTransport, peer_host

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class EdgeServicer(EdgeServiceServicer):
    """What grpc calls; errors of the model become statuses in the guard interceptor."""

    def __init__(self, backend: EdgeBackend) -> None:
        self._backend = backend
        self._calls = CallServicer(backend)
        self._routes = RouteServicer(backend)

    async def ApplyService(
        self, request: pb.ApplyServiceRequest, context: Context
    ) -> pb.ApplyServiceResponse:
        """Declare or change a service."""
        spec = applied_service_from_pb(request)
        view = await self._backend.apply_service(spec, dry_run=request.dry_run)
        return pb.ApplyServiceResponse(service=service_view_to_pb(view))

    async def DeleteService(
        self, request: pb.DeleteServiceRequest, context: Context
    ) -> pb.DeleteServiceResponse:
        """Remove a service."""
        await self._backend.delete_service(request.name)
        return pb.DeleteServiceResponse()

    async def GetService(
        self, request: pb.GetServiceRequest, context: Context
    ) -> pb.GetServiceResponse:
        """One service."""
        return pb.GetServiceResponse(
            service=service_view_to_pb(self._backend.service(request.name))
        )

    async def ListServices(
        self, request: pb.ListServicesRequest, context: Context
    ) -> pb.ListServicesResponse:
        """All services."""
        return pb.ListServicesResponse(
            services=[service_view_to_pb(view) for view in self._backend.services()]
        )

    async def WatchService(
        self, request: pb.WatchServiceRequest, context: Context
    ) -> AsyncGenerator[pb.WatchServiceResponse, None]:
        """The service now and after each change."""
        async with aclosing(self._backend.watch_service(request.name)) as views:
            async for view in views:
                yield pb.WatchServiceResponse(service=service_view_to_pb(view))

    async def ListNodes(
        self, request: pb.ListNodesRequest, context: Context
    ) -> pb.ListNodesResponse:
        """All nodes."""
        return pb.ListNodesResponse(nodes=[node_view_to_pb(view) for view in self._backend.nodes()])

    async def CordonNode(
        self, request: pb.CordonNodeRequest, context: Context
    ) -> pb.CordonNodeResponse:
        """No new replicas and tasks on a node."""
        view = await self._backend.cordon_node(request.node, cordoned=True)
        return pb.CordonNodeResponse(node=node_view_to_pb(view))

    async def UncordonNode(
        self, request: pb.UncordonNodeRequest, context: Context
    ) -> pb.UncordonNodeResponse:
        """A node takes new replicas and tasks again."""
        view = await self._backend.cordon_node(request.node, cordoned=False)
        return pb.UncordonNodeResponse(node=node_view_to_pb(view))

    async def DrainNode(
        self, request: pb.DrainNodeRequest, context: Context
    ) -> AsyncGenerator[pb.DrainNodeResponse, None]:
        """How a drain stands, until nothing moves any more."""
        grace_s = grace_from_pb(request, "grace_s", "drain")
        async with aclosing(self._backend.drain_node(request.node, grace_s)) as views:
            async for view in views:
                yield pb.DrainNodeResponse(drain=drain_view_to_pb(view))

    async def GetTrafficPolicy(
        self, request: pb.GetTrafficPolicyRequest, context: Context
    ) -> pb.GetTrafficPolicyResponse:
        """By which policy requests are routed."""
        view = self._backend.traffic_policy()
        return pb.GetTrafficPolicyResponse(policy=traffic_policy_view_to_pb(view))

    async def SetTrafficPolicy(
        self, request: pb.SetTrafficPolicyRequest, context: Context
    ) -> pb.SetTrafficPolicyResponse:
        """Route by another policy."""
        view = await self._backend.set_traffic_policy(request.policy)
        return pb.SetTrafficPolicyResponse(policy=traffic_policy_view_to_pb(view))

    async def Call(self, request: pb.CallRequest, context: Context) -> pb.CallResponse:
        """One request."""
        return await self._calls.call(request, context)

    async def CallMany(  # type: ignore[override]  # grpc.aio takes a coroutine that uses the context
        self, request_iterator: AsyncIterator[pb.CallManyRequest], context: Context
    ) -> None:
        """Many requests on one stream."""
        await self._calls.call_many(context)

    async def CallStreamed(
        self, request: pb.CallStreamedRequest, context: Context
    ) -> AsyncGenerator[pb.CallStreamedResponse, None]:
        """One request, its reply in parts."""
        async with aclosing(self._calls.call_streamed(request, context)) as parts:
            async for part in parts:
                yield part

    async def WatchRoutes(
        self, request: pb.WatchRoutesRequest, context: Context
    ) -> AsyncGenerator[pb.WatchRoutesResponse, None]:
        """Where a service can be called directly, now and after each change."""
        async with aclosing(self._routes.watch(request)) as tables:
            async for table in tables:
                yield table

    async def FollowRoutes(  # type: ignore[override]  # grpc.aio takes a coroutine that uses the context
        self, request_iterator: AsyncIterator[pb.FollowRoutesRequest], context: Context
    ) -> None:
        """The same with slots, for a client that reports."""
        await self._routes.follow(context)

    async def GetLog(
        self, request: pb.GetLogRequest, context: Context
    ) -> AsyncGenerator[pb.GetLogResponse, None]:
        """A log, in pieces."""
        async with aclosing(
            self._backend.read_log(request.target, request.tail_bytes, follow=request.follow)
        ) as chunks:
            async for chunk in chunks:
                yield pb.GetLogResponse(data=chunk)

    async def Explain(
        self, request: pb.EdgeServiceExplainRequest, context: Context
    ) -> pb.EdgeServiceExplainResponse:
        """Why it is as it is."""
        found = await self._backend.explain(*explained_from_pb(request))
        return pb.EdgeServiceExplainResponse(explanations=[explanation_to_pb(one) for one in found])

    async def ConnectWorker(  # type: ignore[override]  # grpc.aio takes a coroutine that uses the context
        self, request_iterator: AsyncIterator[pb.ConnectWorkerRequest], context: Context
    ) -> None:
        """A worker's session, until it ends."""
        session: WorkerSession = StreamSession(
            ServerTransport(context),
            incarnation=self._backend.incarnation,
            encode=encode_to_worker,
            decode=as_certified(context, decode_from_worker, _claimed_node),
            mailbox=Mailbox(),
            peer=peer_host(context.peer()),
        )
        await self._backend.worker_session(session)

    async def FetchCheckpoint(
        self, request: pb.FetchCheckpointRequest, context: Context
    ) -> AsyncGenerator[pb.FetchCheckpointResponse, None]:
        """A checkpoint of another node, in pieces."""
        wanted = checkpoint_from_pb(request.checkpoint)
        async with aclosing(self._backend.fetch_checkpoint(wanted)) as parts:
            async for part in parts:
                yield pb.FetchCheckpointResponse(part=checkpoint_part_to_pb(part))

    async def OfferCheckpoint(
        self, request_iterator: AsyncIterator[pb.OfferCheckpointRequest], context: Context
    ) -> pb.OfferCheckpointResponse:
        """A checkpoint that was asked for, piece by piece as somebody takes it."""
        first = await first_offered(request_iterator)
        async with aclosing(offered(first, request_iterator)) as parts:
            await self._backend.take_checkpoint(first.transfer_id, parts)
        return pb.OfferCheckpointResponse()


def _claimed_node(message: FromWorker) -> str | None:
    return message.node if isinstance(message, WorkerHello) else None
