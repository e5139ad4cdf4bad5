"""Drives a controller on virtual time, as tango.daemons.shell does on an event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from tango.controllers.decisions import Decisions
from tango.model.events import Tick
from tango.sim.engine import Alarm, Engine


class Controller(Protocol):
    """What all three controllers offer."""

    @property
    def wake_at(self) -> float | None:
        """When it wants a Tick."""
        ...

    @property
    def decisions(self) -> Decisions:
        """Its records."""
        ...

    def handle(self, event: Any, now: float) -> list[Any]:
        """Take one event, say what is to be done."""
        ...

    def validate(self) -> None:
        """Raise AssertionError where the books contradict themselves."""
        ...


_TICK: Final = Tick()


class Shell:
    """One life of a daemon's process: events in, commands out, timers armed.

    perform: by command's type. busy_until: when the process is through with what it does now; what
    it says leaves no sooner. check: validate the books after each event (slow, for tests).
    """

    __slots__ = (
        "_alarm", "_check", "_controller", "_handle", "_later", "_perform", "busy_until", "closed",
        "engine",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        controller: Controller,
        perform: Mapping[type, Callable[[Any], object]],
        *,
        check: bool = False,
    ) -> None:
        self.engine = engine
        self._controller = controller
        self._handle = controller.handle
        self._perform = perform
        self._check = check
        self._later: deque[Any] = deque()
        self._alarm = Alarm(engine, self._wake)
        self.busy_until = 0.0
        self.closed = False

    def post(self, event: object) -> None:
        """Handle an event now, its commands included."""
        if self.closed:
            return
        now = self.engine.now
        perform, later = self._perform, self._later
        while True:
            for command in self._handle(event, now):
                perform[type(command)](command)
            if self._check:
                self._controller.validate()
            if not later:
                break
            event = later.popleft()
        wake_at = self._controller.wake_at
        if wake_at is not None:
            self._alarm.by(wake_at)

    def then(self, event: object) -> None:
        """Handle an event right after the one that is being handled: a command brought it about."""
        self._later.append(event)

    def later(self, at: float, event: object) -> None:
        """Handle an event at that time."""
        self.engine.at(at, self.post, event)

    def work(self, cost_s: float) -> None:
        """The process is busy for so much longer."""
        now = self.engine.now
        self.busy_until = (max(now, self.busy_until)) + cost_s

    def leaves_at(self) -> float:
        """When what is said now leaves."""
        now = self.engine.now
        return max(now, self.busy_until)

    def close(self) -> None:
        """The process is gone."""
        self.closed = True

    def _wake(self) -> None:
        wake_at = self._controller.wake_at
        if self.closed or wake_at is None:
            return
        if wake_at <= self.engine.now:
            self.post(_TICK)
        else:
            self._alarm.by(wake_at)
