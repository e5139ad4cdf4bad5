"""`tango bench placement`: pods placed a second, each seeing the one before, and how time grows."""

from __future__ import annotations

import random
import time
from pathlib import Path

import click

from tango.cli.benches.figures import BenchFailed, Figures, bench_options, check_report, conclude
from tango.workload.latency import LatencyHistogram

WANTED_PER_S = 2000
WANTED_AT = 5000
GROWTH = (100, 1000, 5000, 20_000)
GROWTH_PODS = 1000
SCORING = frozenset({"fit", "spread", "delay", "layers", "cores"})


@click.command()
@bench_options
@click.option("--nodes", default=5000, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--pods", default=5000, show_default=True, type=click.IntRange(1, 1_000_000))
def placement(report: Path | None, seed: int, nodes: int, pods: int) -> None:
    """Placements a second on one core, with the default profile and all that a decision records.

    Sites of 40 nodes of 8 to 64 cores, 1 to 60 ms apart. Each pod wants 1 or 2 cores of its own,
    memory, an image of 5 to 9 layers, some a port, to be within 20 to 50 ms of some node, and apart
    from the other pods of its group. All nodes are looked at for each pod, none is sampled. Fit,
    spread, delay, layers and cores score every pod; it fails if one did not, or a pod found no
    room. The other sizes show how the time grows.
    """
    check_report(report)
    begun = time.perf_counter()
    figures: Figures = {}
    per_s, times, spent = _run(nodes, pods, seed)
    p50, p99 = times.percentiles(50, 99)
    us = spent / pods / nodes * 1e6
    figures |= {"pods_per_s": per_s, "p50_ms": p50, "p99_ms": p99}
    figures |= {"pods_per_cpu_s": pods / spent, "us_per_node": us}
    wanted = f">= {WANTED_PER_S} /s" if nodes == WANTED_AT else ""
    rows = [
        (f"{pods} pods on {nodes} nodes", f"{per_s:.0f} /s", wanted),
        ("  one placement", f"p50 {p50:.3f} ms, p99 {p99:.3f} ms", ""),
        ("  per second of CPU, where others want it too", f"{pods / spent:.0f}", ""),
        ("  per node and decision", f"{us:.3f} us", "about 0.1 us"),
    ]
    for size in GROWTH:
        count = min(pods, GROWTH_PODS, 8 * size)
        per_s, times, _ = _run(size, count, seed)
        p50, p99 = times.percentiles(50, 99)
        figures |= {f"pods_per_s_{size}": per_s, f"p50_ms_{size}": p50, f"p99_ms_{size}": p99}
        rows.append(
            (
                f"{count} pods on {size} nodes",
                f"{per_s:.0f} /s, p50 {p50:.3f} ms, p99 {p99:.3f} ms",
                "",
            )
        )
    figures |= {"nodes": nodes, "pods": pods}
    conclude(figures, rows, report, seed=seed, duration_s=time.perf_counter() - begun)


def _run(nodes: int, pods: int, seed: int) -> tuple[float, LatencyHistogram, float]:
    """Pods a second, milliseconds of each, CPU seconds of all: this thread's, and it has one."""
    try:  # it needs numpy, and `tango bench --help` does not
        from tango.cli.benches.placement_cluster import (
            GROUPS,
            placer_of,
            random_cluster,
            random_pods,
        )
    except ModuleNotFoundError as error:
        raise BenchFailed(f"needs {error.name}; install the extra `solver`") from None
    rng = random.Random(seed)
    cluster = random_cluster(nodes, rng)
    asked = random_pods(pods, cluster, rng)
    placer = placer_of(cluster)
    times = LatencyHistogram()
    decisions = []
    begun, cpu = time.perf_counter(), time.thread_time()
    last = begun
    for pod in asked:
        decisions.append(placer.place(pod))
        now = time.perf_counter()
        times.add((now - last) * 1000)
        last = now
    took, spent = last - begun, time.thread_time() - cpu
    for decision in decisions[GROUPS:]:
        silent = SCORING - {plugin for plugin, *_ in decision.scores}
        if not decision.node or silent:
            raise BenchFailed(decision.reason or f"{sorted(silent)} did not score {decision.pod}")
    return pods / took, times, spent
