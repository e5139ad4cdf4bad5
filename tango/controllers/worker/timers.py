"""Named points in time at which something is due; at most one for each (kind, id)."""

from __future__ import annotations

import heapq

Timer = tuple[str, str]

# Replaced and cleared entries that may wait in the heap before it is built anew.
STALE_KEPT = 64


class Timers:
    """A heap with replacement. Entries that are due at once come by time, then by name."""

    __slots__ = ("_at", "_heap")

    def __init__(self) -> None:
        self._at: dict[Timer, float] = {}
        self._heap: list[tuple[float, Timer]] = []

    def set(self, kind: str, name: str, at: float) -> None:
        """Due at `at`, in place of an earlier setting."""
        timer = (kind, name)
        if self._at.get(timer) == at:
            return
        self._at[timer] = at
        heapq.heappush(self._heap, (at, timer))
        if len(self._heap) > 2 * len(self._at) + STALE_KEPT:
            self._heap = [(when, name) for name, when in self._at.items()]
            heapq.heapify(self._heap)

    def clear(self, kind: str, name: str) -> None:
        """Not due any more; fine if it was not set."""
        self._at.pop((kind, name), None)

    def is_set(self, kind: str, name: str) -> bool:
        """Whether it will be due."""
        return (kind, name) in self._at

    @property
    def next_at(self) -> float | None:
        """The earliest; None where nothing is set."""
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> Timer | None:
        """The next one whose time has come, cleared; None if there is none."""
        at = self.next_at
        if at is None or at > now:
            return None
        _, timer = heapq.heappop(self._heap)
        del self._at[timer]
        return timer
