"""The acceptance cases of restfulswarm.md, as given there, and the queue's states one by one."""

from __future__ import annotations

import pytest
from placement_world import GIB, PLUGINS, node, placer, room

from tango.algorithms.placement.cluster import Cluster, NodeRow
from tango.algorithms.placement.core_jobs import STRATEGIES, CoreJob, JobState, profile_of
from tango.algorithms.placement.core_queue import CoreQueue
from tango.algorithms.placement.decision import Chosen
from tango.algorithms.placement.placer import as_given
from tango.algorithms.placement.pod import Pod
from tango.model.errors import AlreadyExists, InvalidField, NotFound, Refused


def worker(name: str, cores: int, gib: int = 64) -> NodeRow:
    return node(name, cores * 1000, gib * GIB)


def queue(*workers: NodeRow, strategy: str = "best-fit", **more: int) -> CoreQueue:
    return CoreQueue(Cluster(workers), PLUGINS, strategy, **more)


def job(name: str, *cores: int, gib: int = 0, priority: int = 0) -> CoreJob:
    tasks = (
        Pod(f"{name}.{n}", cores=count, memory_bytes=gib * GIB) for n, count in enumerate(cores)
    )
    return CoreJob(name, tuple(tasks), priority)


def started(here: CoreQueue, now: float = 0.0) -> dict[str, tuple[str, tuple[int, ...]]]:
    """One round: task -> (node, cores)."""
    return {one.pod: (one.node, one.cores) for start in here.round(now) for one in start.tasks}


@pytest.mark.parametrize(
    ("strategy", "went"),
    [
        ("best-fit", {"j.0": ("w2", (0, 1)), "j.1": ("w2", (2, 3))}),
        ("first-fit", {"j.0": ("w1", (0, 1)), "j.1": ("w1", (2, 3))}),
    ],
)
def test_acceptance_a_job_of_2_tasks_x_2_cores_where_w1_has_8_free_and_w2_has_4(
    strategy: str, went: dict[str, tuple[str, tuple[int, ...]]]
) -> None:
    here = queue(worker("w1", 8), worker("w2", 4), strategy=strategy)
    assert here.submit(job("j", 2, 2), 0.0) == ""
    assert started(here) == went


@pytest.mark.parametrize(
    ("strategy", "workers"),
    [("best-fit", [4, 3, 0, 1, 2, 0, 0]), ("first-fit", [0, 1, 1, 2, 3, 0, 2])],
)
def test_acceptance_requests_4_5_3_7_4_2_1_on_free_6_8_9_5_4(
    strategy: str, workers: list[int]
) -> None:
    nodes = [worker(f"w{number}", free) for number, free in enumerate([6, 8, 9, 5, 4])]
    here = placer(room(nodes), profile_of(strategy))
    requests = [Pod(f"r{n}", cores=cores) for n, cores in enumerate([4, 5, 3, 7, 4, 2, 1])]
    found = here.place_gang(requests, as_given)
    assert not isinstance(found, Chosen)
    assert [int(one.node[1:]) for one in found] == workers


def test_acceptance_w1_has_4_cores_jobs_a_2_b_8_c_2() -> None:
    here = queue(worker("w1", 4))
    assert here.submit(job("A", 2), 0.0) == ""
    assert here.submit(job("B", 8), 0.0) == "NeverFits: nearest w1, 4 of 8 cores"
    assert here.submit(job("C", 2), 0.0) == ""
    assert started(here, 0.1) == {"A.0": ("w1", (0, 1)), "C.0": ("w1", (2, 3))}
    assert here.jobs["B"].state is JobState.PENDING
    with pytest.raises(Refused, match="B2 can never run here: NeverFits: nearest w1, 4 of 8 cores"):
        here.submit(job("B2", 8), 0.0, require_fit=True)


