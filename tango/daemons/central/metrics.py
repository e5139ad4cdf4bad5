"""What the central master tells Prometheus: jobs by state, changes, solves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tango.model.job import JobRecord, JobState
from tango.model.views import EdgeView, JobCounts

SOLVE_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5)


class CentralMetrics:
    """Counters of changes; gauges are read at scrape time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        changed = Counter(
            "tango_job_changes", "Durable changes of jobs", ["state"], registry=registry
        )
        self._changed = {state: changed.labels(state.value) for state in JobState}
        self._solves = Histogram(
            "tango_batch_solve_seconds",
            "Time of one batch solve",
            buckets=SOLVE_BUCKETS_S,
            registry=registry,
        )

    def changed(self, job: JobRecord) -> None:
        """A job is now in this state."""
        self._changed[job.state].inc()

    def solved(self, cost_s: float) -> None:
        """A solve took this long."""
        self._solves.observe(cost_s)

    def watch(
        self, counts: Callable[[], JobCounts], edges: Callable[[], tuple[EdgeView, ...]]
    ) -> None:
        """Gauges of what is there, read when somebody scrapes."""
        self._registry.register(_Views(counts, edges))


class _Views(Collector):
    def __init__(
        self, counts: Callable[[], JobCounts], edges: Callable[[], tuple[EdgeView, ...]]
    ) -> None:
        self._counts = counts
        self._edges = edges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("tango_jobs", "Jobs in the store", labels=["state"])
        counts = self._counts()
        for state in JobState:
            jobs.add_metric([state.value], getattr(counts, state.value))
        up = GaugeMetricFamily("tango_edge_connected", "1 while its stream is up", labels=["edge"])
        for edge in self._edges():
            up.add_metric([edge.edge], float(edge.connected))
        yield from (jobs, up)
