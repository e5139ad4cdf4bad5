"""`tango bench path`: what a request costs on its way through edge and worker to a replica."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import uvloop

from tango.adapters.replica_http import ReplicaClient
from tango.cli.benches.bare_relay import BareClient
from tango.cli.benches.direct_http import DirectHttp
from tango.cli.benches.figures import (
    BenchFailed,
    Figures,
    bench_options,
    check_report,
    conclude,
)
from tango.cli.benches.load_loops import Call, Rate, arrivals, open_loop
from tango.cli.benches.programs import cluster_of_one, free_port, next_line, program
from tango.model.request import Code
from tango.model.service import HealthCheck, ServiceSpec
from tango.sdk.client import Client
from tango.sdk.follow import Followed
from tango.workload.latency import LatencyHistogram

SERVICE = "bench-echo"
CLIENTS = 64
PACE = 50.0
ROUND_S = 1.0
RELAY = "tango.cli.benches.bare_relay"
WANTED = {"added_p50_ms": 1.5, "routed_added_p50_ms": 0.2, "unary_rps": 1500, "stream_rps": 3000}


@click.command()
@bench_options
@click.option(
    "--duration", default=5.0, show_default=True, type=click.FloatRange(0.1, 600),
    help="Seconds that each figure is measured for.",
)  # fmt: skip
@click.option(
    "--connections", default=1, show_default=True, type=click.IntRange(1, CLIENTS),
    help="gRPC connections that the clients share for unary calls, bare and carried.",
)  # fmt: skip
def path(report: Path | None, seed: int, duration: float, connections: int) -> None:
    """Latency and throughput of requests carried to a trivial service, against a direct call.

    An embedded cluster of one site and one node runs the service. At 50 requests a second, direct
    calls (HTTP keep-alive straight to the replica), carried ones (Client.call, on its shared
    stream), carried unary ones (EdgeClient.call), ones through a bare relay (see bare_relay.py),
    unary and on a stream, routed ones (Client.follow, straight to the replica by published routes)
    and a single gRPC hop (an echo at the bare relay's edge; a carried request makes two) take turns
    of a second, with the same arrival times. Then 64 clients, each with one request under way, call
    it directly, by Tango's HTTP client at the replica's address, by Client.follow, unary through
    the edge, multiplexed by Client.call, and both ways through the bare relay (once with a message
    for each request, once batched), taking turns too. The direct client knows what the answer looks
    like; the HTTP client parses it, and has a timeout for each request: that is what routed calls
    are made with.
    """
    check_report(report)
    port = free_port()
    with cluster_of_one() as cluster, contextlib.ExitStack() as programs:
        relays = {}
        for mode in ("single", "batched"):
            edge = programs.enter_context(program(RELAY, ("edge", mode)))
            relays[mode] = int(next_line(edge))
        measuring = _Measuring(port, duration, connections, seed)
        figures = uvloop.run(measuring.run(cluster.state_dir, relays))
    conclude(figures, _rows(figures), report, seed=seed, duration_s=measuring.seconds)


class _Measuring:
    """One run against a cluster and the bare relays."""

    def __init__(self, port: int, duration: float, connections: int, seed: int) -> None:
        self._port = port
        self._duration = duration
        self._connections = connections
        self._seed = seed
        self.seconds = 0.0

    async def run(self, state: Path, relays: dict[str, int]) -> Figures:
        """All figures."""
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(Client(state)) for _ in range(self._connections)
            ]
            await clients[0].apply(service(SERVICE, self._port), wait_s=30)
            for mode, edge in relays.items():
                arguments = ("worker", mode, str(edge), str(self._port), str(CLIENTS))
                stack.enter_context(program(RELAY, arguments))
            direct = DirectHttp(self._port)
            await direct.open(CLIENTS)
            stack.callback(direct.close)
            calls = await self._calls(stack, clients, relays)
            begun = time.perf_counter()
            followed = await stack.enter_async_context(clients[0].follow(SERVICE))
            calls |= {"direct": direct_call(direct), "routed": routed_call(followed)}
            http = ReplicaClient()
            stack.push_async_callback(http.close)
            calls["http"] = http_call(http, self._port)
            figures = await self._latencies(calls)
            figures |= await self._rates(calls)
            self.seconds = time.perf_counter() - begun
            figures["routed_directly"] = followed.direct / (followed.direct + followed.carried)
        return figures

    async def _calls(
        self, stack: contextlib.AsyncExitStack, clients: list[Client], relays: dict[str, int]
    ) -> dict[str, Call]:
        """Every way to the service through anything."""

        async def multiplexed() -> None:
            await clients[0].call(SERVICE)

        calls = {"unary": unary_call(clients), "stream": multiplexed}
        for mode, suffix in (("single", ""), ("batched", "_batched")):
            bare = [
                await stack.enter_async_context(BareClient(relays[mode], batched=bool(suffix)))
                for _ in range(self._connections)
            ]
            if not suffix:
                calls["hop"] = bare_hop(bare[0])
            calls[f"bare_unary{suffix}"] = bare_unary_call(bare)
            calls[f"bare_stream{suffix}"] = bare_stream_call(bare[0])
        return calls

    async def _latencies(self, calls: dict[str, Call]) -> Figures:
        ways = {
            "direct": calls["direct"],
            "http": calls["http"],
            "routed": calls["routed"],
            "carried": calls["stream"],
            "carried_unary": calls["unary"],
            "bare": calls["bare_unary"],
            "bare_many": calls["bare_stream"],
            "hop": calls.pop("hop"),
        }
        warm = arrivals(PACE, min(0.5, self._duration), self._seed)
        for call in ways.values():
            await open_loop(call, warm, LatencyHistogram())
        latencies = {name: LatencyHistogram() for name in ways}
        for number in range(max(1, round(self._duration / ROUND_S))):
            times = arrivals(PACE, min(ROUND_S, self._duration), self._seed + number)
            for name, call in ways.items():
                await open_loop(call, times, latencies[name])
        figures: Figures = {}
        p50 = {}
        for name, measured in latencies.items():
            p50[name], p99 = measured.percentiles(50, 99)
            figures |= {f"{name}_p50_ms": p50[name], f"{name}_p99_ms": p99}
        added = {
            "added_p50_ms": "carried",
            "routed_added_p50_ms": "routed",
            "bare_added_p50_ms": "bare",
            "bare_many_added_p50_ms": "bare_many",
        }
        return figures | {key: p50[name] - p50["direct"] for key, name in added.items()}

    async def _rates(self, calls: dict[str, Call]) -> Figures:
        rates = {f"{name}_rps": Rate(call) for name, call in calls.items()}
        for rate in rates.values():
            await Rate(rate.call).run(CLIENTS, min(0.3, self._duration))
        rounds = max(1, round(self._duration / ROUND_S))
        for _ in range(rounds):
            for rate in rates.values():
                # A share of slots follows demand: what it gives is measured once it is there.
                if rate.call is calls["routed"]:
                    await Rate(rate.call).run(CLIENTS, min(0.5, self._duration))
                await rate.run(CLIENTS, self._duration / rounds)
        figures: Figures = {name: rate.per_s for name, rate in rates.items()}
        for way in ("unary", "stream"):
            bare_per_s = rates[f"bare_{way}_rps"].per_s
            figures[f"{way}_of_bare"] = rates[f"{way}_rps"].per_s / bare_per_s
        for way in ("direct", "http"):
            figures[f"routed_of_{way}"] = rates["routed_rps"].per_s / rates[f"{way}_rps"].per_s
        return figures | {"clients": CLIENTS, "connections": self._connections}


def service(name: str, port: int = 0) -> ServiceSpec:
    """The trivial service; nothing that is measured is ever near its deadline."""
    return ServiceSpec(
        name,
        (sys.executable, "-m", "tango.cli.benches.echo_service", str(port) if port else "{port}"),
        memory_bytes=48 * 2**20,
        cpu_per_request_millis=5,
        concurrency=2 * CLIENTS,
        deadline_s=5.0,
        timeout_s=10.0,
        port=port,
        health=HealthCheck("/", interval_s=1.0, start_timeout_s=20.0),
        stop_grace_s=1.0,
    )


def direct_call(direct: DirectHttp) -> Call:
    """Straight to the replica, without any of Tango."""

    async def call() -> None:
        await direct.request()

    return call


def http_call(client: ReplicaClient, port: int) -> Call:
    """Straight to the replica, with the HTTP client that routed calls and workers use."""

    async def call() -> None:
        await client.request(port, "GET", "/", timeout_s=10.0)

    return call


def routed_call(followed: Followed) -> Call:
    """Straight to the replica, by published routes; one that fails ends the benchmark."""

    async def call() -> None:
        await followed.call()

    return call


def unary_call(clients: Sequence[Client]) -> Call:
    """A unary call, each client in turn; one that fails ends the benchmark."""
    turns = itertools.cycle(clients)

    async def call() -> None:
        client = next(turns)
        reply = await client.edge().call(client.request(SERVICE))
        if reply.code is not Code.OK:
            raise BenchFailed(f"a unary call ended {reply.code.value}: {reply.error}")

    return call


def bare_unary_call(clients: Sequence[BareClient]) -> Call:
    """The same through the bare relay."""
    turns = itertools.cycle(clients)

    async def call() -> None:
        await next(turns).call()

    return call


def bare_hop(client: BareClient) -> Call:
    """To the bare relay's edge and back: what gRPC itself takes for one hop of two."""

    async def call() -> None:
        await client.hop()

    return call


def bare_stream_call(client: BareClient) -> Call:
    """The same on one stream of the bare relay."""

    async def call() -> None:
        await client.call_many()

    return call


def _rows(figures: Figures) -> list[tuple[str, str, str]]:
    def ms(key: str, wanted: str = "") -> tuple[str, str, str]:
        return key, f"{figures[key]:.3f} ms", wanted

    def rps(key: str, wanted: str = "") -> tuple[str, str, str]:
        return key, f"{figures[key]:.0f} /s", wanted

    return [
        ms("direct_p50_ms"),
        ms("carried_p50_ms"),
        ms("carried_p99_ms"),
        ms("added_p50_ms", f"<= {WANTED['added_p50_ms']} ms"),
        ms("carried_unary_p50_ms"),
        ms("http_p50_ms"),
        ms("routed_p50_ms"),
        ms("routed_added_p50_ms", f"<= {WANTED['routed_added_p50_ms']} ms"),
        ms("bare_p50_ms"),
        ms("bare_added_p50_ms"),
        ms("bare_many_added_p50_ms"),
        ms("hop_p50_ms"),
        rps("direct_rps"),
        rps("http_rps"),
        rps("routed_rps"),
        ("routed_of_direct", f"{figures['routed_of_direct']:.2f}", ">= 0.9"),
        ("routed_of_http", f"{figures['routed_of_http']:.2f}", ">= 0.9"),
        rps("unary_rps", f">= {WANTED['unary_rps']} /s"),
        rps("stream_rps", f">= {WANTED['stream_rps']} /s"),
        rps("bare_unary_rps"),
        rps("bare_stream_rps"),
        rps("bare_unary_batched_rps"),
        rps("bare_stream_batched_rps"),
    ]
