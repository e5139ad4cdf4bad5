"""Shares of replicas that clients call directly, on their node: quotas, room, and how they end."""

from __future__ import annotations

import pytest
from worker_world import World, service, target

from tango.model import commands as cmd
from tango.model.messages import PublishedShares
from tango.model.service import QuotaMode, ReplicaState

FOLLOW = service(quota=QuotaMode.FOLLOW, concurrency=4, quota_base_millis=100)
GROUP = "lc/hello/hello-0"


@pytest.fixture
def world() -> World:
    world = World()
    world.connect()
    world.aim(target(FOLLOW))
    return world


def publish(world: World, *shares: tuple[str, int], keep_s: float = 2.0) -> None:
    world.say(PublishedShares(shares, keep_s))


def quota(world: World) -> int | None:
    return world.groups[GROUP].quota


def test_a_quota_is_never_below_the_share_and_adds_what_is_carried(world: World) -> None:
    publish(world, ("hello-0", 2))
    assert quota(world) == 300
    world.dispatch("a")
    assert quota(world) == 400
    world.finish("a")
    world.advance(10.0)
    assert quota(world) == 300
    publish(world)
    world.advance(10.0)
    assert quota(world) == 100


def test_carried_requests_have_only_the_rest(world: World) -> None:
    publish(world, ("hello-0", 3), ("unknown", 9))
    world.dispatch("a", "b")
    assert list(world.forwards) == ["a"]
    publish(world)
    world.dispatch("c", "d", "e")
    assert list(world.forwards) == ["a", "c", "d", "e"]


def test_carried_requests_go_where_less_is_published(world: World) -> None:
    world.aim(target(FOLLOW, 0), target(FOLLOW, 1))
    publish(world, ("hello-0", 2))
    world.dispatch("a", "b", "c")
    assert [f.replica_id for f in world.forwards.values()] == ["hello-1", "hello-1", "hello-0"]


def test_shares_outlast_the_session_for_a_while_and_then_end(world: World) -> None:
    publish(world, ("hello-0", 2))
    world.disconnect()
    world.advance(1.9)
    assert quota(world) == 300
    world.advance(10.0)
    assert quota(world) == 100


def test_a_new_session_that_says_the_same_keeps_them(world: World) -> None:
    publish(world, ("hello-0", 2))
    world.disconnect()
    world.advance(1.0)
    world.connect()
    world.aim(target(FOLLOW))
    publish(world, ("hello-0", 2))
    world.advance(10.0)
    assert quota(world) == 300


def test_a_replica_that_shall_go_waits_for_clients_to_let_go(world: World) -> None:
    publish(world, ("hello-0", 2))
    world.dispatch("a")
    world.aim()
    assert world.replica("hello-0").state is ReplicaState.STOPPING
    world.finish("a")
    assert not world.commands(cmd.StopProcess)
    publish(world)
    assert len(world.commands(cmd.StopProcess)) == 1


def test_but_not_for_ever(world: World) -> None:
    publish(world, ("hello-0", 2))
    world.aim()
    world.advance(FOLLOW.timeout_s + 0.1)
    assert len(world.commands(cmd.StopProcess)) == 1


def test_nor_where_its_process_has_died(world: World) -> None:
    publish(world, ("hello-0", 2))
    world.dispatch("a")
    world.aim()
    world.end("hello-0.1-1", 1)
    world.finish("a")
    assert world.controller.replicas() == ()


def test_without_cgroups_shares_still_leave_no_room() -> None:
    world = World(cgroups=False)
    world.connect()
    world.aim(target(FOLLOW))
    publish(world, ("hello-0", 3))
    world.dispatch("a", "b")
    assert list(world.forwards) == ["a"]
