"""HRM's choice of what BE evicts: sufficient, minimal, and by priority before lost work."""

from __future__ import annotations

from itertools import chain, combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from tango.algorithms.quota.hrm import (
    BeTask,
    be_memory_room,
    choose_victims,
    lc_memory_room,
)


@st.composite
def some_tasks(draw: st.DrawFn, most: int = 6) -> list[BeTask]:
    return [
        BeTask(
            f"j{index}.0.1",
            draw(st.integers(-1, 1)),
            draw(st.integers(0, 40)),
            float(draw(st.integers(0, 5))),
        )
        for index in range(draw(st.integers(0, most)))
    ]


def cost(tasks: tuple[BeTask, ...]) -> tuple[tuple[float, ...], int]:
    """Lost work by priority from the highest down, then the number."""
    priorities = sorted({-1, 0, 1}, reverse=True)
    lost = tuple(sum(t.lost_cpu_s for t in tasks if t.priority == p) for p in priorities)
    return lost, len(tasks)


@settings(deadline=None)
@given(tasks=some_tasks(), need=st.integers(0, 150))
def test_the_least_that_suffices_as_brute_force_finds_it(tasks: list[BeTask], need: int) -> None:
    made = choose_victims(need, tasks)
    every = chain.from_iterable(combinations(tasks, n) for n in range(len(tasks) + 1))
    enough = [some for some in every if sum(t.memory_bytes for t in some) >= need]
    assert made.sufficient == bool(enough)
    assert made.freed_bytes == sum(t.memory_bytes for t in made.victims)
    assert len(made.victims) + len(made.spared) == len(tasks) or need <= 0
    if not enough:
        assert {t.attempt_id for t in made.victims} == {
            t.attempt_id for t in tasks if t.memory_bytes
        }
        return
    assert made.freed_bytes >= need
    # A task of a higher priority goes only where those below it cannot give enough, and none goes
    # that is not needed.
    for task in made.victims:
        assert made.freed_bytes - task.memory_bytes < need
    by_priority = _lexicographic(tasks, need)
    assert cost(made.victims)[0] == by_priority


def _lexicographic(tasks: list[BeTask], need: int) -> tuple[float, ...]:
    """As the rule says: first what must come of the highest priority, at the least lost work."""
    left, lost = need, []
    for priority in (1, 0, -1):
        same = [t for t in tasks if t.priority == priority and t.memory_bytes]
        below = sum(t.memory_bytes for t in tasks if t.priority < priority)
        every = chain.from_iterable(combinations(same, n) for n in range(len(same) + 1))
        enough = [s for s in every if sum(t.memory_bytes for t in s) >= left - below]
        best = min(enough, key=lambda some: (sum(t.lost_cpu_s for t in some), len(some)))
        # Equal costs may free unlike amounts: go on with those of the real choice.
        chosen = [t for t in choose_victims(need, tasks).victims if t.priority == priority]
        assert sum(t.lost_cpu_s for t in chosen) == sum(t.lost_cpu_s for t in best)
        lost.append(sum(t.lost_cpu_s for t in chosen))
        left -= sum(t.memory_bytes for t in chosen)
    return tuple(lost)


@settings(deadline=None)
@given(tasks=some_tasks(most=40), need=st.integers(1, 900))
def test_many_tasks_are_chosen_in_time_and_none_needlessly(tasks: list[BeTask], need: int) -> None:
    made = choose_victims(need, tasks)
    assert made.sufficient == (sum(t.memory_bytes for t in tasks) >= need)
    if made.sufficient:
        for task in made.victims:
            assert made.freed_bytes - task.memory_bytes < need
    assert choose_victims(need, reversed(tasks)) == made, "the same tasks, the same choice"


def test_priority_comes_before_lost_work_and_lost_work_before_number() -> None:
    old = BeTask("old", 0, 100, 60.0)
    young = BeTask("young", 0, 100, 1.0)
    tiny = [BeTask(f"tiny{n}", 0, 50, 0.1) for n in range(2)]
    dear = BeTask("dear", 5, 100, 0.0)
    assert [t.attempt_id for t in choose_victims(80, [old, young, dear]).victims] == ["young"]
    assert {t.attempt_id for t in choose_victims(80, [old, young, *tiny]).victims} == {
        "tiny0",
        "tiny1",
    }
    everything = choose_victims(201, [old, young, dear])
    assert {t.attempt_id for t in everything.victims} == {"old", "young", "dear"}
    assert not choose_victims(301, [old, young, dear]).sufficient


def test_lc_may_take_what_be_holds_and_be_only_what_is_free() -> None:
    assert lc_memory_room(100, 30) == 70
    assert be_memory_room(100, 30, 60) == 10
    assert be_memory_room(100, 50, 60) == -10
