"""Replicas that do not serve: health checks, exits, backoff, and the reasons that are told."""

from __future__ import annotations

import pytest
from worker_world import World, service, target

from tango.model.service import HealthCheck, ReplicaState


@pytest.fixture
def world() -> World:
    world = World()
    world.connect()
    return world


@pytest.fixture
def manual() -> World:
    """Nothing is answered by itself."""
    world = World(auto=False)
    world.connect()
    return world


def started(world: World, *wanted: object) -> str:
    """Aim at the targets and answer the one start; returns the process key."""
    world.aim(*wanted)  # type: ignore[arg-type]
    (spec,) = world.starts
    world.begin(spec)
    return spec.key


def test_a_ready_replica_is_checked_each_interval(manual: World) -> None:
    started(manual, target(service(health=HealthCheck(interval_s=2.0))))
    manual.answer(manual.checks[0])
    manual.advance(1.9)
    assert not manual.checks
    manual.advance(0.1)
    assert len(manual.checks) == 1


def test_never_healthy_is_said_with_the_last_error(manual: World) -> None:
    key = started(manual, target(service(health=HealthCheck(start_timeout_s=3))))
    for _ in range(40):
        if manual.checks:
            manual.answer(manual.checks[0], "connection refused")
        manual.advance(0.1)
    assert manual.told("hello-0").state is ReplicaState.UNHEALTHY
    assert key in manual.stops
    manual.end(key, signal=15)
    status = manual.told("hello-0")
    assert status.state is ReplicaState.BACKOFF
    assert status.reason == "did not become healthy within 3 s: connection refused"
    assert status.pid == 0


def test_failed_checks_in_a_row_restart_a_ready_replica(manual: World) -> None:
    key = started(manual, target(service()))
    manual.answer(manual.checks[0])
    for error in ("slow", "", "500", "500", "503"):
        manual.advance(1.0)
        assert manual.told("hello-0").state is ReplicaState.READY
        manual.answer(manual.checks[0], error)
    assert manual.told("hello-0").reason == "health check failed 3 times in a row: 503"
    manual.end(key, signal=15)
    manual.advance(0.6)
    assert manual.told("hello-0").restarts == 1
    assert manual.starts[0].key != key


def test_a_check_without_answer_counts_as_failed(manual: World) -> None:
    started(manual, target(service(health=HealthCheck(failures=1))))
    manual.answer(manual.checks[0])
    manual.advance(1.0 + 1.0 + 5.0)
    assert manual.told("hello-0").state is ReplicaState.UNHEALTHY
    manual.answer(manual.checks[0], "late")


@pytest.mark.parametrize(
    ("exit_code", "signal", "reason"),
    [
        (1, 0, "exited with code 1"),
        (0, 0, "exited with code 0"),
        (None, 11, "killed by signal 11"),
        (None, 0, "ended unseen: its exit code is lost"),
    ],
)
def test_an_exit_backs_off_and_says_how_it_ended(
    world: World, exit_code: int | None, signal: int, reason: str
) -> None:
    world.aim(target(service()))
    world.end("hello-0.1-1", exit_code, signal)
    status = world.told("hello-0")
    assert (status.state, status.reason) == (ReplicaState.BACKOFF, reason)
    assert "hello-0.1-1" not in world.records
    world.advance(0.56)
    assert world.told("hello-0").state is ReplicaState.READY
    assert world.told("hello-0").restarts == 1
    assert world.running() == ["hello-0.1-2"]


@pytest.mark.parametrize(
    ("exit_code", "signal", "reason"),
    [
        (None, 9, "killed by signal 9 (out of memory)"),
        (1, 0, "exited with code 1 after the kernel killed a process of it (out of memory)"),
    ],
)
def test_an_oom_kill_is_told_from_the_group(
    world: World, exit_code: int | None, signal: int, reason: str
) -> None:
    world.aim(target(service()))
    world.groups["lc/hello/hello-0"].oom_kills = 1
    world.end("hello-0.1-1", exit_code, signal)
    assert world.told("hello-0").reason == reason
    world.advance(1.0)
    # The same count, the next time, means another cause.
    world.end("hello-0.1-2", None, 9)
    assert world.told("hello-0").reason == "killed by signal 9"


def test_backoff_doubles_to_its_bound_and_resets_after_a_minute_of_ready(world: World) -> None:
    world.aim(target(service()))
    delays = []
    for _ in range(8):
        world.end(world.running()[0], 1)
        before = world.now
        while not world.running():
            wake_at = world.controller.wake_at
            assert wake_at is not None
            world.advance(wake_at - world.now)
        delays.append(world.now - before)
    for delay, least in zip(delays, (0.5, 1, 2, 4, 8, 16, 30, 30), strict=True):
        assert least <= delay <= least * 1.1
    world.advance(60)
    world.end(world.running()[0], 1)
    world.advance(0.56)
    assert world.running()


def test_a_lasting_start_error_is_retried_seldom_and_says_so(manual: World) -> None:
    manual.aim(target(service()))
    manual.refuse(manual.starts[0], "executable 'foo' not found", lasting=True)
    status = manual.told("hello-0")
    assert status.state is ReplicaState.BACKOFF
    assert status.reason == "executable 'foo' not found; tried again every 60 s"
    manual.advance(59.9)
    assert not manual.starts
    manual.advance(0.2)
    assert manual.starts


def test_a_passing_start_error_is_retried_soon(manual: World) -> None:
    manual.aim(target(service()))
    manual.refuse(manual.starts[0], "cgroup busy", lasting=False)
    assert manual.told("hello-0").reason == "cgroup busy"
    manual.advance(0.56)
    assert manual.starts
