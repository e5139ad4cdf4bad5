"""The Clock seam: the event loop's timers on CLOCK_MONOTONIC, and one that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

from tango.ports import Timer


class LoopClock:
    """Real time. Not the loop's own: uvloop counts whole milliseconds, taken once an iteration."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """CLOCK_MONOTONIC, alike in all processes of this machine."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See Clock."""
        return _LoopTimer(self._loop, time.monotonic() + max(seconds, 0.0), callback)


class _LoopTimer:
    """Never early: a loop may fire a hair before the time by its own coarser clock."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, at: float, callback: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._at = at
        self._callback = callback
        self._handle = loop.call_later(max(at - time.monotonic(), 0.0), self._fire)

    def _fire(self) -> None:
        early = self._at - time.monotonic()
        if early > 0:
            self._handle = self._loop.call_later(early, self._fire)
        else:
            self._callback()

    def cancel(self) -> None:
        """See Timer."""
        self._handle.cancel()


class ManualClock:
    """Stands still until `advance`; timers that come due fire in order of their times."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _ManualTimer]] = []

    def now(self) -> float:
        """Where it stands."""
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See Clock."""
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (self._now + max(seconds, 0.0), next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass; timers made meanwhile fire too if they come due."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.callback()
        self._now = end


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """See Timer."""
        self.cancelled = True
