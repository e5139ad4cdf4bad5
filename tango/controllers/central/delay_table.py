"""Round trips as the central master counts them: smoothed against jitter, and aged; no numpy.

What counts of a pair follows its last few measurements only as far as all of them agree:

    counts = min(max(counts, least of them), greatest of them)

So a bound is exceeded only after it was exceeded in that many updates in a row, and kept again
only after it was kept in as many: a delay that jitters about a bound changes nothing. This is the
play operator (backlash) over a sliding window. The first measurement of a pair counts at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, product

from tango.model.round_trips import RoundTrip

# Of all sources together; a pair beyond it is left out.
MAX_PAIRS = 1_000_000


@dataclass(slots=True)
class Pair:
    """samples: the last few, in seconds. told_at: when it was measured last."""

    samples: deque[float]
    counts: RoundTrip
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
        # Counts changes of what counts.
        self.version = 0
        self._listed_of: dict[str, tuple[RoundTrip, ...]] = {}
        self._listed: tuple[RoundTrip, ...] | None = ()
        # Before this no pair is too old.
        self._look_at = math.inf

    def told(self, source: str, trips: Iterable[RoundTrip], now: float) -> bool:
        """All that a source knows now. Whether anything counts otherwise than before."""
        told_at = self._told_at.get(source)
        if told_at is not None and now < told_at + self._at_least_s:
            return False
        self._told_at[source] = now
        pairs = self._sources.setdefault(source, {})
        changed = False
        for trip in trips:
            if trip.age_s > self._max_age_s:
                continue
            measured_at = now - trip.age_s
            pair = pairs.get((trip.source, trip.target))
            if pair is None:
                if self.size < MAX_PAIRS:
                    samples = deque([trip.rtt_s], maxlen=self._updates)
                    counts = RoundTrip(trip.source, trip.target, trip.rtt_s)
                    pairs[trip.source, trip.target] = Pair(samples, counts, measured_at)
                    self._look_at = min(self._look_at, measured_at + self._max_age_s)
                    self.size += 1
                    changed = True
                continue
            pair.samples.append(trip.rtt_s)
            pair.told_at = max(pair.told_at, measured_at)
            counted = pair.counts.rtt_s
            counts_s = min(max(counted, min(pair.samples)), max(pair.samples))
            if counts_s != counted:
                pair.counts = RoundTrip(trip.source, trip.target, counts_s)
                changed = True
        if changed:
            self._changed(source)
        return self._aged(now) or changed

    def trips(self) -> tuple[RoundTrip, ...]:
        """What counts now, in the order of sources and pairs."""
        if self._listed is None:
            for source, pairs in self._sources.items():
                if source not in self._listed_of:
                    self._listed_of[source] = tuple(pairs[key].counts for key in sorted(pairs))
            self._listed = tuple(
                chain.from_iterable(self._listed_of[source] for source in sorted(self._listed_of))
            )
        return self._listed

    def rtt_s(self, source: str, ones: Iterable[str], others: Iterable[str]) -> float | None:
        """The longest between two places, either way, each by all of its names; None where this
        source knows none."""
        pairs = self._sources.get(source, {})
        names = list(product(ones, others))
        found = [pairs.get(pair) for one, other in names for pair in ((one, other), (other, one))]
        return max((pair.counts.rtt_s for pair in found if pair is not None), default=None)

    def _changed(self, source: str) -> None:
        self._listed_of.pop(source, None)
        self._listed = None
        self.version += 1

    def _aged(self, now: float) -> bool:
        """Pairs that nobody has measured for too long are unknown again, and so is a source."""
        if now < self._look_at:
            return False
        before = self.version
        self._look_at = math.inf
        for source, pairs in list(self._sources.items()):
            gone = [n for n, pair in pairs.items() if now - pair.told_at > self._max_age_s]
            for name in gone:
                del pairs[name]
                self.size -= 1
            if gone:
                self._changed(source)
            if not pairs:
                del self._sources[source]
                self._told_at.pop(source, None)
            for pair in pairs.values():
                self._look_at = min(self._look_at, pair.told_at + self._max_age_s)
        return self.version != before
