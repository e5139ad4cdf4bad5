"""`tango bench agent`: what worker and supervisor of a node take for themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path

import click
import uvloop

from tango.cli.benches.figures import BenchFailed, Figures, bench_options, check_report, conclude
from tango.cli.benches.process_cpu import cpu_s
from tango.cli.benches.programs import cluster_of_one, program, stop_and_wait
from tango.model.job import JobSpec, TaskSpec
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster

WANTED_RSS_MIB = 64.0
WANTED_CPU_PERCENT = 2.0
START_S = 60.0
SETTLE_S = 3.0
PROC = Path("/proc")


@click.command()
@bench_options
@click.option(
    "--groups", default=50, show_default=True, type=click.IntRange(1, 500),
    help="Tasks that run on the node, each in a group of its own.",
)  # fmt: skip
@click.option(
    "--duration", default=10.0, show_default=True, type=click.FloatRange(1, 600),
    help="Seconds that each of the two is measured for.",
)  # fmt: skip
def agent(report: Path | None, seed: int, groups: int, duration: float) -> None:
    """Memory and CPU of a node's worker and supervisor beside tasks that sleep.

    An embedded cluster of one node runs the tasks. The worker is measured as it comes there, with
    a control report every 100 ms and a metrics endpoint; then again after a restart with a report
    every second and no endpoint, which is what a configuration has that does not ask for one. All
    groups are read for the listing every second in both. RSS counts what the two share (the
    interpreter's own pages) twice; PSS divides it.
    """
    check_report(report)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(cluster_of_one())
        uvloop.run(_run_tasks(cluster.state_dir, groups))
        worker, config = _worker(cluster)
        supervisor = _supervisor(cluster.state_dir)
        begun = time.perf_counter()
        busy = _Measured((worker, supervisor), duration)
        stop_and_wait(worker)
        log = stack.enter_context((cluster.state_dir / "worker.log").open("wb"))
        config.write_text(_calm(config.read_text()))
        with program("tango.daemons", ("worker", "-c", str(config)), stderr=log) as one:
            uvloop.run(_run_tasks(cluster.state_dir, groups))
            calm = _Measured((one.pid, supervisor), duration)
    figures: Figures = {
        "rss_mib": calm.rss_mib,
        "pss_mib": calm.pss_mib,
        "rss_mib_metrics": busy.rss_mib,
        "cpu_percent": calm.cpu_percent,
        "cpu_percent_100ms": busy.cpu_percent,
        "groups": groups,
    }
    rows = [
        ("rss_mib", f"{calm.rss_mib:.1f} MiB", f"<= {WANTED_RSS_MIB:g} MiB"),
        ("pss_mib", f"{calm.pss_mib:.1f} MiB", ""),
        ("rss_mib_metrics", f"{busy.rss_mib:.1f} MiB", ""),
        ("cpu_percent", f"{calm.cpu_percent:.2f} %", f"<= {WANTED_CPU_PERCENT:g} %"),
        ("cpu_percent_100ms", f"{busy.cpu_percent:.2f} %", ""),
        ("groups", str(groups), ""),
    ]
    conclude(figures, rows, report, seed=seed, duration_s=time.perf_counter() - begun)


class _Measured:
    """CPU over some seconds, memory at their end, of several processes together."""

    def __init__(self, pids: tuple[int, ...], seconds: float) -> None:
        time.sleep(SETTLE_S)
        before, begun = sum(map(cpu_s, pids)), time.perf_counter()
        time.sleep(seconds)
        used, took = sum(map(cpu_s, pids)) - before, time.perf_counter() - begun
        self.cpu_percent = 100 * used / took
        self.rss_mib = sum(_kib(pid, "Rss") for pid in pids) / 1024
        self.pss_mib = sum(_kib(pid, "Pss") for pid in pids) / 1024


def _kib(pid: int, field: str) -> int:
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise BenchFailed(f"the kernel does not tell {field} of process {pid}")


async def _run_tasks(state: Path, groups: int) -> None:
    """Until this many tasks run and the node's listing shows a group for each of them."""
    tasks = tuple(
        TaskSpec(f"t{number}", ("sleep", "3600"), cpu_millis=1, memory_bytes=2**20)
        for number in range(groups)
    )
    limit = time.monotonic() + START_S
    async with Client(state) as client:
        if not (await client.jobs())[0]:
            await client.submit(JobSpec("asleep", tasks))
        while time.monotonic() < limit:
            (node,) = await client.nodes()
            if node.ready and node.report is not None and len(node.report.groups) == groups:
                return
            await asyncio.sleep(0.1)
    raise BenchFailed(f"{groups} tasks did not run within {START_S:.0f} s")


def _worker(cluster: EmbeddedCluster) -> tuple[int, Path]:
    (config,) = (cluster.state_dir / "configs").glob("node-*.toml")
    members = json.loads((cluster.state_dir / "processes.json").read_text())
    (pid,) = (member["pid"] for member in members if member["name"] == config.stem)
    return pid, config


def _calm(toml: str) -> str:
    lines = [line for line in toml.splitlines() if not line.startswith("metrics = ")]
    return "\n".join((*lines, "control_interval_ms = 1000", ""))


def _supervisor(state: Path) -> int:
    for process in PROC.iterdir():
        with contextlib.suppress(OSError):
            argv = (process / "cmdline").read_bytes().split(b"\0")
            if b"tango.supervisor" in argv and any(str(state).encode() in part for part in argv):
                return int(process.name)
    raise BenchFailed("the supervisor was not found")
