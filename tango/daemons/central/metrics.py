"""What the central master tells Prometheus: jobs by state, changes, solves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tango.daemons.tallies import Buckets, Scrape
from tango.model.job import JobRecord, JobState
from tango.model.views import EdgeView, JobCounts

SOLVE_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5)


class CentralMetrics:
    """Counts of changes; gauges are read at scrape time."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape
        self._changed = dict.fromkeys(JobState, 0)
        self._solves = Buckets(SOLVE_BUCKETS_S)
        self._plans = Buckets(SOLVE_BUCKETS_S)
        scrape.add(self._changes)

    def changed(self, job: JobRecord) -> None:
        """A job is now in this state."""
        self._changed[job.state] += 1

    def solved(self, cost_s: float) -> None:
        """A solve took this long."""
        self._solves.observe(cost_s)

    def planned(self, cost_s: float) -> None:
        """A plan for bounds and backups took this long."""
        self._plans.observe(cost_s)

    def watch(
        self, counts: Callable[[], JobCounts], edges: Callable[[], tuple[EdgeView, ...]]
    ) -> None:
        """Gauges of what is there, read when somebody scrapes."""
        self._scrape.add(lambda: _views(counts(), edges()))

    def _changes(self) -> Iterator[Metric]:
        changed = CounterMetricFamily(
            "tango_job_changes", "Durable changes of jobs", labels=["state"]
        )
        for state, count in self._changed.items():
            changed.add_metric([state.value], count)
        yield changed
        yield self._solves.family("tango_batch_solve_seconds", "Time of one batch solve")
        yield self._plans.family(
            "tango_bounds_solve_seconds", "Time of one plan for delay bounds and backups"
        )


def _views(counts: JobCounts, edges: tuple[EdgeView, ...]) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("tango_jobs", "Jobs in the store", labels=["state"])
    for state in JobState:
        jobs.add_metric([state.value], getattr(counts, state.value))
    up = GaugeMetricFamily("tango_edge_connected", "1 while its stream is up", labels=["edge"])
    for edge in edges:
        up.add_metric([edge.edge], float(edge.connected))
    yield from (jobs, up)
