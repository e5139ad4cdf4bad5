"""Events of a trace to tasks: lives with every ending, what is LC, memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from tango.model.errors import InvalidField
from tango.workload.cluster_events import AFTER_TRACE_US, MICROS, Step, TaskEvent
from tango.workload.openb import OpenbPod
from tango.workload.trace_tasks import (
    BORG_2011,
    BORG_2019,
    BorgRule,
    BorgTasks,
    Fate,
    OpenbRule,
    TraceTask,
    borg_tasks,
    openb_tasks,
)


def event(
    at_s: float,
    step: Step,
    job: int = 7,
    *,
    cpu: float | None = 0.1,
    sensitivity: int | None = 0,
    priority: int = 1,
    reservation: bool = False,
) -> TaskEvent:
    at_us = round(at_s * MICROS)
    return TaskEvent(
        1, at_us, step, job, 0, None, sensitivity, priority, cpu, 0.2, False, reservation
    )


def life(*steps: tuple[float, Step], job: int = 7) -> list[TaskEvent]:
    return [event(at_s, step, job) for at_s, step in steps]


def told(events: list[TaskEvent], rule: BorgRule = BORG_2011) -> list[tuple[float, float, str]]:
    return [(each.submitted_s, each.run_s, each.fate.value) for each in borg_tasks(events, rule)]


@pytest.mark.parametrize(
    ("steps", "run_s", "fate"),
    [
        ([(0, Step.SUBMIT), (2, Step.SCHEDULE), (9, Step.FINISH)], 7, "finished"),
        ([(0, Step.SUBMIT), (2, Step.SCHEDULE), (9, Step.KILL)], 7, "stopped"),
        ([(0, Step.SUBMIT), (2, Step.SCHEDULE), (9, Step.LOST)], 7, "stopped"),
        ([(0, Step.SUBMIT), (2, Step.SCHEDULE), (9, Step.EVICT)], 7, "stopped"),
        ([(0, Step.SUBMIT), (2, Step.SCHEDULE), (9, Step.FAIL)], 7, "stopped"),
        ([(0, Step.SUBMIT), (9, Step.KILL)], 0, "never_ran"),
        ([(0, Step.SUBMIT)], 0, "never_ran"),
        (
            [(0, Step.SUBMIT), (1, Step.QUEUE), (1, Step.ENABLE), (3, Step.UPDATE_PENDING)],
            0,
            "never_ran",
        ),
        ([(0, Step.SUBMIT), (2, Step.SCHEDULE), (9, Step.UPDATE_RUNNING)], 7, "unfinished"),
        ([(0, Step.SUBMIT), (4, Step.UPDATE_RUNNING), (9, Step.FINISH)], 5, "finished"),
    ],
)
def test_lives(steps: list[tuple[float, Step]], run_s: float, fate: str) -> None:
    assert told(life(*steps)) == [(0, run_s, fate)]


def test_after_an_eviction_the_last_run_counts() -> None:
    steps = [
        (0, Step.SUBMIT),
        (1, Step.SCHEDULE),
        (50, Step.EVICT),
        (51, Step.SUBMIT),
        (60, Step.SCHEDULE),
        (70, Step.FAIL),
        (70, Step.SUBMIT),
        (71, Step.SCHEDULE),
        (74, Step.FINISH),
    ]
    assert told(life(*steps)) == [(0, 3, "finished")]
    assert told(life(*steps[:5])) == [(0, 0, "unfinished")]  # the second run, just begun


def test_what_is_killed_and_submitted_again_is_a_new_task() -> None:
    steps = [(0, Step.SUBMIT), (1, Step.SCHEDULE), (5, Step.KILL), (6, Step.SUBMIT)]
    assert told(life(*steps)) == [(0, 4, "stopped"), (6, 0, "never_ran")]


def test_tasks_are_told_in_order_of_submission() -> None:
    events = [
        event(0, Step.SUBMIT, 1),
        event(0, Step.SCHEDULE, 1),
        event(1, Step.SUBMIT, 2),
        event(1, Step.SCHEDULE, 2),
        event(2, Step.FINISH, 2),
        event(3, Step.SUBMIT, 3),
        event(9, Step.FINISH, 1),
    ]
    tasks = BorgTasks()
    first = [task for each in events[:-1] for task in tasks.event(each)]
    assert first == []  # 2 has ended, but 1 came earlier
    assert [task.name for task in tasks.event(events[-1])] == ["1.0", "2.0"]
    assert [task.name for task in tasks.end()] == ["3.0"]


def test_the_horizon_ends_the_waiting() -> None:
    rule = BorgRule(horizon_s=100)
    events = [*life((0, Step.SUBMIT), (10, Step.SCHEDULE)), event(99, Step.SUBMIT, 8)]
    tasks = BorgTasks(rule)
    assert [task for each in events for task in tasks.event(each)] == []
    (cut,) = tasks.event(event(100, Step.SUBMIT, 9))
    assert (cut.run_s, cut.fate, cut.name) == (90, Fate.UNFINISHED, "7.0")
    assert tasks.cut == 0
    assert list(tasks.event(event(120, Step.FINISH))) == []
    assert tasks.strays == 1  # its end says nothing any more


def test_too_many_held_are_told_early_and_counted() -> None:
    tasks = BorgTasks(BorgRule(max_held=2))
    found = [task for at_s in range(5) for task in tasks.event(event(at_s, Step.SUBMIT, at_s))]
    assert [task.name for task in found] == ["0.0", "1.0", "2.0"]
    assert tasks.cut == 3


def test_what_was_never_submitted_is_a_stray() -> None:
    tasks = BorgTasks()
    for step in (Step.SCHEDULE, Step.FINISH, Step.EVICT):
        assert list(tasks.event(event(1, step))) == []
    assert (tasks.strays, list(tasks.end())) == (3, [])


def test_reservations_and_times_after_the_trace_say_nothing() -> None:
    events = [
        event(0, Step.SUBMIT, reservation=True),
        event(0, Step.SUBMIT, 8),
        event(1, Step.SCHEDULE, 8),
        event(6, Step.SUBMIT, 9),
        TaskEvent(1, AFTER_TRACE_US, Step.FINISH, 8, 0, None, 0, 1, None, None),
    ]
    assert told(events) == [(0, 5, "unfinished"), (6, 0, "never_ran")]


def test_the_latest_word_on_requests_counts() -> None:
    (task,) = borg_tasks(
        [
            event(3, Step.SUBMIT, cpu=None),
            event(4, Step.UPDATE_PENDING, cpu=0.5, sensitivity=3, priority=9),
            event(5, Step.SCHEDULE, cpu=None, sensitivity=3, priority=9),
        ]
    )
    assert task == TraceTask("7.0", "7", 3, 0, Fate.UNFINISHED, True, 0.5, 0.2, 9)
    (silent,) = borg_tasks([event(0, Step.SUBMIT, cpu=None)])
    assert (silent.cpu, silent.initial) == (None, True)


@pytest.mark.parametrize(
    ("rule", "sensitivity", "priority", "critical"),
    [
        (BORG_2011, 3, 9, True),
        (BORG_2011, 2, 9, True),
        (BORG_2011, 1, 11, False),
        (BORG_2011, 3, 8, False),
        (BORG_2011, None, 11, False),
        (BORG_2019, 2, 120, True),
        (BORG_2019, 3, 119, False),
        (BORG_2019, 1, 450, False),
        (BorgRule(lc_class=0, lc_priority=0), 0, 0, True),
        (BorgRule(lc_class=4), 3, 11, False),
    ],
)
def test_what_is_latency_critical(
    rule: BorgRule, sensitivity: int | None, priority: int, critical: bool
) -> None:
    events = [event(0, Step.SUBMIT, sensitivity=sensitivity, priority=priority)]
    assert [task.latency_critical for task in borg_tasks(events, rule)] == [critical]


def pod(qos: str = "LS", phase: str = "Running", **times: float | None) -> OpenbPod:
    at = {"created_s": 5.0, "scheduled_s": 7.0, "deleted_s": 17.0, **times}
    return OpenbPod(
        2, "p", 1000, 2**20, qos, phase, at["created_s"] or 0.0, at["scheduled_s"], at["deleted_s"]
    )


def test_openb_pods() -> None:
    assert list(openb_tasks([pod()])) == [
        TraceTask("p", "p", 5, 10, Fate.FINISHED, True, 1000, 2**20)
    ]
    fates = openb_tasks([pod(phase="Failed"), pod(deleted_s=None), pod(scheduled_s=None)])
    assert [(task.run_s, task.fate) for task in fates] == [
        (10, Fate.STOPPED),
        (0, Fate.UNFINISHED),
        (0, Fate.NEVER_RAN),
    ]


def test_openb_qos() -> None:
    pods = [pod(qos) for qos in ("LS", "Guaranteed", "Burstable", "BE")]
    assert [task.latency_critical for task in openb_tasks(pods)] == [True, True, True, False]
    only_ls = openb_tasks(pods, OpenbRule(("LS",)))
    assert [task.latency_critical for task in only_ls] == [True, False, False, False]
    with pytest.raises(InvalidField, match="lc_qos: 'ls' is unknown; choose from LS, "):
        OpenbRule(("ls",))


@pytest.mark.parametrize(
    "wrong", [{"lc_class": 5}, {"lc_priority": -1}, {"horizon_s": 0}, {"max_held": 0}]
)
def test_rules_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidField, match=next(iter(wrong))):
        BorgRule(**wrong)


def endless(count: int) -> Iterator[TaskEvent]:
    """Tasks that never end, one a second, beside short ones."""
    for number in range(count):
        yield event(number, Step.SUBMIT, number)
        yield event(number, Step.SCHEDULE, number)
        if number % 2:
            yield event(number, Step.FINISH, number)


def test_memory_follows_the_horizon_and_not_the_trace() -> None:
    peaks = []
    for count in (2_000, 8_000):
        tracemalloc.start()
        try:
            tasks = borg_tasks(endless(count), BorgRule(horizon_s=500))
            assert sum(1 for _ in tasks) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[0] / 500 < 1024
