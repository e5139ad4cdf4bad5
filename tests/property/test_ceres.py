"""CERES: idle CPU first, then what others hold and do not use, then preemption, and no more than
is needed of any of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from batch_snapshots import MIB, elastic_snapshots
from hypothesis import given

from tango.algorithms.batch.ceres import Ceres
from tango.algorithms.batch.least_loaded import LeastLoaded
from tango.model.plan import BatchOffer, BatchSnapshot, BatchTask, Gang, Preemption, RunningTask


def gang(job_id: str, *sizes: tuple[int, int], priority: int = 0) -> Gang:
    tasks = tuple(BatchTask(job_id, i, *size) for i, size in enumerate(sizes))
    return Gang(job_id, priority, tasks)


def runs(name: str, node: str, priority: int, cpu: int, at: float = 0.0) -> RunningTask:
    return RunningTask(name, "e", node, priority, cpu, 10 * MIB, at)


@given(snapshot=elastic_snapshots())
def test_preemption_makes_room_for_a_whole_gang_out_of_lower_priorities(
    snapshot: BatchSnapshot,
) -> None:
    plan = Ceres().place(snapshot)
    if plan.preempt is None:
        return
    (job,) = (one for one in snapshot.gangs if one.job_id == plan.preempt.job_id)
    assert job.job_id in {one.job_id for one in plan.unplaced}
    victims = [one for one in snapshot.running if one.attempt_id in plan.preempt.attempt_ids]
    assert len(victims) == len(set(plan.preempt.attempt_ids)) > 0
    assert all(one.priority < job.priority for one in victims)
    # Once they are gone, the same policy places it: beside what the plan has placed.
    sizes = {(task.job_id, task.task_index): task for one in snapshot.gangs for task in one.tasks}
    offers = []
    for offer in snapshot.offers:
        here = (offer.edge, offer.node)
        gone = [one for one in victims if (one.edge, one.node) == here]
        new = [
            sizes[one.job_id, one.task_index]
            for one in plan.placements
            if (one.edge, one.node) == here
        ]
        cpu = sum(one.cpu_millis for one in gone) - sum(task.cpu_millis for task in new)
        memory = sum(one.memory_bytes for one in gone) - sum(task.memory_bytes for task in new)
        offers.append(
            replace(
                offer,
                cpu_millis=offer.cpu_millis + cpu,
                memory_bytes=offer.memory_bytes + memory,
                be_held_millis=offer.be_held_millis - cpu,
                be_memory_bytes=offer.be_memory_bytes - memory,
                # The worst case: all that was reclaimable was the victims'.
                reclaimable_millis=0 if gone else offer.reclaimable_millis,
            )
        )
    after = Ceres().place(BatchSnapshot((job,), tuple(offers)))
    assert len(after.placements) == len(job.tasks)


@given(snapshot=elastic_snapshots())
def test_no_victim_of_a_single_task_could_be_spared(snapshot: BatchSnapshot) -> None:
    plan = Ceres().place(replace(snapshot, gangs=snapshot.gangs[:1]))
    if plan.preempt is None or len(snapshot.gangs[0].tasks) > 1:
        return
    ((task,), (job,)) = snapshot.gangs[0].tasks, snapshot.gangs[:1]
    victims = [one for one in snapshot.running if one.attempt_id in plan.preempt.attempt_ids]
    ((edge, node),) = {(one.edge, one.node) for one in victims}
    (offer,) = (one for one in snapshot.offers if (one.edge, one.node) == (edge, node))

    def makes_room(some: tuple[RunningTask, ...]) -> bool:
        cpu = offer.cpu_millis + sum(one.cpu_millis for one in some)
        memory = offer.memory_bytes + sum(one.memory_bytes for one in some)
        return cpu >= task.cpu_millis and memory >= task.memory_bytes

    assert makes_room(tuple(victims))
    for count in range(len(victims)):
        assert not any(makes_room(some) for some in combinations(victims, count))
    # No node would do with victims of lower priority only.
    highest = max(one.priority for one in victims)
    for other in snapshot.offers:
        lower = tuple(
            one
            for one in snapshot.running
            if (one.edge, one.node) == (other.edge, other.node) and one.priority < highest
        )
        offer = other
        assert not makes_room(lower)
    assert job.priority > highest


def test_idle_then_unused_then_preempted() -> None:
    offers = (
        BatchOffer("e", "busy", 100, 900 * MIB, 1, be_held_millis=900),
        BatchOffer("e", "idle", 500, 900 * MIB, 1, be_held_millis=500),
        BatchOffer("e", "swollen", 0, 900 * MIB, 1, be_held_millis=1000, reclaimable_millis=800),
    )
    running = (runs("a", "busy", 0, 900), runs("b", "idle", 1, 500), runs("c", "swollen", 2, 1000))
    jobs = (
        gang("one", (500, MIB), priority=3),
        gang("two", (500, MIB), priority=3),
        gang("three", (900, MIB), priority=3),
    )
    plan = Ceres().place(BatchSnapshot(jobs, offers, running=running))
    assert [(one.job_id, one.node, one.score) for one in plan.placements] == [
        ("one", "idle", 1.0), ("two", "swollen", 1.5),
    ]  # fmt: skip
    (waits,) = plan.unplaced
    assert waits.reason == (
        "no node has 900m CPU and 1.0 MiB free or unused; asks to preempt 1 task of lower priority"
    )
    assert plan.preempt == Preemption("three", ("a",))
    assert [one.job_id for one in LeastLoaded().place(BatchSnapshot(jobs, offers)).placements] == [
        "one"
    ]


def test_memory_is_never_reclaimed() -> None:
    full = BatchOffer("e", "n", 500, 0, 1, be_memory_bytes=900 * MIB, reclaimable_millis=500)
    plan = Ceres().place(BatchSnapshot((gang("j", (100, MIB)),), (full,)))
    assert not plan.placements


def test_nobody_is_preempted_for_equals_or_in_vain() -> None:
    offer = BatchOffer("e", "n", 0, 900 * MIB, 1, be_held_millis=1000)
    small, equal = runs("a", "n", 0, 100), runs("b", "n", 1, 900)
    waits = BatchSnapshot((gang("j", (500, MIB), priority=1),), (offer,), running=(small, equal))
    assert Ceres().place(waits).preempt is None
    above = replace(waits, gangs=(gang("j", (500, MIB), priority=2),))
    assert Ceres().place(above).preempt == Preemption("j", ("b",)), "the small one is spared"
    both = replace(waits, gangs=(gang("j", (500, MIB), (500, MIB), priority=2),))
    assert Ceres().place(both).preempt == Preemption("j", ("b", "a"))
    more = replace(waits, gangs=(gang("j", (500, MIB), (501, MIB), priority=2),))
    assert Ceres().place(more).preempt is None


def test_the_lowest_priority_goes_first_and_of_those_the_youngest() -> None:
    offer = BatchOffer("e", "n", 0, 900 * MIB, 4, be_held_millis=2000)
    running = (
        runs("high", "n", 4, 500, at=9.0),
        runs("old", "n", 1, 500, at=1.0),
        runs("young", "n", 1, 500, at=2.0),
        runs("middle", "n", 2, 500, at=0.0),
    )
    for cpu, victims in (
        (400, ("young",)),
        (600, ("young", "old")),
        (1500, ("young", "old", "middle")),
    ):
        waits = BatchSnapshot((gang("j", (cpu, MIB), priority=5),), (offer,), running=running)
        preempt = Ceres().place(waits).preempt
        assert preempt is not None
        assert preempt.attempt_ids == victims


@pytest.mark.parametrize("unused", [0, 450])
def test_nobody_is_preempted_for_a_gang_that_would_not_be_packed_all_the_same(unused: int) -> None:
    offers = (
        BatchOffer("e", "a", 501, 100 * MIB, 0, be_held_millis=499),
        BatchOffer("e", "b", 0, 500 * MIB, 1, be_held_millis=2000, reclaimable_millis=unused),
    )
    # Without the victim the first task goes to b, which is less loaded, and b has no room for two;
    # a has the memory for the first only.
    jobs = (gang("j", (501, 50 * MIB), (500, 300 * MIB), priority=1),)
    waits = BatchSnapshot(jobs, offers, running=(runs("victim", "b", 0, 600),))
    assert Ceres().place(waits).preempt is None
    less = replace(waits, running=(runs("victim", "b", 0, 500),))
    assert Ceres().place(less).preempt == Preemption("j", ("victim",))
