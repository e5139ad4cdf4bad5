"""What the edge master tells Prometheus: requests by outcome, latency, queues, solves, nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tango.model.cluster import NodeView
from tango.model.request import CallReply, Outcome
from tango.model.views import ServiceView

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
SOLVE_BUCKETS_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1)


class EdgeMetrics:
    """Counters on the request path, one method call each; gauges are read at scrape time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        ended = Counter("tango_requests", "LC requests that ended", ["outcome"], registry=registry)
        self._arrived = Counter("tango_requests_arrived", "LC requests", registry=registry)
        self._ended = {outcome: ended.labels(outcome.value) for outcome in Outcome}
        self._latency = Histogram(
            "tango_request_seconds",
            "Arrival at the edge to the answer",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._solves = Histogram(
            "tango_traffic_solve_seconds",
            "Time of one traffic solve",
            buckets=SOLVE_BUCKETS_S,
            registry=registry,
        )

    def arrived(self) -> None:
        """A call came in."""
        self._arrived.inc()

    def ended(self, reply: CallReply) -> None:
        """A call ended."""
        self._ended[reply.outcome].inc()
        self._latency.observe(reply.total_ms / 1000)

    def solved(self, cost_s: float) -> None:
        """A solve took this long."""
        self._solves.observe(cost_s)

    def watch(
        self,
        services: Callable[[], tuple[ServiceView, ...]],
        nodes: Callable[[], tuple[NodeView, ...]],
    ) -> None:
        """Gauges of what is there, read when somebody scrapes."""
        self._registry.register(_Views(services, nodes))


class _Views(Collector):
    def __init__(
        self,
        services: Callable[[], tuple[ServiceView, ...]],
        nodes: Callable[[], tuple[NodeView, ...]],
    ) -> None:
        self._services = services
        self._nodes = nodes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        queued = GaugeMetricFamily("tango_service_queued", "Queued requests", labels=["service"])
        ready = GaugeMetricFamily("tango_service_ready", "Ready replicas", labels=["service"])
        flying = GaugeMetricFamily(
            "tango_service_in_flight", "Requests at replicas", labels=["service"]
        )
        for view in self._services():
            queued.add_metric([view.spec.name], view.queued)
            ready.add_metric([view.spec.name], view.ready)
            flying.add_metric([view.spec.name], view.in_flight)
        up = GaugeMetricFamily("tango_node_ready", "1 while its worker reports", labels=["node"])
        cpu = GaugeMetricFamily(
            "tango_node_cpu_millicores", "CPU used by side", labels=["node", "side"]
        )
        memory = GaugeMetricFamily(
            "tango_node_memory_bytes", "Memory used by side", labels=["node", "side"]
        )
        for node in self._nodes():
            up.add_metric([node.node], float(node.ready))
            if node.report is not None:
                for side, usage in (("lc", node.report.lc), ("be", node.report.be)):
                    cpu.add_metric([node.node, side], usage.cpu_millis)
                    memory.add_metric([node.node, side], usage.memory_bytes)
        yield from (queued, ready, flying, up, cpu, memory)
