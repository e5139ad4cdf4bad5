"""Round-trip time over a session, from numbered pings: the median of the latest few samples.

A median of a short window takes a lasting change within half a window and ignores a single late
pong, where the smoothed mean of TCP (RFC 6298) would follow both by an eighth.
"""

from __future__ import annotations

from collections import deque

WINDOW = 7
# More pings without an answer tell nothing new, and would pile up on a stalled link.
MAX_UNANSWERED = 16


class RoundTrips:
    """Of one session. rtt_s: 0.0 until the first pong. spread_s: mean distance from it."""

    __slots__ = ("_numbers", "_samples", "_sent", "rtt_s", "spread_s")

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=WINDOW)
        self._sent: dict[int, float] = {}
        self._numbers = 0
        self.rtt_s = 0.0
        self.spread_s = 0.0

    @property
    def known(self) -> bool:
        """Whether there was a pong."""
        return bool(self._samples)

    def restart(self) -> None:
        """Another session: what was sent on the last one is not answered any more."""
        self._sent.clear()

    def ping(self, now: float) -> int | None:
        """The number of a ping that goes out now; None while too many are unanswered."""
        if len(self._sent) >= MAX_UNANSWERED:
            return None
        self._numbers += 1
        self._sent[self._numbers] = now
        return self._numbers

    def pong(self, number: int, now: float) -> float | None:
        """When the ping of that number was sent; None for one that was answered, or never sent.

        Those sent before it count as answered too: a session keeps its order.
        """
        sent_at = self._sent.get(number)
        if sent_at is None:
            return None
        if len(self._sent) == 1:
            self._sent.clear()
        else:
            for earlier in [other for other in self._sent if other <= number]:
                del self._sent[earlier]
        samples = self._samples
        samples.append(now - sent_at)
        ordered = sorted(samples)
        middle = len(ordered) // 2
        if len(ordered) % 2:
            self.rtt_s = ordered[middle]
        else:
            self.rtt_s = (ordered[middle - 1] + ordered[middle]) / 2
        rtt_s, distance_s = self.rtt_s, 0.0
        for sample in ordered:
            distance_s += abs(sample - rtt_s)
        self.spread_s = distance_s / len(ordered)
        return sent_at

    def at_least_s(self, now: float) -> float:
        """rtt_s, or how long the oldest ping has waited by now if that is longer already."""
        if not self._sent:
            return self.rtt_s
        return max(self.rtt_s, now - next(iter(self._sent.values())))
