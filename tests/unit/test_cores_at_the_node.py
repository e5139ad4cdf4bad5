"""Whole cores below the central master: the edge admits each once, the worker pins its tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from edge_world import MIB, EdgeWorld, FakeWorker, start
from worker_world import World, task

from tango.adapters.cgroup_fake_kernel import BASE, FakeKernel
from tango.adapters.cgroup_v1 import CONTROLLERS, CgroupV1
from tango.daemons.worker.cores import task_cores
from tango.model import commands as cmd
from tango.model.job import AttemptState, AttemptStatus
from tango.model.messages import AttemptChanged, AttemptRefused, NodesChanged, StartAttempt
from tango.model.settings import WorkerSettings
from tango.sdk.embedded_plan import plan_nodes


def site() -> tuple[EdgeWorld, FakeWorker]:
    world = EdgeWorld()
    world.central_up()
    worker = world.worker("n1", cpu=4000)
    worker.cores = (0, 1, 4)
    worker.up()
    world.central.clear()
    worker.inbox.clear()
    return world, worker


def given(attempt_id: str, *cores: int) -> StartAttempt:
    message = start(attempt_id, "n1")
    return replace(message, spec=replace(message.spec, cores=len(cores)), cores=cores)


def test_the_edge_admits_a_core_once_and_only_those_that_the_node_has_for_tasks() -> None:
    world, worker = site()
    world.central_says(given("j.0.1", 0, 4))
    assert [one.cores for one in worker.told(StartAttempt)] == [(0, 4)]
    (node,) = world.controller.node_views()
    assert (node.cores, node.be_cores) == ((0, 1, 4), (0, 4))
    for attempt_id, cores, why in (
        ("k.0.1", (1, 4), "core 4 is not free"),
        ("k.0.2", (2,), "tasks may not have core 2"),
    ):
        world.central_says(given(attempt_id, *cores))
        (refused,) = world.told_central(AttemptRefused)
        assert (refused.attempt_id, refused.reason) == (attempt_id, f"node n1: {why}")
    short = replace(given("k.0.3", 1), cores=())
    world.central_says(short)
    assert "1 cores asked, 0 given" in world.told_central(AttemptRefused)[0].reason
    world.central_says(given("k.0.4", 1))
    assert [one.attempt_id for one in worker.told(StartAttempt)] == ["k.0.4"]


def test_cores_are_free_at_the_edge_once_the_attempt_has_ended() -> None:
    world, worker = site()
    world.central_says(given("j.0.1", 0, 1))
    # A worker of an older version says nothing of cores.
    worker.say(AttemptChanged(AttemptStatus("j.0.1", AttemptState.RUNNING)))
    assert world.controller.node_views()[0].be_cores == (0, 1)
    worker.say(AttemptChanged(AttemptStatus("j.0.1", AttemptState.ENDED, exit_code=0)))
    assert world.controller.node_views()[0].be_cores == ()
    world.advance(1.5)
    assert world.told_central(NodesChanged)[-1].nodes[0].cores == (0, 1, 4)


def made(world: World) -> list[cmd.CreateGroup]:
    return [one for one in world.commands(cmd.CreateGroup) if one.group == "be/j.0.1"]


def test_the_worker_gives_the_group_its_cores_and_remembers_them_over_a_restart() -> None:
    world = World()
    world.connect()
    world.say(StartAttempt("j.0.1", task(cores=2), "n", cores=(1, 3)))
    assert [one.target.cpuset for one in made(world)] == ["1,3"]
    assert world.attempt("j.0.1").cores == (1, 3)
    world.log.clear()
    world.boot()
    world.connect()
    assert world.attempt("j.0.1").cores == (1, 3)
    assert [one.target.cpuset for one in made(world)] == ["1,3"]


def test_a_worker_that_cannot_pin_fails_an_attempt_with_cores() -> None:
    world = World(cgroups=False)
    world.connect()
    world.say(StartAttempt("j.0.1", task(cores=1), "n", cores=(0,)))
    last = world.attempt("j.0.1")
    assert (last.state, last.failure) == (
        AttemptState.ENDED,
        "this node cannot give a task cores of its own",
    )
    assert not world.starts


def groups(*, without: bool = False) -> CgroupV1:
    """The v1 driver on a pretended kernel of 4 cores."""
    names = [name for name in CONTROLLERS if not without or name != "cpuset"]
    return CgroupV1({name: Path(BASE, name) for name in names}, "tango", FakeKernel(4))


def settings(**changes: object) -> WorkerSettings:
    plain = World().settings
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "cores", "note"),
    [
        ({}, (0, 1, 2, 3), ""),
        ({"cpuset": "1-2"}, (1, 2), ""),
        ({"task_cores": "0,3"}, (0, 3), ""),
        ({"task_cores": "3-5"}, (3,), "core 4-5 of task_cores is not the node's"),
        ({"task_cores": "none"}, (), "its configuration says task_cores = none"),
        ({"enforce": False}, (), "enforce = false: nothing is pinned"),
    ],
)
def test_the_cores_for_tasks_are_read_from_the_nodes_group(
    changes: dict[str, object], cores: tuple[int, ...], note: str
) -> None:
    assert task_cores(settings(**changes), groups(), "") == (cores, note)


def test_without_a_cpuset_controller_there_are_none_and_it_says_so() -> None:
    assert task_cores(settings(), None, "no rights") == ((), "no control groups: no rights")
    bare = groups(without=True)
    assert task_cores(settings(), bare, "") == ((), "the cpuset controller cannot be used here")


@pytest.mark.parametrize(
    ("sites", "workers", "cores", "shares"),
    [
        (2, 1, 2, ["0", "1"]),
        (2, 2, 2, ["0", "1", "none", "none"]),
        (1, 1, 2, ["1"]),
        (1, 2, 6, ["1-2", "3-4"]),
    ],
)
def test_embedded_nodes_that_share_cores_have_each_core_once(
    sites: int, workers: int, cores: int, shares: list[str]
) -> None:
    plan = plan_nodes(
        sites=sites, workers_per_site=workers, cores=range(cores), memory_bytes=4096 * MIB
    )
    assert [node.task_cores for node in plan.nodes] == shares
