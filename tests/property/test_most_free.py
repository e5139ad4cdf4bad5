"""Most-free placement: order, scores and reasons; what every policy keeps to is tested with it."""

from __future__ import annotations

from dataclasses import replace

from batch_snapshots import MIB, snapshots
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.algorithms.batch.most_free import MostFree
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
    most_cpu = max(offer.cpu_millis for offer in snapshot.offers)
    most_memory = max(offer.memory_bytes for offer in snapshot.offers)
    scores = sorted(
        1 - min(offer.cpu_millis / most_cpu, offer.memory_bytes / most_memory)
        for offer in snapshot.offers
        if offer.cpu_millis >= task.cpu_millis and offer.memory_bytes >= task.memory_bytes
    )
    assert [p.score for p in plan.placements] == scores[:1]
    for placement in plan.placements:
        assert placement.runner_up[1] == (scores[1] if len(scores) > 1 else 0.0)
        assert bool(placement.runner_up[0]) == (len(scores) > 1)


def gang(job_id: str, *sizes: tuple[int, int]) -> Gang:
    return Gang(job_id, 0, tuple(BatchTask(job_id, i, *size) for i, size in enumerate(sizes)))


def test_the_scarcer_resource_decides() -> None:
    offers = (
        BatchOffer("e", "cpu-rich", 4000, 100 * MIB),
        BatchOffer("e", "even", 2000, 500 * MIB),
        BatchOffer("e", "memory-rich", 1000, 1000 * MIB),
    )
    plan = place(BatchSnapshot((gang("j", (100, MIB)),), offers))
    assert plan.placements == (Placement("j", 0, "e", "even", 0.5, ("memory-rich", 0.75)),)


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
