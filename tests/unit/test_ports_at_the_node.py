"""Fixed ports below the central master: the edge gives each once, the worker tells its tasks."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
from edge_world import EdgeWorld, FakeWorker, service, start
from worker_world import World, task

from tango.adapters.process_launch import with_port
from tango.adapters.process_runtime import ports_of
from tango.model import commands as cmd
from tango.model.job import AttemptState, AttemptStatus
from tango.model.messages import AttemptChanged, AttemptRefused, NodesChanged, StartAttempt
from tango.model.placement_profile import DEFAULT, Profile
from tango.model.process import ProcessRecord, ProcessSpec
from tango.model.service import ReplicaState

SPREAD = Profile("spread", ())
RULES = pytest.mark.parametrize(
    "rule",
    [
        SPREAD,
        pytest.param(
            DEFAULT,
            marks=pytest.mark.skipif(find_spec("numpy") is None, reason="profiles need numpy"),
        ),
    ],
)


def site(rule: Profile = SPREAD) -> tuple[EdgeWorld, FakeWorker]:
    world = EdgeWorld(placement=rule)
    world.central_up()
    worker = world.worker("n1", cpu=4000)
    return world, worker


def given(attempt_id: str, *ports: int, node: str = "n1") -> StartAttempt:
    message = start(attempt_id, node)
    return replace(message, spec=replace(message.spec, ports=ports))


def refusals(world: EdgeWorld) -> list[str]:
    return [one.reason for one in world.told_central(AttemptRefused)]


def test_the_edge_admits_a_port_once() -> None:
    world, worker = site()
    world.central_says(given("j.0.1", 9090, 443))
    assert [one.spec.ports for one in worker.told(StartAttempt)] == [(9090, 443)]
    assert world.controller.node_views()[0].be_ports == (443, 9090)
    world.central_says(given("k.0.1", 443))
    assert refusals(world) == ["node n1: port 443 is taken by task j.0.1"]
    # A worker of an older version says nothing of ports.
    worker.say(AttemptChanged(AttemptStatus("j.0.1", AttemptState.RUNNING)))
    assert world.controller.node_views()[0].be_ports == (443, 9090)
    worker.say(AttemptChanged(AttemptStatus("j.0.1", AttemptState.ENDED, exit_code=0)))
    assert world.controller.node_views()[0].be_ports == ()
    world.central_says(given("k.0.2", 443))
    assert [one.attempt_id for one in worker.told(StartAttempt)][-1] == "k.0.2"
    world.advance(1.5)
    assert world.told_central(NodesChanged)[-1].nodes[0].be_ports == (443,)


@RULES
def test_replicas_and_tasks_of_one_port_share_no_node(rule: Profile) -> None:
    world, worker = site(rule)
    world.apply(service("web", port=8080))
    assert world.controller.node_views()[0].lc_ports == (8080,)
    world.central_says(given("j.0.1", 8080))
    assert refusals(world) == ["node n1: port 8080 is taken by service web"]
    world.central_says(given("j.0.2", 9090))
    world.apply(service("late", port=9090))
    late = world.view("late")
    assert late.replicas[0].node == ""
    assert "n1 port 9090 is taken by task j.0.2" in late.reason
    # Two services neither.
    world.apply(service("other", port=8080))
    other = world.view("other")
    assert "n1 port 8080 is taken by service web" in other.reason
    status = AttemptStatus("j.0.2", AttemptState.ENDED, exit_code=0, ports=(9090,))
    worker.say(AttemptChanged(status))
    world.advance(0.1)
    assert world.view("late").replicas[0].node == "n1"
    world.delete("web")
    world.advance(0.1)
    assert world.view("other").replicas[0].node == "n1"


def test_a_port_is_taken_until_its_replica_is_gone() -> None:
    world, worker = site()
    world.apply(service("web", port=8080))
    world.auto_gone = False
    world.delete("web")
    world.central_says(given("j.0.1", 8080))
    assert refusals(world) == ["node n1: port 8080 is taken by service web"]
    world.auto_gone = True
    worker.report()
    world.central_says(given("j.0.2", 8080))
    assert world.controller.node_views()[0].be_ports == (8080,)


def test_the_central_master_is_told_which_services_are_ready_where() -> None:
    world, worker = site()
    world.worker("n2")
    world.apply(service("web", replicas=2))
    world.apply(service("idle", replicas=0))
    assert [one.services for one in world.controller.node_views()] == [("web",), ("web",)]
    worker.ready(ReplicaState.UNHEALTHY)
    assert [one.services for one in world.controller.node_views()] == [(), ("web",)]
    world.advance(0.3)
    assert [one.services for one in world.told_central(NodesChanged)[-1].nodes] == [(), ("web",)]
    worker.ready()
    worker.down()
    assert [one.services for one in world.controller.node_views()] == [(), ("web",)]


def test_a_replica_on_its_way_to_the_disk_has_its_port_already() -> None:
    world, _ = site()
    world.auto_persist = False
    world.apply(service("web", port=8080))
    world.central_says(given("j.0.1", 8080))
    assert refusals(world) == ["node n1: port 8080 is taken by service web"]
    world.persist("disk full")
    world.central_says(given("j.0.2", 8080))
    assert world.controller.node_views()[0].be_ports == (8080,)


def test_the_worker_tells_of_its_ports_over_a_restart() -> None:
    world = World()
    world.connect()
    world.say(StartAttempt("j.0.1", replace(task(), ports=(9090, 443)), "n"))
    (begun,) = [one.spec for one in world.commands(cmd.StartProcess)]
    assert (begun.port, begun.ports) == (None, (9090, 443))
    assert world.attempt("j.0.1").ports == (9090, 443)
    world.boot()
    world.connect()
    assert world.attempt("j.0.1").ports == (9090, 443)


def test_a_task_finds_its_ports_in_its_environment() -> None:
    env = (("PORT", "1"), ("URL", "http://{host}:{port}/"))
    spec = ProcessSpec("j.0.1", ("serve", "{port}"), env, "", None, True, ports=(9090, 443))
    told = with_port(spec, 9090)
    assert told.argv == ("serve", "9090")
    assert dict(told.env) == {
        "URL": "http://127.0.0.1:9090/",
        "PORT": "9090",
        "PORTS": "9090,443",
        "HOST": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("meta", "ports"),
    [
        ((), ()),
        ((("port", "80"),), (80,)),
        ((("ports", "80,90"), ("port", "80")), (80, 90)),
        ((("ports", "80,x"), ("port", "80")), (80,)),
    ],
)
def test_ports_of_what_was_found_running(
    meta: tuple[tuple[str, str], ...], ports: tuple[int, ...]
) -> None:
    assert ports_of(ProcessRecord("a", 1, 1.0, meta)) == ports
