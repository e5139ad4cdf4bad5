"""One timer for all that wait for an answer, in place of one for each of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection
from typing import Protocol

# Two looks at all that wait are so far apart at least, however many short deadlines there are.
SPACING_S = 0.002


class Waiting(Protocol):
    """Waits until `ends`, by time.monotonic(); infinite while it waits for nothing."""

    ends: float

    def expire(self) -> None:
        """Its deadline has passed."""


class AnswerDeadlines:
    """Expires each of `waiting` at its deadline: never before, and within a few milliseconds.

    Nearly every answer comes long before its deadline, and a timer that is set and cancelled for
    each costs 0.7 us and more. So there is one timer, at the earliest deadline that was seen since
    it went off last. Then all that wait are looked at, and it is set to the earliest of what is
    left; of the many that were answered meanwhile nobody knows anything. With the same timeout for
    all that is one look in each timeout.

    Whoever sets `ends` calls `arm` where it is before `due`: a comparison is all that it costs.
    """

    def __init__(self, waiting: Collection[Waiting]) -> None:
        self.due = math.inf
        self._waiting = waiting
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = -math.inf

    def arm(self, ends: float) -> None:
        """See to it that the timer goes off by `ends`."""
        due = max(ends, self._not_before)
        if due >= self.due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.due = due
        left_s = max(0.0, due - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(left_s, self._look)

    def close(self) -> None:
        """Nothing expires any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.due = math.inf

    def _look(self) -> None:
        now = time.monotonic()
        self._timer = None
        self.due = math.inf
        self._not_before = now + SPACING_S
        earliest = math.inf
        for each in tuple(self._waiting):
            if each.ends <= now:
                each.expire()
            elif each.ends < earliest:
                earliest = each.ends
        if earliest < math.inf:
            self.arm(earliest)
