"""What an edge has measured of delays: to its nodes, and to the sites that it dials."""

from __future__ import annotations

from tango.controllers.edge.books import Books
from tango.controllers.edge.peers import SEPARATOR, Peers
from tango.controllers.edge.rtt import RoundTrips
from tango.model.round_trips import MAX_RTT_S, MAX_TRIPS, EdgeTrip, MeasuredTrips, RoundTrip


def round_trips(books: Books, peers: Peers, now: float) -> MeasuredTrips:
    """Nodes are named "edge/node". What several edges know, taken together, is what
    `measured_delays.delays_through_edges` makes delays between all their nodes of.

    A ping that has waited for longer than the delay counts as that delay: a stalled link is far.
    Nodes and peers without a session, or without an answer yet, are left out.
    """
    found = []
    for name, node in sorted(books.nodes.items()):
        if node.session is not None and node.trips.known:
            rtt_s = _rtt_s(node.trips, now)
            found.append(RoundTrip(books.edge, books.edge + SEPARATOR + name, rtt_s))
    for name, peer in sorted(peers.books.items()):
        if peer.session is not None and peer.rtt.known:
            found.append(RoundTrip(books.edge, name, _rtt_s(peer.rtt, now)))
    return MeasuredTrips(tuple(found))


class TripsTold:
    """The same for the central master, told several times a second: what has not changed is not
    made again.
    """

    def __init__(self, books: Books, peers: Peers) -> None:
        self._books = books
        self._peers = peers
        # As told last, by name.
        self._to_nodes: dict[str, EdgeTrip] = {}
        self._to_peers: dict[str, EdgeTrip] = {}

    def trips(self, now: float) -> tuple[EdgeTrip, ...]:
        """At most MAX_TRIPS: of more the last, sites among them."""
        found = []
        for name, node in sorted(self._books.nodes.items()):
            if node.session is not None and node.trips.known:
                rtt_s = _rtt_s(node.trips, now)
                trip = self._to_nodes.get(name)
                if trip is None or trip.rtt_s != rtt_s:
                    trip = EdgeTrip(self._books.edge + SEPARATOR + name, rtt_s)
                    self._to_nodes[name] = trip
                found.append(trip)
        for name, peer in sorted(self._peers.books.items()):
            if peer.session is not None and peer.rtt.known:
                rtt_s = _rtt_s(peer.rtt, now)
                trip = self._to_peers.get(name)
                if trip is None or trip.rtt_s != rtt_s:
                    trip = self._to_peers[name] = EdgeTrip(name, rtt_s)
                found.append(trip)
        if len(found) > MAX_TRIPS:
            found = found[-MAX_TRIPS:]
        return tuple(found)


def _rtt_s(trips: RoundTrips, now: float) -> float:
    return min(trips.at_least_s(now), MAX_RTT_S)
