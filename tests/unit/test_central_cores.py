"""Whole cores at the central master: who may hold others up, what never fits, what comes back."""

from __future__ import annotations

import pytest
from central_bench import Bench, ended, running, spec
from cores_bench import GIB, asks, bench, named, pinned, placed, worker

from tango.adapters.policies import batch_policy
from tango.model.commands import Answer
from tango.model.job import JobSpec, JobState, TaskSpec
from tango.model.plan import BatchOffer, BatchSnapshot, BatchTask, Gang, RunningTask


def test_a_job_that_would_not_fit_without_be_either_holds_nobody_up() -> None:
    # LC holds one of the 4 cores' worth of CPU.
    central = bench("best-fit", worker("w1", 4, lc_held_millis=500), max_overtaken=1)
    central.submit("first", asks(1))
    central.submit("big", asks(4))
    for number in range(2):
        central.submit(f"small{number}", asks(1))
        central.advance(0.2)
    assert central.state("small1") is JobState.SCHEDULED
    assert "NeverFits" not in central.job("big").reason


def test_what_only_a_cleverer_packing_could_place_does_not_hold_up_others_for_ever() -> None:
    # 3 on w2 and 2 + 2 on w1 would do: first fit puts 3 on w1, whichever goes first.
    central = bench("first-fit", worker("w1", 4), worker("w2", 3), max_overtaken=1)
    central.submit("odd", asks(3, 2, 2))
    central.advance(0.2)
    assert central.state("odd") is JobState.PENDING
    for number in range(4):
        central.submit(f"small{number}", asks(1))
        central.advance(0.2)
    assert [central.state(f"small{n}") for n in range(4)] == [JobState.SCHEDULED] * 4


def test_a_held_up_queue_goes_on_when_the_job_is_cancelled() -> None:
    central = bench("best-fit", worker("w1", 4), max_overtaken=1)
    central.submit("first", asks(2))
    central.submit("big", asks(4))
    for number in range(2):
        central.submit(f"small{number}", asks(1))
        central.advance(0.2)
    assert central.state("small1") is JobState.PENDING
    central.cancel("big")
    central.advance(0.2)
    assert central.state("small1") is JobState.SCHEDULED


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (asks(5), "nearest w2, 4 of 5 cores"),
        (asks(1, 5), "task t1: nearest w2, 4 of 5 cores"),
        (asks(1, memory=3 * GIB), "nearest w1, 2.0 GiB of 3.0 GiB"),
        (named("w3", cores=1), "there is no node w3"),
        (named("w1", cores=3), "nearest w1, 2 of 3 cores"),
        (named("w1", (1, 2)), "tasks may have cores 0-1 of w1, not all of 1-2"),
        (asks(4, 3), "its 2 tasks need more cores than all nodes have together"),
        (asks(2, 2, 2, 1), "its 4 tasks need more cores than all nodes have together"),
        (asks(3, 3), "there is no room for all of its 2 larger tasks at once"),
        (
            pinned(*(TaskSpec(f"t{n}", ("x",), cores=2, node="w1") for n in range(2))),
            "its 2 tasks need more cores than node w1 has",
        ),
    ],
)
def test_what_fits_nowhere_says_how_near_the_nearest_node_comes(job: JobSpec, why: str) -> None:
    central = bench("first-fit", worker("w1", 2, gib=2), worker("w2", 4, gib=2))
    central.submit("j", job)
    assert central.job("j").reason == f"NeverFits: {why}"
    assert "j" in central.central._core.batch.parked


def test_a_node_without_cores_says_why() -> None:
    bare = worker("w1", 4, cores=(), cores_note="the cpuset controller cannot be used here")
    central = bench("first-fit", bare)
    central.submit("j", asks(1))
    why = "nearest w1, 0 of 1 cores (the cpuset controller cannot be used here)"
    assert central.job("j").reason == f"NeverFits: {why}"
    central.nodes(worker("w1", 4, cores=(2, 3)))
    central.advance(0.1)
    assert placed(central, "j") == [("w1", (2,))]


def test_cores_outlive_a_restart_and_those_of_an_unknown_attempt_are_not_given_away() -> None:
    central = bench("first-fit", worker("w1", 4))
    central.submit("j", asks(2))
    again = Bench(central.disk, policy=batch_policy("first-fit"), incarnation=2)
    # Something that nobody knows has core 2.
    again.edge_up(worker("w1", 4, be_cores=(0, 1, 2)), attempts=(running("j.0.1"),))
    again.submit("k", asks(1))
    assert placed(again, "k") == [("w1", (3,))]


def test_a_drained_node_and_a_lost_one_give_their_cores_back() -> None:
    central = bench("first-fit", worker("w1", 2), worker("w2", 2))
    central.submit("j", asks(2))
    central.status(running("j.0.1"))
    assert placed(central, "j") == [("w1", (0, 1))]
    central.nodes(worker("w1", 2, cordoned=True, draining=True), worker("w2", 2))
    assert central.stops() == ["j.0.1"]
    central.status(ended("j.0.1", None, signal=15))
    central.advance(0.1)
    assert placed(central, "j") == [("w2", (0, 1))]
    central.nodes(worker("w1", 2), worker("w2", 2, ready=False, dead=True))
    central.advance(30.0)
    assert placed(central, "j") == [("w1", (0, 1))]


def test_a_task_without_cores_takes_none_and_its_cpu_counts() -> None:
    central = bench("first-fit", worker("w1", 4))
    central.submit("plain", spec(cpu=2500))
    central.submit("j", asks(2))
    central.submit("k", asks(1))
    central.advance(0.1)
    assert placed(central, "plain") == [("w1", ())]
    assert central.state("j") is JobState.PENDING
    assert placed(central, "k") == [("w1", (0,))]
    # What needs less CPU than its cores have says so.
    central.submit("idle", pinned(TaskSpec("t", ("x",), cores=3, cpu_millis=100)))
    central.advance(0.1)
    assert placed(central, "idle") == [("w1", (1, 2, 3))]


def test_preemption_frees_the_cores_that_a_job_of_higher_priority_names() -> None:
    plan = batch_policy("ceres")
    victims = tuple(
        RunningTask(f"v{core}", "e1", "w1", 0, 1000, GIB, started_at=1.0, cores=(core,))
        for core in (0, 1)
    )
    offer = BatchOffer("e1", "w1", 0, 8 * GIB, be_tasks=2, be_held_millis=2000)
    gang = Gang("j", 5, (BatchTask("j", 0, 1000, GIB, cores=1, node="w1", cpuset=(1,)),))
    found = plan.place(BatchSnapshot((gang,), (offer,), running=victims)).preempt
    assert found is not None
    assert found.attempt_ids == ("v1",)


def test_answers_carry_the_cores() -> None:
    central = bench("first-fit", worker("w1", 4))
    op = central.submit("j", named("w1", (1, 3)))
    answer: Answer = central.answers[op]
    assert answer.result is not None
    assert answer.result.spec.tasks[0].cores == 2
    assert answer.result.spec.tasks[0].cpu_millis == 2000
    assert placed(central, "j") == [("w1", (1, 3))]
