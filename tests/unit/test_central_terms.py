"""Labels, taints and tolerations at the central master: under every policy, and changed ones."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
from central_bench import MIB, Bench, ended, node, running, spec

from tango.adapters.bound_rules import bound_rule
from tango.adapters.policies import batch_policy, policy_names
from tango.model.affinity import Preferences, Requirement, Taint, Toleration
from tango.model.decision_text import facts
from tango.model.errors import Refused
from tango.model.events import SubmitJob
from tango.model.explanation import Subject
from tango.model.job import JobSpec, JobState, Near, TaskSpec
from tango.model.placement_profile import DEFAULT, Profile, Use
from tango.model.plan import BatchPlan, BatchSnapshot, Placement
from tango.model.round_trips import EdgeTrip

WEST = Requirement("zone", "In", ("west",))
GPU = Taint("gpu", "true")
IN_WEST = (("zone", "west"),)
WITH_NUMPY = find_spec("numpy") is not None
needs_numpy = pytest.mark.skipif(not WITH_NUMPY, reason="profiles and bounds need numpy")
NEEDS = "task t0 needs {} CPU and 64.0 MiB, the largest node that will do has"


def wants(
    *requires: Requirement,
    prefers: Preferences = (),
    tolerations: tuple[Toleration, ...] = (),
    n_tasks: int = 1,
    cpu: int = 500,
    node: str = "",
) -> JobSpec:
    plain = spec(n_tasks=n_tasks, cpu=cpu)
    tasks = tuple(
        replace(task, requires=requires, prefers=prefers, tolerations=tolerations, node=node)
        for task in plain.tasks
    )
    return replace(plain, tasks=tasks)


def policies() -> list[str]:
    without = {"node"} if WITH_NUMPY else {"node", "profile"}
    return [name for name in policy_names("tango.batch") if name not in without]


def place(bench: Bench, job_id: str = "j1", index: int = 0) -> str:
    return bench.job(job_id).tasks[index].node


@pytest.mark.parametrize("name", policies())
def test_labels_and_taints_hold_under_every_policy(name: str) -> None:
    bench = Bench(policy=batch_policy(name))
    bench.edge_up(node("n1"), node("n2", labels=IN_WEST), node("n3", labels=IN_WEST, taints=(GPU,)))
    for number in range(3):
        bench.submit(f"w{number}", wants(WEST))
    bench.submit("g", wants(WEST, tolerations=(Toleration("gpu"),), cpu=1500))
    for number in range(6):
        bench.submit(f"p{number}", spec())
    bench.advance(2.0)
    assert [place(bench, f"w{number}") for number in range(3)] == ["n2"] * 3
    assert place(bench, "g") == "n3"
    found = {place(bench, f"p{number}") for number in range(6)}
    assert "n3" not in found, "nothing without a toleration goes to a tainted node"
    assert "n1" in found


@needs_numpy
def test_a_profile_without_their_filters_obeys_them_too() -> None:
    bare = Profile("bare", (Use("fit"), Use("affinity", 2.0, filters=False)))
    bench = Bench(policy=batch_policy("profile", bare))
    bench.edge_up(
        node("n1", taints=(GPU,)), node("n2", labels=IN_WEST, be_held_millis=500), node("n3")
    )
    bench.submit("j1", wants(WEST))
    bench.submit("j2", wants(node="n2"))
    bench.submit("j3", spec(n_tasks=2))
    bench.advance(1.0)
    assert [place(bench), place(bench, "j2")] == ["n2", "n2"]
    assert {place(bench, "j3", index) for index in (0, 1)} <= {"n2", "n3"}


@needs_numpy
def test_a_preference_counts_under_a_profile() -> None:
    bench = Bench(policy=batch_policy("profile"))
    soft = Taint("old", "", "PreferNoSchedule")
    bench.edge_up(
        node("n1", taints=(soft,)), node("n2"), node("n3", labels=IN_WEST, be_held_millis=500)
    )
    bench.submit("plain", spec())
    bench.submit("j1", wants(prefers=((WEST, 1.0),)))
    bench.advance(1.0)
    assert [place(bench, "plain"), place(bench)] == ["n2", "n3"]


def test_a_policy_that_does_not_look_is_not_followed() -> None:
    class Blind:
        name = "blind"

        def place(self, snapshot: BatchSnapshot) -> BatchPlan:
            return BatchPlan(
                tuple(Placement(gang.job_id, 0, "e1", "n1") for gang in snapshot.gangs)
            )

    bench = Bench(policy=Blind())
    bench.edge_up(node("n1"), node("n2", labels=IN_WEST))
    bench.submit("j1", wants(WEST))
    bench.submit("j2", spec())
    bench.advance(1.0)
    assert bench.starts() == ["j2.0.1"]


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (wants(WEST), "nearest n1, without zone In west"),
        (wants(WEST, Requirement("ssd", "Exists")), "nearest n3, without zone In west"),
        (
            wants(Requirement("zone", "NotIn", ("x",)), Requirement("cpus", "Exists")),
            "nearest n1, without cpus Exists",
        ),
        (
            wants(WEST, Requirement("a", "Exists"), Requirement("b", "Exists")),
            "nearest n1, without zone In west and 2 more",
        ),
        (wants(node="n2"), "nearest n2, tainted gpu=true:NoSchedule, not tolerated"),
        (
            wants(Requirement("ssd", "Exists"), cpu=3000),
            f"{NEEDS.format(3)} 1 CPU with 1.0 GiB",
        ),
        (
            wants(Requirement("ssd", "Exists"), n_tasks=3),
            "its 3 tasks need more CPU than all nodes that will do have together",
        ),
        (spec(cpu=5000), f"{NEEDS.format(5)} 2 CPU with 1.0 GiB"),
    ],
)  # fmt: skip
def test_never_fits_says_which_label_or_taint_is_in_the_way(job: JobSpec, why: str) -> None:
    bench = Bench()
    bench.edge_up(
        node("n1"),
        node("n2", cpu=8000, taints=(GPU,)),
        node("n3", cpu=1000, labels=(("ssd", "1"),)),
    )
    bench.submit("j1", job)
    assert bench.job().reason == f"NeverFits: {why}"
    op = bench.op()
    bench.feed(SubmitJob(op, "j2", "s-j2", job, bench.wall, require_fit=True))
    assert isinstance(bench.answers[op].error, Refused)
    assert why in str(bench.answers[op].error)


def test_what_bars_is_told_while_there_is_no_room() -> None:
    bench = Bench()
    bench.edge_up(node("n1"), node("n2", labels=IN_WEST, be_held_millis=1800))
    bench.submit("j1", wants(WEST))
    assert bench.job().reason == (
        "waiting for room: the one node that will do has not 500m CPU and 64.0 MiB free"
    )
    bench.submit("j2", wants(node="n1", tolerations=(Toleration("x"),)))
    bench.advance(1.0)
    assert bench.state("j2") is JobState.SCHEDULED


def test_the_record_of_a_placement_says_what_left_nodes_out() -> None:
    bench = Bench()
    bench.edge_up(node("n1"), node("n2", labels=IN_WEST), node("n3", taints=(GPU,)))
    bench.submit("j1", wants(WEST))
    (found,) = bench.central.explain("j1", (Subject.JOB,), 20, bench.now)
    (record,) = found.records
    assert facts(record)["placement"]["rejected"] == [
        ["n1", "without zone In west"],
        ["n3", "without zone In west"],
    ]


def test_what_runs_stays_when_labels_change_and_new_work_obeys() -> None:
    bench = Bench()
    bench.edge_up(node("n1", labels=IN_WEST), node("n2"))
    bench.submit("j1", wants(WEST))
    bench.status(running("j1.0.1"))
    bench.nodes(node("n1"), node("n2", labels=IN_WEST, taints=(GPU,)))
    bench.advance(5.0)
    assert bench.state() is JobState.RUNNING
    assert place(bench) == "n1"
    bench.submit("j2", wants(WEST))
    why = "tainted gpu=true:NoSchedule, not tolerated"
    assert bench.job("j2").reason == f"NeverFits: nearest n2, {why}"
    bench.nodes(node("n1"), node("n2", labels=IN_WEST))
    bench.advance(1.0)
    assert place(bench, "j2") == "n2"
    bench.status(ended("j1.0.1"))
    assert bench.state() is JobState.SUCCEEDED


def test_a_job_that_waits_for_room_goes_where_a_taint_is_lifted() -> None:
    bench = Bench()
    bench.edge_up(node("n1", be_held_millis=1800), node("n2", taints=(GPU,)))
    bench.submit("j1", spec())
    bench.advance(1.0)
    assert bench.state() is JobState.PENDING
    bench.nodes(node("n1", be_held_millis=1800), node("n2"))
    bench.advance(1.0)
    assert place(bench) == "n2"


def bound_task(*requires: Requirement, backup: bool = False, near: str = "e1/n1") -> JobSpec:
    task = TaskSpec(
        "main", ("true",), cpu_millis=500, memory_bytes=64 * MIB, requires=requires,
        near=Near(near, "", 0.05), backup=backup,
    )  # fmt: skip
    return JobSpec("job", (task,))


TRIPS = tuple(EdgeTrip(f"e1/n{number}", 0.001) for number in (1, 2, 3))


@needs_numpy
def test_tasks_with_bounds_and_their_backups_obey() -> None:
    bench = Bench(bound_rule=bound_rule(DEFAULT))
    bench.edge_up(
        node("n1", taints=(GPU,)), node("n2", labels=IN_WEST), node("n3", labels=IN_WEST),
        trips=TRIPS,
    )  # fmt: skip
    bench.submit("j1", bound_task(WEST, backup=True))
    bench.submit("j2", bound_task())
    bench.advance(1.0)
    assert {place(bench), bench.central.job("j1").tasks[0].backup} == {"n2", "e1/n3"} or {
        place(bench), bench.central.job("j1").tasks[0].backup
    } == {"n3", "e1/n2"}  # fmt: skip
    assert place(bench, "j2") in ("n2", "n3")
    bench.submit("j3", bound_task(Requirement("ssd", "Exists")))
    assert bench.job("j3").reason == "NeverFits: nearest n2, without ssd Exists"


@needs_numpy
def test_a_bound_task_that_runs_stays_when_labels_change() -> None:
    bench = Bench(bound_rule=bound_rule(DEFAULT))
    bench.edge_up(node("n1"), node("n2", labels=IN_WEST), node("n3"), trips=TRIPS)
    bench.submit("j1", bound_task(WEST))
    bench.advance(1.0)
    assert place(bench) == "n2"
    bench.status(running("j1.0.1"))
    bench.nodes(node("n1"), node("n2", taints=(GPU,)), node("n3", labels=IN_WEST), trips=TRIPS)
    bench.advance(5.0)
    assert (bench.state(), place(bench)) == (JobState.RUNNING, "n2")
    assert bench.job().tasks[0].attempt == 1
