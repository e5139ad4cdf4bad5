"""Counts kept as plain numbers on a hot path, and turned into metrics when somebody scrapes.

prometheus_client's own counters take a lock for each increment; everything here happens on one
event loop, and a request adds to six of them. And it brings four megabytes of HTTP server with it,
which a worker without a metrics endpoint does not pay for: it is imported by who serves one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class Buckets:
    """A histogram. bounds: upper bounds of its buckets, rising; what is above goes to +Inf."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, documentation: str) -> Metric:
        """As Prometheus wants it: cumulative."""
        from prometheus_client.core import HistogramMetricFamily

        buckets = []
        total = 0
        for bound, count in zip((*self._bounds, inf), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == inf else str(float(bound)), float(total)))
        family = HistogramMetricFamily(name, documentation)
        family.add_metric([], buckets, self._sum)
        return family


class Scrape:
    """A daemon's metrics: functions that are asked at each scrape (a prometheus Collector)."""

    def __init__(self, *sources: Callable[[], Iterable[Metric]]) -> None:
        self._sources = list(sources)

    def add(self, *sources: Callable[[], Iterable[Metric]]) -> None:
        """Ask these too."""
        self._sources.extend(sources)

    def collect(self) -> Iterator[Metric]:
        """All metrics of all sources."""
        for source in self._sources:
            yield from source()
