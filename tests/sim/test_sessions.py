"""Streams of the masters' processes: greeted in order, spoken to while they are there."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from small import COSTS

from tango.controllers.central import CentralController
from tango.model.commands import CloseWorker, SendWorker
from tango.model.messages import WorkerPing
from tango.model.settings import CentralSettings
from tango.sim.engine import Engine
from tango.sim.network import End, Link, Stream
from tango.sim.sessions import Sessions, greet
from tango.sim.shell import Shell


@dataclass
class Hello:
    name: str


@dataclass
class State:
    size: int


class Process:
    """Says at once what it says."""

    def __init__(self, engine: Engine) -> None:
        self.shell = Shell(
            engine, CentralController(CentralSettings("127.0.0.1:1"), incarnation=1), {}
        )


def stream() -> tuple[Engine, End, End]:
    """The end of who dialled, and the other."""
    engine = Engine()
    made = Stream(engine, engine, Link(engine, 0.01, None, COSTS.keepalive_s))
    return engine, made.a, made.b


def greeted(end: End, told: list[object], *, closes: bool = False) -> None:
    def begins(session: int, hello: Hello, state: State) -> None:
        told.append((session, hello.name, state.size))
        if closes:
            end.close("not wanted")

    greet(
        end, Hello, State, lambda: 7, begins, lambda *said: told.append(said),
        lambda *ended: told.append(ended),
    )  # fmt: skip


def test_hello_and_state_come_first_and_then_messages_until_the_end() -> None:
    engine, theirs, ours = stream()
    told: list[object] = []
    greeted(ours, told)
    for message in (Hello("a"), State(3), "news"):
        theirs.send(message, engine.now)
    engine.run(1.0)
    theirs.close("bye")
    engine.run(2.0)
    assert told == [(7, "a", 3), (7, "news"), (7, "bye")]


@pytest.mark.parametrize("first", [State(3), "news"])
def test_what_says_anything_else_first_is_ended(first: object) -> None:
    engine, theirs, ours = stream()
    told: list[object] = []
    greeted(ours, told)
    theirs.send(first, engine.now)
    engine.run(1.0)
    assert ours.closed
    assert theirs.closed
    assert told == []


def test_a_session_that_is_ended_as_it_begins_is_told_to_have_ended() -> None:
    engine, theirs, ours = stream()
    told: list[object] = []
    greeted(ours, told, closes=True)
    theirs.send(Hello("a"), engine.now)
    theirs.send(State(3), engine.now)
    engine.run(1.0)
    assert told == [(7, "a", 3), (7, "not wanted")]


def test_commands_reach_their_session_while_it_is_there() -> None:
    engine, theirs, ours = stream()
    heard: list[object] = []
    theirs.receive = heard.append
    sessions = Sessions(Process(engine))  # type: ignore[arg-type]
    sessions.add(7, ours)
    one = WorkerPing(1)
    sessions.send(SendWorker(7, one))
    sessions.send(SendWorker(8, WorkerPing(2)))
    engine.run(1.0)
    assert heard == [one]
    sessions.close(CloseWorker(7, "enough"))
    assert ours.closed
    assert sessions.drop(7)
    assert not sessions.drop(7)
    sessions.send(SendWorker(7, WorkerPing(3)))
    engine.run(2.0)
    assert heard == [one]
