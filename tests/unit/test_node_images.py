"""What a node's engine holds on its way: worker, edge, central; told only where it is new."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edge_world import CENTRAL, EdgeWorld, service
from worker_world import World

from tango.adapters.replica_rules import installed
from tango.model import events as ev
from tango.model.layers import HeldImage, NodeImages
from tango.model.messages import EdgeState, WorkerState
from tango.model.placement_profile import DEFAULT, Profile, Use

NGINX = "docker.io/library/nginx:1.27"
HAS = NodeImages("n1", (HeldImage((NGINX,), size_bytes=7),), 1e6)


def listed(images: NodeImages = HAS) -> ev.ImagesListed:
    return ev.ImagesListed(images)


def test_a_worker_tells_at_each_session_and_whenever_it_is_otherwise() -> None:
    world = World()
    world.post(listed())
    world.connect()
    assert [type(one) for one in world.sent[-2:]] == [WorkerState, NodeImages]
    world.sent.clear()
    problem = replace(HAS, problem="/run/docker.sock: Connection refused")
    world.post(listed(problem))
    assert world.sent == [problem]
    world.disconnect()
    world.connect()
    assert world.sent[-1] == problem


def test_a_worker_without_an_engine_says_nothing_of_images() -> None:
    world = World()
    world.connect()
    assert not [one for one in world.sent if isinstance(one, NodeImages)]


def test_an_edge_passes_it_on_and_says_it_again_to_a_central_master_that_returns() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    world.central_up()
    worker.say(replace(HAS, node="somebody else"))
    assert world.told_central(NodeImages) == [HAS], "a worker speaks for its own node"
    world.told_central(EdgeState)
    world.do(ev.CentralDown(CENTRAL, "cut"))
    world.central_up()
    assert [type(one) for one in world.central if type(one) in (EdgeState, NodeImages)] == [
        EdgeState, NodeImages,
    ]  # fmt: skip


def test_a_worker_that_starts_anew_without_an_engine_holds_nothing_any_more() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    world.central_up()
    worker.say(HAS)
    worker.down()
    worker.up()
    assert world.told_central(NodeImages) == [HAS], "the same worker: its word stands"
    worker.down()
    worker.incarnation += 1
    worker.up()
    assert world.told_central(NodeImages) == [NodeImages("n1")]


def test_replicas_go_where_their_images_are() -> None:
    pytest.importorskip("numpy")
    profile = Profile("images", (Use("fit", 0.1), Use("image")))
    assert installed(profile) == profile
    world = EdgeWorld(placement=profile)
    workers = {name: world.worker(name) for name in ("n1", "n2", "n3")}
    workers["n2"].say(HAS)
    world.apply(service("web", images=("nginx:1.27",)))
    world.apply(service("plain"))
    assert [one.node for one in world.view("web").replicas] == ["n2"]
    assert [one.node for one in world.view("plain").replicas] == ["n1"]


def test_the_default_profile_weighs_images_too() -> None:
    assert {"image", "layers"} <= {use.plugin for use in DEFAULT.plugins}
