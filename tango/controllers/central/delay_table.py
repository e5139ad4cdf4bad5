"""Round trips as the central master counts them: smoothed against jitter, and aged; no numpy.

What counts of a pair follows its last few measurements only as far as all of them agree:

    counts = min(max(counts, least of them), greatest of them)

So a bound is exceeded only after it was exceeded in that many updates in a row, and kept again
only after it was kept in as many: a delay that jitters about a bound changes nothing. This is the
play operator (backlash) over a sliding window. The first measurement of a pair counts at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from tango.model.round_trips import RoundTrip

# Of all sources together; a pair beyond it is left out.
MAX_PAIRS = 1_000_000


@dataclass(slots=True)
class Pair:
    """samples: the last few, in seconds. told_at: when it was measured last."""

    samples: deque[float]
    counts: float
    told_at: float


class DelayTable:
    """updates: how many in a row change what counts. max_age_s: without any, a pair is unknown.

    at_least_s: between two updates of one source; what comes earlier is left out, for it says
    nothing new. size: how many pairs are known.
    """

    def __init__(self, updates: int, max_age_s: float, at_least_s: float) -> None:
        self._updates = updates
        self._max_age_s = max_age_s
        self._at_least_s = at_least_s
        self._sources: dict[str, dict[tuple[str, str], Pair]] = {}
        self._told_at: dict[str, float] = {}
        self.size = 0

    def told(self, source: str, trips: Iterable[RoundTrip], now: float) -> bool:
        """All that a source knows now. Whether anything counts otherwise than before."""
        told_at = self._told_at.get(source)
        if told_at is not None and now < told_at + self._at_least_s:
            return False
        self._told_at[source] = now
        pairs = self._sources.setdefault(source, {})
        changed = False
        for trip in trips:
            measured_at = now - trip.age_s
            pair = pairs.get((trip.source, trip.target))
            if trip.age_s > self._max_age_s:
                continue
            if pair is None:
                if self.size < MAX_PAIRS:
                    samples = deque([trip.rtt_s], maxlen=self._updates)
                    pairs[trip.source, trip.target] = Pair(samples, trip.rtt_s, measured_at)
                    self.size += 1
                    changed = True
                continue
            pair.samples.append(trip.rtt_s)
            pair.told_at = max(pair.told_at, measured_at)
            counts = min(max(pair.counts, min(pair.samples)), max(pair.samples))
            changed |= counts != pair.counts
            pair.counts = counts
        return self._aged(now) or changed

    def trips(self) -> tuple[RoundTrip, ...]:
        """What counts now, in the order of sources and pairs."""
        return tuple(
            RoundTrip(*pair, one.counts)
            for _, pairs in sorted(self._sources.items())
            for pair, one in sorted(pairs.items())
        )

    def _aged(self, now: float) -> bool:
        """Pairs that nobody has measured for too long are unknown again, and so is a source."""
        gone = False
        for source, pairs in list(self._sources.items()):
            for name in [n for n, pair in pairs.items() if now - pair.told_at > self._max_age_s]:
                del pairs[name]
                self.size -= 1
                gone = True
            if not pairs:
                del self._sources[source]
                self._told_at.pop(source, None)
        return gone
