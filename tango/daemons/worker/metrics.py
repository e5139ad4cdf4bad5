"""What the worker tells Prometheus: requests served, usage by side, mismatches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tango.algorithms.quota.sides import BE, LC
from tango.daemons.served import Served
from tango.daemons.tallies import Scrape
from tango.model.cgroup import GroupPressure, Pressure
from tango.model.cluster import NodeReport

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class WorkerMetrics:
    """One method call a request; the rest is read from the latest report at scrape time."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape
        self.served = Served(scrape).add

    def watch(self, report: Callable[[], NodeReport | None]) -> None:
        """Gauges from the latest report."""
        self._scrape.add(lambda: _usage(report()))

    def watch_pressure(self, pressure: Callable[[str], GroupPressure]) -> None:
        """Stall times of both sides, read at each scrape; no sample where the kernel has none."""
        self._scrape.add(lambda: _pressure(pressure))


def _pressure(pressure: Callable[[str], GroupPressure]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    stalled = CounterMetricFamily(
        "tango_side_stalled_seconds",
        "Time that some or all (full) of a side's processes waited for a resource (PSI)",
        labels=["side", "resource", "kind"],
    )
    for side in (LC, BE):
        try:
            found = pressure(side)
        except OSError:  # the side's group is not there (yet)
            continue
        for resource in ("cpu", "memory", "io"):
            told: Pressure | None = getattr(found, resource)
            if told is not None:
                stalled.add_metric([side, resource, "some"], told.some_total_s)
                stalled.add_metric([side, resource, "full"], told.full_total_s)
    if stalled.samples:
        yield stalled


def _usage(report: NodeReport | None) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if report is None:
        return
    cpu = CounterMetricFamily("tango_side_cpu_seconds", "CPU used", labels=["side"])
    memory = GaugeMetricFamily("tango_side_memory_bytes", "Memory used", labels=["side"])
    for side, usage in (("lc", report.lc), ("be", report.be)):
        cpu.add_metric([side], usage.cpu_s)
        memory.add_metric([side], usage.memory_bytes)
    yield from (cpu, memory)
    yield GaugeMetricFamily(
        "tango_mismatches",
        "Targets that the kernel did not take as asked",
        value=len(report.mismatches),
    )
