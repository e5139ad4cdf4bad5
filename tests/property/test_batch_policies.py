"""Every batch policy: nothing is exceeded, gangs stay whole, order and seed decide; and each rule
against the plainest reading of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec

import pytest
from batch_snapshots import MIB, Place, elastic_snapshots, left_after, single_tasks, snapshots
from hypothesis import given, note
from hypothesis import strategies as st

from tango.adapters.policies import batch_policy, policy_names
from tango.algorithms.batch.best_fit import BestFit
from tango.algorithms.batch.first_fit import FirstFit
from tango.algorithms.batch.least_loaded import LeastLoaded
from tango.algorithms.batch.packing import NO_CPU, NO_MEMORY
from tango.algorithms.batch.random_fit import RandomFit
from tango.algorithms.batch.round_robin import RoundRobin
from tango.algorithms.batch.scoring import Scoring
from tango.model.errors import InvalidField
from tango.model.placement_profile import SPREAD, Profile, Use
from tango.model.plan import (
    BatchOffer,
    BatchPolicy,
    BatchSnapshot,
    BatchTask,
    Gang,
    is_elastic,
)

BASELINES = (
    "best-fit", "best-fit-decreasing", "ceres", "first-fit", "first-fit-decreasing",
    "least-loaded", "most-free", "node", "priority", "profile", "random", "round-robin", "scoring",
)  # fmt: skip
if find_spec("numpy") is None:
    BASELINES = tuple(name for name in BASELINES if name != "profile")
POLICIES: tuple[BatchPolicy, ...] = tuple(batch_policy(name) for name in BASELINES)
AGAIN = {name: batch_policy(name) for name in BASELINES}
needs_numpy = pytest.mark.skipif(find_spec("numpy") is None, reason="numpy is not installed")


def each_policy() -> Iterator[BatchPolicy]:
    """All of them for one snapshot: to draw it takes far longer than to plan for it.

    The last one that a failure notes is the one that failed.
    """
    for policy in POLICIES:
        note(f"policy {policy.name}")
        yield policy


def check_that_who_does_not_fit_leaves_nothing(snapshot: BatchSnapshot) -> None:
    """Without the gangs that found no place, the others have the same places."""
    for policy in each_policy():
        if policy.name in ("random", "priority"):
            continue  # its draws, or who is kept waiting, depend on those that do not fit
        plan = policy.place(snapshot)
        unplaced = {one.job_id for one in plan.unplaced}
        fitting = tuple(gang for gang in snapshot.gangs if gang.job_id not in unplaced)
        assert policy.place(replace(snapshot, gangs=fitting)).placements == plan.placements


def test_they_are_found_by_their_names() -> None:
    assert {policy.name for policy in POLICIES} <= set(policy_names("tango.batch"))
    assert tuple(policy.name for policy in POLICIES) == BASELINES
    assert [policy.name for policy in POLICIES if is_elastic(policy)] == ["ceres"]


@given(drawn=st.one_of(snapshots(), elastic_snapshots()))
def test_nothing_is_exceeded_and_gangs_stay_whole(drawn: BatchSnapshot) -> None:
    for policy in each_policy():
        snapshot = drawn
        if not is_elastic(policy):
            offers = tuple(replace(offer, reclaimable_millis=0) for offer in drawn.offers)
            snapshot = replace(drawn, offers=offers)
        plan = policy.place(snapshot)
        left = left_after(snapshot, plan)
        assert plan.preempt is None or is_elastic(policy)
        # Work conserving: a gang of one stays only where nothing has room for it.
        unplaced = {one.job_id for one in plan.unplaced}
        for gang in snapshot.gangs:
            if policy.name in ("node", "priority"):
                break  # they leave room for others than who could take it
            if gang.job_id in unplaced and len(gang.tasks) == 1:
                for cpu, memory in left.values():
                    assert cpu < gang.tasks[0].cpu_millis or memory < gang.tasks[0].memory_bytes


@given(snapshot=st.one_of(snapshots(), elastic_snapshots()))
def test_what_is_reclaimable_is_for_elastic_policies_only(snapshot: BatchSnapshot) -> None:
    bare = replace(
        snapshot,
        offers=tuple(replace(offer, reclaimable_millis=0) for offer in snapshot.offers),
        running=(),
    )
    for policy in each_policy():
        if not is_elastic(policy):
            assert policy.place(snapshot) == policy.place(bare)
        else:
            assert policy.place(bare).preempt is None


@given(snapshot=st.one_of(snapshots(), elastic_snapshots()), turn=st.randoms())
def test_the_same_snapshot_gives_the_same_plan_in_whatever_order_offers_come(
    snapshot: BatchSnapshot, turn: random.Random
) -> None:
    state = random.getstate()
    offers, running = list(snapshot.offers), list(snapshot.running)
    turn.shuffle(offers)
    turn.shuffle(running)
    turned = replace(snapshot, offers=tuple(offers), running=tuple(running))
    for policy in each_policy():
        plan = policy.place(snapshot)
        assert plan == AGAIN[policy.name].place(snapshot)
        assert plan == policy.place(turned)
        assert random.getstate() == state, "the process's own generator was used"


@given(snapshot=snapshots())
def test_what_comes_later_in_the_queue_changes_nothing_for_those_before(
    snapshot: BatchSnapshot,
) -> None:
    for policy in each_policy():
        whole = policy.place(snapshot)
        for count in range(len(snapshot.gangs)):
            part = policy.place(replace(snapshot, gangs=snapshot.gangs[:count]))
            names = {gang.job_id for gang in snapshot.gangs[:count]}
            assert part.placements == tuple(one for one in whole.placements if one.job_id in names)
            assert part.unplaced == tuple(one for one in whole.unplaced if one.job_id in names)


@given(snapshot=snapshots())
def test_a_gang_that_does_not_fit_leaves_no_trace(snapshot: BatchSnapshot) -> None:
    for policy in each_policy():
        if policy.name == "random":
            continue  # what it draws for one gang moves the draws of the next
        plan = policy.place(snapshot)
        unplaced = {one.job_id for one in plan.unplaced}
        fitting = tuple(gang for gang in snapshot.gangs if gang.job_id not in unplaced)
        assert policy.place(replace(snapshot, gangs=fitting)).placements == plan.placements


@given(snapshot=snapshots())
def test_only_random_depends_on_the_seed_and_only_round_robin_on_the_last_place(
    snapshot: BatchSnapshot,
) -> None:
    for policy in each_policy():
        plan = policy.place(snapshot)
        if policy.name != "random":
            assert plan == policy.place(replace(snapshot, seed=99))
        if policy.name != "round-robin":
            assert plan == policy.place(replace(snapshot, last=("e1", "n2")))


# ---- each rule, for one task, by trying every node


def alone(snapshot: BatchSnapshot) -> tuple[BatchTask, dict[Place, BatchOffer]]:
    """The only task, and the nodes that fit it."""
    ((task,),) = (gang.tasks for gang in snapshot.gangs)
    fitting = {
        (offer.edge, offer.node): offer
        for offer in snapshot.offers
        if offer.cpu_millis >= task.cpu_millis and offer.memory_bytes >= task.memory_bytes
    }
    return task, fitting


def chosen(policy: BatchPolicy, snapshot: BatchSnapshot) -> tuple[Place, float, str]:
    (placement,) = policy.place(snapshot).placements
    return (placement.edge, placement.node), placement.score, placement.runner_up[0]


def lowest(values: dict[Place, float]) -> list[tuple[Place, float]]:
    return sorted(values.items(), key=lambda one: (one[1], one[0]))


def assert_lowest(policy: BatchPolicy, snapshot: BatchSnapshot, values: dict[Place, float]) -> None:
    ranked = lowest(values)
    place, score, runner_up = chosen(policy, snapshot)
    assert (place, score) == ranked[0]
    assert runner_up == (ranked[1][0][1] if len(ranked) > 1 else "")


@given(snapshot=single_tasks())
def test_best_fit_takes_the_tightest_node(snapshot: BatchSnapshot) -> None:
    task, fitting = alone(snapshot)
    most_cpu = max(offer.cpu_millis for offer in snapshot.offers)
    most_memory = max(offer.memory_bytes for offer in snapshot.offers)
    left = {
        place: (
            (offer.cpu_millis - task.cpu_millis) / most_cpu
            + (offer.memory_bytes - task.memory_bytes) / most_memory
        )
        / 2
        for place, offer in fitting.items()
    }
    assert_lowest(BestFit(), snapshot, left)


@given(snapshot=single_tasks())
def test_least_loaded_takes_the_node_of_the_lowest_share_held(snapshot: BatchSnapshot) -> None:
    task, fitting = alone(snapshot)
    held = {
        place: 1 - (offer.cpu_millis - task.cpu_millis) / offer.all_cpu_millis
        for place, offer in fitting.items()
    }
    assert_lowest(LeastLoaded(), snapshot, held)


@given(snapshot=single_tasks())
def test_scoring_takes_the_lowest_mean_of_cpu_memory_and_tasks(snapshot: BatchSnapshot) -> None:
    task, fitting = alone(snapshot)
    most = max(offer.be_tasks for offer in snapshot.offers)
    means = {
        place: (
            1
            - (offer.cpu_millis - task.cpu_millis) / offer.all_cpu_millis
            + (1 - (offer.memory_bytes - task.memory_bytes) / offer.all_memory_bytes)
            + (offer.be_tasks + 1) / (most + 1)
        )
        / 3
        for place, offer in fitting.items()
    }
    assert_lowest(Scoring(), snapshot, means)


@given(snapshot=single_tasks())
def test_first_fit_takes_the_first_by_name(snapshot: BatchSnapshot) -> None:
    _, fitting = alone(snapshot)
    place, _, runner_up = chosen(FirstFit(), snapshot)
    assert place == min(fitting)
    assert runner_up == (sorted(fitting)[1][1] if len(fitting) > 1 else "")


@given(snapshot=single_tasks())
def test_round_robin_takes_the_next_behind_the_last_that_fits(snapshot: BatchSnapshot) -> None:
    _, fitting = alone(snapshot)
    behind = [place for place in fitting if place > snapshot.last]
    place, score, _ = chosen(RoundRobin(), snapshot)
    assert place == min(behind or fitting)
    row = sorted((offer.edge, offer.node) for offer in snapshot.offers)
    row = [one for one in row if one > snapshot.last] + [one for one in row if one <= snapshot.last]
    assert score == row.index(place)


# ---- examples


def gang(job_id: str, *sizes: tuple[int, int], priority: int = 0) -> Gang:
    return Gang(
        job_id, priority, tuple(BatchTask(job_id, i, *size) for i, size in enumerate(sizes))
    )


def nodes_of(policy: BatchPolicy, snapshot: BatchSnapshot) -> list[str]:
    return [placement.node for placement in policy.place(snapshot).placements]


def test_a_turn_goes_round_all_nodes_and_on_from_plan_to_plan() -> None:
    offers = tuple(BatchOffer("e", f"n{number}", 1000, 1000 * MIB) for number in range(4))
    five = BatchSnapshot((gang("j", *[(100, MIB)] * 5),), offers)
    assert nodes_of(RoundRobin(), five) == ["n0", "n1", "n2", "n3", "n0"]
    assert nodes_of(RoundRobin(), replace(five, last=("e", "n2")))[:2] == ["n3", "n0"]
    # A full node is passed over, and one that is gone leaves its place in the row.
    full = replace(offers[3], cpu_millis=50)
    passed = replace(five, offers=(*offers[:3], full), last=("e", "n2"))
    (first, *_) = RoundRobin().place(passed).placements
    assert (first.node, first.score, first.rejected) == ("n0", 1, (("n3", NO_CPU),))
    gone = replace(five, offers=(offers[0], offers[3]), last=("e", "n2"))
    assert nodes_of(RoundRobin(), gone)[:2] == ["n3", "n0"]


def test_random_takes_every_node_about_as_often() -> None:
    offers = tuple(BatchOffer("e", f"n{number}", 1000, 1000 * MIB) for number in range(4))
    counts = dict.fromkeys(("n0", "n1", "n2", "n3"), 0)
    for seed in range(400):
        (node,) = nodes_of(RandomFit(), BatchSnapshot((gang("j", (100, MIB)),), offers, seed))
        counts[node] += 1
    # 100 each is expected, with a standard deviation of 8.7: four of them.
    assert all(65 <= count <= 135 for count in counts.values()), counts


def test_scoring_weighs_memory_and_tasks_as_much_as_cpu() -> None:
    offers = (
        BatchOffer("e", "cpu", 4000, 100 * MIB, 3, be_memory_bytes=900 * MIB),
        BatchOffer("e", "rest", 3000, 900 * MIB, 1, 1000, 100 * MIB),
    )
    snapshot = BatchSnapshot((gang("j", (100, MIB)),), offers)
    assert nodes_of(Scoring(), snapshot) == ["rest"]
    assert nodes_of(LeastLoaded(), snapshot) == ["cpu"]


def test_a_plan_explains_itself() -> None:
    offers = (
        BatchOffer("e", "a", 100, 1000 * MIB),
        BatchOffer("e", "b", 1000, 10 * MIB),
        BatchOffer("e", "c", 1000, 1000 * MIB),
        BatchOffer("e", "d", 500, 1000 * MIB),
    )
    snapshot = BatchSnapshot((gang("j", (500, 500 * MIB)), gang("k", (1100, MIB))), offers)
    for policy, score, runner_up in (
        (FirstFit(), 2, ("d", 3)),
        (LeastLoaded(), 0.5, ("d", 1.0)),
        (BestFit(), 0.25, ("c", 0.5)),
    ):
        plan = policy.place(snapshot)
        (placement,) = plan.placements
        assert placement.score == score
        assert placement.runner_up == runner_up
        assert placement.rejected == (("a", NO_CPU), ("b", NO_MEMORY))
        (waits,) = plan.unplaced
        assert waits.reason == "no node has 1100m CPU and 1.0 MiB free"


@needs_numpy
def test_a_profile_keeps_the_tasks_of_a_job_on_different_sites_then_on_the_emptier_node() -> None:
    offers = (
        BatchOffer("e1", "a", 4000, 4000 * MIB),
        BatchOffer("e1", "b", 4000, 4000 * MIB),
        BatchOffer("e2", "c", 2000, 2000 * MIB, be_held_millis=2000, be_memory_bytes=2000 * MIB),
    )
    three = BatchSnapshot((gang("j", *[(500, 500 * MIB)] * 3),), offers)
    placements = batch_policy("profile").place(three).placements
    assert [(one.edge, one.node) for one in placements] == [("e1", "a"), ("e2", "c"), ("e1", "b")]
    second = placements[1]
    assert second.runner_up[0] == "b"
    assert second.scores == (
        ("fit", 1.0, pytest.approx(37.5), pytest.approx(87.5)),
        ("spread", 2.0, 100.0, 50.0),
    )
    assert second.score == pytest.approx(100 - (37.5 + 2 * 100) / 3)
    assert second.score < second.runner_up[1]


@needs_numpy
def test_a_profile_says_who_was_filtered_out_and_why_a_gang_waits() -> None:
    packed = Profile("packed", (Use("fit", parameters=(("strategy", "most"),)), Use("spread", 0.0,
        parameters=(("most_per_node", 1),))))  # fmt: skip
    offers = (
        BatchOffer("e", "a", 100, 1000 * MIB),
        BatchOffer("e", "b", 1000, 10 * MIB),
        BatchOffer("e", "c", 1000, 1000 * MIB),
        BatchOffer("e", "d", 500, 1000 * MIB, be_held_millis=500),
    )
    gangs = (
        gang("j", (500, 500 * MIB)),
        gang("two", (10, MIB), (10, MIB), (10, MIB), (10, MIB), (10, MIB)),
        gang("k", (1100, MIB)),
    )
    plan = batch_policy("profile", packed).place(BatchSnapshot(gangs, offers))
    (placement,) = plan.placements
    assert (placement.node, placement.runner_up[0]) == ("d", "c"), "the fuller one"
    assert placement.rejected == (("a", NO_CPU), ("b", NO_MEMORY))
    assert [waits.reason for waits in plan.unplaced] == [
        "none of 4 nodes will do: 1 not enough CPU, 3 with enough of its group",
        "no node has 1100m CPU and 1.0 MiB free",
    ]


@needs_numpy
def test_a_profile_without_plugins_is_no_batch_policy() -> None:
    with pytest.raises(InvalidField, match=r"placement.plugins: profile 'spread' has none"):
        batch_policy("profile", SPREAD)
