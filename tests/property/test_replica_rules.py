"""Rules for replicas: they spread, memory fits, a shortage is explained, order is no input."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tango.adapters.policies import placement_plugins
from tango.algorithms.placement.replicas import Candidate, ReplicaDemand, ReplicaRule
from tango.algorithms.placement.spread import Spread

MIB = 2**20
SPREAD = Spread()


def rules() -> list[ReplicaRule]:
    try:
        from tango.algorithms.placement.profile_rule import ProfileRule
        from tango.model.placement_profile import DEFAULT
    except ModuleNotFoundError:
        return [SPREAD]
    plugins = placement_plugins(use.plugin for use in DEFAULT.plugins)
    return [SPREAD, ProfileRule(DEFAULT, plugins)]


RULES = rules()
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def demand(memory: int, *, fixed_port: bool = False, cpu: int = 0) -> ReplicaDemand:
    return ReplicaDemand("web", memory, cpu, 8080 if fixed_port else 0)


def node(name: str, replicas: int, memory: int, idle: int, **fields: int) -> Candidate:
    return Candidate(name, replicas, memory, idle, **{"all_memory_bytes": 1000, **fields})


nodes = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(-10, 300),
        st.integers(0, 100),
        st.integers(0, 4000),
        st.integers(0, 9000),
    ),
    max_size=6,
).map(
    lambda rows: [
        node(f"n{at}", replicas, memory, memory - be, cpu_millis=cpu, claimed_millis=claimed)
        for at, (replicas, memory, be, cpu, claimed) in enumerate(rows)
    ]
)


@each_rule
@given(st.integers(0, 12), st.integers(0, 120), nodes, st.booleans(), st.integers(0, 10**7))
def test_memory_fits_and_nothing_more_would(
    rule: ReplicaRule, count: int, memory: int, found: list[Candidate], port: bool, cpu: int
) -> None:
    wanted = demand(memory, fixed_port=port, cpu=cpu)
    plan = rule.plan(count, wanted, found)
    placed = Counter(plan.nodes)
    assert len(plan.nodes) <= count
    assert len(plan.choices) == len(plan.nodes)
    assert bool(plan.reason) == (len(plan.nodes) < count)
    for one in found:
        here = placed[one.node]
        assert one.memory_bytes >= here * memory or not here
        if port:
            assert here <= (0 if one.replicas else 1)
        if plan.reason:
            full = one.memory_bytes - here * memory < memory
            assert full or (port and one.replicas + here > 0)
    assert plan == rule.plan(count, wanted, found[::-1])


@each_rule
@given(st.integers(0, 60), st.integers(1, 6), st.integers(0, 500))
def test_equal_nodes_differ_by_one_at_most(
    rule: ReplicaRule, count: int, number: int, cpu: int
) -> None:
    found = [
        node(f"n{at}", 0, 10**9, 10**9, all_memory_bytes=10**9, cpu_millis=4000)
        for at in range(number)
    ]
    placed = Counter(rule.plan(count, demand(1, cpu=cpu), found).nodes)
    shares = [placed[one.node] for one in found]
    assert max(shares) - min(shares) <= 1


@each_rule
@given(nodes, st.integers(1, 120))
def test_the_first_of_the_scores_is_chosen(
    rule: ReplicaRule, found: list[Candidate], memory: int
) -> None:
    plan = rule.plan(1, demand(memory), found)
    scores = rule.scores(demand(memory), found)
    assert all(0 <= score <= 100.000001 for score in scores.values())
    assert bool(plan.nodes) == bool(scores)
    if plan.nodes:
        (choice,) = plan.choices
        assert choice is not None
        assert choice.score == scores[plan.nodes[0]] == max(scores.values())
        others = [score for name, score in scores.items() if name != plan.nodes[0]]
        assert choice.runner_up[1] == max(others, default=0.0)


@each_rule
def test_whoever_is_out_of_the_question_is_named(rule: ReplicaRule) -> None:
    found = [node("a", 0, 100, 100), node("b", 0, 100, 100)]
    closed = [("d", "dead"), ("c", "cordoned"), ("e", "dead")]
    (choice,) = rule.plan(1, demand(10), found, closed).choices
    assert choice is not None
    assert choice.removed == (("cordoned", 1, ("c",)), ("dead", 2, ("d", "e")))


def test_spread_goes_by_replicas_then_idle_memory_then_name() -> None:
    found = [
        node("a", 1, 1000, 1000),
        node("c", 0, 100, 50),
        node("b", 0, 100, 50),
        node("d", 0, 90, 60),
    ]
    assert SPREAD.plan(3, demand(10), found).nodes == ("d", "b", "c")


@pytest.mark.skipif(len(RULES) < 2, reason="numpy is not installed")
def test_the_profile_weighs_replicas_memory_and_claimed_cpu() -> None:
    rule = RULES[1]
    # One replica is there, and three quarters of it is free; the other is nearly full.
    found = [node("a", 1, 750, 750, cpu_millis=4000), node("b", 0, 60, 60, cpu_millis=4000)]
    assert rule.plan(1, demand(10), found).nodes == ("b",), "spreading weighs twice"
    # Alike but for what replicas may claim of their CPU.
    found = [
        node("a", 0, 500, 500, cpu_millis=2000, claimed_millis=3000),
        node("b", 0, 500, 500, cpu_millis=4000, claimed_millis=3000),
    ]
    assert rule.plan(1, demand(10, cpu=100), found).nodes == ("b",)
    # Alike but for what BE would have to give up.
    found = [node("a", 0, 500, 100), node("b", 0, 500, 200)]
    assert rule.plan(1, demand(150), found).nodes == ("b",)
    # Claimed CPU bars nobody, however much it is.
    found = [node("a", 0, 500, 500, cpu_millis=1, claimed_millis=10**9)]
    assert rule.plan(9, demand(10, cpu=10**9), found).nodes == ("a",) * 9


@pytest.mark.skipif(len(RULES) < 2, reason="numpy is not installed")
def test_what_was_asked_in_vain_is_known_until_something_is_otherwise() -> None:
    rule = rules()[1]
    full = [node("a", 0, 10, 10), node("b", 0, 5, 5)]
    vain = rule.plan(1, demand(20), full, [("c", "dead")])
    assert not vain.nodes
    assert rule.plan(1, demand(20), full[::-1], [("c", "dead")]) is vain
    for again in (
        rule.plan(2, demand(20), full, [("c", "dead")]),
        rule.plan(1, demand(21), full, [("c", "dead")]),
        rule.plan(1, demand(20), full, []),
        rule.plan(1, demand(20), [full[0], node("b", 0, 6, 6)], [("c", "dead")]),
    ):
        assert again is not vain
        assert not again.nodes
    assert rule.plan(1, demand(20), [full[0], node("b", 0, 20, 20)]).nodes == ("b",)
    for number in range(200):
        rule.plan(1, ReplicaDemand(f"s{number}", 20), full)
    assert rule.plan(1, ReplicaDemand("s199", 20), full).reason


@each_rule
def test_reasons(rule: ReplicaRule) -> None:
    assert rule.plan(1, demand(1), []).reason == "no room for 1 replica: no node is connected"
    cordoned = [(f"n{at}", "cordoned") for at in range(7)]
    assert rule.plan(1, demand(1), [], cordoned).reason == (
        "no room for 1 replica: every connected node is cordoned or drained "
        "(n0, n1, n2, n3, n4 and 2 more)"
    )
    many = [Candidate(f"n{at}", 0, at * MIB, 0, 64 * MIB) for at in range(7)]
    assert rule.plan(2, demand(64 * MIB), many).reason == (
        "no room for 2 replicas: each needs 64.0 MiB, free for LC is n6 6.0 MiB, n5 5.0 MiB, "
        "n4 4.0 MiB, n3 3.0 MiB, n2 2.0 MiB and 2 more with less"
    )
    taken = [Candidate("n0", 1, 64 * MIB, 64 * MIB, 64 * MIB)]
    assert rule.plan(1, demand(MIB, fixed_port=True), taken).reason == (
        "no room for 1 replica: its port is fixed, so a node takes only one, and there are 1"
    )
