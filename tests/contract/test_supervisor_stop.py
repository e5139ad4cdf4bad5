"""Whole trees end: by stop, by the end of their first process, by shutdown; groups v1 and v2."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_process import PATH, Connection, Supervisor, alive, eventually, output, supervised

V1 = Path("/sys/fs/cgroup/cpu")
V2 = Path("/sys/fs/cgroup/unified")
if not V2.is_dir():
    V2 = Path("/sys/fs/cgroup")

# Forks twice, in a session of its own, and closes everything: what a daemon does. It tells its pid.
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        print("daemon", os.getpid(), flush=True)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        time.sleep(600)
    os._exit(0)
os.wait()
if sys.argv[1:] == ["stay"]:
    time.sleep(600)
time.sleep(0.2)
"""


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with supervised() as found:
        yield found


@pytest.fixture
def client(supervisor: Supervisor) -> Connection:
    connection = supervisor.connect()
    connection.ok("subscribe")
    return connection


def make_group(mount: Path, name: str) -> Path:
    group = mount / f"tango-test-{os.getpid()}-{name}"
    try:
        group.mkdir()
    except OSError as problem:
        pytest.skip(f"no cgroup at {mount}: {problem}")
    if not (group / "cgroup.procs").exists():
        group.rmdir()
        pytest.skip(f"{mount} is no cgroup hierarchy")
    return group


