"""Virtual time: what will happen, carried out in order; nothing else moves the clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Action = Callable[[Any], object]


class _Call:
    """One that will be made."""

    __slots__ = ("action", "arg", "at")

    def __init__(self, at: float, action: Action, arg: Any) -> None:
        self.at = at
        self.action = action
        self.arg = arg


class Engine:
    """Calls actions at their times. now: seconds of virtual time. number: its own, among others.

    Actions at the same time run in the order in which they were planned, so a run depends on
    nothing but what was planned. An action is called with its argument and may plan others.

    next_at: when the next call is due; infinity for none.
    """

    # _calls: those to come, the next one last. Most are planned for soon, so little moves for a new
    # one: up to 10,000 to come that costs less than a heap, which compares twice as often.
    __slots__ = ("_calls", "next_at", "now", "number")

    def __init__(self, number: int = 0) -> None:
        self.now = 0.0
        self.next_at = math.inf
        self.number = number
        self._calls: list[_Call] = []

    def at(self, at: float, action: Action, arg: Any = None) -> None:
        """Plan a call, now at the earliest."""
        if at < self.now:
            at = self.now
        calls = self._calls
        # As bisect_left, before those of the same time, for they come first. Compiled it costs half
        # of that, which compares objects.
        place, end = 0, len(calls)
        if at < self.next_at:
            place = end
            self.next_at = at
        while place < end:
            middle = (place + end) >> 1
            if calls[middle].at > at:
                place = middle + 1
            else:
                end = middle
        calls.insert(place, _Call(at, action, arg))

    def cancel(self, action: Action, arg: Any) -> None:
        """Do not make a call that is planned. ValueError if it is not."""
        calls = self._calls
        for place, call in enumerate(calls):
            if call.action == action and call.arg == arg:
                del calls[place]
                self.next_at = calls[-1].at if calls else math.inf
                return
        raise ValueError(f"{action!r} of {arg!r} is not planned")

    @property
    def planned(self) -> list[float]:
        """When the calls to come are due, the next one first."""
        return [call.at for call in reversed(self._calls)]

    def run(self, until: float, *, through: bool = True) -> int:
        """Make the calls that are due before `until`, or through it; how many there were.

        The clock then stands at `until`.
        """
        calls = self._calls
        count = 0
        while calls:
            at = self.next_at
            if at > until or (at == until and not through):
                break
            self.now = at
            call = calls.pop()
            self.next_at = calls[-1].at if calls else math.inf
            count += 1
            call.action(call.arg)
        self.now = until
        return count


class Alarm:
    """Calls an action when what it waits for is due, a time that may move.

    A call may come for nothing, and the action asks for its next one itself. A later time plans
    nothing, an earlier one plans a call besides: those planned stay, and serve again once the
    earlier is over. So their times only fall, and the next call is always the last planned. (To
    plan anew each time leaves one behind for every request that is served beside a long task.)

    next_at: when the next call is due; infinity for none.
    """

    __slots__ = ("_action", "_call", "_engine", "_times", "next_at")

    def __init__(self, engine: Engine, action: Callable[[], object]) -> None:
        self._engine = engine
        self._action = action
        self._call: Action = self._ring
        self._times: list[float] = []
        self.next_at = math.inf

    def by(self, at: float) -> None:
        """Call at that time at the latest; now where it is past."""
        if at >= self.next_at:
            return
        at = max(at, self._engine.now)
        if at < self.next_at:
            self.next_at = at
            self._times.append(at)
            self._engine.at(at, self._call)

    def _ring(self, _: object) -> None:
        times = self._times
        times.pop()
        self.next_at = times[-1] if times else math.inf
        self._action()


class Lanes:
    """Engines that go forward together, in windows, one after the other in each.

    What happens at one site touches nothing of another but by messages, which take time. So no
    order is lost where a window is no longer than the shortest of them takes (conservative
    synchronisation; Chandy and Misra, IEEE TSE SE-5(5), 1979), and the memory that a site's events
    touch stays in the processor's cache for the next one: with a thousand nodes in one list each
    event finds it gone. A message that would arrive in a window which its receiver has been through
    arrives at the end of it.

    common: for what concerns several of them; its calls come between windows, when all stand at the
    same time.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._lanes: list[Engine] = []
        self.common = Engine()

    @property
    def now(self) -> float:
        """Where all stand between windows."""
        return self.common.now

    def lane(self) -> Engine:
        """One more, to go after those before it in each window."""
        made = Engine(len(self._lanes) + 1)
        self._lanes.append(made)
        return made

    def run(self, until: float) -> int:
        """Everything up to `until`; how many calls there were."""
        common, lanes, window_s = self.common, self._lanes, self._window_s
        count = 0
        while common.now < until:
            end = min(until, common.now + window_s, common.next_at)
            for lane in lanes:
                # Most have nothing to do in a window: not worth a call.
                if lane.next_at < end:
                    count += lane.run(end, through=False)
                else:
                    lane.now = end
            count += common.run(end)
        return count
