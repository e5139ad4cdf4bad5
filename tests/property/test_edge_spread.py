"""Spread: replicas go to different nodes first, memory always fits, the shortage is explained."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tango.algorithms.placement.spread import SpreadNode, spread

nodes = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-10, 300), st.integers(0, 100)), max_size=6
).map(
    lambda rows: [
        SpreadNode(f"n{index}", replicas, memory, memory - be)
        for index, (replicas, memory, be) in enumerate(rows)
    ]
)


@given(st.integers(0, 12), st.integers(0, 120), nodes, st.booleans())
def test_memory_fits_and_nothing_more_would(
    count: int, memory: int, candidates: list[SpreadNode], one_per_node: bool
) -> None:
    plan = spread(count, memory, candidates, one_per_node=one_per_node)
    placed = Counter(plan.nodes)
    assert len(plan.nodes) <= count
    assert bool(plan.reason) == (len(plan.nodes) < count)
    for node in candidates:
        here = placed[node.node]
        assert node.memory_bytes >= here * memory or not here
        if one_per_node:
            assert here <= (0 if node.replicas else 1)
        if plan.reason:
            full = node.memory_bytes - here * memory < memory
            assert full or (one_per_node and node.replicas + here > 0)
    assert plan == spread(count, memory, candidates[::-1], one_per_node=one_per_node)


@given(st.integers(0, 12), st.integers(1, 6))
def test_equal_nodes_differ_by_one_at_most(count: int, number: int) -> None:
    candidates = [SpreadNode(f"n{index}", 0, 10**9, 10**9) for index in range(number)]
    placed = Counter(spread(count, 1, candidates).nodes)
    shares = [placed[node.node] for node in candidates]
    assert max(shares) - min(shares) <= 1


def test_order_is_replicas_then_idle_memory_then_name() -> None:
    assert spread(
        3,
        10,
        [
            SpreadNode("a", 1, 1000, 1000),
            SpreadNode("c", 0, 100, 50),
            SpreadNode("b", 0, 100, 50),
            SpreadNode("d", 0, 90, 60),
        ],
    ).nodes == ("d", "b", "c")


def test_reasons() -> None:
    mib = 2**20
    assert spread(1, 1, []).reason == "no room for 1 replica: no node is connected"
    cordoned = [f"n{index}" for index in range(7)]
    assert spread(1, 1, [], cordoned=cordoned).reason == (
        "no room for 1 replica: every connected node is cordoned or drained "
        "(n0, n1, n2, n3, n4 and 2 more)"
    )
    many = [SpreadNode(f"n{index}", 0, index * mib, 0) for index in range(7)]
    assert spread(2, 64 * mib, many).reason == (
        "no room for 2 replicas: each needs 64.0 MiB, free for LC is n6 6.0 MiB, n5 5.0 MiB, "
        "n4 4.0 MiB, n3 3.0 MiB, n2 2.0 MiB and 2 more with less"
    )
