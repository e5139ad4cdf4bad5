"""What an edge has measured of delays: to its nodes, and to the sites that it dials."""

from __future__ import annotations

from collections.abc import Iterator

from tango.controllers.edge.books import Books
from tango.controllers.edge.peers import SEPARATOR, Peers
from tango.model.round_trips import MAX_RTT_S, MAX_TRIPS, EdgeTrip, MeasuredTrips, RoundTrip


def round_trips(books: Books, peers: Peers, now: float) -> MeasuredTrips:
    """Nodes are named "edge/node". What several edges know, taken together, is what
    `measured_delays.delays_through_edges` makes delays between all their nodes of.

    A ping that has waited for longer than the delay counts as that delay: a stalled link is far.
    Nodes and peers without a session, or without an answer yet, are left out.
    """
    return MeasuredTrips(tuple(_all(books, peers, now)))


def trips_told(books: Books, peers: Peers, now: float) -> tuple[EdgeTrip, ...]:
    """The same for the central master, which takes MAX_TRIPS: of more the last, sites first."""
    found = [EdgeTrip(one.target, one.rtt_s) for one in _all(books, peers, now)]
    if len(found) > MAX_TRIPS:
        found = found[-MAX_TRIPS:]
    return tuple(found)


def _all(books: Books, peers: Peers, now: float) -> Iterator[RoundTrip]:
    for name, node in sorted(books.nodes.items()):
        if node.session is not None and node.trips.known:
            yield _trip(books.edge, books.edge + SEPARATOR + name, node.trips.at_least_s(now))
    for name, peer in sorted(peers.books.items()):
        if peer.session is not None and peer.rtt.known:
            yield _trip(books.edge, name, peer.rtt.at_least_s(now))


def _trip(source: str, target: str, rtt_s: float) -> RoundTrip:
    return RoundTrip(source, target, min(rtt_s, MAX_RTT_S))
