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

from tango.model.round_trips import EdgeTrip, RoundTrip

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

    def told(self, source: str, trips: Iterable[RoundTrip | EdgeTrip], now: float) -> bool:
        """All that a source knows now, an edge its own trips. Whether anything counts otherwise."""
        told_at = self._told_at.get(source)
        if told_at is not None and now < told_at + self._at_least_s:
            return False
        self._told_at[source] = now
        pairs = self._sources.setdefault(source, {})
        changed = False
        for trip in trips:
            age_s = trip.age_s if isinstance(trip, RoundTrip) else 0.0
            if age_s > self._max_age_s:
                continue
            measured_at, rtt_s = now - age_s, trip.rtt_s
            key = trip.source if isinstance(trip, RoundTrip) else source, trip.target
            pair = pairs.get(key)
            if pair is None:
                if self.size < MAX_PAIRS:
                    samples = deque([rtt_s], maxlen=self._updates)
                    pairs[key] = Pair(samples, RoundTrip(*key, rtt_s), measured_at)
                    self._look_at = min(self._look_at, measured_at + self._max_age_s)
                    self.size += 1
                    changed = True
                continue
            samples = pair.samples
            samples.append(rtt_s)
            if measured_at > pair.told_at:
                pair.told_at = measured_at
            counted = pair.counts.rtt_s
            counts_s = min(max(counted, min(samples)), max(samples))
            if counts_s != counted:
                pair.counts = RoundTrip(*key, counts_s)
                changed = True
        if changed:
            self._changed(source)
        return self._aged(now) or changed

    def trips(self) -> tuple[RoundTrip, ...]:
        """What counts now, by source, in the order in which pairs were told first."""
        if self._listed is None:
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
        pairs = self._sources[source]
        if pairs:
            self._listed_of[source] = tuple([pair.counts for pair in pairs.values()])
        else:
            del self._listed_of[source]
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
