"""The supervisor's socket: malformed input, bounds, slow readers, one instance a directory."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_process import Connection, Supervisor, eventually, supervised


@pytest.fixture(scope="module")
def supervisor() -> Iterator[Supervisor]:
    with supervised() as found:
        yield found


@pytest.fixture
def client(supervisor: Supervisor) -> Iterator[Connection]:
    connection = supervisor.connect()
    yield connection
    connection.close()


BROKEN = [
    b"garbage",
    b"\xff\xfe\x00",
    b"[]",
    b'"text"',
    b"17",
    b"null",
    b"{",
    b'{"id": 1}',
    b'{"id": true, "op": "hello"}',
    b'{"id": 1.5, "op": "hello"}',
    b'{"id": "1", "op": "hello"}',
    b'{"id": 99999999999999999999999, "op": "hello"}',
    b'{"id": 1, "op": 7}',
    b'{"id": 1, "op": ["hello"]}',
    b'{"id": 1, "op": "halt"}',
    b'{"id": 1, "op": "hello", "x": NaN}',
    b'{"id": 1, "op": "hello", "extra": 1}',
    b'{"id": 1, "op": "stop"}',
    b'{"id": 1, "op": "stop", "key": "../x"}',
    b'{"id": 1, "op": "stop", "key": "a", "grace_s": -1}',
    b'{"id": 1, "op": "stop", "key": "a", "signal": 99}',
    b'{"id": 1, "op": "list", "limit": 0}',
    b'{"id": 1, "op": "start", "key": "a"}',
    b'{"id": 1, "op": "start", "key": "a", "argv": [], "env": {}}',
    b'{"id": 1, "op": "start", "key": "a", "argv": ["x\\u0000"], "env": {}}',
    b'{"id": 1, "op": "start", "key": "a", "argv": ["\\ud800"], "env": {}}',
    b"[" * 100_000,
    b'{"id": ' + b"9" * 10_000 + b"}",
]


@pytest.mark.parametrize("line", BROKEN, ids=lambda line: line[:40].decode("latin-1"))
def test_malformed_input_is_answered_and_the_connection_goes_on(client, line):
    client.socket.sendall(line + b"\n")
    reply = client.line()
    assert reply["ok"] is False
    assert reply["code"] == "INVALID"
    assert reply["error"]
    assert reply["id"] in (None, 1)
    assert client.ok("hello")


def test_requests_in_pieces_and_many_at_once(client):
    message = b'{"id": 1, "op": "hello"}\n'
    for byte in message:
        client.socket.sendall(bytes([byte]))
    assert client.wait(1)["ok"]
    client.socket.sendall(b"".join(b'{"id": %d, "op": "hello"}\n\n' % n for n in range(2, 2002)))
    assert all(client.wait(number)["ok"] for number in range(2, 2002))


def test_a_line_without_an_end_is_cut_off(supervisor, client):
    said = b""
    with contextlib.suppress(OSError):  # reset, as it has not read what else was sent
        for _ in range(40):
            client.socket.sendall(b"x" * (1 << 16))
        while data := client.socket.recv(1 << 16):
            said += data
    assert said == b"" or b"TOO_LONG" in said
    exactly = supervisor.connect()
    exactly.socket.sendall(b" " * (1 << 20) + b"x")
    assert exactly.line()["code"] == "TOO_LONG"
    assert exactly.socket.recv(100) == b""
    assert supervisor.connect().ok("hello")


def test_the_largest_line_is_taken(client):
    env = {f"V{n}": "v" * 1000 for n in range(1000)}
    reply = client.call("start", key="large-1", argv=["no-such-tool"], env=env)
    assert reply["code"] == "SPAWN_FAILED"
    long = client.call("start", key="large-2", argv=["echo", "x" * 200_000], env={})
    assert (long["code"], long["field"]) == ("INVALID", "argv")


def test_too_many_connections_are_refused(supervisor):
    held = []
    try:
        for _ in range(40):
            connection = Connection(supervisor.socket)
            held.append(connection)
            try:
                reply = connection.call("hello")
            except (ConnectionError, BrokenPipeError):
                reply = {"code": "LIMIT", "ok": False}
            except KeyError:
                raise AssertionError from None
            if not reply["ok"]:
                break
        assert reply["code"] == "LIMIT"
        assert len(held) <= 17
    finally:
        for connection in held:
            connection.close()
    eventually(supervisor.answers)


def test_a_slow_subscriber_is_cut_off_and_others_are_served(supervisor, client):
    slow = supervisor.connect()
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.ok("subscribe")
    client.ok("subscribe")
    padding = "p" * 100_000
    for number in range(16):
        client.start(f"fat-{number}", "true", padding)
        client.event("exited", f"fat-{number}")
    assert "client_too_slow" in supervisor.diagnostics()
    with pytest.raises(ConnectionError):
        list(iter(slow.line, None))
    # It comes again and finds everything by listing, in pages.
    again = supervisor.connect()
    page = again.ok("list")
    assert page["next"] is not None
    assert len(json.dumps(page)) < 1 << 20
    assert {f"fat-{number}" for number in range(16)} <= set(again.records())
    assert len(again.ok("list", limit=2)["records"]) == 2
    for number in range(16):
        again.ok("ack", key=f"fat-{number}", keep_log=False)
    again.close()


def test_a_client_that_asks_and_does_not_read_is_not_served_without_end(supervisor, client):
    deaf = supervisor.connect()
    deaf.socket.setblocking(False)
    sent = 0
    deadline = time.monotonic() + 5.0
    with contextlib.suppress(BlockingIOError):
        while time.monotonic() < deadline:
            sent += deaf.socket.send(b'{"id": 1, "op": "hello"}\n' * 100)
            time.sleep(0.0005)
    assert time.monotonic() < deadline, "it was read without end"
    assert client.ok("hello")
    # Once it reads, it is served on: a slow client loses nothing.
    deaf.socket.settimeout(10)
    for _ in range(sent // 25 - 1):
        assert deaf.line()["ok"]
    deaf.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tango.supervisor", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_a_second_instance_is_refused(supervisor, client):
    second = run("--state", str(supervisor.state), "--socket", str(supervisor.state / "other.sock"))
    assert second.returncode == 1
    assert f"another supervisor (pid {supervisor.pid}) holds" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert client.ok("hello")["pid"] == supervisor.pid


def test_a_socket_in_use_is_not_taken_over(supervisor, client):
    with tempfile.TemporaryDirectory(prefix="tango-sup-") as state:
        other = run("--state", state, "--socket", str(supervisor.socket))
        assert other.returncode == 1
        assert "another process listens" in other.stderr
        (Path(state) / "file").touch()
        other = run("--state", state, "--socket", f"{state}/file")
        assert "is no socket" in other.stderr
        other = run("--state", state, "--socket", f"{state}/{'x' * 120}")
        assert "107 bytes" in other.stderr
        place = Path(state) / "open"
        place.mkdir()
        place.chmod(0o777)
        other = run("--state", state, "--socket", str(place / "s"))
        assert "can be written by others" in other.stderr
    assert client.ok("hello")["pid"] == supervisor.pid


def test_wrong_arguments():
    for arguments in ((), ("--state",), ("--stat", "x"), ("--state", "/tmp/x", "--grace", "soon")):
        found = run(*arguments)
        assert found.returncode == 2
        assert "usage:" in found.stderr
    assert run("--help").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
def test_another_user_is_turned_away(supervisor):
    supervisor.state.chmod(0o755)
    supervisor.socket.chmod(0o666)
    stranger = os.fork()
    if stranger == 0:
        status = 2
        try:
            os.setresuid(65534, 65534, 65534)
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(5)
            connection.connect(str(supervisor.socket))
            status = 1
            status = 0 if connection.recv(100) == b"" else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(stranger, 0)
    supervisor.state.chmod(0o700)
    supervisor.socket.chmod(0o600)
    assert os.waitstatus_to_exitcode(status) == 0
    assert "client_refused" in supervisor.diagnostics()


def test_systemd_is_told(tmp_path):
    with tempfile.TemporaryDirectory(prefix="tango-sup-") as state:
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.settimeout(10)
        heard.bind(f"{state}/notify")
        process = subprocess.Popen(
            [sys.executable, "-m", "tango.supervisor", "--state", f"{state}/s"],
            env={**os.environ, "NOTIFY_SOCKET": f"{state}/notify", "WATCHDOG_USEC": "100000"},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert heard.recv(100).startswith(b"READY=1")
            assert heard.recv(100) == b"WATCHDOG=1"
            process.terminate()
            while heard.recv(100) != b"STOPPING=1":
                pass
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            heard.close()
