"""`tango simulate` as a user runs it: repeatable, side by side, interrupted, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.e2e

SMALL = Path(__file__).parents[2] / "configs" / "scenarios" / "small.toml"
COMMON = {
    "requests", "latency_ms", "services", "jobs", "nodes", "policies", "seed", "duration_s",
}  # fmt: skip
SHORT = ("--duration", "12", "--set", "warmup_s=2")


def tango(*words: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tango.cli.main", *words],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )


def simulate(*words: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return tango("simulate", str(SMALL), *words, hash_seed=hash_seed)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_small_scenario_as_it_ships(tmp_path: Path) -> None:
    report, html = tmp_path / "r.json", tmp_path / "r.html"
    done = simulate("--report", str(report), "--html", str(html))
    assert done.returncode == 0, done.stderr
    found = read(report)
    assert set(found) == COMMON
    counts = found["requests"]
    ended = sum(counts[name] for name in ("completed", "late", "rejected", "failed"))
    assert ended == counts["sent"] > 10_000
    assert found["duration_s"] == 50
    assert set(found["nodes"]) == {"a-1", "a-2", "b-1", "b-2"}
    # 150 of 2 ms and 60 of 12 ms at each of two sites: 2.04 of 8 cores, by a bursty load.
    lc_s = sum(node["lc_cpu_seconds"] for node in found["nodes"].values())
    assert lc_s / 50 / 8 == pytest.approx(0.255, rel=0.2)
    assert found["jobs"]["succeeded"] > 20
    assert "light" in done.stdout
    assert "<svg" in html.read_text()


def test_the_same_seed_gives_the_same_log_and_figures_byte_by_byte(tmp_path: Path) -> None:
    made = []
    for number, hash_seed in enumerate(("1", "2")):
        log, report = tmp_path / f"{number}.jsonl", tmp_path / f"{number}.json"
        words = ("--log", str(log), "--report", str(report))
        done = simulate(*SHORT, *words, hash_seed=hash_seed)
        assert done.returncode == 0, done.stderr
        made.append((log.read_bytes(), report.read_bytes()))
    assert made[0] == made[1]
    assert len(made[0][0].splitlines()) > 1000
    other = tmp_path / "other.jsonl"
    assert simulate(*SHORT, "--log", str(other), "--set", "seed=2").returncode == 0
    assert other.read_bytes() != made[0][0]


def test_policies_side_by_side_give_the_same_in_one_process_and_in_several(
    tmp_path: Path,
) -> None:
    texts = []
    for processes in ("1", "3"):
        folder = tmp_path / processes
        folder.mkdir()
        words = (
            "--policies", "least-loaded,round-robin", "--ablate", "reassurance", "--seeds", "2",
            "--report", str(folder / "r.json"), "--html", str(folder / "r.html"),
            "--log", str(folder / "d.jsonl"), "-j", processes,
        )  # fmt: skip
        done = simulate(*SHORT, *words)
        assert done.returncode == 0, done.stderr
        assert "round-robin:most-free" in done.stdout
        texts.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert texts[0] == texts[1]
    assert sum(name.startswith("d.small.") for name in texts[0]) == 6
    found = json.loads(texts[0]["r.json"])
    assert [(run["variant"], run["seed"]) for run in found["runs"]][:4] == [
        ("least-loaded:most-free", 1),
        ("round-robin:most-free", 1),
        ("least-loaded:most-free without reassurance", 1),
        ("least-loaded:most-free", 2),
    ]
    (group,) = found["comparison"]["groups"]
    assert [each["variant"] for each in group["variants"]] == [
        "least-loaded:most-free",
        "round-robin:most-free",
        "least-loaded:most-free without reassurance",
    ]
    # One run of it alone has the same figures as among others.
    alone = tmp_path / "alone.json"
    words = ("--policies", "round-robin", "--set", "seed=2", "--report", str(alone))
    assert simulate(*SHORT, *words).returncode == 0
    among = found["runs"][4]
    assert read(alone) == {key: among[key] for key in COMMON}


def interrupt(
    *words: str, after: str, processes: int = 0, pause_s: float = 0.0
) -> tuple[int, str, str]:
    """SIGINT to the whole group, as a terminal sends it, pause_s after `after` is on its stderr.

    processes: at least so many that it must have started, and ended, by then.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tango.cli.main", "simulate", str(SMALL), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    seen = ""
    try:
        while after not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        time.sleep(pause_s)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= processes
        os.killpg(process.pid, signal.SIGINT)
        out, error = process.communicate(timeout=60)
        end = time.monotonic() + 10
        while left := [one for one in started if runs(one)]:
            assert time.monotonic() < end, left
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, out, seen + error


