"""Every traffic policy: whatever the snapshot, nothing is exceeded, lost or invented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, note
from hypothesis import strategies as st
from traffic_snapshots import left_after, routed, snapshots

from tango.algorithms.traffic.dss_lc import DssLc
from tango.algorithms.traffic.least_loaded import LeastLoaded
from tango.algorithms.traffic.nearest import Nearest
from tango.algorithms.traffic.residual import NO_CPU, NO_MEMORY, NO_SLOT
from tango.algorithms.traffic.round_robin import RoundRobin
from tango.algorithms.traffic.scoring import Scoring
from tango.algorithms.traffic.static_partition import StaticPartition
from tango.model.plan import Demand, NodeOffer, TrafficPlan, TrafficPolicy, TrafficSnapshot

POLICIES: tuple[TrafficPolicy, ...] = (
    DssLc(), LeastLoaded(), Nearest(), RoundRobin(), Scoring(),
)  # fmt: skip


def each_policy() -> Iterator[TrafficPolicy]:
    """All of them for one snapshot: to draw it takes far longer than to route by it.

    The last one that a failure notes is the one that failed.
    """
    for policy in POLICIES:
        note(f"policy {policy.name}")
        yield policy


@given(snapshot=snapshots())
def test_nothing_is_exceeded_lost_or_invented(snapshot: TrafficSnapshot) -> None:
    own = {offer.node for offer in snapshot.offers if not offer.site}
    needs = {offer.node: dict(offer.needs) for offer in snapshot.offers}
    for policy in each_policy():
        plan = policy.route(snapshot)
        left = left_after(snapshot, plan)
        # Work conserving: what stays queued fits nowhere.
        for demand in snapshot.demands:
            if routed(plan, demand.service, demand.origin) < demand.count:
                for node, (cpu, memory, slots) in left.items():
                    assert (
                        slots.get(demand.service, 0) == 0
                        or cpu < needs[node].get(demand.service, demand.cpu_millis)
                        or memory < demand.memory_bytes
                        or (demand.origin and node not in own)
                    )


@given(snapshot=snapshots())
def test_the_same_snapshot_gives_the_same_plan(snapshot: TrafficSnapshot) -> None:
    for policy in each_policy():
        assert policy.route(snapshot) == type(policy)().route(snapshot)


@given(snapshot=snapshots(), policy=st.sampled_from(POLICIES[1:]))
def test_greedy_plans_do_not_depend_on_the_order_of_offers(
    policy: TrafficPolicy, snapshot: TrafficSnapshot
) -> None:
    def routes(plan: TrafficPlan) -> list[object]:
        return [replace(route, rejected=()) for route in plan.routes]

    turned = replace(snapshot, offers=snapshot.offers[::-1])
    assert routes(policy.route(snapshot)) == routes(policy.route(turned))


@given(snapshot=snapshots())
def test_lower_priority_never_changes_what_higher_gets(snapshot: TrafficSnapshot) -> None:
    if not snapshot.demands:
        return
    top = max(demand.priority for demand in snapshot.demands)
    high = tuple(demand for demand in snapshot.demands if demand.priority == top)
    names = {demand.service for demand in high}
    for policy in each_policy():
        plan = policy.route(snapshot)
        alone = policy.route(replace(snapshot, demands=high))
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


def counts(policy: TrafficPolicy, snapshot: TrafficSnapshot) -> dict[str, int]:
    return {route.node: route.count for route in policy.route(snapshot).routes}


def test_round_robin_goes_on_where_it_ended() -> None:
    offers = tuple(NodeOffer(f"n{index}", 1000, 0, (("a", 5),), 0.0) for index in range(3))
    demand = Demand("a", 4, 100, 0, 0)
    assert counts(RoundRobin(), TrafficSnapshot((demand,), offers)) == {"n0": 2, "n1": 1, "n2": 1}
    later = replace(demand, dispatched=4, count=1)
    assert counts(RoundRobin(), TrafficSnapshot((later,), offers)) == {"n1": 1}


def test_nearest_fills_the_nearest_first_whatever_its_load() -> None:
    offers = (
        NodeOffer("far", 1000, 0, (("a", 5),), 0.0, 0.002),
        NodeOffer("near", 100, 0, (("a", 2),), 0.9, 0.001),
    )
    snapshot = TrafficSnapshot((Demand("a", 3, 10, 0, 0),), offers)
    assert counts(Nearest(), snapshot) == {"near": 2, "far": 1}


def test_scoring_weighs_memory_and_delay_as_much_as_cpu() -> None:
    idle_far = NodeOffer("far", 1000, 100, (("a", 5),), 0.0, 0.010)
    busy_near = NodeOffer("near", 500, 100, (("a", 5),), 0.5, 0.001)
    snapshot = TrafficSnapshot((Demand("a", 1, 10, 0, 0),), (idle_far, busy_near))
    assert counts(Scoring(), snapshot) == {"near": 1}
    assert counts(LeastLoaded(), snapshot) == {"far": 1}


@given(snapshot=snapshots())
def test_a_static_partition_exceeds_nothing(snapshot: TrafficSnapshot) -> None:
    left_after(snapshot, StaticPartition().route(snapshot))


def test_a_static_partition_leaves_idle_what_another_service_does_not_use() -> None:
    node = NodeOffer(
        "n", 1000, 0, (("a", 50), ("b", 50)), 0.0, in_flight=(("a", 0), ("b", 0)), services=2
    )
    snapshot = TrafficSnapshot((Demand("a", 20, 100, 0, 0),), (node,))
    assert counts(StaticPartition(), snapshot) == {"n": 5}
    assert counts(LeastLoaded(), snapshot) == {"n": 10}
    # Three of its own already run, and two of the other.
    later = replace(node, cpu_millis=500, load=0.5, in_flight=(("a", 3), ("b", 2)))
    assert counts(StaticPartition(), replace(snapshot, offers=(later,))) == {"n": 2}
    alone = replace(node, services=1)
    assert counts(StaticPartition(), replace(snapshot, offers=(alone,))) == {"n": 10}
