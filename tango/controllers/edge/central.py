"""The edge's side of its stream to the central master: full state, nodes at a steady pace."""

from __future__ import annotations

import math
from typing import Final

from tango.controllers.edge.books import Books
from tango.controllers.edge.peers import Peers
from tango.controllers.edge.round_trips import TripsTold
from tango.controllers.edge.views import node_views
from tango.model.commands import SendCentral
from tango.model.job import AttemptStatus
from tango.model.messages import EdgeState, FromEdge, NodesChanged

# NodesChanged goes at most this often when something changed, and at least that often.
CHANGED_EVERY_S: Final = 0.2
ALIVE_EVERY_S: Final = 1.0


class CentralLink:
    """Sends to central while its stream is up; without it everything else goes on."""

    def __init__(self, books: Books, peers: Peers) -> None:
        self._books = books
        self._trips = TripsTold(books, peers)
        self._told_at = 0.0
        self.session: int | None = None

    @property
    def due_at(self) -> float:
        """When the nodes are to be told next; infinity while central is away."""
        if self.session is None:
            return math.inf
        return self._told_at + (CHANGED_EVERY_S if self._books.nodes_dirty else ALIVE_EVERY_S)

    def up(self, session: int, attempts: tuple[AttemptStatus, ...], now: float) -> None:
        """The stream is welcomed: say all there is. Every node known has resynced once."""
        books = self._books
        self.session = session
        self._told(now)
        nodes = tuple(sorted(books.nodes))
        self.send(EdgeState(node_views(books), attempts, nodes, self._trips.trips(now)))
        for name in nodes:
            images = books.nodes[name].images
            if images is not None:
                self.send(images)

    def down(self, session: int) -> None:
        """The stream ended; an older one matters to nobody."""
        if session == self.session:
            self.session = None

    def send(self, message: FromEdge) -> None:
        """Send if the stream is up; what central missed is in the next full state."""
        if self.session is not None:
            self._books.out.append(SendCentral(self.session, message))

    def settle(self, now: float) -> None:
        """Tell the nodes if it is time."""
        if now >= self.due_at:
            self._told(now)
            self.send(NodesChanged(node_views(self._books), self._trips.trips(now)))

    def _told(self, now: float) -> None:
        self._told_at = now
        self._books.nodes_dirty = False
