"""`tango bench resize`: from the edge's decision to the value in the kernel's quota file."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from tango.adapters.cgroup_detect import detect
from tango.cli.benches.figures import (
    BenchFailed,
    Figures,
    bench_options,
    check_report,
    conclude,
)
from tango.cli.benches.path import service
from tango.cli.benches.programs import cluster_of_one, next_line, program
from tango.model.service import QuotaMode, ServiceSpec
from tango.ports import Cgroups
from tango.sdk.client import Client
from tango.workload.latency import LatencyHistogram

WANTED_P99_MS = 5.0
QUOTA_FILES = ("cpu.cfs_quota_us", "cpu.max")


@click.command()
@bench_options
@click.option(
    "--samples", default=500, show_default=True, type=click.IntRange(1, 100_000),
    help="Quotas that are seen to grow.",
)  # fmt: skip
@click.option(
    "--services", default=16, show_default=True, type=click.IntRange(1, 64),
    help="Services in turn: one takes half a second to be back at its base.",
)  # fmt: skip
def resize(report: Path | None, seed: int, samples: int, services: int) -> None:
    """Time from the edge's decision to the new CPU quota in the kernel.

    An embedded cluster runs services whose quota follows their requests (base 100m, 1000m a
    request). A sample: a service at its base gets one request; the clock starts just before the
    client sends it, and stops when another process, which reads the replica's quota file every
    0.1 ms, sees another value. That is an upper bound: the edge decides only after the request has
    come from the client, and the value stands before it is seen.
    """
    check_report(report)
    with cluster_of_one() as cluster:
        found = detect(cluster.cgroup_root)
        if found.cgroups is None:
            raise BenchFailed(f"no control groups here: {found.reason}")
        with found.cgroups as cgroups:
            figures, seconds = uvloop.run(
                _measure(cluster.state_dir, cgroups, samples, services, seed)
            )
    rows = [
        ("p50_ms", f"{figures['p50_ms']:.3f} ms", ""),
        ("p99_ms", f"{figures['p99_ms']:.3f} ms", f"<= {WANTED_P99_MS:g} ms"),
        ("max_ms", f"{figures['max_ms']:.3f} ms", ""),
        ("watch_gap_p99_ms", f"{figures['watch_gap_p99_ms']:.3f} ms", ""),
        ("samples", str(figures["samples"]), ""),
    ]
    conclude(figures, rows, report, seed=seed, duration_s=seconds)


async def _measure(
    state: Path, cgroups: Cgroups, samples: int, services: int, seed: int
) -> tuple[Figures, float]:
    names = [f"bench-{number}" for number in range(min(services, samples))]
    latencies, gaps = LatencyHistogram(), LatencyHistogram()
    order = random.Random(seed)
    async with Client(state) as client:
        for name in names:
            await client.apply(_following(name))
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(client.apply(_following(name), wait_s=60))
        files = _quota_files(cgroups, names)
        with program("tango.cli.benches.quota_watch", files) as watcher:
            begun = time.perf_counter()
            for number in range(samples):
                # Not in step with any timer of the daemons.
                await asyncio.sleep(order.uniform(0, 0.005))
                index = number % len(names)
                latency_ms, gap_ms = await _sample(client, names[index], watcher, index)
                latencies.add(latency_ms)
                gaps.add(gap_ms)
            seconds = time.perf_counter() - begun
    p50, p99 = latencies.percentiles(50, 99)
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": latencies.max_ms,
        "samples": latencies.count,
        "watch_gap_p99_ms": gaps.percentiles(99)[0],
        "services": len(names),
    }, seconds


async def _sample(
    client: Client, name: str, watcher: subprocess.Popen[str], index: int
) -> tuple[float, float]:
    """Milliseconds from before the call to the value, and between the watcher's two reads."""
    assert watcher.stdin is not None
    watcher.stdin.write(f"{index}\n")
    watcher.stdin.flush()
    said = await asyncio.to_thread(next_line, watcher)
    if said != "base":
        raise BenchFailed(f"{name}: {said}")
    sent = time.monotonic_ns()
    await client.call(name)
    said = await asyncio.to_thread(next_line, watcher)
    try:
        seen, gap = (int(text) for text in said.split())
    except ValueError:
        raise BenchFailed(f"{name}: {said}") from None
    return (seen - sent) / 1e6, gap / 1e6


def _following(name: str) -> ServiceSpec:
    return replace(
        service(name),
        cpu_per_request_millis=1000,
        concurrency=8,
        quota=QuotaMode.FOLLOW,
        quota_base_millis=100,
    )


def _quota_files(cgroups: Cgroups, names: Sequence[str]) -> list[str]:
    """The kernel's file of each service's only replica."""
    files = []
    for name in names:
        replicas = [
            group for group in cgroups.groups() if group.rpartition("/")[0].endswith(f"/{name}")
        ]
        for group in replicas:
            for procs in cgroups.procs_files(group):
                for file in QUOTA_FILES:
                    with contextlib.suppress(FileNotFoundError):
                        files.append(str((Path(procs).parent / file).resolve(strict=True)))
    if len(files) != len(names):
        raise BenchFailed(f"{len(files)} quota files of {len(names)} replicas found")
    return files
