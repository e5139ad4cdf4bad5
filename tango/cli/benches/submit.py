"""`tango bench submit`: durable submits a second, and whether a slow disk holds up the loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click
import uvloop

from tango.cli.benches.figures import (
    BenchFailed,
    Figures,
    bench_options,
    check_report,
    conclude,
)
from tango.cli.benches.load_loops import Rate
from tango.cli.benches.programs import (
    ended_by_sigterm,
    free_port,
    next_line,
    program,
    scratch_dir,
)
from tango.model.job import JobSpec, TaskSpec
from tango.sdk.client import Client
from tango.sdk.cluster_file import ClusterFile
from tango.sdk.embedded_plan import central_toml

WANTED_PER_S = 200
WANTED_LAG_P99_MS = 10.0
START_S = 20.0
JOB = JobSpec("bench", (TaskSpec("only", ("true",)),))


@click.command()
@bench_options
@click.option(
    "--duration", default=5.0, show_default=True, type=click.FloatRange(0.1, 600),
    help="Seconds that each of the two is measured for.",
)  # fmt: skip
@click.option(
    "--in-flight", default=64, show_default=True, type=click.IntRange(1, 4096),
    help="Submits under way at the same time.",
)  # fmt: skip
@click.option(
    "--fsync-ms", default=50.0, show_default=True, type=click.FloatRange(0, 10_000),
    help="What each commit of the slow store takes longer.",
)  # fmt: skip
def submit(
    report: Path | None, seed: int, duration: float, in_flight: int, fsync_ms: float
) -> None:
    """Durable submits a second at a central master, and its loop's lag with a slow disk.

    First `tango central` itself, alone, with its real store: no site is connected, so the jobs wait
    and nothing runs. Then the same daemon with a store whose commits take --fsync-ms longer, where
    a ticker in the daemon's event loop measures how much later than asked it comes back.
    """
    check_report(report)
    begun = time.perf_counter()
    with ended_by_sigterm(), scratch_dir() as directory:
        with _central(directory / "fast", "tango.cli.main", ("central", "-c")) as (cluster, _):
            per_s = uvloop.run(_submits(cluster, in_flight, duration))
        slow = _central(directory / "slow", "tango.cli.benches.slow_central", (), (str(fsync_ms),))
        with slow as (cluster, process):
            slow_per_s = uvloop.run(_submits(cluster, in_flight, duration, process))
            lag = _lag(process)
    figures: Figures = {
        "submits_per_s": per_s,
        "loop_lag_p99_ms": lag["p99"],
        "loop_lag_p50_ms": lag["p50"],
        "loop_lag_max_ms": lag["max"],
        "slow_submits_per_s": slow_per_s,
        "fsync_ms": fsync_ms,
        "in_flight": in_flight,
    }
    rows = [
        ("submits_per_s", f"{per_s:.0f} /s", f">= {WANTED_PER_S} /s"),
        (f"slow_submits_per_s (fsync {fsync_ms:g} ms)", f"{slow_per_s:.0f} /s", ""),
        ("loop_lag_p50_ms", f"{lag['p50']:.3f} ms", ""),
        ("loop_lag_p99_ms", f"{lag['p99']:.3f} ms", f"<= {WANTED_LAG_P99_MS:g} ms"),
        ("loop_lag_max_ms", f"{lag['max']:.3f} ms", ""),
    ]
    conclude(figures, rows, report, seed=seed, duration_s=time.perf_counter() - begun)


@contextlib.contextmanager
def _central(
    directory: Path, module: str, before: tuple[str, ...], after: tuple[str, ...] = ()
) -> Iterator[tuple[ClusterFile, subprocess.Popen[str]]]:
    """A central master that serves, with a state directory of its own."""
    directory.mkdir(mode=0o700)
    token = directory / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_urlsafe(32))
    port = free_port()
    config = directory / "central.toml"
    config.write_text(central_toml(directory, port, free_port()))
    log = directory / "log"
    with (
        log.open("wb") as stderr,
        program(module, (*before, str(config), *after), stderr=stderr) as process,
    ):
        end = time.monotonic() + START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise BenchFailed(f"the central master did not start: {log.read_text()[-1000:]}")
            time.sleep(0.02)
        yield ClusterFile(f"127.0.0.1:{port}", (), str(token)), process


async def _submits(
    cluster: ClusterFile,
    in_flight: int,
    duration: float,
    slow: subprocess.Popen[str] | None = None,
) -> float:
    """Acknowledged submits a second. slow: its lags are counted anew once it is warm."""
    async with Client(cluster=cluster) as client:

        async def one() -> None:
            await client.submit(JOB)

        await Rate(one).run(in_flight, min(0.5, duration))
        if slow is not None:
            await asyncio.to_thread(_lag, slow)
        rate = Rate(one)
        await rate.run(in_flight, duration)
    return rate.per_s


def _lag(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    lags = json.loads(next_line(process))
    if not lags["n"]:
        raise BenchFailed("the central master's loop did not run at all")
    return dict(lags)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
