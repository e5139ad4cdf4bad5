"""Whole cores under every batch policy: none is given twice, names are kept to, nothing leaks."""

from __future__ import annotations

from batch_snapshots import MIB, left_after
from hypothesis import given
from hypothesis import strategies as st
from test_batch_policies import check_that_who_does_not_fit_leaves_nothing, each_policy

from tango.algorithms.batch.packing import as_given, largest_first
from tango.model.cores import ids_of
from tango.model.plan import BatchOffer, BatchPlan, BatchSnapshot, BatchTask, Gang

NODES = ("w1", "w2", "w3")


@st.composite
def core_snapshots(draw: st.DrawFn) -> BatchSnapshot:
    """Nodes of a few cores, some of them taken, and gangs that ask for cores, nodes and ids."""
    offers = tuple(
        BatchOffer(
            "e1", name, draw(st.integers(1, 8)) * 500, 2**30, core_mask=draw(st.integers(0, 63))
        )
        for name in draw(st.lists(st.sampled_from(NODES), unique=True, max_size=3))
    )
    gangs = []
    for number in range(draw(st.integers(0, 6))):
        tasks = []
        for index in range(draw(st.integers(1, 4))):
            cores = draw(st.integers(0, 3))
            node = draw(st.sampled_from(("", "", *NODES)))
            cpuset: tuple[int, ...] = ()
            if node and cores and draw(st.booleans()):
                ids = st.lists(st.integers(0, 5), unique=True, min_size=cores, max_size=cores)
                cpuset = tuple(sorted(draw(ids)))
            cpu = draw(st.integers(1, max(1, cores) * 10)) * 100
            tasks.append(BatchTask(f"j{number}", index, cpu, 64 * MIB, cores, node, cpuset))
        gangs.append(Gang(f"j{number}", draw(st.integers(0, 2)), tuple(tasks)))
    gangs.sort(key=lambda gang: -gang.priority)
    return BatchSnapshot(tuple(gangs), offers, 1)


def booked(snapshot: BatchSnapshot, plan: BatchPlan) -> dict[str, int]:
    """Free cores of each node after the plan, booked as the central master does."""
    left = {offer.node: offer.core_mask for offer in snapshot.offers}
    for gang in snapshot.gangs:
        tasks = {task.task_index: task for task in gang.tasks}
        here = [one for one in plan.placements if one.job_id == gang.job_id]
        for one in sorted(here, key=lambda one: not tasks[one.task_index].cpuset):
            task = tasks[one.task_index]
            assert task.node in ("", one.node)
            taken = task.cores_among(left[one.node])
            assert taken is not None, f"{one.node} has not the cores for {task}"
            assert taken.bit_count() == task.cores
            assert not task.cpuset or ids_of(taken) == task.cpuset
            left[one.node] ^= taken
    return left


@given(snapshot=core_snapshots())
def test_no_core_is_given_twice_and_names_are_kept_to(snapshot: BatchSnapshot) -> None:
    for policy in each_policy():
        plan = policy.place(snapshot)
        left_after(snapshot, plan)
        booked(snapshot, plan)


@given(snapshot=core_snapshots())
def test_a_gang_that_does_not_fit_leaves_no_core_behind(snapshot: BatchSnapshot) -> None:
    check_that_who_does_not_fit_leaves_nothing(snapshot)


@given(snapshot=core_snapshots())
def test_orders_keep_all_tasks_and_put_named_cores_first(snapshot: BatchSnapshot) -> None:
    for gang in snapshot.gangs:
        for order in (as_given, largest_first):
            tasks = order(gang)
            assert sorted(task.task_index for task in tasks) == list(range(len(gang.tasks)))
            named = [bool(task.cpuset) for task in tasks]
            assert named == sorted(named, reverse=True)
