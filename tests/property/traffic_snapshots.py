"""Snapshots for traffic policies, and what any plan must keep to."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st

from tango.model.plan import Demand, NodeOffer, TrafficPlan, TrafficSnapshot

SERVICES = ("a", "b", "c")
PEER = "peer"


@st.composite
def snapshots(draw: st.DrawFn) -> TrafficSnapshot:
    """Own and forwarded demands, own nodes and neighbours'; anything may be zero."""
    demands = []
    for name in draw(st.permutations(SERVICES))[: draw(st.integers(0, 3))]:
        need = (draw(st.integers(0, 400)), draw(st.integers(0, 50)), draw(st.integers(-1, 1)))
        for origin in ("", PEER)[: draw(st.integers(1, 2))]:
            demands.append(
                Demand(
                    name,
                    draw(st.integers(0, 30)),
                    *need,
                    origin=origin,
                    service_s=draw(st.sampled_from((0.0, 0.01))),
                    dispatched=draw(st.integers(0, 9)),
                )
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
            draw(st.sampled_from((0.0, 0.005))),
            draw(st.sampled_from(("", "", PEER))),
            tuple((name, draw(st.integers(0, 3))) for name in SERVICES[: draw(st.integers(0, 3))]),
            draw(st.integers(0, 3)),
            tuple(
                (name, draw(st.integers(1, 600)))
                for name in SERVICES[: draw(st.sampled_from((0, 0, 1, 3)))]
            ),
        )
        for index in range(draw(st.integers(0, 6)))
    )
    return TrafficSnapshot(tuple(demands), offers, draw(st.integers(0, 5)))


Left = dict[str, tuple[int, int, dict[str, int]]]


def left_after(snapshot: TrafficSnapshot, plan: TrafficPlan) -> Left:
    """CPU, memory and slots of each node after the plan; fails where it exceeds anything."""
    needs = {demand.service: demand for demand in snapshot.demands}
    sent: Counter[tuple[str, str]] = Counter()
    for route in plan.routes:
        assert route.count > 0
        sent[route.service, route.origin] += route.count
    triples = [(route.service, route.origin, route.node) for route in plan.routes]
    assert len(triples) == len(set(triples))
    for demand in snapshot.demands:
        assert sent.pop((demand.service, demand.origin), 0) <= demand.count
    assert not sent, "routes of what nobody asked for"
    left: Left = {}
    for offer in snapshot.offers:
        here = [route for route in plan.routes if route.node == offer.node]
        assert not offer.site or not any(route.origin for route in here), "forwarded twice"
        adjusted = dict(offer.needs)
        cpu = offer.cpu_millis - sum(
            r.count * adjusted.get(r.service, needs[r.service].cpu_millis) for r in here
        )
        memory = offer.memory_bytes - sum(r.count * needs[r.service].memory_bytes for r in here)
        slots = dict(offer.slots)
        for route in here:
            slots[route.service] -= route.count
        assert cpu >= 0
        assert memory >= 0
        assert all(free >= 0 for free in slots.values())
        left[offer.node] = (cpu, memory, slots)
    return left


def routed(plan: TrafficPlan, service: str, origin: str = "") -> int:
    """Requests of one service and origin in a plan."""
    return sum(r.count for r in plan.routes if (r.service, r.origin) == (service, origin))
