"""Calls PeerService in words of the model: the dial of another site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import grpc

from tango.model.peers import FromPeer, PeerView, ToPeer
from tango.v1 import peer_service_pb2 as pb
from tango.v1.peer_service_pb2_grpc import PeerServiceStub
from tango.wire.call_client import Metadata
from tango.wire.convert_peers import peer_view_from_pb
from tango.wire.dialled import dialled
from tango.wire.errors import model_errors
from tango.wire.peer_sessions import FROM_PEER, TO_PEER
from tango.wire.stream_session import StreamSession

if TYPE_CHECKING:
    # Only the type stubs have it: at run time one class serves both kinds of channel.
    from tango.v1.peer_service_pb2_grpc import PeerServiceAsyncStub
    from tango.wire.transports import Call

LIST_TIMEOUT_S = 5.0


class PeerClient:
    """One other site's edge master. Raises errors of the model."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._stub: PeerServiceAsyncStub = PeerServiceStub(channel)
        self._metadata = tuple(metadata)

    async def peers(self) -> tuple[PeerView, ...]:
        """The sites that the edge dials."""
        with model_errors():
            response = await self._stub.ListPeers(
                pb.ListPeersRequest(), metadata=self._metadata, timeout=LIST_TIMEOUT_S
            )
        return tuple(peer_view_from_pb(view) for view in response.peers)

    async def connect_peer(
        self,
        incarnation: int,
        serve: Callable[[StreamSession[ToPeer, FromPeer]], Awaitable[str]],
    ) -> str:
        """Dial as another site and serve the session until it ends; returns why it did."""
        call = cast("Call", self._stub.ConnectPeer(metadata=self._metadata))
        return await dialled(call, incarnation, FROM_PEER.encode, TO_PEER.decode, serve)
