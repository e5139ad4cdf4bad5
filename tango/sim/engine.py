"""Virtual time: a heap of what will happen, carried out in order; nothing else moves the clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[[Any], object]


class Engine:
    """Calls actions at their times. now: seconds of virtual time.

    Actions at the same time run in the order in which they were planned, so a run depends on
    nothing but what was planned. An action is called with its argument and may plan others.
    """

    __slots__ = ("_cancelled", "_heap", "_seq", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._seq = 0
        self._heap: list[tuple[float, int, Action, Any]] = []
        self._cancelled: set[int] = set()

    def at(self, at: float, action: Action, arg: Any = None) -> int:
        """Plan a call, now at the earliest. Its number, for `cancel`."""
        self._seq = seq = self._seq + 1
        if at < self.now:
            at = self.now
        heappush(self._heap, (at, seq, action, arg))
        return seq

    def cancel(self, number: int) -> None:
        """Do not make a call that is still planned. Never twice, nor one that was made."""
        self._cancelled.add(number)

    @property
    def planned(self) -> int:
        """Calls that are still to be made."""
        return len(self._heap) - len(self._cancelled)

    def run(self, until: float, most: float = math.inf) -> int:
        """Make the calls that are due up to `until`, at most so many; how many there were.

        The clock then stands at `until`, or at the last call where there were too many.
        """
        heap, cancelled = self._heap, self._cancelled
        count = 0
        while heap and heap[0][0] <= until:
            if count >= most:
                return count
            self.now, seq, action, arg = heappop(heap)
            if cancelled and seq in cancelled:
                cancelled.remove(seq)
                continue
            count += 1
            action(arg)
        self.now = max(self.now, until)
        return count
