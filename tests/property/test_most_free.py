"""Most-free placement: order, scores and reasons; what every policy keeps to is tested with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from batch_snapshots import MIB, snapshots
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.algorithms.batch.most_free import MostFree, held
from tango.algorithms.batch.packing import NO_CPU, NO_MEMORY, largest_first
from tango.model.plan import BatchOffer, BatchPlan, BatchSnapshot, BatchTask, Gang, Placement


def place(snapshot: BatchSnapshot) -> BatchPlan:
    return MostFree().place(snapshot)


@given(snapshots(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_plan_depends_on_gangs_and_offers_only(snapshot: BatchSnapshot, random: object) -> None:
    offers = list(snapshot.offers)
    random.shuffle(offers)  # type: ignore[attr-defined]
    again = replace(snapshot, offers=tuple(offers), seed=99)
    assert place(snapshot) == place(snapshot) == place(again)


@given(snapshots())
@settings(max_examples=60, deadline=None)
def test_a_gang_of_one_stays_only_where_nothing_has_room(snapshot: BatchSnapshot) -> None:
    plan = place(snapshot)
    left = {(o.edge, o.node): [o.cpu_millis, o.memory_bytes] for o in snapshot.offers}
    tasks = {(t.job_id, t.task_index): t for gang in snapshot.gangs for t in gang.tasks}
    for placement in plan.placements:
        room = left[placement.edge, placement.node]
        room[0] -= tasks[placement.job_id, placement.task_index].cpu_millis
        room[1] -= tasks[placement.job_id, placement.task_index].memory_bytes
    unplaced = {each.job_id for each in plan.unplaced}
    for gang in snapshot.gangs:
        if gang.job_id in unplaced and len(gang.tasks) == 1:
            [task] = gang.tasks
            for cpu, memory in left.values():
                assert cpu < task.cpu_millis or memory < task.memory_bytes


@given(snapshots())
@settings(max_examples=60, deadline=None)
def test_scores_follow_the_formula(snapshot: BatchSnapshot) -> None:
    if not snapshot.gangs or not snapshot.offers or len(snapshot.gangs[0].tasks) > 1:
        return
    plan = place(replace(snapshot, gangs=snapshot.gangs[:1]))
    [task] = snapshot.gangs[0].tasks
    scores = sorted(
        1
        - min(
            (
                offer.cpu_millis
                - max(0, offer.lc_used_millis - offer.lc_held_millis)
                - task.cpu_millis
            )
            / offer.all_cpu_millis,
            (offer.memory_bytes - task.memory_bytes) / offer.all_memory_bytes,
        )
        for offer in snapshot.offers
        if offer.cpu_millis >= task.cpu_millis and offer.memory_bytes >= task.memory_bytes
    )
    assert [p.score for p in plan.placements] == scores[:1]
    for placement in plan.placements:
        assert placement.runner_up[1] == (scores[1] if len(scores) > 1 else 0.0)
        assert bool(placement.runner_up[0]) == (len(scores) > 1)


@given(snapshots(), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_plan_is_that_of_one_task_after_the_other(snapshot: BatchSnapshot, used: int) -> None:
    """However a plan keeps its views of the nodes: as if each task looked at all of them anew."""
    offers = tuple(
        replace(one, lc_used_millis=at * used * 300) for at, one in enumerate(snapshot.offers)
    )
    left = {(one.edge, one.node): one for one in offers}
    expected: list[Placement] = []
    for gang in snapshot.gangs:
        before, placed = dict(left), list[Placement]()
        for task in largest_first(gang):
            rows = sorted(
                (held(one, whole, task), one.be_tasks, one.edge, one.node)
                for one, whole in zip(left.values(), offers, strict=True)
                if one.cpu_millis >= task.cpu_millis and one.memory_bytes >= task.memory_bytes
            )
            if not rows:
                left = before
                break
            score, _, edge, node = rows[0]
            runner_up = (rows[1][3], rows[1][0]) if len(rows) > 1 else ("", 0.0)
            small = tuple(
                (one.node, NO_CPU if one.cpu_millis < task.cpu_millis else NO_MEMORY)
                for _, one in sorted(left.items())
                if one.cpu_millis < task.cpu_millis or one.memory_bytes < task.memory_bytes
            )
            taken = left[edge, node]
            left[edge, node] = replace(
                taken,
                cpu_millis=taken.cpu_millis - task.cpu_millis,
                memory_bytes=taken.memory_bytes - task.memory_bytes,
                be_tasks=taken.be_tasks + 1,
            )
            placed.append(
                Placement(task.job_id, task.task_index, edge, node, score, runner_up, small)
            )
        else:
            expected += placed
    assert place(replace(snapshot, offers=offers)).placements == tuple(expected)


def gang(job_id: str, *sizes: tuple[int, int]) -> Gang:
    return Gang(job_id, 0, tuple(BatchTask(job_id, i, *size) for i, size in enumerate(sizes)))


def test_the_scarcer_resource_decides() -> None:
    offers = (
        BatchOffer("e", "cpu-rich", 4000, 100 * MIB, be_memory_bytes=900 * MIB),
        BatchOffer("e", "even", 2000, 501 * MIB, be_held_millis=2000, be_memory_bytes=499 * MIB),
        BatchOffer("e", "memory-rich", 1100, 1000 * MIB, be_held_millis=2900),
    )
    plan = place(BatchSnapshot((gang("j", (100, MIB)),), offers))
    assert plan.placements == (Placement("j", 0, "e", "even", 0.525, ("memory-rich", 0.75)),)


def test_each_node_counts_for_its_own_size() -> None:
    """Three small nodes beside a large one: all of them come to the same share."""
    offers = (
        BatchOffer("e", "large", 8000, 8000 * MIB),
        *(BatchOffer("e", f"small{i}", 1000, 1000 * MIB) for i in range(3)),
    )
    plan = place(BatchSnapshot((gang("j", *[(100, 100 * MIB)] * 55),), offers))
    counts = Counter(placement.node for placement in plan.placements)
    assert counts == {"large": 40, "small0": 5, "small1": 5, "small2": 5}


def test_cpu_that_lc_uses_beyond_what_it_holds_is_not_free() -> None:
    offers = (
        BatchOffer("e", "busy", 900, 1000 * MIB, lc_held_millis=100, lc_used_millis=700),
        BatchOffer("e", "held", 500, 1000 * MIB, lc_held_millis=500, lc_used_millis=50),
    )
    plan = place(BatchSnapshot((gang("j", (100, MIB)),), offers))
    (placement,) = plan.placements
    assert (placement.node, placement.score) == ("held", 0.6)
    assert placement.runner_up == ("busy", 0.8)


def test_what_became_too_small_is_told_and_where_it_was_undone_it_is_not() -> None:
    offers = (BatchOffer("e", "a", 1000, 900 * MIB), BatchOffer("e", "b", 600, 600 * MIB))
    gangs = (
        gang("one", (500, 10 * MIB)),
        gang("torn", (450, 10 * MIB), (450, 10 * MIB), (450, 10 * MIB)),
        gang("two", (500, 20 * MIB)),
        gang("three", (500, 20 * MIB)),
    )
    plan = place(BatchSnapshot(gangs, offers))
    assert [(one.job_id, one.node, one.rejected) for one in plan.placements] == [
        ("one", "a", ()),
        ("two", "b", ()),
        ("three", "a", (("b", "not enough CPU"),)),
    ]


def test_a_gang_spreads_and_ties_go_to_fewer_tasks_then_to_names() -> None:
    offers = tuple(BatchOffer("e", f"n{i}", 1000, 1000 * MIB, i % 2) for i in (3, 1, 2, 0))
    plan = place(BatchSnapshot((gang("j", *[(100, MIB)] * 4),), offers))
    assert [placement.node for placement in plan.placements] == ["n0", "n2", "n1", "n3"]


def test_a_smaller_gang_overtakes_and_the_reason_names_what_lacks() -> None:
    offers = (BatchOffer("e", "n", 1000, 1000 * MIB),)
    gangs = (gang("big", (600, MIB), (600, MIB)), gang("huge", (2000, MIB)), gang("s", (500, MIB)))
    plan = place(BatchSnapshot(gangs, offers))
    assert [placement.job_id for placement in plan.placements] == ["s"]
    assert [each.reason for each in plan.unplaced] == [
        "no node has 600m CPU and 1.0 MiB free for task 1 of 2",
        "no node has 2 CPU and 1.0 MiB free",
    ]
