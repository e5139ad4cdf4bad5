"""Drives a controller: events in, commands out, timers armed; shared by the three daemons."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from tango.model.events import Tick
from tango.ports import Clock, Timer

E = TypeVar("E", contravariant=True)
C = TypeVar("C", covariant=True)


class Controller(Protocol[E, C]):
    """What every controller offers to its shell."""

    @property
    def wake_at(self) -> float | None:
        """When it wants a Tick, on the clock of `now`."""
        ...

    def handle(self, event: E, now: float) -> Sequence[C]:
        """Take one event, say what is to be done."""
        ...


EventT = TypeVar("EventT")
CommandT = TypeVar("CommandT")


class Shell(Generic[EventT, CommandT]):
    """One controller on one event loop.

    `post` handles the event before it returns, commands included; an event that a command brings
    about at once (an in-process solve) waits its turn, so handlers never nest. An exception from
    the controller is a bug that may have left its state half-changed: it goes to `failed`, which
    ends the daemon, rather than being served from.
    """

    def __init__(
        self,
        controller: Controller[EventT | Tick, CommandT],
        perform: Callable[[CommandT], None],
        clock: Clock,
    ) -> None:
        self._controller = controller
        self._perform = perform
        self._events: deque[EventT | Tick] = deque()
        self._busy = False
        self._clock = clock
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._closed = False
        # Where set, it is told of each event, with its time, before the controller is.
        self.recorded: Callable[[tuple[float, EventT | Tick]], None] | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def now(self) -> float:
        """What the controller is told."""
        return self._clock.now()

    def post(self, event: EventT | Tick) -> None:
        """Handle an event now, or right after the one that is being handled; not once closed."""
        if self._closed:
            return
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        handle = self._controller.handle
        try:
            while self._events:
                event = self._events.popleft()
                now = self._clock.now()
                if self.recorded is not None:
                    self.recorded((now, event))
                for command in handle(event, now):
                    self._perform(command)
        except BaseException as error:
            self._events.clear()
            if not self.failed.done():
                self.failed.set_exception(error)
            raise
        finally:
            self._busy = False
        self._arm()

    def _arm(self) -> None:
        wake_at = self._controller.wake_at
        if wake_at is None:
            return
        if self._timer is not None:
            if self._timer_at <= wake_at:
                return
            self._timer.cancel()
        self._timer_at = wake_at
        self._timer = self._clock.call_later(wake_at - self._clock.now(), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.post(Tick())

    def close(self) -> None:
        """Nothing is handled any more: what happens while the daemon ends is for its next life."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.failed.done():
            self.failed.cancel()