def runs(process: psutil.Process) -> bool:
    """A zombie does not: who has inherited it may be slow to look."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_ctrl_c_gives_the_report_so_far(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    words = ("--duration", "100000", "--report", str(report))
    code, out, error = interrupt(*words, after="requests\n")
    assert code == 130, error
    assert "the run was ended before its time; this is the report so far" in error
    found = read(report)
    assert set(found) == COMMON
    assert 0 < found["duration_s"] < 100_000
    assert found["requests"]["sent"] > 0
    assert "light" in out


def test_ctrl_c_ends_a_comparison_with_what_is_done(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    words = (
        *SHORT, "--policies", "nearest,scoring", "--seeds", "200", "-j", "2",
        "--report", str(report),
    )  # fmt: skip
    code, _, error = interrupt(*words, after=" runs done | small", processes=2)
    assert code == 130, error
    assert "of 400 runs came to their end; this is the report so far" in error
    found = read(report)
    assert found["comparison"]["missing_runs"] > 300
    ended = [run for run in found["runs"] if not run["stopped"]]
    assert len(ended) == 400 - found["comparison"]["missing_runs"]


@pytest.mark.parametrize("pause_s", [0.1, 0.3])
def test_ctrl_c_while_the_processes_of_runs_start(tmp_path: Path, pause_s: float) -> None:
    """They are interrupted with the group, before they can say that they wait for their parent."""
    report = tmp_path / "r.json"
    words = ("--duration", "100000", "--seeds", "2", "-j", "2", "--report", str(report))
    code, out, error = interrupt(*words, after="what is left\n", pause_s=pause_s)
    assert code == 130, error
    assert "Traceback" not in error
    assert "0 of 2 runs came to their end; this is the report so far" in error
    assert "stopped: " in out
    assert read(report)["comparison"]["missing_runs"] == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("seeds", ["1", "2"])
def test_a_log_on_a_full_disk_is_one_line(tmp_path: Path, seeds: str) -> None:
    log = tmp_path / "d.jsonl"
    log.symlink_to("/dev/full")
    for seed in ("1", "2"):
        name = f"d.small.least-loaded-most-free.seed-{seed}.jsonl"
        (tmp_path / name).symlink_to("/dev/full")
    done = simulate(*SHORT, "--log", str(log), "--seeds", seeds, "-j", "2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "--log: cannot be written: No space left on device" in done.stderr


def test_what_is_wrong_is_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    text = SMALL.read_text()
    broken.write_text(text.replace("least-loaded", "luckiest"))
    trace = tmp_path / "t.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5,1,x\n")
    traced = tmp_path / "traced.toml"
    load = f'trace = "azure-llm"\nfile = "{trace}"\n'
    pattern = text[text.index('pattern = "steady"') : text.index("rate = 60\n")] + "rate = 60\n"
    traced.write_text(text.replace(pattern, load))
    line = text[: text.index("least-loaded")].count("\n") + 1
    report = str(tmp_path / "r.json")
    cases: dict[tuple[str, ...], str] = {
        (str(broken),): f"tango: {broken}:{line}: policies.traffic: no policy is named 'luckiest'",
        (str(traced),): f"tango: {trace}:2: GeneratedTokens: 'x' is not a number",
        (str(tmp_path / "no.toml"),): "cannot be read: No such file or directory",
        (str(SMALL), "--policies", "luck"): "--policies: no policy is named 'luck'",
        (str(SMALL), "--set", "lod=1"): "--set: lod: is not a known key",
        (str(SMALL), "--html", "/nowhere/r.html"): "there is no folder /nowhere",
        (str(SMALL), "--log", "/nowhere/d"): "there is no folder /nowhere",
    }
    for words, error in cases.items():
        done = tango("simulate", *words, "--report", report)
        assert done.returncode == 1
        assert error in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not Path(report).exists()


def test_broken_rows_are_left_out_if_asked_and_that_is_said(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    rows = "".join(f"2023-11-16 18:15:{second}.5,100,10\n" for second in range(10, 20))
    trace.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}2023-11-16 18:15:11,1,1\n")
    text = SMALL.read_text()
    pattern = text[text.index('pattern = "steady"') : text.index("rate = 60\n")] + "rate = 60\n"
    traced = tmp_path / "traced.toml"
    traced.write_text(text.replace(pattern, f'trace = "azure-llm"\nfile = "{trace}"\n'))
    report = tmp_path / "r.json"
    words = ("--skip-bad-rows", "--set", "warmup_s=0", "--duration", "15", "--report", str(report))
    done = tango("simulate", str(traced), *words)
    assert done.returncode == 0, done.stderr
    assert f"1 broken rows of {trace} are left out, the first: {trace}:12: " in done.stderr
    assert f"1 broken rows of {trace} are left out" in done.stdout
    found = read(report)
    assert found["services"]["heavy"]["requests"]["sent"] == 10
    assert found["skipped_rows"] == {str(trace): 1}


def test_what_is_asked_in_vain_is_said_before_it_runs_and_on_the_page(tmp_path: Path) -> None:
    html = tmp_path / "r.html"
    words = ("--set", "services[1].memory=9Gi", "--set", "topology.neighbours=3")
    done = simulate(*SHORT, *words, "--html", str(html))
    assert done.returncode == 0, done.stderr
    before, _, _ = done.stderr.partition("tango: small, ")
    warnings = [line for line in before.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert (
        "a replica of heavy with one request takes 9.0 GiB and 1 CPU; any site has at"
        in warnings[0]
    )
    assert "topology.neighbours: is 3, and there is 1 other site; use 1" in warnings[1]
    assert "a replica of heavy with one request takes 9.0 GiB" in html.read_text()
    nothing = ("--set", "services[*].memory=9Gi", "--set", "jobs[0].memory=9Gi")
    done = simulate(*SHORT, *nothing)
    assert done.returncode == 1
    assert "no other service or job fits either: nothing would run" in done.stderr
    assert len(done.stderr.splitlines()) == 1
