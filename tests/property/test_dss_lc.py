"""DSS-LC: conserved and optimal at any load, against brute force on small cases."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traffic_snapshots import left_after, routed

from tango.algorithms.traffic import dss_lc
from tango.algorithms.traffic.dss_lc import MAX_COST_US, STEPS, DssLc
from tango.algorithms.traffic.residual import TOO_FAR
from tango.model.plan import Demand, NodeOffer, TrafficPlan, TrafficSnapshot

POLICY = DssLc()


@st.composite
def small(draw: st.DrawFn, services: int = 1) -> TrafficSnapshot:
    """Small enough to try everything; delays differ by more than a tie."""
    names = tuple("ab"[:services])
    demands = tuple(
        Demand(name, draw(st.integers(0, 5)), draw(st.sampled_from((100, 150))), 0, 0,
               service_s=draw(st.sampled_from((0.0, 0.004))))
        for name in names
    )  # fmt: skip
    offers = tuple(
        NodeOffer(
            f"n{index}",
            draw(st.sampled_from((0, 100, 250, 400))),
            0,
            tuple((name, draw(st.integers(0, 3))) for name in names),
            draw(st.sampled_from((0.0, 0.25, 0.5))),
            draw(st.sampled_from((0.0, 0.001, 0.002, 0.005))),
        )
        for index in range(draw(st.integers(0, 3)))
    )
    return TrafficSnapshot(demands, offers, draw(st.integers(0, 3)))


def room_of(offer: NodeOffer, demand: Demand, taken_millis: int = 0) -> int:
    slots = dict(offer.slots).get(demand.service, 0)
    return min(slots, max(0, offer.cpu_millis - taken_millis) // demand.cpu_millis)


def cost_us(offer: NodeOffer, demand: Demand, count: int, taken_millis: int = 0) -> int:
    """The convex cost of `count` requests on a node, as the policy documents it: in steps."""
    room = room_of(offer, demand, taken_millis)
    free = offer.cpu_millis
    per_millicore = (1 - offer.load) / free if free else 0.0
    load = offer.load + taken_millis * per_millicore
    total = 0
    for number in range(count):
        cuts = [room * step // STEPS for step in range(STEPS + 1)]
        step = next(i for i in range(STEPS) if cuts[i] <= number < cuts[i + 1])
        middle = (cuts[step] + cuts[step + 1]) / 2
        held = middle * demand.cpu_millis * per_millicore
        total += round(offer.rtt_s * 1e6 + demand.service_s * 1e6 * (1 + load + held))
    return total


def best(snapshot: TrafficSnapshot, demand: Demand) -> tuple[int, int]:
    """Most requests that can be sent, and the least cost of sending them; by trying all."""
    rooms = [range(room_of(offer, demand) + 1) for offer in snapshot.offers]
    found = (0, 0)
    for counts in itertools.product(*rooms):
        if sum(counts) <= demand.count:
            cost = sum(
                cost_us(offer, demand, count)
                for offer, count in zip(snapshot.offers, counts, strict=True)
            )
            found = min(found, (-sum(counts), cost))
    return -found[0], found[1]


def cost_of(snapshot: TrafficSnapshot, plan: TrafficPlan, service: str) -> int:
    offers = {offer.node: offer for offer in snapshot.offers}
    (demand,) = [demand for demand in snapshot.demands if demand.service == service]
    return sum(
        cost_us(offers[route.node], demand, route.count)
        for route in plan.routes
        if route.service == service
    )


@given(small())
def test_one_service_is_optimal(snapshot: TrafficSnapshot) -> None:
    (demand,) = snapshot.demands
    plan = POLICY.route(snapshot)
    left_after(snapshot, plan)
    sent, least = best(snapshot, demand)
    assert routed(plan, "a") == sent
    # A tie is drawn below one microsecond a request.
    assert cost_of(snapshot, plan, "a") == pytest.approx(least, abs=1 + sent)


@settings(max_examples=200)
@given(small(services=2), st.integers(0, 1))
def test_services_in_turn_never_lose_a_request_that_the_first_could_send(
    snapshot: TrafficSnapshot, first: int
) -> None:
    high = replace(snapshot.demands[first], priority=1)
    low = snapshot.demands[1 - first]
    ordered = replace(snapshot, demands=(low, high))
    plan = POLICY.route(ordered)
    left_after(ordered, plan)
    assert routed(plan, high.service) == best(snapshot, high)[0]


def joint_most(snapshot: TrafficSnapshot) -> int:
    """Most requests of both services together that fit at all."""
    one, two = snapshot.demands
    options = []
    for offer in snapshot.offers:
        here = [
            (a, b)
            for a in range(dict(offer.slots)[one.service] + 1)
            for b in range(dict(offer.slots)[two.service] + 1)
            if a * one.cpu_millis + b * two.cpu_millis <= offer.cpu_millis
        ]
        options.append(here)
    most = 0
    for chosen in itertools.product(*options):
        sent = Counter[str]()
        for a, b in chosen:
            sent[one.service] += a
            sent[two.service] += b
        most = max(most, min(sent["a"], one.count) + min(sent["b"], two.count))
    return most


@settings(max_examples=150)
@given(small(services=2))
def test_the_gap_to_the_joint_optimum_is_bounded(snapshot: TrafficSnapshot) -> None:
    """Priority order costs requests where sizes differ: never more than the first ones displace.

    A request of 150m takes the room of at most two of 100m, on each node.
    """
    plan = POLICY.route(snapshot)
    sent = sum(route.count for route in plan.routes)
    assert joint_most(snapshot) - sent <= len(snapshot.offers)


def offer(name: str, slots: int, rtt_s: float = 0.0, **fields: object) -> NodeOffer:
    return replace(NodeOffer(name, 1000, 0, (("a", slots),), 0.0, rtt_s), **fields)  # type: ignore[arg-type]


def counts(plan: TrafficPlan) -> dict[str, int]:
    return {route.node: route.count for route in plan.routes}


def test_a_full_an_empty_and_an_overloaded_site() -> None:
    nodes = (offer("n1", 2), offer("n2", 3))
    for asked, sent in ((5, 5), (9, 5), (0, 0)):
        plan = POLICY.route(TrafficSnapshot((Demand("a", asked, 100, 0, 0),), nodes))
        assert sum(counts(plan).values()) == sent
    nothing = POLICY.route(TrafficSnapshot((Demand("a", 4, 100, 0, 0),), (offer("n1", 0),)))
    assert nothing.routes == ()
    assert POLICY.route(TrafficSnapshot((Demand("a", 4, 100, 0, 0),), ())).routes == ()


def test_the_nearest_is_filled_first_until_load_makes_the_next_one_better() -> None:
    near, far = offer("near", 10), offer("far", 10, 0.003)
    light = Demand("a", 6, 100, 0, 0, service_s=0.001)
    assert counts(POLICY.route(TrafficSnapshot((light,), (far, near)))) == {"near": 6}
    # Ten of these on one node would take twice as long as alone: 20 ms, where far is 3 ms away.
    heavy = replace(light, service_s=0.020)
    assert counts(POLICY.route(TrafficSnapshot((heavy,), (far, near)))) == {"near": 5, "far": 1}


def test_a_neighbour_is_used_only_while_it_meets_the_deadline() -> None:
    own, peer = offer("own", 1), offer("peer", 9, 0.040, site="site-b")
    demand = Demand("a", 4, 100, 0, 0, service_s=0.010, slack_s=0.100)
    snapshot = TrafficSnapshot((demand,), (own, peer))
    assert counts(POLICY.route(snapshot)) == {"own": 1, "peer": 3}
    late = replace(snapshot, offers=(own, replace(peer, rtt_s=0.400)))
    plan = POLICY.route(late)
    assert counts(plan) == {"own": 1}
    assert plan.routes[0].rejected == (("peer", TOO_FAR),)


def test_what_was_forwarded_here_shares_the_room_and_goes_no_further() -> None:
    own, peer = offer("own", 3), offer("peer", 9, 0.002, site="site-b")
    mine = Demand("a", 3, 100, 0, 0)
    theirs = replace(mine, origin="site-c", count=2)
    plan = POLICY.route(TrafficSnapshot((mine, theirs), (own, peer)))
    sent = {(route.node, route.origin): route.count for route in plan.routes}
    assert sent[("own", "site-c")] == 2, "they have nowhere else to go"
    assert sent[("own", "")] == 1
    assert sent[("peer", "")] == 2


def test_ties_are_drawn_from_the_seed() -> None:
    nodes = tuple(offer(f"n{index}", 1) for index in range(8))
    demand = Demand("a", 1, 100, 0, 0)
    chosen = {
        POLICY.route(TrafficSnapshot((demand,), nodes, seed)).routes[0].node for seed in range(40)
    }
    assert len(chosen) > 3


def test_a_plan_explains_itself() -> None:
    nodes = (offer("n1", 2, 0.001), offer("n2", 2, 0.002), offer("n3", 0))
    (route,) = POLICY.route(TrafficSnapshot((Demand("a", 1, 100, 0, 0),), nodes)).routes
    assert (route.node, route.score) == ("n1", 1.0)
    assert route.runner_up == ("n2", 2.0)
    assert route.rejected == (("n3", "no free slot"),)


def test_costs_beyond_all_bounds_do_not_break_the_solver() -> None:
    nodes = (offer("n1", 2**20, 1e6), offer("n2", 2**20, 0.0, load=1.0))
    plan = POLICY.route(TrafficSnapshot((Demand("a", 2**20, 0, 0, 0, service_s=1e6),), nodes))
    assert sum(counts(plan).values()) == 2**20
    assert max(route.score for route in plan.routes) <= MAX_COST_US / 1000


@st.composite
def distinct(draw: st.DrawFn) -> TrafficSnapshot:
    """Nodes of which no two cost the same, of this site and of others."""
    names = "abc"[: draw(st.integers(1, 3))]
    demands = tuple(
        Demand(
            name, draw(st.integers(0, 8)), draw(st.integers(0, 200)), draw(st.sampled_from((0, 9))),
            draw(st.integers(0, 2)), service_s=draw(st.sampled_from((0.0, 0.0041))),
            slack_s=draw(st.sampled_from((0.004, 0.02, math.inf))),
        )
        for name in names
    )  # fmt: skip
    offers = tuple(
        NodeOffer(
            f"n{index}",
            draw(st.integers(0, 900)),
            draw(st.integers(0, 60)),
            tuple((name, draw(st.integers(0, 4))) for name in names if draw(st.booleans())),
            draw(st.sampled_from((0.0, 0.31, 0.5, 1.0))),
            0.001 + 0.000137 * 2**index,
            draw(st.sampled_from((0.0, 0.0031))),
            draw(st.sampled_from(("", "", "far"))),
            needs=tuple((name, draw(st.integers(1, 300))) for name in names if draw(st.booleans())),
        )
        for index in range(draw(st.integers(1, 7)))
    )
    return TrafficSnapshot(demands, offers, draw(st.integers(0, 9)))


@settings(max_examples=300, deadline=None)
@given(snapshot=distinct())
def test_few_nodes_are_planned_as_the_graph_says(snapshot: TrafficSnapshot) -> None:
    """Where no two places cost the same there is one optimum, and all that is told of it."""
    without_graph = POLICY.route(snapshot)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dss_lc, "MOST_NODES", -1)
        by_graph = POLICY.route(snapshot)
    costs = [route.score for route in by_graph.routes]
    if len(set(costs)) == len(costs):
        assert without_graph == by_graph
    assert Counter(_sent(without_graph)) == Counter(_sent(by_graph))


def _sent(plan: TrafficPlan) -> list[str]:
    return [route.service for route in plan.routes for _ in range(route.count)]