def test_acceptance_the_last_task_of_a_job_ends() -> None:
    here = queue(worker("w1", 4))
    here.submit(job("j", 2, 1, gib=8), 0.0)
    started(here, 1.0)
    assert (here.room.cores[0], here.room.memory[0]) == (1, 48 * GIB)
    here.ended("j.0", 2.0)
    record = here.jobs["j"]
    assert (record.state, record.ended_at) == (JobState.RUNNING, None)
    here.ended("j.1", 3.0)
    assert (record.state, record.started_at, record.ended_at) == (JobState.SUCCEEDED, 1.0, 3.0)
    assert (here.room.cores[0], here.room.core_ids[0]) == (4, 0b1111)
    assert here.room.memory[0] == 64 * GIB


@pytest.mark.parametrize(
    ("strategy", "went"),
    [
        ("first-fit-decreasing", {"j.1": "w1", "j.2": "w1", "j.0": "w2"}),
        ("best-fit-decreasing", {"j.1": "w2", "j.2": "w1", "j.0": "w2"}),
        ("first-fit", {"j.0": "w1", "j.1": "w1", "j.2": "w2"}),
    ],
)
def test_the_decreasing_variants_place_the_largest_first(
    strategy: str, went: dict[str, str]
) -> None:
    here = queue(worker("w1", 6), worker("w2", 5), strategy=strategy)
    here.submit(job("j", 1, 4, 2), 0.0)
    # A known fault of the original: each task must get the cores that itself asked for.
    tasks = here.round(0.0)[0].tasks
    assert {one.pod: one.node for one in tasks} == went
    assert {one.pod: len(one.cores) for one in tasks} == {"j.0": 1, "j.1": 4, "j.2": 2}


def test_the_node_strategy_waits_for_busy_cores_and_books_none_twice() -> None:
    here = queue(worker("w1", 4), strategy="node")
    pinned = [
        CoreJob(name, (Pod(f"{name}.0", cores=2, cpuset=cores, node="w1"),))
        for name, cores in (("a", (1, 2)), ("b", (2, 3)), ("c", (0, 3)))
    ]
    for each in pinned:
        assert here.submit(each, 0.0) == ""
    assert started(here) == {"a.0": ("w1", (1, 2)), "c.0": ("w1", (0, 3))}
    here.ended("a.0", 1.0)
    assert started(here) == {}
    here.ended("c.0", 1.0)
    assert started(here) == {"b.0": ("w1", (2, 3))}
    assert "names no node" in here.submit(job("d", 1), 0.0)
    here.switch("first-fit")
    assert started(here) == {"d.0": ("w1", (0,))}


def test_priority_goes_before_arrival() -> None:
    here = queue(worker("w1", 2), strategy="priority")
    for name, priority in (("low", 1), ("high", 9), ("high too", 9)):
        here.submit(job(name, 2, priority=priority), 0.0)
    assert started(here) == {"high.0": ("w1", (0, 1))}
    here.ended("high.0", 1.0)
    assert started(here) == {"high too.0": ("w1", (0, 1))}


def test_a_switch_keeps_the_queue_and_what_runs() -> None:
    here = queue(worker("w1", 8), worker("w2", 4), strategy="first-fit")
    here.submit(job("a", 3), 0.0)
    assert started(here)["a.0"][0] == "w1"
    here.submit(job("b", 3), 0.0)
    here.switch("best-fit")
    assert started(here)["b.0"][0] == "w2"
    assert set(here.room.held) == {"a.0", "b.0"}
    with pytest.raises(InvalidField, match="worst-fit"):
        here.switch("worst-fit")
    assert here.strategy in STRATEGIES


def test_a_job_is_overtaken_so_often_and_no_more() -> None:
    here = queue(worker("w1", 4), max_overtaken=2)
    here.submit(job("first", 2), 0.0)
    started(here)
    here.submit(job("big", 4), 0.0)
    here.submit(job("never", 5), 0.0)
    for number in range(4):
        here.submit(job(f"small{number}", 1), 0.0)
    assert set(started(here)) == {"small0.0", "small1.0"}
    assert here.jobs["big"].overtaken == 2
    here.ended("small0.0", 1.0)
    assert started(here) == {}
    for task in ("small1.0", "first.0"):
        here.ended(task, 2.0)
    assert set(started(here)) == {"big.0"}
    here.ended("big.0", 3.0)
    # What can never fit holds nobody up.
    assert set(started(here)) == {"small2.0", "small3.0"}
    assert here.jobs["never"].overtaken == 0


