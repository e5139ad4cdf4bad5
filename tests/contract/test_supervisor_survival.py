"""What survives: ends until acknowledged, and the payload when its supervisor is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_process import Supervisor, alive, eventually, output, supervised


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with supervised() as found:
        yield found


def restarted(supervisor: Supervisor):
    supervisor.begin()
    client = supervisor.connect()
    client.ok("subscribe")
    return client


def keeps_exit_codes_of_strangers() -> bool:
    release = os.uname().release.split(".")
    return (int(release[0]), int(release[1])) >= (6, 15)


def test_ends_are_listed_again_until_acknowledged(supervisor):
    client = supervisor.connect()
    client.ok("subscribe")
    for number in range(3):
        client.start(f"job-{number}", "sh", "-c", f"exit {number}")
        client.event("exited", f"job-{number}")
    assert client.ok("ack", key="job-1")["ok"]
    before = client.records()
    first = client.ok("hello")["incarnation"]
    supervisor.kill()
    client = restarted(supervisor)
    assert client.ok("hello")["incarnation"] > first
    assert client.records() == before
    assert {key: each["exit_code"] for key, each in before.items()} == {"job-0": 0, "job-2": 2}
    # Acknowledged keys are remembered as well.
    assert client.call("start", key="job-1", argv=["true"], env={})["code"] == "GONE"
    assert client.ok("start", key="job-2", argv=["true"], env={})["duplicate"] is True
    assert client.ok("ack", key="job-2")["duplicate"] is False


def test_running_attempts_are_adopted_with_their_output_and_stopped_as_before(supervisor):
    client = supervisor.connect()
    record = client.start("long-1", "sh", "-c", "while :; do echo tick; sleep 0.02; done")
    eventually(lambda: output(record).count("tick") > 2)
    supervisor.kill()
    time.sleep(0.2)  # it goes on writing: no SIGPIPE while nobody reads
    assert alive(record["pid"])
    written = output(record).count("tick")
    client = restarted(supervisor)
    found = client.records()["long-1"]
    assert (found["pid"], found["state"], found["adopted"]) == (record["pid"], "running", True)
    again = client.ok("start", key="long-1", argv=["true"], env={})
    assert again["duplicate"] is True
    # Also what it wrote in between is in the log.
    eventually(lambda: output(record).count("tick") > written + 8)
    client.ok("stop", key="long-1", grace_s=5)
    ended = client.event("exited", "long-1")
    assert ended["reason"] == "stopped"
    assert ended["cpu_s"] is None
    assert not alive(record["pid"])


def test_the_end_of_an_adopted_attempt(supervisor, tmp_path):
    """Its exit code is known where the kernel keeps it (6.15), else it is lost, never invented."""
    client = supervisor.connect()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    client.start("kept-1", "sh", "-c", f"read x < {gate}; exit 5")
    killed = client.start("kept-2", "sleep", "600")
    supervisor.kill()
    client = restarted(supervisor)
    gate.write_text("go\n")
    os.kill(killed["pid"], signal.SIGKILL)
    first, second = client.event("exited", "kept-1"), client.event("exited", "kept-2")
    if keeps_exit_codes_of_strangers():
        assert (first["exit_code"], first["reason"]) == (5, "exited")
        assert (second["signal"], second["reason"]) == (9, "signalled")
    else:
        assert (first["exit_code"], first["reason"]) == (None, "lost")
        assert (second["signal"], second["reason"]) == (None, "lost")


def test_what_ended_while_nobody_watched_is_lost_once_and_its_tree_gone(supervisor):
    client = supervisor.connect()
    record = client.start("gone-1", "sh", "-c", "sleep 600 & echo $!; wait")
    sleeper = int(eventually(lambda: output(record)))
    supervisor.kill()
    os.kill(record["pid"], signal.SIGKILL)
    eventually(lambda: not alive(record["pid"]))
    assert alive(sleeper)
    client = restarted(supervisor)
    ended = eventually(lambda: client.records()["gone-1"]["state"] == "ended" and client.records())
    assert ended["gone-1"]["reason"] == "lost"
    assert ended["gone-1"]["exit_code"] is None
    assert not alive(sleeper)
    supervisor.kill()
    client = restarted(supervisor)
    assert client.records() == ended


@pytest.mark.parametrize("change", ["start_time", "boot_id"])
def test_another_process_with_the_same_pid_is_not_touched(supervisor, change):
    """The pid is alive, but belongs to what started at another time, or the boot was another."""
    client = supervisor.connect()
    client.ok("subscribe")
    client.start("other-1", "true")
    client.event("exited", "other-1")
    supervisor.kill()
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        stat = Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()
        record = json.loads((supervisor.state / "ends/other-1.json").read_text())
        record.update(key="other-2", pid=stranger.pid, start_time=int(stat[19]), state="running")
        record[change] = record[change] + 1 if change == "start_time" else "another-boot"
        (supervisor.state / "runs/other-2.json").write_text(json.dumps(record))
        ended = restarted(supervisor).records()["other-2"]
        assert (ended["state"], ended["reason"]) == ("ended", "lost")
        assert alive(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_half_written_and_broken_files_do_no_harm(supervisor):
    client = supervisor.connect()
    client.ok("subscribe")
    client.start("whole-1", "true")
    client.event("exited", "whole-1")
    client.ok("ack", key="whole-1")
    supervisor.kill()
    state = supervisor.state
    (state / "runs/torn-1.json.tmp").write_text('{"key": "to')
    (state / "runs/broken-1.json").write_text("{")
    (state / "runs/alien-1.json").write_text('{"key": "alien-1", "pid": "x"}')
    (state / "ends/broken-2.json").write_bytes(b"\xff\x00")
    (state / "runs/not a key!.json").write_text("{}")
    with (state / "acked").open("a") as file:
        file.write("torn-tail")
    (state / "pipes/left-over").write_text("")
    client = restarted(supervisor)
    records = client.records()
    assert set(records) == {"broken-1", "alien-1", "broken-2"}
    assert {each["reason"] for each in records.values()} == {"lost"}
    assert not (state / "runs/torn-1.json.tmp").exists()
    assert not (state / "pipes/left-over").exists()
    assert client.call("start", key="whole-1", argv=["true"], env={})["code"] == "GONE"
    client.start("torn-tail", "true")
    for key in records:
        client.ok("ack", key=key)


def test_nothing_runs_that_is_not_on_disk(supervisor):
    """A record that cannot be written: refused, and the program never ran."""
    client = supervisor.connect()
    runs = supervisor.state / "runs"
    runs.rmdir()
    mark = supervisor.state / "mark"
    reply = client.call("start", key="void-1", argv=["/usr/bin/touch", str(mark)], env={})
    assert reply["code"] == "INTERNAL"
    assert "runs" in reply["error"]
    time.sleep(0.1)
    assert not mark.exists()
    runs.mkdir()
    assert client.ok("start", key="void-1", argv=["/usr/bin/touch", str(mark)], env={})
    eventually(mark.exists)


def test_an_end_is_told_and_written_later_when_the_disk_refuses(supervisor):
    client = supervisor.connect()
    client.ok("subscribe")
    ends = supervisor.state / "ends"
    ends.rmdir()
    client.start("late-1", "sh", "-c", "exit 4")
    assert client.event("exited", "late-1")["exit_code"] == 4
    ends.mkdir()
    written = eventually(lambda: list(ends.glob("late-1.json")))
    assert json.loads(written[0].read_text())["exit_code"] == 4
    eventually(lambda: not (supervisor.state / "runs/late-1.json").exists())


def test_everything_is_private(supervisor):
    client = supervisor.connect()
    client.ok("subscribe")
    client.start("mode-1", "echo", "hi")
    client.event("exited", "mode-1")
    for path in [supervisor.state, *supervisor.state.rglob("*")]:
        if path.name != "stderr":  # the test's own
            assert path.stat().st_mode & 0o077 == 0, path
    assert Path(supervisor.socket).stat().st_mode & 0o777 == 0o600
