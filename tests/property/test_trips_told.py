"""What an edge tells central of delays, on random histories: as if all of it were made anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tango.algorithms.placement.spread import Spread
from tango.controllers.edge.books import Books
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.peer_book import PeerBook
from tango.controllers.edge.peers import Peers
from tango.controllers.edge.round_trips import TripsTold, round_trips
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.messages import WorkerHello
from tango.model.round_trips import EdgeTrip
from tango.model.settings import EdgeSettings, PeerSettings, ServerSettings

NAMES = ("n2", "n1", "n3")
PEERS = tuple(PeerSettings(name, f"{name}:1") for name in ("west", "east"))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("ping", "pong", "ping", "pong", "lose", "return")),
        st.integers(0, 4),
        st.sampled_from((0.0, 0.001, 0.002, 0.5, 70.0)),
    ),
    max_size=80,
)


@given(STEPS)
def test_it_is_what_was_measured(steps: list[tuple[str, int, float]]) -> None:
    settings = EdgeSettings(server=ServerSettings("", "", ""), name="home", peers=PEERS)
    books = Books(settings, 1, 0, Spread())
    for name in NAMES:
        hello = WorkerHello(name, "k", 1, NodeCapacity(1000, 2**30), Enforcement.NONE, "1")
        books.nodes[name] = NodeBook(hello, 0)
    peers = Peers(books)
    ends: list[NodeBook | PeerBook] = [*books.nodes.values(), *peers.books.values()]
    trips = [end.trips if isinstance(end, NodeBook) else end.rtt for end in ends]
    for number, end in enumerate(ends):
        end.session = number
    told = TripsTold(books, peers)
    numbers = [0] * len(ends)
    now = 0.0
    for what, which, passed_s in steps:
        now += passed_s
        if what == "ping":
            numbers[which] = trips[which].ping(now) or numbers[which]
            now += passed_s
        elif what == "pong":
            trips[which].pong(numbers[which], now)
        elif what == "lose":
            ends[which].session = None
        elif what == "return":
            trips[which].restart()
            ends[which].session = which
        anew = [EdgeTrip(trip.target, trip.rtt_s) for trip in round_trips(books, peers, now).trips]
        assert told.trips(now) == tuple(anew)
