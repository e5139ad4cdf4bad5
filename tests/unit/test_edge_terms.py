"""Labels, taints and tolerations at an edge: where replicas go under every rule, and who stays."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
from edge_world import EdgeWorld, FakeWorker, service, start

from tango.model.affinity import Labels, Requirement, Taint, Taints, Toleration
from tango.model.messages import AttemptRefused
from tango.model.placement_profile import DEFAULT, SPREAD, Profile, Use

WEST = Requirement("zone", "In", ("west",))
IN_WEST = (("zone", "west"),)
GPU = Taint("gpu", "true")
BARE = Profile("bare", (Use("fit"), Use("spread")))
PROFILES = [DEFAULT, BARE] if find_spec("numpy") is not None else []
RULES = pytest.mark.parametrize("rule", [SPREAD, *PROFILES], ids=lambda rule: rule.name)


def node(world: EdgeWorld, name: str, labels: Labels = (), taints: Taints = ()) -> FakeWorker:
    return relabelled(world.worker(name), labels, taints)


def relabelled(worker: FakeWorker, labels: Labels = (), taints: Taints = ()) -> FakeWorker:
    """The worker restarts with another file."""
    worker.incarnation += 1
    worker.labels, worker.taints = labels, taints
    worker.up()
    return worker


def placed(world: EdgeWorld, name: str = "hello") -> list[str]:
    return [view.node for view in world.view(name).replicas]


@RULES
def test_replicas_go_where_labels_and_taints_let_them(rule: Profile) -> None:
    world = EdgeWorld(placement=rule)
    node(world, "n1")
    node(world, "n2", IN_WEST)
    node(world, "n3", IN_WEST, (GPU,))
    world.apply(service(replicas=2, requires=(WEST,)))
    assert placed(world) == ["n2", "n2"]
    world.apply(service("any", replicas=4))
    assert sorted(placed(world, "any")) == ["n1", "n1", "n2", "n2"]
    world.apply(service("gpu", requires=(WEST,), tolerations=(Toleration("gpu"),), replicas=2))
    assert sorted(placed(world, "gpu")) == ["n2", "n3"]


@RULES
def test_where_no_node_will_do_it_says_why_and_waits_for_one(rule: Profile) -> None:
    world = EdgeWorld(placement=rule)
    node(world, "n1")
    worker = node(world, "n2", (), (GPU,))
    world.apply(service(requires=(WEST,)))
    assert world.view().reason == "no room for 1 replica: n1, n2 without zone In west"
    world.apply(service("any", replicas=0))
    relabelled(worker, IN_WEST, (GPU,))
    world.advance(1.0)
    assert world.view().reason == (
        "no room for 1 replica: n1 without zone In west; "
        "n2 tainted gpu=true:NoSchedule, not tolerated"
    )
    relabelled(worker, IN_WEST)
    world.advance(1.0)
    assert placed(world) == ["n2"]


@RULES
def test_what_runs_stays_when_labels_change(rule: Profile) -> None:
    world = EdgeWorld(placement=rule)
    worker = node(world, "n1", IN_WEST)
    node(world, "n2", IN_WEST)
    world.apply(service(replicas=2, requires=(WEST,)))
    assert sorted(placed(world)) == ["n1", "n2"]
    relabelled(worker)
    world.advance(60.0)
    assert sorted(placed(world)) == ["n1", "n2"]
    world.apply(service(replicas=4, requires=(WEST,)))
    assert sorted(placed(world)) == ["n1", "n2", "n2", "n2"]


def test_a_change_of_what_it_requires_rolls() -> None:
    world = EdgeWorld()
    node(world, "n1")
    node(world, "n2", IN_WEST)
    world.apply(service(replicas=2))
    world.apply(service(replicas=2, requires=(WEST,)))
    world.roll()
    assert placed(world) == ["n2", "n2"]


@pytest.mark.skipif(not PROFILES, reason="profiles need numpy")
def test_a_preference_and_a_soft_taint_count_under_a_profile() -> None:
    world = EdgeWorld()
    node(world, "n1", (), (Taint("old", "", "PreferNoSchedule"),))
    node(world, "n2")
    node(world, "n3", IN_WEST)
    world.apply(service("plain"))
    assert placed(world, "plain") == ["n2"]
    world.apply(service("west", prefers=((WEST, 1.0),)))
    assert placed(world, "west") == ["n3"]


def test_the_edge_refuses_an_attempt_where_it_will_not_do() -> None:
    world = EdgeWorld()
    node(world, "n1", IN_WEST, (GPU,))
    plain = start("j.0.1", "n1")
    world.central_up()
    world.central_says(plain)
    (refused,) = world.told_central(AttemptRefused)
    assert refused.reason == "node n1: tainted gpu=true:NoSchedule, not tolerated"
    spec = replace(plain.spec, requires=(WEST,), tolerations=(Toleration("gpu"),))
    world.central_says(replace(plain, attempt_id="j.0.2", spec=spec))
    assert not world.told_central(AttemptRefused)


def test_listings_have_labels_and_taints() -> None:
    world = EdgeWorld()
    node(world, "n1", IN_WEST, (GPU,))
    (view,) = world.controller.node_views()
    assert (view.labels, view.taints) == (IN_WEST, (GPU,))
