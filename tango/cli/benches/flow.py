"""`tango bench flow`: time of one DSS-LC solve, from the snapshot to the plan."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import click
import uvloop

from tango.adapters.helper_solver import HelperSolver
from tango.adapters.policies import traffic_policy
from tango.cli.benches.figures import BenchFailed, Figures, bench_options, check_report, conclude
from tango.daemons.lifecycle import tune_collector
from tango.model.plan import Demand, NodeOffer, TrafficPlan, TrafficPolicy, TrafficSnapshot
from tango.workload.latency import LatencyHistogram

# (services, nodes, requests) -> what the median may take, in milliseconds.
WANTED_MS = {(10, 1000, 10_000): 15.0, (3, 40, 120): 1.0}
LAG_SIZE = (50, 1000, 10_000)
LAG_REPEATS = 10
TICK_S = 0.001
WANTED_LAG_MS = 5.0
GROWTH = ((3, 40, 120), (3, 1000, 3000), (10, 100, 1000), (10, 1000, 10_000), (50, 1000, 10_000))


@click.command()
@bench_options
@click.option("--services", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option("--nodes", default=1000, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--requests", default=10_000, show_default=True, type=click.IntRange(1, 10**6),
              help="Queued requests of all services together.")  # fmt: skip
@click.option("--repeats", default=30, show_default=True, type=click.IntRange(1, 1000))
@click.option("--policy", default="dss-lc", show_default=True, help="Another traffic policy.")
def flow(
    report: Path | None, seed: int, services: int, nodes: int, requests: int, repeats: int,
    policy: str,
) -> None:  # fmt: skip
    """Time of one solve: reading the snapshot, building the graph, solving, describing the plan.

    Each repeat has a snapshot of its own: nodes of 2 to 16 cores with some load, 1 to 30 ms away,
    each with replicas of all services; demands of 1 to 500 millicores a request. The other sizes
    show how the time grows.
    """
    check_report(report)
    found = traffic_policy(policy)
    begun = time.perf_counter()
    asked = (services, nodes, requests)
    figures: Figures = {}
    rows = []
    for size in dict.fromkeys((asked, *GROWTH)):
        p50, p99 = _times(found, size, repeats if size == asked else min(repeats, 10), seed)
        words = f"{size[0]} services, {size[1]} nodes, {size[2]} requests"
        wanted = f"<= {WANTED_MS[size]:g} ms" if size in WANTED_MS else ""
        rows.append((words, f"p50 {p50:.2f} ms, p99 {p99:.2f} ms", wanted))
        if size == asked:
            figures |= {"p50_ms": p50, "p99_ms": p99}
        figures["p50_ms_{}x{}x{}".format(*size)] = p50
    lag_p99, helper_p50 = uvloop.run(_loop_lag(found, seed))
    words = "loop lag during solves of {} x {} in the helper".format(*LAG_SIZE)
    rows.append((words, f"p99 {lag_p99:.2f} ms", f"<= {WANTED_LAG_MS:g} ms"))
    rows.append(("  those solves, from asked to answered", f"p50 {helper_p50:.2f} ms", ""))
    figures |= {"loop_lag_p99_ms": lag_p99, "helper_p50_ms": helper_p50}
    figures |= {
        "services": services, "nodes": nodes, "requests": requests, "repeats": repeats,
        "policy": policy,
    }  # fmt: skip
    conclude(figures, rows, report, seed=seed, duration_s=time.perf_counter() - begun)


def _times(
    policy: TrafficPolicy, size: tuple[int, int, int], repeats: int, seed: int
) -> tuple[float, float]:
    times = LatencyHistogram()
    for number in range(repeats + 1):
        snapshot = random_snapshot(*size, seed * 1000 + number)
        begun = time.perf_counter()
        plan = policy.route(snapshot)
        took = time.perf_counter() - begun
        if not plan.routes:
            raise BenchFailed("nothing was routed")
        if number:  # the first one pays for imports
            times.add(took * 1000)
    p50, p99 = times.percentiles(50, 99)
    return p50, p99


async def _loop_lag(policy: TrafficPolicy, seed: int) -> tuple[float, float]:
    """p99 of how late a loop's timers are while large solves run, and the median of these, in ms.

    Each solve is told all of its offers: nothing is the same as in the one before. Garbage is
    collected as in a daemon.
    """
    loop = asyncio.get_running_loop()
    tune_collector()
    solver = HelperSolver()
    await solver.start(policy)
    lags, times = LatencyHistogram(), LatencyHistogram()
    try:
        for number in range(LAG_REPEATS):
            snapshot = random_snapshot(*LAG_SIZE, seed * 1000 + number)
            answered: asyncio.Future[TrafficPlan | Exception] = loop.create_future()
            begun = loop.time()
            solver.route(policy, snapshot, lambda plan, _, to=answered: to.set_result(plan))  # type: ignore[misc]
            while not answered.done():
                due = loop.time() + TICK_S
                await asyncio.sleep(TICK_S)
                lags.add(1000 * max(0.0, loop.time() - due))
            plan = await answered
            if isinstance(plan, Exception):
                raise BenchFailed(f"the solve failed: {plan!r}")
            times.add(1000 * (loop.time() - begun))
    finally:
        await solver.close()
    return lags.percentiles(99)[0], times.percentiles(50)[0]


def random_snapshot(services: int, nodes: int, requests: int, seed: int) -> TrafficSnapshot:
    """One tick of a busy edge, as the command's help says."""
    rng = random.Random(seed)
    names = [f"s{number}" for number in range(services)]
    demands = tuple(
        Demand(
            name, requests // services, rng.choice((1, 10, 50, 200, 500)), 2**20,
            rng.randrange(3), service_s=rng.uniform(0.001, 0.05),
        )
        for name in names
    )  # fmt: skip
    offers = []
    for number in range(nodes):
        load = rng.random()
        cores = rng.randrange(2, 17)
        slots = tuple((name, rng.randrange(1, 33)) for name in names)
        offers.append(
            NodeOffer(
                f"n{number}", round(cores * 1000 * (1 - load)), rng.randrange(2**26, 2**32), slots,
                load, rng.uniform(0.001, 0.03), 0.0, "" if number % 10 else "peer",
            )
        )  # fmt: skip
    return TrafficSnapshot(demands, tuple(offers), seed)
