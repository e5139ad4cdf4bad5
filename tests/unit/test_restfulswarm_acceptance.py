"""The acceptance cases of restfulswarm.md by the daemon's policies; each strategy's own rule."""

from __future__ import annotations

import pytest
from central_bench import Bench, ended, running
from cores_bench import GIB, asks, bench, free, named, pinned, placed, worker

from tango.adapters.policies import batch_policy
from tango.model.errors import FailedPrecondition
from tango.model.events import PolicySwitched, SubmitJob
from tango.model.job import JobState, TaskSpec
from tango.model.messages import StartAttempt
from tango.model.plan import marks_of

FREE = [6, 8, 9, 5, 4]
REQUESTS = [4, 5, 3, 7, 4, 2, 1]


def switch(central: Bench, name: str) -> None:
    central.policy = batch_policy(name)
    central.feed(PolicySwitched(name, **marks_of(central.policy)))


@pytest.mark.parametrize(
    ("policy", "went"),
    [
        ("best-fit", [("w2", (0, 1)), ("w2", (2, 3))]),
        ("first-fit", [("w1", (0, 1)), ("w1", (2, 3))]),
    ],
)
def test_acceptance_a_job_of_2_tasks_x_2_cores_where_w1_has_8_free_and_w2_has_4(
    policy: str, went: list[tuple[str, tuple[int, ...]]]
) -> None:
    central = bench(policy, worker("w1", 8), worker("w2", 4))
    central.submit("j", asks(2, 2))
    assert placed(central, "j") == went
    starts = [message for _, message in central.sent if isinstance(message, StartAttempt)]
    assert [(start.node, start.cores) for start in starts] == went


@pytest.mark.parametrize(
    ("policy", "workers"),
    [("best-fit", [4, 3, 0, 1, 2, 0, 0]), ("first-fit", [0, 1, 1, 2, 3, 0, 2])],
)
def test_acceptance_requests_4_5_3_7_4_2_1_on_free_6_8_9_5_4(
    policy: str, workers: list[int]
) -> None:
    nodes = [worker(f"w{number}", count) for number, count in enumerate(FREE)]
    gang = bench(policy, *nodes)
    gang.submit("j", asks(*REQUESTS))
    assert [int(name[1:]) for name, _ in placed(gang, "j")] == workers
    apart = bench(policy, *nodes)
    for number, cores in enumerate(REQUESTS):
        apart.submit(f"j{number}", asks(cores))
        apart.advance(0.1)
    went = [placed(apart, f"j{number}")[0] for number in range(len(REQUESTS))]
    assert [int(name[1:]) for name, _ in went] == workers


def test_acceptance_w1_has_4_cores_jobs_a_2_b_8_c_2() -> None:
    central = bench("best-fit", worker("w1", 4))
    central.submit("A", asks(2))
    told = central.answers[central.submit("B", asks(8))].result
    assert told is not None
    assert told.reason == "NeverFits: nearest w1, 4 of 8 cores"
    central.submit("C", asks(2))
    central.advance(1.0)
    assert placed(central, "A") == [("w1", (0, 1))]
    assert placed(central, "C") == [("w1", (2, 3))]
    assert central.state("B") is JobState.PENDING
    op = central.op()
    central.feed(SubmitJob(op, "B2", "s-B2", asks(8), central.wall, require_fit=True))
    error = central.answers[op].error
    assert isinstance(error, FailedPrecondition)
    assert str(error) == "job job can never run here: NeverFits: nearest w1, 4 of 8 cores"
    assert central.central.job("B2") is None


def test_acceptance_the_last_task_of_a_job_ends() -> None:
    central = bench("best-fit", worker("w1", 4))
    central.submit("j", asks(2, 1, memory=8 * GIB))
    central.status(running("j.0.1"))
    central.status(running("j.1.1"))
    assert free(central, "w1") == (0b1000, 1000, 48 * GIB)
    central.status(ended("j.0.1"))
    assert central.state("j") is JobState.RUNNING
    assert central.job("j").ended_at == 0
    assert free(central, "w1") == (0b1011, 3000, 56 * GIB)
    central.status(ended("j.1.1"))
    assert central.state("j") is JobState.SUCCEEDED
    assert central.job("j").ended_at == central.wall
    assert free(central, "w1") == (0b1111, 4000, 64 * GIB)


