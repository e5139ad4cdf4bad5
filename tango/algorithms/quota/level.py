"""The level that one replica's quota is held at: when it grows, how far, and when it shrinks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tango.algorithms.quota.rule import FollowRule


@dataclass(frozen=True, slots=True)
class Peak:
    """A number of requests in flight that was left at `until`; it counts for one window more."""

    in_flight: int
    until: float


class Level:
    """Requests in flight, and the number of them that the quota in force is made for.

    Growing is at once, and exact while the credit covers the write. Without credit the level goes
    to twice the quota needed, so that a ramp costs the logarithm of its height in writes and not
    its height. Shrinking is to the maximum over the last window, at most once a window, and not at
    all for a window after growing; an idle replica waits out its window and goes to base in one.

    So, with rule.cost_s of each write, over any time from the start:
    sum of costs <= EXCESS * integral of quota + the credit at the start + what the last growth
    without credit cost, and that is at most 3 periods of the quota reached, and the overruns of
    log2(that quota / quota(1)) + 1 writes.
    """

    __slots__ = ("credit_at", "credit_s", "held", "in_flight", "peaks", "rule", "written_at")

    def __init__(self, rule: FollowRule, now: float, in_flight: int = 0) -> None:
        self.rule = rule
        self.in_flight = in_flight
        self.held = in_flight
        self.peaks: deque[Peak] = deque()
        self.written_at = now
        self.credit_s = rule.credit_cap_s(in_flight)
        self.credit_at = now

    def move(self, in_flight: int, now: float) -> bool:
        """Take the new number; whether the quota must grow now."""
        before = self.in_flight
        if in_flight == before:
            return False
        # Peaks stay strictly decreasing: a later one that is as high makes earlier ones pointless.
        peaks = self.peaks
        top = max(before, in_flight)
        while peaks and peaks[-1].in_flight <= top:
            peaks.pop()
        if in_flight < before:
            peaks.append(Peak(before, now))
        self.in_flight = in_flight
        if in_flight <= self.held:
            return False
        self._accrue(now)
        level = in_flight
        if self.credit_s < self.rule.cost_s(level):
            level = self.rule.roomy(level)
        self._write(level, now)
        return True

    def retune(self, rule: FollowRule, now: float) -> None:
        """Another rule; the level stays, and what the write of its new quota costs is taken."""
        self._accrue(now)
        self.rule = rule
        self._write(self.held, now)

    def due_at(self) -> float | None:
        """When to shrink if nothing changes; None while all of the quota is needed."""
        if self.in_flight >= self.held:
            return None
        window_s = self.rule.window_s
        due = self.written_at + window_s
        peaks = self.peaks
        if peaks:
            # Idle: until the last request has left the window. Else: until the highest number has,
            # unless the quota was made for more than was ever needed.
            if self.in_flight == 0:
                due = max(due, peaks[-1].until + window_s)
            elif peaks[0].in_flight >= self.held:
                due = max(due, peaks[0].until + window_s)
        return due

    def shrink(self, now: float) -> bool:
        """Lower the level to the window's maximum if that is due; whether the quota changed."""
        due = self.due_at()
        if due is None or now < due:
            return False
        self._write(max(self.in_flight, self._window_peak(now)), now)
        return True

    def _window_peak(self, now: float) -> int:
        peaks = self.peaks
        while peaks and peaks[0].until + self.rule.window_s <= now:
            peaks.popleft()
        return peaks[0].in_flight if peaks else 0

    def _accrue(self, now: float) -> None:
        earned = self.rule.earned_s(self.held, now - self.credit_at)
        self.credit_s = min(self.rule.credit_cap_s(self.held), self.credit_s + earned)
        self.credit_at = now

    def _write(self, level: int, now: float) -> None:
        self._accrue(now)
        self.credit_s -= self.rule.cost_s(level)
        self.held = level
        self.written_at = now