def test_memory_counts() -> None:
    here = queue(worker("w1", 8, 4))
    why = here.submit(job("a", 1, gib=5), 0.0)
    assert why == "NeverFits: nearest w1, 4.0 GiB of 5.0 GiB"
    here.submit(job("b", 1, gib=3), 0.0)
    here.submit(job("c", 1, gib=3), 0.0)
    assert set(started(here)) == {"b.0"}


def test_a_worker_leaves_and_its_tasks_are_placed_again() -> None:
    w1, w2 = worker("w1", 4), worker("w2", 4)
    here = queue(w1, w2, strategy="first-fit")
    here.submit(job("j", 2, 2, 2), 0.0)
    assert started(here, 1.0)["j.2"] == ("w2", (0, 1))
    here.submit(job("later", 1), 2.0)
    assert here.nodes_changed(Cluster([w2])) == ("j.0", "j.1")
    # Both or none of the two; the later job may go first meanwhile.
    assert started(here, 3.0) == {"later.0": ("w2", (2,))}
    assert here.room.held["j.2"].cores == (0, 1)
    here.nodes_changed(Cluster([w2, worker("w0", 4)]))
    assert started(here, 4.0) == {"j.0": ("w0", (0, 1)), "j.1": ("w0", (2, 3))}
    assert here.jobs["j"].started_at == 1.0
    for task in ("j.0", "j.1", "j.2"):
        here.ended(task, 5.0, well=task != "j.1")
    assert here.jobs["j"].state is JobState.FAILED


def test_what_fits_nowhere_any_more_says_so() -> None:
    here = queue(worker("w1", 4), worker("w2", 8))
    assert here.submit(job("j", 8), 0.0) == ""
    here.nodes_changed(Cluster([worker("w1", 4)]))
    assert here.jobs["j"].never_fits == "NeverFits: nearest w1, 4 of 8 cores"
    here.nodes_changed(Cluster([]))
    assert here.jobs["j"].never_fits == "NeverFits: there is no node"
    here.nodes_changed(Cluster([worker("w3", 8)]))
    assert here.jobs["j"].never_fits == ""


def test_cancel_frees_at_once_and_names_are_unique_until_forgotten() -> None:
    here = queue(worker("w1", 4))
    here.submit(job("j", 2, 2), 0.0)
    with pytest.raises(AlreadyExists):
        here.submit(job("j", 1), 0.0)
    with pytest.raises(InvalidField, match=r"j\.0 is in j"):
        here.submit(CoreJob("k", (Pod("j.0", cores=1),)), 0.0)
    started(here)
    with pytest.raises(Refused, match="cancel it first"):
        here.forget("j")
    assert here.cancel("j", 1.0) == ("j.0", "j.1")
    assert here.cancel("j", 2.0) == ()
    assert (here.jobs["j"].state, here.jobs["j"].ended_at) == (JobState.CANCELLED, 1.0)
    assert here.room.cores[0] == 4
    here.ended("j.0", 3.0)
    here.forget("j")
    with pytest.raises(NotFound):
        here.cancel("j", 4.0)
    here.submit(job("j", 1), 0.0)


def test_a_job_that_waits_for_another_jobs_pod_holds_nobody_up() -> None:
    here = queue(worker("w1", 4), max_overtaken=1)
    near = CoreJob("a", (Pod("a.0", cores=1, near="b.0"),))
    assert here.submit(near, 0.0) == ""
    for name in "bcd":
        here.submit(job(name, 1), 0.0)
    assert set(started(here)) == {"b.0", "c.0", "d.0"}
    assert set(started(here)) == {"a.0"}


def test_jobs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidField, match=r"jobs\.a\.tasks"):
        CoreJob("a", ())
    with pytest.raises(InvalidField, match=r"jobs\.a\.tasks"):
        CoreJob("a", (Pod("x"), Pod("x")))
    with pytest.raises(InvalidField, match=r"job\.name"):
        job("", 1)