@pytest.mark.parametrize(
    ("policy", "went"),
    [
        ("first-fit-decreasing", ["w2", "w1", "w1"]),
        ("best-fit-decreasing", ["w2", "w2", "w1"]),
        ("first-fit", ["w1", "w1", "w2"]),
    ],
)
def test_the_decreasing_variants_place_the_largest_first(policy: str, went: list[str]) -> None:
    central = bench(policy, worker("w1", 6), worker("w2", 5))
    central.submit("j", asks(1, 4, 2))
    # A known fault of the original: each task must get the cores that itself asked for.
    assert [name for name, _ in placed(central, "j")] == went
    assert [len(cores) for _, cores in placed(central, "j")] == [1, 4, 2]


def test_the_node_policy_waits_for_busy_cores_and_books_none_twice() -> None:
    central = bench("node", worker("w1", 4))
    for name, cpuset in (("a", (1, 2)), ("b", (2, 3)), ("c", (0, 3))):
        central.submit(name, named("w1", cpuset))
    central.advance(0.1)
    assert (placed(central, "a"), placed(central, "c")) == ([("w1", (1, 2))], [("w1", (0, 3))])
    central.status(running("a.0.1"))
    central.status(running("c.0.1"))
    central.advance(1.0)
    assert central.state("b") is JobState.PENDING
    assert "node w1 has not core 2-3" in central.job("b").reason
    central.status(ended("a.0.1"))
    central.advance(1.0)
    assert central.state("b") is JobState.PENDING
    central.status(ended("c.0.1"))
    central.advance(1.0)
    assert placed(central, "b") == [("w1", (2, 3))]
    central.submit("d", asks(1))
    assert central.job("d").reason.startswith("NeverFits: policy `node` starts only tasks that")
    switch(central, "first-fit")
    central.advance(1.0)
    assert placed(central, "d") == [("w1", (0,))]


def test_every_policy_keeps_to_the_node_and_the_cores_that_a_task_names() -> None:
    for policy in ("most-free", "random", "round-robin", "scoring", "ceres", "profile"):
        central = bench(policy, worker("w1", 4), worker("w2", 4))
        central.submit("j", pinned(TaskSpec("any", ("x",), cores=1), *named("w2", (0, 3)).tasks))
        assert placed(central, "j")[1] == ("w2", (0, 3)), policy
        where, cores = placed(central, "j")[0]
        assert cores == ((0,) if where == "w1" else (1,)), policy


def test_under_the_priority_policy_no_job_goes_before_one_of_higher_priority() -> None:
    for policy, low_runs in (("priority", False), ("first-fit", True)):
        central = bench(policy, worker("w1", 4))
        central.submit("first", asks(2))
        central.submit("high", asks(4, priority=9))
        central.submit("low", asks(2, priority=1))
        central.advance(1.0)
        assert (central.state("low") is not JobState.PENDING) is low_runs, policy
        central.cancel("high")
        central.advance(1.0)
        assert central.state("low") is not JobState.PENDING


def test_a_switch_keeps_the_queue_and_what_runs() -> None:
    central = bench("first-fit", worker("w1", 8), worker("w2", 4))
    central.submit("a", asks(3))
    assert placed(central, "a") == [("w1", (0, 1, 2))]
    central.submit("whole", asks(8))
    switch(central, "best-fit")
    central.submit("b", asks(3))
    central.advance(0.1)
    assert placed(central, "b") == [("w2", (0, 1, 2))]
    assert central.state("whole") is JobState.PENDING
    assert central.central.policy == "best-fit"
    assert placed(central, "a") == [("w1", (0, 1, 2))]


def test_a_job_is_overtaken_so_often_and_no_more() -> None:
    central = bench("best-fit", worker("w1", 4), max_overtaken=2)
    central.submit("first", asks(2))
    central.submit("big", asks(4))
    central.submit("never", asks(5))
    for number in range(4):
        central.submit(f"small{number}", asks(1))
        central.advance(0.2)
    for name in ("first", "small0", "small1"):
        central.status(running(f"{name}.0.1"))
    states = [central.state(f"small{number}") for number in range(4)]
    assert states == [JobState.RUNNING] * 2 + [JobState.PENDING] * 2
    central.status(ended("small0.0.1"))
    central.advance(5.0)
    assert central.state("small2") is JobState.PENDING
    for name in ("small1", "first"):
        central.status(ended(f"{name}.0.1"))
    central.advance(0.2)
    assert placed(central, "big") == [("w1", (0, 1, 2, 3))]
    central.status(running("big.0.1"))
    central.status(ended("big.0.1"))
    central.advance(0.2)
    # What can never fit holds nobody up.
    assert [central.state(f"small{number}") for number in (2, 3)] == [JobState.SCHEDULED] * 2
