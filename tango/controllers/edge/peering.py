"""What happens on the streams to peers: who is up, what they answer, and when they are silent."""

from __future__ import annotations

from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import Call
from tango.controllers.edge.forwarding import Forwarding
from tango.controllers.edge.peer_book import PeerBook
from tango.controllers.edge.peers import Peers
from tango.controllers.edge.routing import Router
from tango.controllers.edge.waiting import Waiting
from tango.model.peers import ClosePeer, ForwardReplies, PeerDown, PeerPong, PeerSaid, PeerUp


class Peering:
    """Peers' events; calls that come back unserved queue again."""

    def __init__(
        self,
        books: Books,
        peers: Peers,
        forwarding: Forwarding,
        waiting: Waiting,
        router: Router,
    ) -> None:
        self._books = books
        self._peers = peers
        self._forwarding = forwarding
        self._waiting = waiting
        self._router = router

    def up(self, event: PeerUp, now: float) -> None:
        """A peer has welcomed this edge."""
        self._peers.up(event, now)

    def said(self, event: PeerSaid, now: float) -> None:
        """A message of a current session; those of others are dropped."""
        peer = self._peers.at(event.session)
        if peer is None:
            return
        message = event.message
        if isinstance(message, PeerPong):
            if self._peers.pong(peer, message, now) and self._books.queued:
                self._router.want(now)
        elif isinstance(message, ForwardReplies):
            peer.heard_at = now
            self._again(self._forwarding.replied(peer, message.replies, now), now)

    def down(self, event: PeerDown, now: float) -> None:
        """A stream ended; one that was refused matters to nobody."""
        peer = self._peers.at(event.session)
        if peer is not None:
            self._lose(peer, event.reason, now)

    def settle(self, now: float) -> None:
        """Give up peers that are silent, and ask the others."""
        for peer in self._peers.silent(now):
            reason = f"silent for {now - peer.heard_at:.1f} s"
            assert peer.session is not None
            self._books.out.append(ClosePeer(peer.session, reason))
            self._lose(peer, reason, now)
        self._peers.settle(now)

    def _lose(self, peer: PeerBook, reason: str, now: float) -> None:
        self._peers.lose(peer, reason)
        self._again(self._forwarding.lost(peer, reason, now), now)

    def _again(self, calls: list[Call], now: float) -> None:
        if calls:
            self._waiting.requeue(calls, now)
        elif self._books.queued:
            self._router.want(now)
