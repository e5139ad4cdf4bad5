"""Drives a controller on virtual time, as tango.daemons.shell does on an event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from tango.controllers.central import CentralController
from tango.controllers.edge import EdgeController
from tango.controllers.worker import WorkerController
from tango.model.events import Tick
from tango.sim.engine import Alarm, Engine

Controller = CentralController | EdgeController | WorkerController
"""One of the three. Named, for compiled code calls them without looking for the method."""

_TICK: Final = Tick()


class Shell:
    """One life of a daemon's process: events in, commands out, timers armed.

    perform: by command's type. busy_until: when the process is through with what it does now; what
    it says leaves no sooner. check: validate the books after each event (slow, for tests).
    """

    __slots__ = (
        "_alarm", "_check", "_controller", "_later", "_perform", "busy_until", "closed", "engine",
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
        self._perform = perform
        self._check = check
        self._later: deque[Any] = deque()
        self._alarm = Alarm(engine, self._wake)
        self.busy_until = 0.0
        self.closed = False

    def post(self, event: Any) -> None:
        """Handle an event now, its commands included."""
        if self.closed:
            return
        now = self.engine.now
        controller, perform, later = self._controller, self._perform, self._later
        while True:
            for command in controller.handle(event, now):
                perform[type(command)](command)
            if self._check:
                controller.validate()
            if not later:
                break
            event = later.popleft()
        wake_at = controller.wake_at
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
