"""The event loop: descriptors that are ready and timers that are due, one thread."""

from __future__ import annotations

import heapq
import selectors
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Timer:
    """One call at a time to come; cancel() makes it none."""

    __slots__ = ("call", "due", "order")

    def __init__(self, due: float, order: int, call: Callable[[], None] | None) -> None:
        self.due = due
        self.order = order
        self.call = call

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)

    def cancel(self) -> None:
        """Drop the call; fine after it happened."""
        self.call = None


class Loop:
    """Calls back when a descriptor is ready or a time has come, until stop()."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._order = 0
        self._stopped = False

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call with the ready events whenever there are any; replaces what was said before."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, call)
        else:
            self._selector.register(fd, events, call)

    def unwatch(self, fd: int) -> None:
        """No more calls for it; do it before closing. Fine if it is not watched."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def after(self, delay: float, call: Callable[[], None]) -> Timer:
        """Call once, `delay` seconds from now."""
        self._order += 1
        timer = Timer(time.monotonic() + delay, self._order, call)
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """run() returns after the present turn."""
        self._stopped = True

    def run(self) -> None:
        """Turn until stop()."""
        while not self._stopped:
            ready = self._selector.select(self._patience())
            for key, events in ready:
                # An earlier call of this turn may have closed it, and a new file taken its number.
                if self._selector.get_map().get(key.fd) is key:
                    key.data(events)
            self._call_due()

    def _patience(self) -> float | None:
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0].due - time.monotonic())

    def _call_due(self) -> None:
        now = time.monotonic()
        due = []
        # Gather first: a call that asks to be called again at once waits for the next turn.
        while self._timers and self._timers[0].due <= now:
            due.append(heapq.heappop(self._timers))
        for timer in due:
            call, timer.call = timer.call, None
            if call is not None:
                call()
