"""`tango bench placement`: pods placed a second, each seeing the one before, and how time grows."""

from __future__ import annotations

import random
import time
from pathlib import Path

import click

from tango.adapters.policies import placement_plugins
from tango.algorithms.placement.cluster import Cluster, ImageRow, NodeRow
from tango.algorithms.placement.delays import SiteDelays
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.profile import DEFAULT, Profile
from tango.algorithms.placement.room import Room
from tango.cli.benches.figures import BenchFailed, Figures, bench_options, check_report, conclude
from tango.workload.latency import LatencyHistogram

WANTED_PER_S = 2000
WANTED_AT = 5000
GROWTH = (100, 1000, 5000, 20_000)
GROWTH_PODS = 1000
SCORING = frozenset({"fit", "spread", "delay", "layers", "cores"})
NODES_PER_SITE = 40
GROUPS = 100
IMAGES = 60
BASES = 12
MIB = 2**20
GIB = 2**30


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
    figures |= {"pods_per_s": per_s, "p50_ms": p50, "p99_ms": p99, "us_per_node": us}
    wanted = f">= {WANTED_PER_S} /s" if nodes == WANTED_AT else ""
    rows = [
        (f"{pods} pods on {nodes} nodes", f"{per_s:.0f} /s", wanted),
        ("  one placement", f"p50 {p50:.3f} ms, p99 {p99:.3f} ms", ""),
        ("  per node and decision", f"{us:.3f} us", "about 0.1 us"),
    ]
    for size in GROWTH:
        count = min(pods, GROWTH_PODS, 8 * size)
        per_s, times, spent = _run(size, count, seed)
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
    rng = random.Random(seed)
    cluster = random_cluster(nodes, rng)
    asked = random_pods(pods, cluster, rng)
    placer = placer_of(Room(cluster))
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


def placer_of(room: Room, profile: Profile = DEFAULT) -> Placer:
    """A placer with this profile, its plugins found by entry point."""
    return Placer(room, profile, placement_plugins(use.plugin for use in profile.plugins))


def random_cluster(size: int, rng: random.Random) -> Cluster:
    """As the command's help says; each node holds a few of the images."""
    n_sites = -(-size // NODES_PER_SITE)
    site_of = [number // NODES_PER_SITE for number in range(size)]
    places = [(rng.random(), rng.random()) for _ in range(n_sites)]
    between = [
        [0.001 + 0.042 * ((x - u) ** 2 + (y - v) ** 2) ** 0.5 for u, v in places] for x, y in places
    ]
    bases = [
        [(f"base{base}-{part}", rng.randrange(1, 40) * MIB) for part in range(3)]
        for base in range(BASES)
    ]
    images = [
        ImageRow(
            f"image{number}",
            (
                *rng.choice(bases),
                *(
                    (f"layer{number}-{part}", rng.randrange(1000, 60 * MIB))
                    for part in range(rng.randrange(2, 7))
                ),
            ),
        )
        for number in range(IMAGES)
    ]
    rows = []
    for number in range(size):
        cores = rng.choice((8, 16, 32, 64))
        held = rng.sample(range(IMAGES), 4)
        rows.append(
            NodeRow(
                f"n{number:06d}", cores * 1000, cores * 4 * GIB, site=f"s{site_of[number]:04d}",
                labels=(("zone", f"z{number % 7}"),), images=tuple(f"image{one}" for one in held),
            )
        )  # fmt: skip
    return Cluster(rows, images=images, delays=SiteDelays(site_of, between, 0.0005))


def random_pods(count: int, cluster: Cluster, rng: random.Random) -> list[Pod]:
    """Pods as the command's help says."""
    return [
        Pod(
            f"p{number}",
            memory_bytes=rng.randrange(64, 2048) * MIB,
            cores=rng.randrange(1, 3),
            ports=(rng.randrange(8000, 8050),) if rng.random() < 0.2 else (),
            group=f"g{number % GROUPS}",
            images=(f"image{rng.randrange(IMAGES)}",),
            near=cluster.names[rng.randrange(cluster.size)],
            bound_s=rng.uniform(0.02, 0.05),
        )
        for number in range(count)
    ]
