"""Streams that a master's process holds, by session: greeted, spoken to and closed all alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from tango.model import commands as cmd
from tango.model import peers as p
from tango.sim.network import End
from tango.sim.shell import Shell

Hello = TypeVar("Hello")
State = TypeVar("State")


class Process(Protocol):
    """Whose streams these are. shell: says when what is said now leaves."""

    shell: Shell


Send = cmd.SendWorker | p.SendPeer | p.SendGuest | cmd.SendEdge
"""A controller's command to say something on a session. Named, for compiled code reads them so."""


class Close(Protocol):
    """A controller's command to end a session."""

    @property
    def session(self) -> int:
        """Which one."""
        ...

    @property
    def reason(self) -> str:
        """For the other side."""
        ...


class Sessions:
    """The streams of one kind. A command for one that has ended is for nobody."""

    __slots__ = ("_ends", "_process")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ends: dict[int, End] = {}

    def add(self, session: int, end: End) -> None:
        """One is there."""
        self._ends[session] = end

    def drop(self, session: int) -> bool:
        """It has ended; whether it was there."""
        return self._ends.pop(session, None) is not None

    def send(self, command: Send) -> None:
        """Say it, once the process is through with what it does."""
        end = self._ends.get(command.session)
        if end is not None:
            end.send(command.message, self._process.shell.leaves_at())

    def close(self, command: Close) -> None:
        """End it."""
        end = self._ends.get(command.session)
        if end is not None:
            end.close(command.reason)

    def vanish(self, *, silent: bool) -> None:
        """The process has died; silent: with its machine."""
        for end in list(self._ends.values()):
            end.stream.vanish(end, silent=silent)


def greet(
    end: End,
    hello_type: type[Hello],
    state_type: type[State],
    number: Callable[[], int],
    begins: Callable[[int, Hello, State], None],
    said: Callable[[int, object], None],
    ended: Callable[[int, str], None],
) -> None:
    """Take a stream that another process has dialled: its hello and its state, then its messages.

    number: makes the session's, which the others are told with what has happened.
    """
    heard: list[Hello] = []

    def receive(message: object) -> None:
        if isinstance(message, hello_type):
            heard[:] = [message]
        elif isinstance(message, state_type) and heard:
            session = number()
            # Before it begins: it may be ended at once.
            greeted = _Greeted(session, said, ended)
            end.receive, end.ended = greeted.says, greeted.ends
            begins(session, heard[0], message)
        else:
            end.close(f"{hello_type.__name__} and {state_type.__name__} come first")

    end.receive = receive


class _Greeted:
    """A session that has begun: passes on what it says, with its number."""

    __slots__ = ("_ended", "_said", "_session")

    def __init__(
        self,
        session: int,
        said: Callable[[int, object], None],
        ended: Callable[[int, str], None],
    ) -> None:
        self._session = session
        self._said = said
        self._ended = ended

    def says(self, message: object) -> None:
        self._said(self._session, message)

    def ends(self, reason: str) -> None:
        self._ended(self._session, reason)
