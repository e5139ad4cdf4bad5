"""What the worker tells Prometheus: requests served, usage by side, mismatches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tango.model.cluster import NodeReport
from tango.model.request import Code, RequestDone

SERVICE_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)


class WorkerMetrics:
    """Counters on the request path; the rest is read from the latest report at scrape time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        served = Counter(
            "tango_served", "Requests answered for replicas", ["code"], registry=registry
        )
        self._served = {code: served.labels(code.value) for code in Code}
        self._seconds = Histogram(
            "tango_service_seconds",
            "Time at the replica, as the worker measures it",
            buckets=SERVICE_BUCKETS_S,
            registry=registry,
        )

    def served(self, done: RequestDone) -> None:
        """A request was answered."""
        self._served[done.code].inc()
        self._seconds.observe(done.service_s)

    def watch(self, report: Callable[[], NodeReport | None]) -> None:
        """Gauges from the latest report."""
        self._registry.register(_Report(report))


class _Report(Collector):
    def __init__(self, report: Callable[[], NodeReport | None]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report()
        if report is None:
            return
        cpu = CounterMetricFamily("tango_side_cpu_seconds", "CPU used", labels=["side"])
        memory = GaugeMetricFamily("tango_side_memory_bytes", "Memory used", labels=["side"])
        for side, usage in (("lc", report.lc), ("be", report.be)):
            cpu.add_metric([side], usage.cpu_s)
            memory.add_metric([side], usage.memory_bytes)
        mismatches = GaugeMetricFamily(
            "tango_mismatches",
            "Targets that the kernel did not take as asked",
            value=len(report.mismatches),
        )
        yield from (cpu, memory, mismatches)
