"""Calls EdgeService in words of the model: users' side, and the worker's dial."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, cast

import grpc

from tango.model.cluster import NodeView
from tango.model.explanation import Explanation, Subject
from tango.model.job import Checkpoint, CheckpointPart
from tango.model.messages import FromWorker, ReplyPart, ToWorker
from tango.model.peers import PeerView
from tango.model.request import CallReply, CallRequest
from tango.model.routes import RouteTable
from tango.model.service import ServiceSpec
from tango.model.views import DrainView, ServiceView, TrafficPolicyView
from tango.v1 import edge_service_pb2 as pb
from tango.v1.edge_service_pb2_grpc import EdgeServiceStub
from tango.wire import call_client
from tango.wire.call_client import CallStream, Metadata
from tango.wire.checkpoint_streams import OFFER_LIMIT_S, fetched, send_offer
from tango.wire.convert_checkpoints import checkpoint_to_pb
from tango.wire.convert_explanations import explanation_from_pb, subject_to_pb
from tango.wire.convert_nodes import drain_view_from_pb, node_view_from_pb
from tango.wire.convert_policy import traffic_policy_view_from_pb
from tango.wire.convert_routes import route_table_from_pb
from tango.wire.convert_services import service_view_from_pb
from tango.wire.convert_specs import service_spec_to_pb
from tango.wire.dialled import dialled
from tango.wire.errors import model_errors
from tango.wire.route_client import RouteStream
from tango.wire.sessions import decode_to_worker, encode_from_worker
from tango.wire.stream_session import StreamSession

if TYPE_CHECKING:
    # Only the type stubs have it: at run time one class serves both kinds of channel.
    from tango.v1.edge_service_pb2_grpc import EdgeServiceAsyncStub
    from tango.wire.transports import Call

ADMIN_TIMEOUT_S = 15.0


class EdgeClient:
    """One edge master. Raises errors of the model; every call has a deadline but for streams."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._stub: EdgeServiceAsyncStub = EdgeServiceStub(channel)
        self._metadata = tuple(metadata)
        self._channel = channel

    async def apply_service(self, spec: ServiceSpec, *, dry_run: bool = False) -> ServiceView:
        """Declare or change a service. Raises InvalidField, Unavailable."""
        request = pb.ApplyServiceRequest(spec=service_spec_to_pb(spec), dry_run=dry_run)
        with model_errors():
            response = await self._stub.ApplyService(
                request, metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return service_view_from_pb(response.service)

    async def delete_service(self, name: str) -> None:
        """Remove a service. Raises NotFound."""
        with model_errors():
            await self._stub.DeleteService(
                pb.DeleteServiceRequest(name=name),
                metadata=self._metadata,
                timeout=ADMIN_TIMEOUT_S,
            )

    async def service(self, name: str) -> ServiceView:
        """One service. Raises NotFound."""
        with model_errors():
            response = await self._stub.GetService(
                pb.GetServiceRequest(name=name), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return service_view_from_pb(response.service)

    async def services(self) -> tuple[ServiceView, ...]:
        """All services of the site."""
        with model_errors():
            response = await self._stub.ListServices(
                pb.ListServicesRequest(), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return tuple(service_view_from_pb(view) for view in response.services)

    async def watch_service(self, name: str) -> AsyncGenerator[ServiceView, None]:
        """The service now and after each change."""
        stream = self._stub.WatchService(pb.WatchServiceRequest(name=name), metadata=self._metadata)
        try:
            with model_errors():
                async for response in stream:
                    yield service_view_from_pb(response.service)
        finally:
            stream.cancel()

    async def nodes(self) -> tuple[NodeView, ...]:
        """All nodes of the site."""
        with model_errors():
            response = await self._stub.ListNodes(
                pb.ListNodesRequest(), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return tuple(node_view_from_pb(view) for view in response.nodes)

    async def peers(self) -> tuple[PeerView, ...]:
        """The sites that this one dials, and how they stand."""
        # Workers use this client, too, and have no peers.
        from tango.wire.peer_client import PeerClient

        return await PeerClient(self._channel, self._metadata).peers()

    async def cordon_node(self, node: str) -> NodeView:
        """No new replicas and tasks on a node. Raises NotFound."""
        with model_errors():
            response = await self._stub.CordonNode(
                pb.CordonNodeRequest(node=node), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return node_view_from_pb(response.node)

    async def uncordon_node(self, node: str) -> NodeView:
        """The node takes new replicas and tasks again. Raises NotFound."""
        with model_errors():
            response = await self._stub.UncordonNode(
                pb.UncordonNodeRequest(node=node), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return node_view_from_pb(response.node)

    async def drain_node(
        self, node: str, grace_s: float | None = None
    ) -> AsyncGenerator[DrainView, None]:
        """How a drain stands, until nothing moves any more. Raises NotFound, InvalidField."""
        request = pb.DrainNodeRequest(node=node, grace_s=grace_s)
        stream = self._stub.DrainNode(request, metadata=self._metadata)
        try:
            with model_errors():
                async for response in stream:
                    yield drain_view_from_pb(response.drain)
        finally:
            stream.cancel()

    async def traffic_policy(self) -> TrafficPolicyView:
        """By which policy the site routes."""
        with model_errors():
            response = await self._stub.GetTrafficPolicy(
                pb.GetTrafficPolicyRequest(), metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return traffic_policy_view_from_pb(response.policy)

    async def set_traffic_policy(self, name: str) -> TrafficPolicyView:
        """Route by another policy from now on. Raises InvalidField."""
        with model_errors():
            response = await self._stub.SetTrafficPolicy(
                pb.SetTrafficPolicyRequest(policy=name),
                metadata=self._metadata,
                timeout=ADMIN_TIMEOUT_S,
            )
        return traffic_policy_view_from_pb(response.policy)

    async def call(self, request: CallRequest) -> CallReply:
        """One unary call; every end of it is a CallReply."""
        with model_errors():
            return await call_client.call(self._stub, self._metadata, request)

    async def call_streamed(
        self, request: CallRequest
    ) -> AsyncGenerator[ReplyPart | CallReply, None]:
        """Parts as the replica produces them, the CallReply last."""
        with model_errors():
            async for item in call_client.call_streamed(self._stub, self._metadata, request):
                yield item

    def calls(self) -> CallStream:
        """A stream for many calls; an async context manager."""
        return CallStream(self._stub, self._metadata)

    async def watch_routes(self, service: str) -> AsyncGenerator[RouteTable, None]:
        """Where a service can be called directly, now and after each change. Raises NotFound."""
        stream = self._stub.WatchRoutes(
            pb.WatchRoutesRequest(service=service), metadata=self._metadata
        )
        try:
            with model_errors():
                async for response in stream:
                    yield route_table_from_pb(response.table)
        finally:
            stream.cancel()

    def follow_routes(self, service: str) -> RouteStream:
        """The same with slots, for one that reports; to be opened, read and closed."""
        return RouteStream(self._stub.FollowRoutes(metadata=self._metadata), service)

    async def read_log(
        self, target: str, tail_bytes: int, *, follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """A replica's or attempt's log. Raises NotFound, Unavailable."""
        stream = self._stub.GetLog(
            pb.GetLogRequest(target=target, tail_bytes=tail_bytes, follow=follow),
            metadata=self._metadata,
        )
        try:
            with model_errors():
                async for response in stream:
                    yield response.data
        finally:
            stream.cancel()

    async def explain(
        self, name: str, subjects: Sequence[Subject] = (), limit: int = 0
    ) -> tuple[Explanation, ...]:
        """Why what has that name is as it is. Raises NotFound, InvalidField."""
        request = pb.EdgeServiceExplainRequest(
            name=name, subjects=[subject_to_pb(one) for one in subjects], limit=limit
        )
        with model_errors():
            response = await self._stub.Explain(
                request, metadata=self._metadata, timeout=ADMIN_TIMEOUT_S
            )
        return tuple(explanation_from_pb(one) for one in response.explanations)

    async def connect_worker(
        self,
        incarnation: int,
        serve: Callable[[StreamSession[ToWorker, FromWorker]], Awaitable[str]],
    ) -> str:
        """Dial as a worker and serve the session until it ends; returns why it did."""
        call = cast("Call", self._stub.ConnectWorker(metadata=self._metadata))
        return await dialled(call, incarnation, encode_from_worker, decode_to_worker, serve)

    def fetch_checkpoint(
        self, checkpoint: Checkpoint, limit_s: float
    ) -> AsyncGenerator[CheckpointPart, None]:
        """The pieces of a checkpoint of another node. Raises Unavailable, NotFound, Refused."""
        request = pb.FetchCheckpointRequest(checkpoint=checkpoint_to_pb(checkpoint))
        return fetched(
            self._stub.FetchCheckpoint(request, metadata=self._metadata, timeout=limit_s)
        )

    async def offer_checkpoint(
        self, transfer_id: str, parts: AsyncGenerator[CheckpointPart, None]
    ) -> None:
        """Send a checkpoint that was asked for. Raises NotFound, Unavailable, Refused."""
        call = self._stub.OfferCheckpoint(metadata=self._metadata, timeout=OFFER_LIMIT_S)
        await send_offer(call, pb.OfferCheckpointRequest, transfer_id, parts)
