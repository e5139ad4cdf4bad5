"""PeerService over a PeerBackend: converts, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from tango.model.peers import FromPeer, PeerHello
from tango.v1 import peer_service_pb2 as pb
from tango.v1.peer_service_pb2_grpc import PeerServiceServicer
from tango.wire.backends import GuestSession, PeerBackend
from tango.wire.convert_peers import peer_view_to_pb
from tango.wire.mailbox import Mailbox
from tango.wire.peer_sessions import FROM_PEER, TO_PEER
from tango.wire.role_gate import as_certified
from tango.wire.stream_session import StreamSession
from tango.wire.transports import ServerTransport

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class PeerServicer(PeerServiceServicer):
    """What grpc calls; errors of the model become statuses in the guard interceptor."""

    def __init__(self, backend: PeerBackend) -> None:
        self._backend = backend

    async def ConnectPeer(  # type: ignore[override]  # grpc.aio takes a coroutine that uses the context
        self, request_iterator: AsyncIterator[pb.ConnectPeerRequest], context: Context
    ) -> None:
        """Another site's session, until it ends."""
        session: GuestSession = StreamSession(
            ServerTransport(context),
            incarnation=self._backend.incarnation,
            encode=TO_PEER.encode,
            decode=as_certified(context, FROM_PEER.decode, _claimed_site),
            mailbox=Mailbox(),
        )
        await self._backend.guest_session(session)

    async def ListPeers(
        self, request: pb.ListPeersRequest, context: Context
    ) -> pb.ListPeersResponse:
        """The sites that this edge dials."""
        return pb.ListPeersResponse(peers=[peer_view_to_pb(view) for view in self._backend.peers()])


def _claimed_site(message: FromPeer) -> str | None:
    return message.edge if isinstance(message, PeerHello) else None