@contextlib.contextmanager
def own_group(mount: Path, name: str) -> Iterator[Path]:
    group = make_group(mount, name)
    try:
        yield group
    finally:
        for each in [*group.rglob("*/"), group]:
            for pid in (each / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        eventually(lambda: not (group / "cgroup.procs").read_text())
        for each in sorted(group.rglob("*/"), reverse=True):
            each.rmdir()
        group.rmdir()


@pytest.fixture(params=["v1", "v2"])
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    mount = {"v1": V1, "v2": V2}[request.param]
    with own_group(mount, request.param) as found:
        yield found


def daemon_pid(record: dict[str, object]) -> int:
    def told() -> int | None:
        words = output(record).split()
        return int(words[words.index("daemon") + 1]) if "daemon" in words else None

    return eventually(told)


def test_in_its_group_before_the_first_instruction(client, group):
    client.start(
        "group-1",
        "cat",
        "/proc/self/cgroup",
        procs_files=[str(group / "cgroup.procs")],
    )
    ended = client.event("exited", "group-1")
    assert ended["cgroup_dirs"] == [str(group)]
    assert any(line.endswith(f":/{group.name}") for line in output(ended).splitlines())


@pytest.mark.parametrize("way", ["stop", "own-end"])
def test_daemons_die_with_their_group(client, group, way):
    record = client.start(
        "tree-1",
        sys.executable,
        "-S",
        "-c",
        DAEMON,
        *(["stay"] if way == "stop" else []),
        procs_files=[str(group / "cgroup.procs")],
    )
    daemon = daemon_pid(record)
    assert alive(daemon)
    if way == "stop":
        reply = client.ok("stop", key="tree-1", grace_s=0.2)
        assert reply["record"]["state"] == "stopping"
    ended = client.event("exited", "tree-1")
    assert not alive(daemon)
    assert (group / "cgroup.procs").read_text() == ""
    assert ended["leftover"] == 0
    assert ended["reason"] == ("stopped" if way == "stop" else "exited")


@pytest.mark.parametrize("way", ["stop", "own-end"])
def test_daemons_die_without_a_group_too(client, way):
    record = client.start(
        "loose-1", sys.executable, "-S", "-c", DAEMON, *(["stay"] if way == "stop" else [])
    )
    daemon = daemon_pid(record)
    if way == "stop":
        client.ok("stop", key="loose-1", grace_s=0.2)
    client.event("exited", "loose-1")
    assert not alive(daemon)


def test_groups_below_are_emptied_too(client, group):
    below = group / "below"
    below.mkdir()
    record = client.start(
        "below-1",
        "sh",
        "-c",
        f"sleep 600 & echo $! > {below}/cgroup.procs; echo daemon $!; wait",
        procs_files=[str(group / "cgroup.procs")],
    )
    sleeper = daemon_pid(record)
    assert alive(sleeper)
    client.ok("stop", key="below-1", grace_s=0)
    client.event("exited", "below-1")
    assert not alive(sleeper)


def test_a_start_in_a_starved_group_delays_nobody_else(client):
    with own_group(V1, "starved") as group:
        try:
            (group / "cpu.cfs_period_us").write_text("400000")
            (group / "cpu.cfs_quota_us").write_text("1000")
        except OSError as problem:
            pytest.skip(f"no CFS quota here: {problem}")
        begin = time.monotonic()
        start = client.send(
            "start",
            key="starved-1",
            argv=[sys.executable, "-S", "-c", ""],
            env={},
            procs_files=[str(group / "cgroup.procs")],
        )
        client.ok("hello")
        record = client.start("quick-1", "true")
        assert record["state"] == "running"
        between = time.monotonic() - begin
        assert client.wait(start)["ok"]
        assert between < 0.4
        client.ok("stop", key="starved-1", grace_s=0)
        client.event("exited", "starved-1")


def test_a_group_that_is_not_the_attempts_own_is_refused(client, group):
    procs = str(group / "cgroup.procs")
    client.start("first-1", "sleep", "600", procs_files=[procs])
    busy = client.call("start", key="second-1", argv=["true"], env={}, procs_files=[procs])
    assert busy["code"] == "CGROUP_BUSY"
    assert "first-1" in busy["error"]
    # In a shared group, that is not killed with the attempt, it is welcome.
    client.start("third-1", "true", procs_files=[procs], cgroup_dirs=[])
    client.event("exited", "third-1")
    assert client.records()["first-1"]["state"] == "running"
    client.ok("stop", key="first-1")
    client.event("exited", "first-1")
    stranger = os.fork()
    if stranger == 0:
        time.sleep(600)
        os._exit(0)
    try:
        (group / "cgroup.procs").write_text(str(stranger))
        busy = client.call("start", key="fourth-1", argv=["true"], env={}, procs_files=[procs])
        assert busy["code"] == "CGROUP_BUSY"
        assert str(stranger) in busy["error"]
        assert alive(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)


def test_stop_lets_a_program_finish_within_its_grace(client):
    record = client.start(
        "polite-1",
        "sh",
        "-c",
        "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.02; done",
    )
    eventually(lambda: "up" in output(record))
    client.ok("stop", key="polite-1", grace_s=5)
    ended = client.event("exited", "polite-1")
    assert (ended["exit_code"], ended["reason"]) == (7, "stopped")
    assert output(ended).endswith("bye\n")
    again = client.ok("stop", key="polite-1")
    assert again["record"]["state"] == "ended"


def test_stop_uses_the_asked_signal(client):
    record = client.start(
        "int-1",
        "sh",
        "-c",
        "trap 'exit 5' INT; echo up; while :; do sleep 0.02; done",
        stop_signal=2,
    )
    eventually(lambda: "up" in output(record))
    client.ok("stop", key="int-1")
    assert client.event("exited", "int-1")["exit_code"] == 5


SAVING = """
import signal, sys, time
def save(*_):
    time.sleep(0.3)
    print("saved")
    sys.exit()
signal.signal(signal.SIGTERM, save)
print("up", flush=True)
time.sleep(60)
"""


def test_a_child_may_use_the_grace_that_its_parent_does_not(client):
    """The shell dies of SIGTERM at once; what it started finishes in order."""
    env = {"PATH": PATH, "INNER": SAVING}
    record = client.start("inner-1", "sh", "-c", f'{sys.executable} -S -c "$INNER"; true', env=env)
    eventually(lambda: "up" in output(record))
    client.ok("stop", key="inner-1", grace_s=10)
    ended = client.event("exited", "inner-1")
    assert "saved" in output(ended)


def test_stubborn_programs_are_killed_after_the_grace_which_a_repeat_shortens(client):
    record = client.start("deaf-1", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
    eventually(lambda: "up" in output(record))
    begin = time.monotonic()
    client.ok("stop", key="deaf-1", grace_s=600)
    client.ok("stop", key="deaf-1", grace_s=0.2)
    ended = client.event("exited", "deaf-1")
    assert 0.2 <= time.monotonic() - begin < 5
    assert (ended["signal"], ended["reason"]) == (signal.SIGKILL, "stopped")


def test_a_stopped_process_heeds_the_stop(client):
    record = client.start("frozen-1", "sleep", "600")
    os.kill(record["pid"], signal.SIGSTOP)
    client.ok("stop", key="frozen-1", grace_s=600)
    assert client.event("exited", "frozen-1")["signal"] == signal.SIGTERM


def test_unknown_and_running_keys(client):
    assert client.call("stop", key="nobody-1")["code"] == "NOT_FOUND"
    assert client.call("ack", key="nobody-1")["code"] == "NOT_FOUND"
    client.start("busy-1", "sleep", "600")
    assert client.call("ack", key="busy-1")["code"] == "RUNNING"


def test_stop_at_any_moment_of_the_start(client):
    """Whatever the race gives, nothing runs afterwards and the answers agree."""
    for number in range(12):
        key = f"race-{number}"
        start = client.send("start", key=key, argv=["sleep", "600"], env={"PATH": PATH})
        time.sleep(number * 0.0007)
        stop = client.call("stop", key=key, grace_s=0)
        assert stop["ok"], stop
        began = client.wait(start)
        if began["ok"]:
            ended = client.event("exited", key)
            assert ended["reason"] == "stopped"
            assert not alive(ended["pid"])
        else:
            assert began["code"] == "SPAWN_FAILED"
            assert began["step"] == "stopped"
            assert key not in client.records()


def test_a_stop_that_came_before_the_shutdown_is_the_reason(supervisor, client):
    """What somebody wanted to end is not taken for what would have gone on."""
    stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]
    for key in ("asked-1", "other-1"):
        client.ok("start", key=key, argv=stubborn, env={})
    client.ok("stop", key="asked-1", grace_s=30)
    client.ok("shutdown", grace_s=0.2)
    assert supervisor.process.wait(20) == 0
    supervisor.begin()
    records = supervisor.connect().records()
    assert {key: each["reason"] for key, each in records.items()} == {
        "asked-1": "stopped",
        "other-1": "shutdown",
    }


@pytest.mark.parametrize("way", ["op", "SIGTERM", "twice"])
def test_shutdown_leaves_no_process_and_no_socket(supervisor, client, way):
    deaf = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    pids = [client.start("plain-1", "sleep", "600")["pid"]]
    daemon = client.start("daemon-1", sys.executable, "-S", "-c", DAEMON, "stay")
    pids += [daemon["pid"], daemon_pid(daemon)]
    if way == "twice":
        record = client.start("deaf-1", "sh", "-c", deaf)
        eventually(lambda: "up" in output(record))
        pids.append(record["pid"])
    begin = time.monotonic()
    if way == "op":
        assert client.ok("shutdown", grace_s=0.3)["runs"] == 2
        assert client.call("start", key="late-1", argv=["true"], env={})["code"] == "STOPPING"
    else:
        supervisor.process.send_signal(signal.SIGTERM)
        if way == "twice":
            client.event("exited", "plain-1")
            supervisor.process.send_signal(signal.SIGTERM)
        else:
            client.event("exited", "plain-1")
            supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.process.wait(20) == 0
    assert time.monotonic() - begin < 8
    assert not any(alive(pid) for pid in pids)
    assert not supervisor.socket.exists()
    # The ends are there for the next one.
    supervisor.begin()
    records = supervisor.connect().records()
    assert {each["reason"] for each in records.values()} == {"shutdown"}
    assert "plain-1" in records


def test_hangup_is_ignored(supervisor, client):
    supervisor.process.send_signal(signal.SIGHUP)
    assert client.ok("hello")["pid"] == supervisor.pid
