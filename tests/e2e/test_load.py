"""`tango load` and `tango top` on a real cluster: accounted for, refused in time, interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster_at_work import ClusterAtWork, burner, idle, until

from tango.model.views import ServiceView
from tango.sdk.client import Client
from tango.sdk.load import LoadRunner, ServiceLoad
from tango.workload.patterns import PatternSpec, arrivals

pytestmark = pytest.mark.e2e

OUTCOMES = ("completed", "late", "rejected", "failed")


def read(path: Path) -> dict[str, Any]:
    """A report whose requests add up."""
    report: dict[str, Any] = json.loads(path.read_text())
    requests = report["requests"]
    assert sum(requests[name] for name in OUTCOMES) == requests["sent"]
    return report


async def counted(client: Client, name: str) -> list[ServiceView]:
    return [view for view in await client.services() if view.spec.name == name]


async def test_a_pattern_is_sent_counted_and_reported(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    await client.apply(burner("worked", "--cpu-ms", "2"), wait_s=30)
    report = tmp_path / "load.json"
    words = ("--rate", "40", "--duration", "2", "--seed", "4", "--report", str(report))
    done = await asyncio.to_thread(cluster.cli, "load", "worked", *words)
    assert done.returncode == 0, done.stderr
    found = read(report)
    planned = len(list(arrivals(PatternSpec("steady", 40, 2), random.Random(4))))
    assert found["requests"]["sent"] == found["requests"]["completed"] == planned
    assert found["services"]["worked"]["requests"] == found["requests"]
    assert found["duration_s"] == pytest.approx(2.0, abs=0.5)
    assert set(found["nodes"]) == {"a1", "b1"}
    # The edges counted the same, in turn over both sites, and each node worked for its half.
    views = await counted(client, "worked")
    assert sum(view.counts.sent for view in views) == planned
    assert abs(views[0].counts.sent - views[1].counts.sent) <= 1
    for node in found["nodes"].values():
        assert node["lc_cpu_seconds"] >= 0.002 * (planned // 2) * 0.9
    assert "answered within the deadline" in done.stdout
    assert "load on worked at site-a, site-b: steady" in done.stderr


async def test_what_cannot_be_sent_is_refused_before_anything_is(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    await client.apply(burner("refused", "--cpu-ms", "1"), wait_s=30)
    trace = tmp_path / "trace.csv"
    header = "TIMESTAMP,ContextTokens,GeneratedTokens"
    good = [f"2023-11-16 18:15:4{second}.5,100,10" for second in range(5)]
    trace.write_text("\n".join([header, *good, "2023-11-16 18:15:49,many,10"]))
    cases = {
        ("nobody",): "service 'nobody' is unknown; there are: ",
        ("refused", "--site", "site-z"): "site 'site-z' is unknown",
        ("refused", "--rate", "0"): "--rate: 0 is out of range",
        ("refused", "--trace", str(trace)): f"{trace}:7: ContextTokens: 'many' is not a number",
        ("refused", "--trace", str(trace), "--rate", "5"): "--rate: goes with --pattern only",
        ("refused", "--report", "/nowhere/r.json"): "there is no folder /nowhere",
    }
    for words, error in cases.items():
        done = await asyncio.to_thread(cluster.cli, "load", *words)
        assert done.returncode == 1
        assert error in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert all(view.counts.sent == 0 for view in await counted(client, "refused"))

    words = ("--speed-up", "10", "--skip-bad-rows", "--site", "site-a")
    done = await asyncio.to_thread(cluster.cli, "load", "refused", "--trace", str(trace), *words)
    assert done.returncode == 0, done.stderr
    assert "1 broken rows are left out" in done.stderr
    assert [view.counts.sent for view in await counted(client, "refused")] == [5, 0]


async def test_ctrl_c_ends_the_load_with_its_report(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    await client.apply(burner("cut-short", "--cpu-ms", "1"), wait_s=30)
    report = tmp_path / "cut.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "tango.cli.main", "load", "cut-short", "--rate", "50",
         "--duration", "600", "--report", str(report)],
        env={**os.environ, "TANGO_STATE": str(cluster.state_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:

        async def begun() -> bool:
            return any(view.counts.sent > 5 for view in await counted(client, "cut-short"))

        await until(begun, "the load to begin")
        process.send_signal(signal.SIGINT)
        out, error = await asyncio.to_thread(process.communicate, timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, error
    assert "ended before its time" in error
    assert "cut-short: " in out
    assert 5 < read(report)["requests"]["sent"] < 50 * 600


async def test_a_load_goes_on_where_an_edge_is_killed_and_comes_back(
    cluster: ClusterAtWork, client: Client
) -> None:
    await client.apply(burner("survivor", "--cpu-ms", "1"), wait_s=30)
    load = ServiceLoad(
        "survivor",
        arrivals(PatternSpec("steady", 40, 600), random.Random(1)),
        10.0,
        ("site-a", "site-b"),
        timeout_s=20.0,
    )
    runner = LoadRunner(client, [load])
    running = asyncio.create_task(runner.run())
    tally = runner.record.services["survivor"].tally
    await until(lambda: tally.sent > 20, "the load to begin")
    try:
        cluster.kill("site-a")
        await until(lambda: "site-a" in runner.record.snapshot.away, "the loss to be seen")
        top = await asyncio.to_thread(cluster.cli, "top")
        assert top.returncode == 0
        assert "AWAY  site-a: nothing answers" in top.stdout
        assert "site-b" in top.stdout
    finally:
        cluster.start_again("site-a")

    async def served() -> bool:
        return any(view.edge == "site-a" and view.counts.completed > 5
                   for view in runner.record.snapshot.services)  # fmt: skip

    await until(served, "site-a to be loaded again")
    runner.stop()
    await running
    counts = tally.counts()
    assert counts.failed > 0
    assert counts.completed > 0
    assert sum(getattr(counts, name) for name in OUTCOMES) == counts.sent
    await idle(client, "survivor")
