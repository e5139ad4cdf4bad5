"""`tango` as people and programs use it: help, tables and JSON that agree, up and down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from cluster_at_work import (
    ClusterAtWork,
    job,
    processes_of,
    running,
    service,
    tango,
    wait_for,
)

from tango.cli.main import COMMANDS
from tango.cli.main import tango as group
from tango.model.errors import NotFound
from tango.sdk.cluster_file import ClusterFile
from tango.sdk.sync_client import SyncClient

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = CliRunner().invoke(group, [name, "--help"], prog_name="tango")
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"Usage: tango {name} ")
    assert len(done.output.splitlines()[2]) > 20, "and says what it does"


def test_the_program_itself() -> None:
    assert tango("--version").stdout.startswith("tango, version ")
    overview = tango("--help").stdout
    assert overview.startswith("Usage: tango [OPTIONS] COMMAND")
    assert all(f"  {name} " in overview for name in COMMANDS)
    unknown = tango("aply")
    assert unknown.returncode == 2
    assert "Usage: tango " in unknown.stderr
    assert "No such command 'aply'" in unknown.stderr


@pytest.fixture(scope="module")
def busy(cluster: ClusterAtWork) -> Iterator[ClusterAtWork]:
    """A cluster with a service, and one job of each end."""
    with SyncClient(cluster.state_dir) as client:
        client.apply(service("web", replicas=2), wait_s=30)
        for _ in range(3):
            client.call("web")
        for spec in (job("/bin/true", name="good"), job("/bin/false", name="bad")):
            client.wait(client.submit(spec).job_id)
        client.submit(job("/bin/true", name="huge", cpu_millis=100_000))
        wait_for(lambda: any("NeverFits" in each.reason for each in client.jobs()[0]), "a reason")
    return cluster


def table(cluster: ClusterAtWork, *words: str) -> list[dict[str, str]]:
    """Rows of a table by heading, cut where the headings begin."""
    done = cluster.cli(*words)
    assert done.returncode == 0, done.stderr
    heading, *lines = done.stdout.splitlines()
    names = [name.strip() for name in heading.split("  ") if name.strip()]
    starts = [heading.index(name) for name in names]
    ends = [*starts[1:], None]
    rows = [
        {
            name: line[start:end].strip()
            for name, start, end in zip(names, starts, ends, strict=True)
        }
        for line in lines
    ]
    # A cell that is too long goes on in the next line, where the first cell is empty.
    return [row for row in rows if row[names[0]]]


def test_nodes_and_edges(busy: ClusterAtWork) -> None:
    nodes: list[dict[str, Any]] = busy.json("get", "nodes")
    rows = table(busy, "get", "nodes")
    assert [row["NODE"] for row in rows] == [node["node"] for node in nodes] == ["a1", "b1"]
    assert [row["SITE"] for row in rows] == [node["edge"] for node in nodes]
    assert {row["STATUS"] for row in rows} == {"ready"}
    assert [row["REPLICAS"] for row in rows] == [str(node["replicas"]) for node in nodes]
    assert [row["ENFORCEMENT"] for row in rows] == [node["enforcement"] for node in nodes]
    assert all(node["capacity"]["cpu_millis"] >= 100 for node in nodes)

    edges: list[dict[str, Any]] = busy.json("get", "edges")
    rows = table(busy, "get", "edges")
    assert [row["SITE"] for row in rows] == [edge["edge"] for edge in edges]
    assert {row["STATUS"] for row in rows} == {"connected"}
    assert {row["NODES"] for row in rows} == {"1/1"}
    assert [row["ADDRESS"] for row in rows] == [edge["address"] for edge in edges]


def test_services(busy: ClusterAtWork) -> None:
    services: list[dict[str, Any]] = busy.json("get", "services")
    rows = table(busy, "get", "services")
    assert [row["SITE"] for row in rows] == [view["edge"] for view in services]
    for row, view in zip(rows, services, strict=True):
        assert row["SERVICE"] == view["spec"]["name"] == "web"
        assert row["READY"] == "2/2" == f"{view['ready']}/{view['spec']['replicas']}"
        assert row["DEADLINE"] == "10000 ms"
        assert row["SENT"] == row["IN TIME"] == str(view["counts"]["completed"])
        assert row["REASON"] == view["reason"] == ""
    assert sum(view["counts"]["sent"] for view in services) == 3


def test_jobs(busy: ClusterAtWork) -> None:
    listed: dict[str, Any] = busy.json("get", "jobs")
    rows = table(busy, "get", "jobs")
    jobs = listed["jobs"]
    assert [row["JOB"] for row in rows] == [each["job_id"] for each in jobs]
    assert [row["STATE"] for row in rows] == [each["state"] for each in jobs]
    assert [row["STATE"] for row in rows] == ["succeeded", "failed", "pending"]
    assert [row["EXIT"] for row in rows] == ["0", "1", "-"]
    assert rows[1]["REASON"] == jobs[1]["reason"] == "exit code 1"
    assert rows[2]["REASON"].startswith("NeverFits: ")
    counts = {name: number for name, number in listed["counts"].items() if name != "cpu_s"}
    assert sum(counts.values()) == 3
    only = busy.json("get", "jobs", "--job-state", "failed")["jobs"]
    assert [each["state"] for each in only] == ["failed"]
    newest = busy.cli("get", "jobs", "--limit", "1")
    assert "2 of 3 jobs, with all that have not ended; --limit shows more" in newest.stderr


def test_describe_cordon_and_uncordon(busy: ClusterAtWork) -> None:
    def said(*words: str, status: int = 0) -> str:
        # In this process: starting Python for each of these would take longer than all else.
        words = (*words, "--state", str(busy.state_dir))
        done = CliRunner().invoke(group, words, standalone_mode=False)
        assert (done.return_value or 0) == status, done.output
        assert done.exception is None
        return done.output

    job = busy.json("get", "jobs")["jobs"][0]["job_id"]
    assert "Attempt:      " in said("describe", "job", job)
    service = said("describe", "service", "web", "--site", "site-a")
    assert "Replicas:     2 ready of 2" in service
    assert "web-g1-1" in service
    (node,) = json.loads(said("describe", "node", "a1", "-o", "json"))
    assert {one["status"]["replica_id"] for one in node["replicas"]} == {"web-g1-0", "web-g1-1"}
    assert "Status:       connected" in said("describe", "edge", "site-b")
    for kind in ("job", "service", "node", "edge"):
        done = CliRunner().invoke(group, ["describe", kind, "none", "--state", str(busy.state_dir)])
        assert isinstance(done.exception, NotFound)
        assert f"{kind} 'none' is unknown" in str(done.exception)

    assert said("policy").startswith("site-a routes by least-loaded\ninstalled there too: dss-lc, ")
    assert "which a restart goes back to" in said("policy", "nearest", "--site", "site-b")
    back = json.loads(said("policy", "least-loaded", "--site", "site-b", "-o", "json"))
    assert (back["edge"], back["policy"]) == ("site-b", "least-loaded")

    assert said("cordon", "b1") == "node b1 of site-b: ready, cordoned\n"
    assert "ready, cordoned" in said("get", "nodes")
    assert "Status:       ready, cordoned" in said("describe", "node", "b1")
    assert json.loads(said("uncordon", "b1", "-o", "json"))["cordoned"] is False
    done = CliRunner().invoke(group, ["cordon", "x9", "--state", str(busy.state_dir)])
    assert "node 'x9' is unknown; known: a1, b1" in str(done.exception)


def test_call_and_jobs_from_the_shell(busy: ClusterAtWork, tmp_path: Path) -> None:
    done = busy.cli("call", "web", "--path", "/well", "--verbose")
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert "completed: HTTP 200 from web-g1-" in done.stderr
    (tmp_path / "body").write_text("a body")
    done = busy.cli("call", "web", "--path", "/echo", "--data", f"@{tmp_path}/body", "--site",
                    "site-b", "-o", "json")  # fmt: skip
    reply = json.loads(done.stdout)
    assert (reply["body"], reply["node"], reply["outcome"]) == ("a body", "b1", "completed")
    done = busy.cli("call", "web", "--path", "/echo", "--data", "@-", "--stream", stdin="streamed")
    assert (done.returncode, done.stdout) == (0, "streamed")

    done = busy.cli("submit", "--wait", "-o", "json", "--name", "shell", "--",
                    "/bin/sh", "-c", "echo said; exit 3")  # fmt: skip
    assert done.returncode == 1
    (submitted,) = json.loads(done.stdout)
    assert submitted["tasks"][0]["exit_code"] == 3
    assert busy.cli("logs", submitted["job_id"]).stdout == "said\n"
    watched = busy.cli("watch", "job", submitted["job_id"])
    assert watched.returncode == 1
    assert watched.stdout == f"{submitted['job_id']}: failed (exit code 3)\n"
    (cancelled,) = busy.json("cancel", submitted["job_id"])
    assert cancelled["state"] == "failed", "what has ended stays as it is"
    replica = busy.json("get", "services")[0]["replicas"][0]["status"]["replica_id"]
    assert busy.cli("logs", replica).returncode == 0

    picture = busy.cli("top", "--once")
    assert picture.returncode == 0, picture.stderr
    for words in ("a1", "b1", "web", "2 of 2 nodes ready"):
        assert words in picture.stdout
    piped = subprocess.run(
        f"'{sys.executable}' -m tango.cli.main get jobs --state '{busy.state_dir}' | head -n 1",
        shell=True, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert piped.stdout.startswith("JOB")
    assert "Traceback" not in piped.stderr


def test_up_twice_and_down_twice(tmp_path: Path) -> None:
    state = tmp_path / "state"
    cluster = ClusterAtWork(state)
    nothing = tango("down", state=state)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert f"no cluster of `tango up` is at {state}" in nothing.stderr
    up = tango("up", "--detach", "--sites", "1", state=state)
    assert up.returncode == 0, up.stderr
    assert "central master, 1 site, 1 node by" in up.stdout
    pids = {process.pid for process in processes_of(state)}
    again = tango("up", "--detach", "--sites", "1", state=state)
    assert again.returncode == 1
    assert again.stderr.startswith(f"tango: a cluster already runs in {state}: `tango down` stops")
    assert {process.pid for process in processes_of(state)} == pids, "the first one runs on"
    submitted = tango("submit", "--name", "long", "--", "sleep", "600", state=state)
    assert submitted.returncode == 0, submitted.stderr
    wait_for(lambda: "running" in tango("get", "jobs", state=state).stdout, "the job to run")
    down = tango("down", state=state)
    assert (down.returncode, down.stdout) == (
        0,
        f"stopped {state}; services and jobs are kept there for the next up\n",
    )
    assert cluster.left_behind() == []
    down = tango("down", state=state)
    assert down.returncode == 1
    too_many = tango("up", "--detach", "--reserve", "1000", state=state)
    assert too_many.returncode == 1
    assert "tango: reserve: " in too_many.stderr
    assert cluster.left_behind() == []
    # What ran goes on, and that costs it no retry: it has none.
    try:
        assert tango("up", "--detach", "--sites", "1", state=state).returncode == 0
        wait_for(lambda: "running" in tango("get", "jobs", state=state).stdout, "it to run again")
        (job,) = json.loads(tango("get", "jobs", "-o", "json", state=state).stdout)["jobs"]
        (task,) = job["tasks"]
        assert (task["attempt"], task["failures"]) == (2, 0)
        assert task["moved"] == "its node was shut down"
    finally:
        assert tango("down", state=state).returncode == 0


def test_up_takes_the_batch_policy(tmp_path: Path) -> None:
    """It must be one that is installed, and a job says that it was placed by it."""
    state = tmp_path / "state"
    unknown = tango("up", "--detach", "--batch", "most-fre", state=state)
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("tango: --batch: no policy is named 'most-fre'; use one of: ")
    assert not state.exists()
    up = tango("up", "--detach", "--sites", "1", "--batch", "profile", state=state)
    assert up.returncode == 0, up.stderr
    try:
        submitted = tango("submit", "--name", "short", "--", "true", state=state)
        assert submitted.returncode == 0, submitted.stderr
        wait_for(lambda: "short" in tango("get", "jobs", state=state).stdout, "the job to be there")
        name = next(
            line.split()[0]
            for line in tango("get", "jobs", state=state).stdout.splitlines()
            if line.startswith("short")
        )
        wait_for(
            lambda: "succeeded" in tango("get", "jobs", state=state).stdout, "the job to succeed"
        )
        told = tango("explain", name, state=state).stdout
        assert ": profile scored it " in told
        assert "; fit " in told
    finally:
        assert tango("down", state=state).returncode == 0


def test_ctrl_c_on_up_leaves_nothing(tmp_path: Path) -> None:
    """Also where it is pressed again and again, as people do."""
    state = tmp_path / "state"
    process = subprocess.Popen(
        [sys.executable, "-m", "tango.cli.main", "up", "--sites", "1", "--state", str(state)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        for _ in range(50):
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert ClusterAtWork(state).left_behind() == []


def test_up_starts_a_dead_daemon_again_and_goes_with_its_terminal(tmp_path: Path) -> None:
    state = tmp_path / "state"
    cluster = ClusterAtWork(state)
    said = tmp_path / "said"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tango.cli.main", "up", "--sites", "1", "--state", str(state)],
            stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        before = cluster.pid("node-a1")
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: "node-a1 is started again" in said.read_text(), "the worker's return")
        assert "tango: node-a1 was killed by signal 9; it is started" in said.read_text()
        assert cluster.pid("node-a1") != before
        wait_for(lambda: cluster.json("get", "nodes")[0]["ready"], "the node to be ready")
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
    assert cluster.left_behind() == []


def test_up_completes_a_detached_cluster_that_lost_a_daemon(tmp_path: Path) -> None:
    with running(tmp_path / "state", sites=1) as cluster:
        cluster.kill("site-a")
        away = cluster.cli("get", "nodes")
        assert away.returncode == 1
        assert away.stdout.startswith("NODE"), "a table all the same"
        assert "tango: site-a is not in this list: " in away.stderr
        again = cluster.cli("up", "--detach")
        assert (again.returncode, again.stdout) == (0, "started again: site-a\n"), again.stderr
        here = cluster.cli("get", "nodes")
        assert here.returncode == 0, f"up returned before the edge served: {here.stderr}"
        assert " ready " in here.stdout, here.stdout
        job = cluster.cli("submit", "--", "sleep", "300").stdout.split()[1].rstrip(":")
        said = tmp_path / "watched"
        with (
            said.open("w") as file,
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tango.cli.main",
                    "watch",
                    "job",
                    job,
                    "--state",
                    str(cluster.state_dir),
                ],
                stdout=file,
                stderr=file,
            ) as watch,
        ):
            wait_for(lambda: job in said.read_text(), "the watch to begin")
            cluster.kill("central")
            wait_for(lambda: "does not answer" in said.read_text(), "the watch to notice")
            again = cluster.cli("up", "--detach")
            assert (again.returncode, again.stdout) == (0, "started again: central\n"), again.stderr
            listed = cluster.cli("get", "jobs")
            assert listed.returncode == 0, f"up returned before central served: {listed.stderr}"
            wait_for(lambda: "answers again" in said.read_text(), "the watch to go on")
            assert cluster.cli("cancel", job).returncode == 0
            assert watch.wait(30) == 1
        assert "cancelled" in said.read_text().splitlines()[-1]
        # One that somebody started by hand belongs to the cluster as well.
        cluster.kill("central")
        config = cluster.state_dir / "configs" / "central.toml"
        with subprocess.Popen(
            [sys.executable, "-m", "tango.cli.main", "central", "-c", str(config)],
            stderr=subprocess.DEVNULL,
        ) as central:
            wait_for(lambda: cluster.cli("get", "edges").returncode == 0, "central to answer")
            assert cluster.cli("down").returncode == 0
            assert central.wait(10) == 0


def test_down_leaves_alone_what_up_did_not_start(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("an-operators-own-token")
    (tmp_path / "cluster.json").write_text("{}")
    done = tango("down", state=tmp_path)
    assert done.returncode == 1
    assert token.read_text() == "an-operators-own-token"
    assert (tmp_path / "cluster.json").exists()


def test_up_ends_when_its_cluster_is_stopped_elsewhere_and_touches_no_other(tmp_path: Path) -> None:
    state = tmp_path / "state"
    words = [sys.executable, "-m", "tango.cli.main", "up", "--workers", "1", "--state", str(state)]
    first = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        for line in first.stdout:
            if "Ctrl-C" in line:
                break
        # It looks five times a second, and must not take the next cluster for its own.
        first.send_signal(signal.SIGSTOP)
        assert tango("down", state=state).returncode == 0
        assert tango("up", "--detach", "--workers", "1", state=state).returncode == 0
        first.send_signal(signal.SIGCONT)
        _, said = first.communicate(timeout=20)
        assert first.returncode == 0
        assert "it was stopped elsewhere, as by `tango down`" in said
        assert tango("get", "nodes", state=state).returncode == 0
    finally:
        first.kill()
        first.wait()
        tango("down", state=state)


def test_submit_that_waits_tells_what_for(tmp_path: Path) -> None:
    with running(tmp_path / "state", sites=1) as cluster:
        process = subprocess.Popen(
            [sys.executable, "-m", "tango.cli.main", "submit", "--cpu", "500", "--wait",
             "--state", str(cluster.state_dir), "--", "true"],
            stderr=subprocess.PIPE, text=True,
            # In a background job of a shell Ctrl-C is ignored, and so it would be here.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "NeverFits" in line:
                    break
            job_id = line.split()[1].rstrip(":")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait()
        assert f"job {job_id} goes on; `tango cancel {job_id}` ends it" in said
        assert process.returncode == 130


def test_a_client_that_is_not_open_says_so() -> None:
    client = SyncClient(cluster=ClusterFile("127.0.0.1:1", (), "/nonexistent"))
    with pytest.raises(RuntimeError, match="use it as `with SyncClient"):
        client.nodes()


def test_a_state_directory_that_cannot_be_made() -> None:
    done = tango("up", "--detach", state=Path("/proc/nowhere"))
    assert done.returncode == 1
    assert done.stderr.startswith("tango: --state: cannot make /proc/nowhere: ")


def test_down_after_everything_was_killed(tmp_path: Path) -> None:
    """Payload has lost every daemon and its supervisor; `down` finds and ends it all the same."""
    state = tmp_path / "state"
    cluster = ClusterAtWork(state)
    cluster.start(sites=1)
    try:
        with SyncClient(state) as client:
            (view,) = client.apply(service("left", replicas=2), wait_s=30)
            said = ("/bin/sh", "-c", 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 600')
            client.submit(job(*said, str(tmp_path / "pid")))
            wait_for((tmp_path / "pid").exists, "the job to begin")
        payload = {replica.status.pid for replica in view.replicas}
        payload.add(int((tmp_path / "pid").read_text()))
        daemons = processes_of(state)
        assert len(daemons) == 4
        for process in daemons:
            process.kill()
        wait_for(lambda: not processes_of(state), "the daemons to die")
        assert all(map(psutil.pid_exists, payload))
    finally:
        done = tango("down", state=state)
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(map(psutil.pid_exists, payload))
    assert cluster.left_behind() == []
