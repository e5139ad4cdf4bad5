"""Named points in time at which something is due; at most one for each (kind, id)."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush

Timer = tuple[str, str]

# Replaced and cleared entries that may wait in the heap before it is built anew.
STALE_KEPT = 64


class Timers:
    """A heap with replacement. Entries that are due at once come by time, then by name.

    next_at: the earliest, infinity where nothing is set. It is asked for after every event and
    changes far less often, so it is kept. The first entry of the heap always holds; later ones may
    be replaced or cleared.
    """

    __slots__ = ("_at", "_heap", "next_at")

    def __init__(self) -> None:
        self._at: dict[Timer, float] = {}
        self._heap: list[tuple[float, Timer]] = []
        self.next_at = math.inf

    def set(self, kind: str, name: str, at: float) -> None:
        """Due at `at`, in place of an earlier setting."""
        timer = (kind, name)
        before = self._at.get(timer)
        if before == at:
            return
        self._at[timer] = at
        heappush(self._heap, (at, timer))
        if len(self._heap) > 2 * len(self._at) + STALE_KEPT:
            self._heap = [(when, name) for name, when in self._at.items()]
            heapify(self._heap)
        if at <= self.next_at:
            self.next_at = at
        elif before is not None and before == self.next_at:
            self._look()

    def clear(self, kind: str, name: str) -> None:
        """Not due any more; fine if it was not set."""
        before = self._at.pop((kind, name), None)
        if before is not None and before == self.next_at:
            self._look()

    def is_set(self, kind: str, name: str) -> bool:
        """Whether it will be due."""
        return (kind, name) in self._at

    def pop_due(self, now: float) -> Timer | None:
        """The next one whose time has come, cleared; None if there is none."""
        if self.next_at > now or not self._heap:
            return None
        _, timer = heappop(self._heap)
        del self._at[timer]
        self._look()
        return timer

    def validate(self) -> None:
        """AssertionError where the earliest is not what it should be."""
        assert self.next_at == min(self._at.values(), default=math.inf), "not the earliest"
        held = self._heap and self._at.get(self._heap[0][1]) == self._heap[0][0]
        assert held or not self._heap, "the first entry does not hold"
        assert {(at, timer) for timer, at in self._at.items()} <= set(self._heap), "one is lost"

    def _look(self) -> None:
        """The first entry may not hold any more: drop those that do not, up to one that does."""
        heap = self._heap
        while heap:
            at, timer = heap[0]
            if self._at.get(timer) == at:
                self.next_at = at
                return
            heappop(heap)
        self.next_at = math.inf
