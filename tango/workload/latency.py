"""Latency percentiles of any number of requests in bounded memory: a histogram of log buckets."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

RELATIVE_ERROR: Final = 0.005
LOWEST_MS: Final = 0.001
HIGHEST_MS: Final = 1e8  # about 28 hours

# Bucket i holds (GAMMA^(i-1), GAMMA^i] times LOWEST_MS; the value reported for it is off by at most
# RELATIVE_ERROR from any value inside (DDSketch: Masson, Rim, Lee, PVLDB 12(12), 2019).
_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG: Final = 1 / math.log(_GAMMA)
_LAST_BUCKET: Final = math.ceil(math.log(HIGHEST_MS / LOWEST_MS) * _PER_LOG)


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Percentiles in ms over answered requests; all None where there was no answer at all."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        values = (self.p50, self.p95, self.p99, self.max)
        known = [value for value in values if value is not None]
        if len(known) not in (0, len(values)):
            raise ValueError(f"some percentiles are missing: {values}")
        if known != sorted(known) or any(not 0 <= value < math.inf for value in known):
            raise ValueError(f"percentiles must be finite, >= 0 and in order: {values}")

    def to_dict(self) -> dict[str, float | None]:
        """For JSON, to the microsecond."""
        return {
            name: None if value is None else round(value, 3)
            for name, value in (
                ("p50", self.p50),
                ("p95", self.p95),
                ("p99", self.p99),
                ("max", self.max),
            )
        }


class LatencyHistogram:
    """Counts of latencies in about 2,500 buckets at most; cheap to add to and to merge.

    Percentiles are by nearest rank, and within 0.5 % of the exact one between 1 us and 28 h;
    smaller values count as at most 1 us, larger ones may come out as anything up to the largest.
    Smallest, largest, count and mean are exact.
    """

    __slots__ = ("_buckets", "count", "max_ms", "min_ms", "total_ms")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total_ms = 0.0
        self.min_ms = math.inf
        self.max_ms = 0.0

    def add(self, latency_ms: float) -> None:
        """Count one latency. Raises ValueError for negative, infinite and NaN."""
        if not 0 <= latency_ms < math.inf:
            raise ValueError(f"{latency_ms!r} ms is not a latency")
        bucket = 0
        if latency_ms > LOWEST_MS:
            bucket = min(_LAST_BUCKET, math.ceil(math.log(latency_ms / LOWEST_MS) * _PER_LOG))
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total_ms += latency_ms
        self.min_ms = min(self.min_ms, latency_ms)
        self.max_ms = max(self.max_ms, latency_ms)

    def merge(self, other: LatencyHistogram | PackedHistogram) -> None:
        """Count everything that `other` has counted; `other` stays as it is."""
        for bucket, count in other.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count
        self.total_ms += other.total_ms
        self.min_ms = min(self.min_ms, other.min_ms)
        self.max_ms = max(self.max_ms, other.max_ms)

    def items(self) -> Iterable[tuple[int, int]]:
        """Buckets and their counts."""
        return self._buckets.items()

    def packed(self) -> PackedHistogram:
        """The same, in a fifth of the memory or less: for many that are kept."""
        order = sorted(self._buckets)
        return PackedHistogram(
            array("H", order),
            array("Q", [self._buckets[bucket] for bucket in order]),
            self.count,
            self.total_ms,
            self.min_ms,
            self.max_ms,
        )

    def percentiles(self, *ranks: float) -> list[float]:
        """The values below or at which `ranks` percent (0..100) of all latencies lie, in ms.

        Raises ValueError where nothing was counted.
        """
        if not self.count:
            raise ValueError("no latency was counted")
        wanted = sorted(
            (max(1, math.ceil(rank / 100 * self.count)), at) for at, rank in enumerate(ranks)
        )
        found = [self.max_ms] * len(ranks)
        buckets = iter(sorted(self._buckets.items()))
        seen, value = 0, 0.0
        for rank, at in wanted:
            while seen < rank:
                bucket, count = next(buckets)
                seen += count
                value = LOWEST_MS * 2 * _GAMMA**bucket / (_GAMMA + 1)
            if rank < self.count:  # the last one is known exactly
                found[at] = min(max(value, self.min_ms), self.max_ms)
        return found

    def summary(self) -> LatencySummary:
        """p50, p95, p99 and the largest; all None where nothing was counted."""
        if not self.count:
            return LatencySummary()
        p50, p95, p99 = self.percentiles(50, 95, 99)
        return LatencySummary(p50, p95, p99, self.max_ms)


@dataclass(frozen=True, slots=True)
class PackedHistogram:
    """What a LatencyHistogram has counted, in ten bytes for each of its buckets."""

    buckets: array[int]
    counts: array[int]
    count: int
    total_ms: float
    min_ms: float
    max_ms: float

    def items(self) -> Iterable[tuple[int, int]]:
        """Buckets and their counts."""
        return zip(self.buckets, self.counts, strict=True)
