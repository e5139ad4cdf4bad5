"""Snapshots for batch policies, and what any plan must keep to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import strategies as st

from tango.model.plan import BatchOffer, BatchPlan, BatchSnapshot, BatchTask, Gang, RunningTask

MIB = 2**20
CPU = st.integers(1, 40).map(lambda n: n * 100)
MEMORY = st.integers(1, 40).map(lambda n: n * 64 * MIB)
HELD_CPU = st.integers(0, 20).map(lambda n: n * 100)
HELD_MEMORY = st.integers(0, 20).map(lambda n: n * 64 * MIB)
PRIORITY = st.integers(0, 2)
PLACES = tuple((edge, f"n{number}") for edge in ("e1", "e2") for number in (1, 2, 3))

Place = tuple[str, str]


@st.composite
def gangs(draw: st.DrawFn, priority: st.SearchStrategy[int] = PRIORITY) -> tuple[Gang, ...]:
    """In the order of a queue: by priority."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        sizes = draw(st.lists(st.tuples(CPU, MEMORY), min_size=1, max_size=4))
        tasks = tuple(BatchTask(f"j{number}", i, *size) for i, size in enumerate(sizes))
        found.append(Gang(f"j{number}", draw(priority), tasks))
    return tuple(sorted(found, key=lambda gang: -gang.priority))


@st.composite
def snapshots(draw: st.DrawFn) -> BatchSnapshot:
    """Nodes that all have some room, of two sites."""
    places = draw(st.lists(st.sampled_from(PLACES), unique=True, max_size=6))
    offers = tuple(
        BatchOffer(
            *place,
            draw(CPU),
            draw(MEMORY),
            draw(st.integers(0, 3)),
            draw(HELD_CPU),
            draw(HELD_MEMORY),
            draw(HELD_CPU),
            draw(HELD_MEMORY),
        )
        for place in places
    )
    last = draw(st.sampled_from((("", ""), *PLACES, ("e3", "n1"))))
    return BatchSnapshot(draw(gangs()), offers, draw(st.integers(0, 5)), last)


@st.composite
def single_tasks(draw: st.DrawFn) -> BatchSnapshot:
    """Nodes, at least one, and one task that fits one of them at least."""
    snapshot = draw(snapshots().filter(lambda one: one.offers))
    fits = draw(st.sampled_from(snapshot.offers))
    task = BatchTask(
        "j0",
        0,
        draw(st.integers(1, fits.cpu_millis // 100)) * 100,
        draw(st.integers(1, fits.memory_bytes // (64 * MIB))) * 64 * MIB,
    )
    return replace(snapshot, gangs=(Gang("j0", 0, (task,)),))


@st.composite
def elastic_snapshots(draw: st.DrawFn) -> BatchSnapshot:
    """Nodes that may be full, or more than that, with what runs there and what it does not use."""
    offers, running = [], []
    for place in draw(st.lists(st.sampled_from(PLACES), unique=True, max_size=4)):
        tasks = [
            RunningTask(
                f"{place[0]}-{place[1]}-{number}",
                *place,
                draw(PRIORITY),
                draw(CPU),
                draw(MEMORY),
                draw(st.integers(0, 3)) * 10.0,
            )
            for number in range(draw(st.integers(0, 4)))
        ]
        held = sum(task.cpu_millis for task in tasks)
        offers.append(
            BatchOffer(
                *place,
                draw(st.integers(-10, 20)) * 100,
                draw(st.integers(-2, 20)) * 64 * MIB,
                len(tasks),
                be_held_millis=held,
                be_memory_bytes=sum(task.memory_bytes for task in tasks),
                reclaimable_millis=draw(st.integers(0, held)),
            )
        )
        running += tasks
    return BatchSnapshot(draw(gangs()), tuple(offers), 0, running=tuple(running))


def left_after(snapshot: BatchSnapshot, plan: BatchPlan) -> dict[Place, tuple[int, int]]:
    """CPU, reclaimable included, and memory of each node after the plan.

    Fails where the plan exceeds anything, tears a gang apart, or places what nobody asked for.
    """
    tasks = {(task.job_id, task.task_index): task for gang in snapshot.gangs for task in gang.tasks}
    placed = Counter((one.job_id, one.task_index) for one in plan.placements)
    assert set(placed.values()) <= {1}, "placed twice"
    assert placed.keys() <= tasks.keys(), "placements of what nobody asked for"
    unplaced = [one.job_id for one in plan.unplaced]
    assert len(unplaced) == len(set(unplaced))
    for gang in snapshot.gangs:
        here = sum(placed[gang.job_id, task.task_index] for task in gang.tasks)
        assert here == (0 if gang.job_id in unplaced else len(gang.tasks)), "a torn gang"
    assert all(one.reason for one in plan.unplaced)
    left = {
        (offer.edge, offer.node): [
            offer.cpu_millis + offer.reclaimable_millis,
            offer.memory_bytes,
        ]
        for offer in snapshot.offers
    }
    used = set()
    for one in plan.placements:
        room = left[one.edge, one.node]
        room[0] -= tasks[one.job_id, one.task_index].cpu_millis
        room[1] -= tasks[one.job_id, one.task_index].memory_bytes
        used.add((one.edge, one.node))
    for place in used:
        assert min(left[place]) >= 0, f"{place} is exceeded"
    return {place: (cpu, memory) for place, (cpu, memory) in left.items()}
