"""How much of the CPU that BE tasks hold on a node they do not use, so that others may (pure).

After CERES (ICPP 2021), which screens its batch tasks for "swollen" ones at intervals and takes
back what they were allocated beyond their use. Here a task's use is its peak of the last WINDOW_S,
and HEADROOM times that stays its own, LEAST of what it holds at any rate. Nothing is taken from a
task that was watched for less than that. All figures are this project's own.

A task that is held down uses little, and is not swollen. Where BE gets less CPU than it asks for,
its tasks share what there is by equal weights: one that uses about as much as the mean of them, or
more, may want more than it gets, and is watched anew; one that uses far less had more to take, and
did not take it.

Only CPU: it is compressible, and a wrong guess makes BE tasks slower, no more. Memory of BE is
never taken for BE.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final

WINDOW_S: Final = 10.0
HEADROOM: Final = 1.2
LEAST: Final = 0.1
# Counters closer together than this say little: the next ones are waited for.
LEAST_STEP_S: Final = 0.2
# BE's share of the CPU that it asks for; below, tasks that use HELD_DOWN of the mean may want more.
SATISFIED: Final = 0.95
HELD_DOWN: Final = 0.5


class _Task:
    """Counters of one task: since when it is watched, when last, and the peaks of its use."""

    __slots__ = ("at", "cpu_s", "peaks", "since")

    def __init__(self, cpu_s: float, now: float) -> None:
        self.since = self.at = now
        self.cpu_s = cpu_s
        self.peaks: deque[tuple[float, float]] = deque()

    def read(self, cpu_s: float, now: float) -> float:
        """What it used since the last time, in millicores."""
        used_millis = (cpu_s - self.cpu_s) / (now - self.at) * 1000
        self.at, self.cpu_s = now, cpu_s
        while self.peaks and self.peaks[-1][1] <= used_millis:
            self.peaks.pop()
        self.peaks.append((now, used_millis))
        while self.peaks[0][0] < now - WINDOW_S:
            self.peaks.popleft()
        return used_millis

    def restart(self) -> None:
        self.since = self.at
        self.peaks.clear()

    def reclaimable(self, held_millis: int) -> int:
        if self.at < self.since + WINDOW_S or not self.peaks:
            return 0
        kept = max(self.peaks[0][1] * HEADROOM, held_millis * LEAST)
        return max(0, held_millis - math.ceil(kept))


class Reclaim:
    """The BE tasks of one node. CPU in millicores, `now` in seconds."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}

    def read(self, cpu_s: Mapping[str, float], satisfied: float, now: float) -> None:
        """New counters of all tasks that run, by name; tasks that are not among them are forgotten.

        satisfied: the share that BE gets of the CPU that it asks for, 0 to 1.
        """
        known, self._tasks = self._tasks, {}
        used: dict[str, float] = {}
        for name, used_s in cpu_s.items():
            task = known.get(name)
            if task is None or used_s < task.cpu_s:
                task = _Task(used_s, now)
            elif now >= task.at + LEAST_STEP_S:
                used[name] = task.read(used_s, now)
            self._tasks[name] = task
        if used and satisfied < SATISFIED:
            mean = sum(used.values()) / len(used)
            for name, millis in used.items():
                if millis >= HELD_DOWN * mean:
                    self._tasks[name].restart()

    def millis(self, held_millis: Mapping[str, int]) -> int:
        """What these tasks, of those that run, hold and do not use."""
        return sum(
            self._tasks[name].reclaimable(held)
            for name, held in held_millis.items()
            if name in self._tasks
        )
