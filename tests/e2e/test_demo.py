"""`tango demo` as a user runs it: what its report holds, and that nothing stays behind."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster_at_work import ClusterAtWork

pytestmark = pytest.mark.e2e


def demo(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "tango.cli.main", "demo", "--state", str(folder / "state"),
        "--report", str(folder / "demo.json"), *more,
    ]  # fmt: skip


def test_the_demo_shows_what_it_promises_and_cleans_up(tmp_path: Path) -> None:
    drawn = importlib.util.find_spec("matplotlib") is not None
    plot = ["--plot", str(tmp_path / "demo.png")] if drawn else []
    done = subprocess.run(
        demo(tmp_path, "--duration", "8", "--seed", "3", *plot),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ClusterAtWork(tmp_path / "state").left_behind() == []
    report = json.loads((tmp_path / "demo.json").read_text())
    requests = report["requests"]
    parts = sum(requests[name] for name in ("completed", "late", "rejected", "failed"))
    assert parts == requests["sent"] > 50
    assert requests["completed"] > 0
    assert set(report["services"]) == {"light", "heavy"}
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p99"] <= report["latency_ms"]["max"]
    assert report["jobs"]["succeeded"] > 0
    assert report["jobs"]["failed"] == 0
    assert report["jobs"]["cpu_seconds"] > 0
    assert set(report["nodes"]) == {"a1", "b1"}
    for node in report["nodes"].values():
        assert node["lc_cpu_seconds"] > 0
        assert node["be_cpu_seconds"] > 0
        assert node["cpu_utilisation"] > 0
    assert report["policies"] == {"traffic": "least-loaded", "batch": "most-free"}
    assert (report["seed"], report["duration_s"]) == (3, pytest.approx(8.0, abs=0.5))
    if drawn:
        assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    for words in ("What was seen", "IN TIME", "THE MACHINE", "BATCH JOBS"):
        assert words in done.stdout


def test_an_interrupted_demo_reports_and_cleans_up(tmp_path: Path) -> None:
    process = subprocess.Popen(
        demo(tmp_path, "--duration", "600"),
        cwd=tmp_path,  # where the picture goes
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = read_until(process, "of 600 s", 90.0)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert process.returncode == 130, said + rest
    assert ClusterAtWork(tmp_path / "state").left_behind() == []
    requests = json.loads((tmp_path / "demo.json").read_text())["requests"]
    ended = [requests[name] for name in ("completed", "late", "rejected", "failed")]
    assert sum(ended) == requests["sent"] > 0


def read_until(process: subprocess.Popen[str], words: str, patience_s: float) -> str:
    assert process.stdout is not None
    said = ""
    end = time.monotonic() + patience_s
    while words not in said:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
        text = os.read(process.stdout.fileno(), 65536).decode() if ready else ""
        assert text, f"{words!r} did not come: {said}"
        said += text
    return said
