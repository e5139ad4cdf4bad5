"""Hosts of services by the word of edges, on random histories: what is told again is no news."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tango.controllers.central.service_hosts import ServiceHosts
from tango.model.cluster import NodeCapacity, NodeView

CAPACITY = NodeCapacity(1000, 2**30)
NODES = st.tuples(
    st.booleans(), st.booleans(), st.sampled_from(((), ("web",), ("web", "speech"), ("speech",)))
)
SITES = st.dictionaries(st.sampled_from(("n1", "n2", "n3")), NODES, max_size=3)


@given(
    st.lists(
        st.tuples(st.sampled_from(("a", "b")), SITES, st.integers(1, 6), st.integers(0, 20)),
        max_size=30,
    )
)
def test_it_counts_what_it_would_if_it_had_looked_at_every_word(
    words: list[tuple[str, dict[str, tuple[bool, bool, tuple[str, ...]]], int, int]],
) -> None:
    hosts, plain = ServiceHosts(3.0), ServiceHosts(3.0)
    now = 0.0
    for edge, nodes, times, tenths in words:
        views = [
            NodeView(name, edge, ready, CAPACITY, dead=dead, services=services)
            for name, (ready, dead, services) in nodes.items()
        ]
        for _ in range(times):
            now += tenths / 10
            hosts.told(edge, views, now)
            plain._settled.clear()
            plain.told(edge, views, now)
            assert hosts.take_changed() == plain.take_changed()
            for service in ("web", "speech"):
                assert hosts.hosts(service) == plain.hosts(service)
