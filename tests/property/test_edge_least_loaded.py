"""LeastLoaded: whatever the snapshot, nothing is exceeded, lost or invented."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tango.algorithms.traffic.least_loaded import NO_CPU, NO_MEMORY, NO_SLOT, LeastLoaded
from tango.model.plan import Demand, NodeOffer, TrafficPlan, TrafficSnapshot

SERVICES = ("a", "b", "c")


@st.composite
def snapshots(draw: st.DrawFn) -> TrafficSnapshot:
    demands = tuple(
        Demand(
            name,
            draw(st.integers(0, 30)),
            draw(st.integers(0, 400)),
            draw(st.integers(0, 50)),
            draw(st.integers(-1, 1)),
        )
        for name in draw(st.permutations(SERVICES))[: draw(st.integers(0, 3))]
    )
    offers = tuple(
        NodeOffer(
            f"n{index}",
            draw(st.integers(0, 3000)),
            draw(st.integers(0, 500)),
            tuple(
                (name, draw(st.integers(0, 8)))
                for name in SERVICES[: draw(st.integers(0, len(SERVICES)))]
            ),
            draw(st.floats(0, 1.5)),
            draw(st.sampled_from((0.0, 0.001, 0.002))),
        )
        for index in range(draw(st.integers(0, 6)))
    )
    return TrafficSnapshot(demands, offers)


def routed(plan: TrafficPlan, service: str) -> int:
    return sum(route.count for route in plan.routes if route.service == service)


@given(snapshots())
def test_nothing_is_exceeded_lost_or_invented(snapshot: TrafficSnapshot) -> None:
    plan = LeastLoaded().route(snapshot)
    demands = {demand.service: demand for demand in snapshot.demands}
    pairs = [(route.service, route.node) for route in plan.routes]
    assert len(pairs) == len(set(pairs))
    assert all(route.count > 0 for route in plan.routes)
    for demand in snapshot.demands:
        assert routed(plan, demand.service) <= demand.count
    left = {}
    for offer in snapshot.offers:
        here = [route for route in plan.routes if route.node == offer.node]
        cpu = offer.cpu_millis - sum(r.count * demands[r.service].cpu_millis for r in here)
        memory = offer.memory_bytes - sum(r.count * demands[r.service].memory_bytes for r in here)
        slots = dict(offer.slots)
        for route in here:
            slots[route.service] -= route.count
        assert cpu >= 0
        assert memory >= 0
        assert all(free >= 0 for free in slots.values())
        left[offer.node] = (cpu, memory, slots)
    # Work conserving: what stays queued fits nowhere.
    for demand in snapshot.demands:
        if routed(plan, demand.service) < demand.count:
            for cpu, memory, slots in left.values():
                assert (
                    slots.get(demand.service, 0) == 0
                    or cpu < demand.cpu_millis
                    or memory < demand.memory_bytes
                )


@given(snapshots())
def test_the_same_snapshot_gives_the_same_plan_whatever_the_order_of_offers(
    snapshot: TrafficSnapshot,
) -> None:
    plan = LeastLoaded().route(snapshot)
    assert plan == LeastLoaded().route(snapshot)
    turned = LeastLoaded().route(replace(snapshot, offers=snapshot.offers[::-1]))
    assert [replace(r, rejected=()) for r in plan.routes] == [
        replace(r, rejected=()) for r in turned.routes
    ]


@given(snapshots())
def test_lower_priority_never_changes_what_higher_gets(snapshot: TrafficSnapshot) -> None:
    if not snapshot.demands:
        return
    top = max(demand.priority for demand in snapshot.demands)
    high = tuple(demand for demand in snapshot.demands if demand.priority == top)
    names = {demand.service for demand in high}
    plan = LeastLoaded().route(snapshot)
    alone = LeastLoaded().route(replace(snapshot, demands=high))
    assert tuple(route for route in plan.routes if route.service in names) == alone.routes


def test_the_least_loaded_after_assignment_wins_then_rtt_then_name() -> None:
    def first(*offers: NodeOffer) -> str:
        snapshot = TrafficSnapshot((Demand("a", 1, 100, 0, 0),), offers)
        return LeastLoaded().route(snapshot).routes[0].node

    slots = (("a", 5),)
    empty = NodeOffer("n2", 1000, 0, slots, 0.0)
    assert first(NodeOffer("n1", 500, 0, slots, 0.5), empty) == "n2"
    assert first(NodeOffer("n1", 1000, 0, slots, 0.0, 0.001), empty) == "n2"
    assert first(empty, NodeOffer("n1", 1000, 0, slots, 0.0)) == "n1"
    # A big node with some load may still be the less loaded one afterwards.
    assert first(NodeOffer("n1", 100, 0, slots, 0.0), NodeOffer("n3", 9000, 0, slots, 0.1)) == "n3"


def test_a_plan_explains_itself() -> None:
    snapshot = TrafficSnapshot(
        (Demand("a", 3, 100, 10, 0),),
        (
            NodeOffer("n1", 1000, 100, (("a", 2),), 0.0),
            NodeOffer("n2", 1000, 100, (("a", 2),), 0.0),
            NodeOffer("n3", 50, 100, (("a", 2),), 0.9),
            NodeOffer("n4", 1000, 5, (("a", 2),), 0.0),
            NodeOffer("n5", 1000, 100, (("a", 0),), 0.0),
            NodeOffer("n6", 1000, 100, (("b", 2),), 0.0),
        ),
    )
    first, second = LeastLoaded().route(snapshot).routes
    assert (first.node, first.count, first.score) == ("n1", 2, 0.2)
    assert (second.node, second.count, second.score) == ("n2", 1, 0.1)
    assert first.runner_up == ("n2", 0.2)
    assert second.runner_up[0] == "n1"
    assert first.rejected == (("n3", NO_CPU), ("n4", NO_MEMORY), ("n5", NO_SLOT))
