"""The worker's part in a migration: its state is written once for each wish, or it runs on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worker_world import World, task

from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.job import AttemptState, Checkpoint
from tango.model.messages import StartAttempt, StopAttempt

ID = "j.0.1"
MADE = Checkpoint(ID, "sha256:1", 4096)


@pytest.fixture
def world() -> World:
    world = World()
    world.connect()
    world.start_attempt(ID)
    return world


def wish(world: World, number: int = 1) -> None:
    world.say(StopAttempt(ID, "it moves", checkpoint=number))


def asked(world: World) -> list[str]:
    return [command.key for command in world.log if isinstance(command, cmd.CheckpointProcess)]


def written(world: World) -> None:
    """The runtime has written it, and ended the process."""
    world.records[ID] = replace(world.records[ID], checkpoint=MADE)
    world.end(ID, None, signal=9)


def test_its_end_carries_the_checkpoint(world: World) -> None:
    wish(world)
    assert asked(world) == [ID]
    assert not world.stops, "no TERM, no KILL"
    written(world)
    status = world.attempt(ID)
    assert (status.state, status.checkpoint) == (AttemptState.ENDED, MADE)
    world.disconnect()
    world.boot()
    world.connect()
    assert world.attempt(ID).checkpoint == MADE, "a restarted worker tells it too"


def test_where_it_fails_it_runs_on_and_its_status_says_why(world: World) -> None:
    wish(world)
    world.post(ev.CheckpointFailed(ID, "a TCP connection"))
    status = world.attempt(ID)
    assert (status.state, status.checkpoint_try) == (AttemptState.RUNNING, 1)
    assert status.checkpoint_error == "a TCP connection"
    wish(world)
    assert asked(world) == [ID], "a repeat of the wish is no second one"
    wish(world, 2)
    assert asked(world) == [ID, ID]
    written(world)
    assert world.attempt(ID).checkpoint == MADE


def test_a_repeat_while_it_is_being_written_asks_once(world: World) -> None:
    wish(world)
    wish(world)
    assert asked(world) == [ID]


def test_what_has_not_begun_or_is_being_stopped_is_not_written() -> None:
    world = World(auto=False)
    world.connect()
    world.start_attempt(ID)
    wish(world)
    assert world.attempt(ID).checkpoint_error == "it has not begun"
    world.begin(world.starts[0])
    world.stop_attempt(ID)
    wish(world, 2)
    assert world.attempt(ID).checkpoint_error == "it is being stopped"
    assert asked(world) == []


def test_a_stop_meanwhile_is_a_stop(world: World) -> None:
    world.auto = False
    wish(world)
    world.stop_attempt(ID)
    assert ID in world.stops
    world.end(ID, None, signal=15)
    world.post(ev.CheckpointFailed(ID, "it was stopped meanwhile"))
    status = world.attempt(ID)
    assert (status.state, status.checkpoint, status.signal) == (AttemptState.ENDED, None, 15)


def test_an_attempt_begins_from_a_checkpoint(world: World) -> None:
    world.say(StartAttempt("j.0.2", task(), restore=MADE))
    assert world.specs["j.0.2"].restore == MADE
    assert world.specs[ID].restore is None


def test_a_stop_reaches_what_still_waits_for_its_checkpoint() -> None:
    world = World(auto=False)
    world.connect()
    world.start_attempt(ID)
    world.say(StartAttempt("j.0.2", task(), restore=MADE))
    world.stop_attempt(ID)
    world.stop_attempt("j.0.2")
    assert "j.0.2" in world.stops
    assert ID not in world.stops, "what is only being started is stopped once it runs"
    world.post(ev.ProcessStartFailed("j.0.2", "stopped: before its checkpoint was here", True))
    status = world.attempt("j.0.2")
    assert (status.state, status.failure) == (AttemptState.ENDED, "cancelled")
