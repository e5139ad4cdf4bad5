"""Virtual time: what will happen, carried out in order; nothing else moves the clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[[Any], object]
_Planned = tuple[int, Action, Any]


class Engine:
    """Calls actions at their times. now: seconds of virtual time. number: its own, among others.

    Actions at the same time run in the order in which they were planned, so a run depends on
    nothing but what was planned. An action is called with its argument and may plan others.
    times: a heap of the times at which there are calls to come, each once. Of numbers alone: it is
    sifted at every call, and tuples cost four times as much to compare.
    """

    __slots__ = ("_also", "_cancelled", "_first", "_seq", "now", "number", "times")

    def __init__(self, number: int = 0) -> None:
        self.now = 0.0
        self.number = number
        self._seq = 0
        self.times: list[float] = []
        # By time: the next call, and those after it at the very same time, which few have.
        self._first: dict[float, _Planned] = {}
        self._also: dict[float, deque[_Planned]] = {}
        self._cancelled: set[int] = set()

    def at(self, at: float, action: Action, arg: Any = None) -> int:
        """Plan a call, now at the earliest. Its number, for `cancel`."""
        self._seq = seq = self._seq + 1
        if at < self.now:
            at = self.now
        planned = (seq, action, arg)
        if at not in self._first:
            self._first[at] = planned
            heappush(self.times, at)
        elif at in self._also:
            self._also[at].append(planned)
        else:
            self._also[at] = deque((planned,))
        return seq

    def cancel(self, number: int) -> None:
        """Do not make a call that is still planned. Never twice, nor one that was made."""
        self._cancelled.add(number)

    @property
    def next_at(self) -> float:
        """When the next call is due; infinity for none."""
        return self.times[0] if self.times else math.inf

    def run(self, until: float, *, through: bool = True) -> int:
        """Make the calls that are due before `until`, or through it; how many there were.

        The clock then stands at `until`.
        """
        times, first, cancelled = self.times, self._first, self._cancelled
        count = 0
        while times:
            at = times[0]
            if at > until or (at == until and not through):
                break
            seq, action, arg = first.pop(at)
            if self._also and at in self._also:
                self._next_at_same(at)
            else:
                heappop(times)
            self.now = at
            if cancelled and seq in cancelled:
                cancelled.remove(seq)
                continue
            count += 1
            action(arg)
        self.now = until
        return count

    def _next_at_same(self, at: float) -> None:
        """The next of several calls at one time becomes the first."""
        also = self._also[at]
        self._first[at] = also.popleft()
        if not also:
            del self._also[at]


class Lanes:
    """Engines that go forward together, in windows, one after the other in each.

    What happens at one site touches nothing of another but by messages, which take time. So no
    order is lost where a window is no longer than the shortest of them takes (conservative
    synchronisation; Chandy and Misra, IEEE TSE SE-5(5), 1979), and the memory that a site's events
    touch stays in the processor's cache for the next one: with a thousand nodes in one heap each
    event finds it gone. A message that would arrive in a window which its receiver has been through
    arrives at the end of it.

    common: for what concerns several of them; its calls come between windows, when all stand at the
    same time.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._lanes: list[tuple[Engine, list[float]]] = []
        self.common = Engine()

    @property
    def now(self) -> float:
        """Where all stand between windows."""
        return self.common.now

    def lane(self) -> Engine:
        """One more, to go after those before it in each window."""
        made = Engine(len(self._lanes) + 1)
        self._lanes.append((made, made.times))
        return made

    def run(self, until: float) -> int:
        """Everything up to `until`; how many calls there were."""
        common, lanes, window_s = self.common, self._lanes, self._window_s
        count = 0
        while common.now < until:
            end = min(until, common.now + window_s, common.next_at)
            for lane, times in lanes:
                # Most have nothing to do in a window: not worth a call.
                if times and times[0] < end:
                    count += lane.run(end, through=False)
                else:
                    lane.now = end
            count += common.run(end)
        return count
