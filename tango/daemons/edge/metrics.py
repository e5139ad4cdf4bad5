"""What the edge master tells Prometheus: requests by outcome, latency, queues, solves, nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tango.daemons.served import Served
from tango.daemons.tallies import Buckets, Scrape
from tango.model.cluster import NodeView
from tango.model.peers import PeerView
from tango.model.request import CallReply, Outcome
from tango.model.views import ServiceView

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
SOLVE_BUCKETS_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1)


class EdgeMetrics:
    """One method call an event on the request path; everything else happens at scrape time."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape
        self._arrived = 0
        self._ended = dict.fromkeys(Outcome, 0)
        self._latency = Buckets(LATENCY_BUCKETS_S)
        self._solves = Buckets(SOLVE_BUCKETS_S)
        scrape.add(self._requests)
        self.served = Served(scrape).add

    def arrived(self) -> None:
        """A call came in."""
        self._arrived += 1

    def ended(self, reply: CallReply) -> None:
        """A call ended."""
        self._ended[reply.outcome] += 1
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
        self._scrape.add(lambda: _service_gauges(services()), lambda: _node_gauges(nodes()))

    def watch_peers(self, peers: Callable[[], tuple[PeerView, ...]]) -> None:
        """Gauges of other sites, read when somebody scrapes."""
        self._scrape.add(lambda: _peer_gauges(peers()))

    def _requests(self) -> Iterator[Metric]:
        yield CounterMetricFamily("tango_requests_arrived", "LC requests", value=self._arrived)
        ended = CounterMetricFamily("tango_requests", "LC requests that ended", labels=["outcome"])
        for outcome, count in self._ended.items():
            ended.add_metric([outcome.value], count)
        yield ended
        yield self._latency.family("tango_request_seconds", "Arrival at the edge to the answer")
        yield self._solves.family("tango_traffic_solve_seconds", "Time of one traffic solve")


def _service_gauges(views: tuple[ServiceView, ...]) -> Iterator[Metric]:
    queued = GaugeMetricFamily("tango_service_queued", "Queued requests", labels=["service"])
    ready = GaugeMetricFamily("tango_service_ready", "Ready replicas", labels=["service"])
    flying = GaugeMetricFamily(
        "tango_service_in_flight", "Requests at replicas", labels=["service"]
    )
    published = GaugeMetricFamily(
        "tango_service_published_slots", "Set aside for direct calls", labels=["service"]
    )
    for view in views:
        published.add_metric([view.spec.name], view.published)
        queued.add_metric([view.spec.name], view.queued)
        ready.add_metric([view.spec.name], view.ready)
        flying.add_metric([view.spec.name], view.in_flight)
    yield from (queued, ready, flying, published)


def _peer_gauges(views: tuple[PeerView, ...]) -> Iterator[Metric]:
    fresh = GaugeMetricFamily(
        "tango_peer_fresh", "1 while routing may use what the site offers", labels=["peer"]
    )
    rtt = GaugeMetricFamily("tango_peer_rtt_seconds", "Delay there and back", labels=["peer"])
    age = GaugeMetricFamily(
        "tango_peer_offer_age_seconds", "Age of what the site offered last", labels=["peer"]
    )
    ended = CounterMetricFamily(
        "tango_peer_requests", "Requests forwarded there, by what came of it", labels=["peer", "as"]
    )
    for view in views:
        fresh.add_metric([view.peer], float(view.fresh))
        if view.rtt_ms is not None:
            rtt.add_metric([view.peer], view.rtt_ms / 1000)
        if view.age_ms is not None:
            age.add_metric([view.peer], view.age_ms / 1000)
        for name, count in (
            ("forwarded", view.forwarded),
            ("refused", view.refused),
            ("lost", view.lost),
        ):
            ended.add_metric([view.peer, name], count)
    yield from (fresh, rtt, age, ended)


def _node_gauges(views: tuple[NodeView, ...]) -> Iterator[Metric]:
    up = GaugeMetricFamily("tango_node_ready", "1 while its worker reports", labels=["node"])
    cpu = GaugeMetricFamily(
        "tango_node_cpu_millicores", "CPU used by side", labels=["node", "side"]
    )
    memory = GaugeMetricFamily(
        "tango_node_memory_bytes", "Memory used by side", labels=["node", "side"]
    )
    for node in views:
        up.add_metric([node.node], float(node.ready))
        if node.report is not None:
            for side, usage in (("lc", node.report.lc), ("be", node.report.be)):
                cpu.add_metric([node.node, side], usage.cpu_millis)
                memory.add_metric([node.node, side], usage.memory_bytes)
    yield from (up, cpu, memory)
