"""What a daemon tells Prometheus of requests that it carried to replicas: a worker, or an edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tango.daemons.tallies import Buckets, Scrape
from tango.model.request import Code, RequestDone

if TYPE_CHECKING:
    from prometheus_client.core import Metric

SERVICE_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)


class Served:
    """Counts and times of answers; each request is in those of one daemon."""

    def __init__(self, scrape: Scrape) -> None:
        self._codes = dict.fromkeys(Code, 0)
        self._seconds = Buckets(SERVICE_BUCKETS_S)
        scrape.add(self._families)

    def add(self, done: RequestDone) -> None:
        """A request was answered."""
        self._codes[done.code] += 1
        self._seconds.observe(done.service_s)

    def _families(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        served = CounterMetricFamily(
            "tango_served", "Requests that this daemon carried to replicas", labels=["code"]
        )
        for code, count in self._codes.items():
            served.add_metric([code.value], count)
        yield served
        yield self._seconds.family(
            "tango_service_seconds", "Time at the replica, as this daemon measures it"
        )
