"""Fixed ports of tasks at the central master: one of a node has one owner, replica or task."""

from __future__ import annotations

from dataclasses import replace

import pytest
from central_bench import Bench, ended, running
from cores_bench import bench, pinned, worker

from tango.model.cluster import NodeView
from tango.model.commands import Answer
from tango.model.errors import FailedPrecondition, InvalidField
from tango.model.job import Checkpoint, JobSpec, JobState, TaskSpec

POLICIES = ("most-free", "first-fit", "best-fit", "round-robin", "scoring", "ceres", "profile")


def task(name: str = "t0", *ports: int, node: str = "") -> TaskSpec:
    return TaskSpec(name, ("serve",), cpu_millis=100, ports=ports or (9090,), node=node)


def serves(*ports: int, count: int = 1, node: str = "") -> JobSpec:
    return pinned(*(task(f"t{at}", *ports, node=node) for at in range(count)))


def nodes_of(central: Bench, job_id: str) -> list[str]:
    return [one.node for one in central.job(job_id).tasks]


def submit(central: Bench, job_id: str, spec: JobSpec) -> None:
    central.submit(job_id, spec)
    central.advance(0.2)


@pytest.mark.parametrize("policy", POLICIES)
def test_tasks_of_one_port_never_share_a_node_and_the_next_waits(policy: str) -> None:
    if policy == "profile":
        pytest.importorskip("numpy")
    central = bench(policy, worker("w1", 4), worker("w2", 4))
    submit(central, "j1", serves(9090, count=2))
    assert sorted(nodes_of(central, "j1")) == ["w1", "w2"]
    submit(central, "j2", serves(9090))
    assert central.state("j2") is JobState.PENDING
    assert "port 9090" in central.job("j2").reason
    submit(central, "j3", serves(9091))
    assert central.state("j3") is JobState.SCHEDULED
    # Whoever has it gives it back with its end.
    first = central.job("j1").tasks[0]
    central.status(running(first.attempt_id))
    central.status(ended(first.attempt_id))
    central.advance(0.2)
    assert nodes_of(central, "j2") == [first.node]


def test_ports_of_replicas_count_and_so_does_what_the_edge_says_of_attempts() -> None:
    taken = worker("w1", 4, lc_ports=(9090,)), worker("w2", 4, be_ports=(9090,)), worker("w3", 4)
    central = bench("first-fit", *taken)
    submit(central, "j1", serves(9090))
    assert nodes_of(central, "j1") == ["w3"]
    submit(central, "j2", serves(9090))
    assert central.state("j2") is JobState.PENDING
    central.nodes(worker("w1", 4), *taken[1:])
    central.advance(0.2)
    assert nodes_of(central, "j2") == ["w1"]


def test_they_stay_booked_over_a_restart_of_the_central_master() -> None:
    central = bench("first-fit", worker("w1", 4))
    submit(central, "j1", serves(9090, 443))
    again = Bench(central.disk)
    again.edge_up(worker("w1", 4), attempts=(running("j1.0.1"),))
    submit(again, "j2", serves(443))
    assert again.state("j2") is JobState.PENDING
    again.status(ended("j1.0.1"))
    again.advance(0.2)
    assert again.state("j2") is JobState.SCHEDULED


@pytest.mark.parametrize(
    ("spec", "port"),
    [
        (
            serves(9090, count=3),
            9090,
        ),
        (
            pinned(task("t0", 80, node="w1"), task("t1", 80), task("t2", 80)),
            80,
        ),
    ],
)
def test_never_fits_names_the_port(spec: JobSpec, port: int) -> None:
    why = (
        f"NeverFits: 3 of its tasks have the fixed port {port}, so each wants a node of its own, "
        "and 2 nodes would do"
    )
    central = bench("first-fit", worker("w1", 4), worker("w2", 4))
    central.submit("j1", spec)
    assert central.job("j1").reason == why
    central.nodes(worker("w1", 4), worker("w2", 4), worker("w3", 4))
    central.advance(0.2)
    assert central.state("j1") is JobState.SCHEDULED


@pytest.mark.parametrize(
    ("spec", "field", "problem"),
    [
        (serves(0), "tasks[0].ports[0]", "0 is out of range"),
        (serves(65536), "tasks[0].ports[0]", "65536 is out of range"),
        (serves(80, 90, 80), "tasks[0].ports", "port 80 is there twice"),
        (serves(*range(1, 18)), "tasks[0].ports", "has 17 ports"),
        (serves(80, count=2, node="w1"), "tasks[1].ports", "port 80 of w1 is that of task 't0'"),
    ],
)
def test_bad_ports_are_refused_with_their_field(spec: JobSpec, field: str, problem: str) -> None:
    with pytest.raises(InvalidField) as caught:
        spec.validate()
    assert caught.value.field == field
    assert problem in caught.value.problem


# ---- migrations


def at_work() -> Bench:
    """j1 has port 9090 of w1, j2 port 443 of w2."""
    central = bench("first-fit", able("w1"), able("w2"))
    submit(central, "j1", serves(9090))
    submit(central, "j2", serves(443, node="w2"))
    for job_id in ("j1", "j2"):
        central.status(running(f"{job_id}.0.1"))
    return central


def able(name: str, **more: object) -> NodeView:
    return worker(name, 4, checkpoints=True, checkpoint_shared=True, **more)


def refusal(central: Bench, job_id: str, node: str) -> str:
    op = central.migrate(job_id, node)
    answer: Answer = central.answers[op]
    assert isinstance(answer.error, FailedPrecondition), answer
    return str(answer.error)


def test_a_task_does_not_migrate_to_where_its_port_is_taken() -> None:
    central = at_work()
    central.nodes(able("w1"), able("w2", lc_ports=(9090,)))
    assert refusal(central, "j1", "w2") == "node w2 of e1: port 9090 is taken"


def test_the_target_keeps_the_port_and_the_source_gives_it_back() -> None:
    central = at_work()
    central.migrate("j1", "w2")
    submit(central, "j3", serves(9090, node="w2"))
    assert central.state("j3") is JobState.PENDING
    made = Checkpoint("j1.0.1", "sha256:1", 4096)
    central.status(replace(ended("j1.0.1", None, signal=9), checkpoint=made))
    assert nodes_of(central, "j1") == ["w2"]
    submit(central, "j4", serves(9090, node="w1"))
    assert nodes_of(central, "j4") == ["w1"]
    # It would go back, and another one has its port there by now: its state is lost.
    central.refuse("j1.0.2")
    central.advance(0.2)
    assert "its port at the source is taken; its state is lost" in central.job("j1").tasks[0].moved
