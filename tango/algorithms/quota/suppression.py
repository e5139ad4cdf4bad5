"""How far BE is held down: a cap that leaves LC its peak, and how satisfied BE is (pure).

By weight the kernel gives BE exactly what LC leaves, millisecond by millisecond, and no cap is
needed; it is for operators who want BE below a line (heat, a noisy cache), and off as it comes.

Koordinator, which people use today, sets such a cap each second to 65 % of the node less what LC
uses, and lets it rise by 10 % of the node at most. This one falls at once too, but follows the peak
of the last seconds and not the last value, and does not move inside a band: a load that goes up and
down within that time is one level and not a swing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

# Of the node's CPU: a cap moves only by more than BAND, and rises by RISE at most, once in RISE_S.
BAND: Final = 0.05
RISE: Final = 0.1
RISE_S: Final = 1.0
# LC's peak is taken over so long.
PEAK_S: Final = 5.0
# BE counts as held down where both sides together use this share of the node.
CONTENDED: Final = 0.9
SATISFACTION_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class CapChange:
    """A decision: BE's cap from before_millis (None: none yet) to after_millis, and why."""

    lc_millis: int
    lc_peak_millis: int
    before_millis: int | None
    after_millis: int
    why: str


class BeCap:
    """BE's cap on one node: capacity less LC's peak, least_millis at least. CPU in millicores."""

    def __init__(self, capacity_millis: int, least_millis: int) -> None:
        self._capacity = capacity_millis
        self._least = min(least_millis, capacity_millis)
        self._peaks: deque[tuple[float, int]] = deque()
        self._raised_at = 0.0
        self.millis: int | None = None

    def update(self, lc_millis: int, now: float) -> CapChange | None:
        """LC uses this much; the change that follows, None for none. now: seconds."""
        peaks = self._peaks
        while peaks and peaks[-1][1] <= lc_millis:
            peaks.pop()
        peaks.append((now, lc_millis))
        while peaks[0][0] + PEAK_S < now:
            peaks.popleft()
        peak = peaks[0][1]
        wanted = max(self._least, self._capacity - peak)
        before, band = self.millis, BAND * self._capacity
        if before is None:
            after, why = wanted, "the first cap"
        elif wanted < before - band or (wanted < before and wanted == self._least):
            after, why = wanted, "LC uses more: down at once"
        elif wanted > before + band and now >= self._raised_at + RISE_S:
            after = min(wanted, before + round(RISE * self._capacity))
            why = f"LC's peak of {PEAK_S:g} s is lower: up by a step"
        else:
            return None
        if after == before:
            return None
        self.millis = after
        self._raised_at = now
        return CapChange(lc_millis, peak, before, after, why)


class Satisfaction:
    """Which share of the CPU that BE tasks ask for they get, averaged over some seconds.

    Where the node has CPU to spare they get what they want, whatever they asked for: 1.
    """

    def __init__(self, capacity_millis: int) -> None:
        self._capacity = capacity_millis
        self._at: float | None = None
        self.share = 1.0

    def update(self, lc_millis: int, be_millis: int, asked_millis: int, now: float) -> float:
        """Both sides use this much, and BE tasks ask for that much; the share, 0 to 1."""
        seen = 1.0
        contended = lc_millis + be_millis >= CONTENDED * self._capacity
        if asked_millis > 0 and contended:
            seen = min(1.0, be_millis / asked_millis)
        if asked_millis <= 0 or self._at is None:
            self.share = seen if asked_millis > 0 else 1.0
        else:
            weight = min(1.0, (now - self._at) / SATISFACTION_S)
            self.share += weight * (seen - self.share)
        self._at = now
        return self.share
