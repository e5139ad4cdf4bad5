"""`tango bench` as a user runs it, briefly: what its reports hold, and that nothing stays."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster_at_work import CGROUPS, tango

from tango.adapters.cgroup_detect import detect
from tango.sdk.embedded import EmbeddedCluster

pytestmark = pytest.mark.e2e

OF_EVERY_REPORT = {"seed", "duration_s", "machine"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, since sockets are in it; nothing that a benchmark made may be left in it."""
    made = Path(tempfile.mkdtemp(prefix="tb-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def bench(folder: Path, *words: str, fails: bool = False, starts: bool = True) -> Any:
    """Run it with `folder` for temporary files; its report. Checks that it leaves nothing.

    fails: it may end with 1, where what it found is out of bounds. starts: whether it starts
    processes, with a directory for their state.
    """
    report = folder / "report.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "tango.cli.main", "bench", *words, "--report", str(report)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    states = set()
    end = time.monotonic() + 60
    try:
        while process.poll() is None:
            assert time.monotonic() < end
            states.update(folder.glob("tango-bench-*"))
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            process.terminate()
        said, _ = process.communicate(timeout=30)
    assert process.returncode in ((0, 1) if fails else (0,)), said
    assert "FIGURE" in said
    assert list(folder.iterdir()) == [report]
    assert states or not starts
    roots = [EmbeddedCluster(state).cgroup_root for state in states]
    assert [path for root in roots for path in CGROUPS.glob(f"*/{root}")] == []
    assert started_in(folder) == []
    figures = json.loads(report.read_text())
    if fails:
        assert figures["holds"] == (process.returncode == 0)
    assert figures.keys() >= OF_EVERY_REPORT
    assert figures["seed"] == 5
    assert figures["duration_s"] > 0
    assert figures["machine"]
    return figures


def started_in(folder: Path) -> list[psutil.Process]:
    """What inherited the folder for temporary files and still runs."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder):
                found.append(process)
    return found


def test_path_measures_carried_direct_and_bare_requests(folder: Path) -> None:
    figures = bench(folder, "path", "--duration", "0.3", "--seed", "5")
    assert 0 < figures["direct_p50_ms"] < figures["carried_p50_ms"] <= figures["carried_p99_ms"]
    added = figures["carried_p50_ms"] - figures["direct_p50_ms"]
    assert figures["added_p50_ms"] == pytest.approx(added, abs=0.001)
    routed = figures["routed_p50_ms"] - figures["direct_p50_ms"]
    assert figures["routed_added_p50_ms"] == pytest.approx(routed, abs=0.001)
    assert figures["routed_directly"] > 0.5, "most of them need no edge"
    rates = ("direct", "routed", "unary", "stream", "bare_unary", "bare_stream")
    for name in [f"{one}_rps" for one in rates]:
        assert figures[name] > 20, name
    assert figures["clients"] == 64


def test_resize_sees_each_quota_grow(folder: Path) -> None:
    figures = bench(folder, "resize", "--samples", "8", "--services", "3", "--seed", "5")
    assert figures["samples"] == 8
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"] < 1000


def test_submit_measures_rate_and_lag(folder: Path) -> None:
    figures = bench(folder, "submit", "--duration", "0.5", "--in-flight", "8", "--seed", "5")
    assert figures["submits_per_s"] > 10
    # Eight in flight, each commit takes 50 ms: never more than that, or the delay is not there.
    assert 0 < figures["slow_submits_per_s"] <= 8 / 0.05
    assert 0 <= figures["loop_lag_p50_ms"] <= figures["loop_lag_p99_ms"]


def test_agent_measures_worker_and_supervisor(folder: Path) -> None:
    figures = bench(folder, "agent", "--groups", "5", "--duration", "1", "--seed", "5")
    # Two interpreters take no less; pages that they share count once in PSS, twice in RSS.
    assert 30 < figures["pss_mib"] * 1.2 < figures["rss_mib"]
    assert figures["rss_mib"] <= 64, "the promise to every node"
    assert 0 < figures["cpu_percent"] < 50
    assert 0 < figures["cpu_percent_100ms"] < 50
    assert figures["groups"] == 5


def _has_cpuset() -> bool:
    with tempfile.TemporaryDirectory(prefix="tb-") as name:
        found = detect(EmbeddedCluster(Path(name)).cgroup_root).cgroups
        if found is None:
            return False
        with found:
            usable = "cpuset" in found.features().controllers
            found.remove("")
        return usable


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes a core for the nodes alone")
def test_calibrate_sets_a_real_load_beside_its_simulation(folder: Path) -> None:
    if not _has_cpuset():
        pytest.skip("no control groups with cpuset here: they take root, or a delegated tree")
    words = ("--seconds", "2", "--warm-up", "1", "--loads", "40", "--seed", "5")
    figures = bench(folder, "calibrate", *words, fails=True)
    pairs = {pair["name"]: pair for pair in figures["pairs"]}
    assert list(pairs) == ["alone", "saturation", "40%"]
    assert pairs["40%"]["rate"] == pytest.approx(0.4 * figures["saturation_per_s"])
    for name, pair in pairs.items():
        real, simulated = pair["real"], pair["simulated"]
        assert real["sent"] == simulated["sent"] > 5, name
        assert real["completed"] > 0, name
        assert real["lc_cpu"] > 0, name
        assert (real["be_cpu"] > 0) == (simulated["be_cpu"] > 0) == (name != "alone"), name
    measured = figures["measured_ms"]
    # Ten of them are the burner's own; HTTP comes on top.
    assert 10 < measured["request_cpu"] < 20
    assert 0 < measured["direct"] < measured["carried"]
    assert 0 < measured["edge_cpu"] < measured["carried"]
    assert {one["what"] for one in figures["errors"]["40%"]} >= {"qos", "cpu", "p95_ms"}


def test_placement_measures_the_size_asked_for_and_how_it_grows(folder: Path) -> None:
    figures = bench(
        folder, "placement", "--nodes", "40", "--pods", "150", "--seed", "5", starts=False
    )
    assert (figures["nodes"], figures["pods"]) == (40, 150)
    assert figures["pods_per_s"] > 100
    assert figures["pods_per_cpu_s"] > 500
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert 0 < figures["p50_ms_100"] < figures["p50_ms_20000"]


def test_a_report_that_cannot_be_written_is_told_before_anything_starts(folder: Path) -> None:
    begun = time.monotonic()
    done = tango("bench", "resize", "--report", str(folder / "nowhere" / "report.json"))
    assert done.returncode == 1
    assert done.stderr.startswith("tango: --report: ")
    assert time.monotonic() - begun < 5


def test_simulate_measures_requests_a_second_and_memory(folder: Path) -> None:
    small = Path(__file__).parents[2] / "configs" / "scenarios" / "small.toml"
    figures = bench(
        folder, "simulate", "--scenario", str(small), "--requests", "10000", "--seed", "5"
    )
    # The pattern's mean rate is known, not how many requests a seed makes of it.
    assert 6000 < figures["requests"] < 16_000
    assert 200 < figures["short_requests"] < 3000
    assert figures["requests_per_s"] == pytest.approx(
        figures["requests"] / figures["wall_s"], rel=0.01
    )
    assert figures["load_requests_per_s"] >= figures["requests_per_s"] > 0
    assert figures["logged_requests_per_s"] > 0
    assert figures["log_mib"] > 0.1
    assert 0.2 < figures["time_growth"] < 5
    assert 10 < figures["short_rss_mib"] < figures["rss_mib"] * 1.2 < 500
