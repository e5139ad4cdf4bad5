"""Choice of a replica by a client: weights, slots, what was tried, and what is reported."""

from __future__ import annotations

from collections import Counter

from tango.adapters.replica_http import ReplicaClient
from tango.model.routes import ReplicaRoute, ReplicaTally, RouteTable
from tango.sdk.route_choice import Choices


def table(*routes: tuple[str, int, int], version: int = 1) -> RouteTable:
    """(replica, weight, slots) of each."""
    made = tuple(ReplicaRoute(r, "n", "127.0.0.1", 1, weight, slots) for r, weight, slots in routes)
    return RouteTable("hello", "e", 1, version, made)


def choices(*routes: tuple[str, int, int]) -> Choices:
    made = Choices()
    made.adopt(table(*routes))
    return made


def picks(made: Choices, count: int) -> str:
    found = [made.pick(0.0) for _ in range(count)]
    return "".join(choice.route.replica if choice else "-" for choice in found)


def test_picks_are_in_proportion_and_spread_out() -> None:
    # As in nginx's own example of smooth weighted round robin.
    assert picks(choices(("a", 5, 9), ("b", 1, 9), ("c", 1, 9)), 7) == "aabacaa"
    assert Counter(picks(choices(("a", 3, 9), ("b", 1, 9)), 400)) == {"a": 300, "b": 100}


def test_never_beyond_the_slots() -> None:
    made = choices(("a", 5, 1), ("b", 1, 2), ("c", 9, 0))
    taken = []
    while (choice := made.pick(0.0)) is not None:
        choice.in_flight += 1
        taken.append(choice.route.replica)
    assert sorted(taken) == ["a", "b", "b"]


def test_not_where_it_was_tried_or_took_no_connection() -> None:
    made = choices(("a", 1, 9), ("b", 1, 9))
    first = made.pick(0.0)
    assert first is not None
    second = made.pick(0.0, (first,))
    assert second is not None
    assert second is not first
    first.avoid_until = 5.0
    assert {made.pick(4.9) for _ in range(4)} == {second}
    assert {made.pick(5.0) for _ in range(4)} == {first, second}


def test_a_new_table_takes_over_and_counts_of_the_old_are_still_reported() -> None:
    made = choices(("a", 1, 9), ("b", 1, 9))
    first = made.pick(0.0)
    assert first is not None
    assert first.route.replica == "a"
    first.in_flight = 2
    first.late = 1
    first.latency_s = 0.5
    made.adopt(table(("b", 1, 9), version=2))
    assert picks(made, 3) == "bbb"
    assert made.tallies() == (ReplicaTally("a", 2, 0, 1, 0, 0.5),)
    # Counts once, what is under way each time.
    assert made.tallies() == (ReplicaTally("a", 2),)
    assert not made.settled()
    first.in_flight = 0
    assert made.settled()
    made.adopt(table(("b", 1, 9), version=3))
    assert made.tallies() == ()


def test_connections_are_kept_while_a_replica_stays_where_it_is() -> None:
    made = choices(("a", 1, 9))
    only = made.pick(0.0)
    assert only is not None
    client = ReplicaClient()
    for port, slots, kept in ((1, 9, True), (1, 2, True), (2, 2, False)):
        only.client = client
        route = ReplicaRoute("a", "n", "127.0.0.1", port, 1, slots)
        made.adopt(RouteTable("hello", "e", 1, 2, (route,)))
        assert (only.client is client) == kept
        assert made.pick(0.0) is only
        only.in_flight = slots
        assert made.pick(0.0) is None
        only.in_flight = 0
    made.adopt(table(("a", 1, 9), version=3))
    assert made.pick(0.0, (only,)) is None
