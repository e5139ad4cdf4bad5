"""The demo's payload as real processes on real sockets."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.e2e


class Burner:
    """A burner process; it is killed at the end if it has not ended by itself."""

    def __init__(self, *args: str, env: dict[str, str] | None = None) -> None:
        argv = [sys.executable, "-m", "tango.cli.samples.burner", *args]
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.port = 0

    def listening(self) -> Burner:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:"), line
        self.port = int(line.rpartition(":")[2])
        return self

    def __enter__(self) -> Burner:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def get(self, target: str, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", target, headers=names)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@pytest.fixture(scope="module")
def burner() -> Iterator[Burner]:
    with Burner("--port", "0", "--cpu-ms", "5", "--threads", "2") as process:
        yield process.listening()


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def test_burns_what_it_says_and_hardly_more(burner: Burner) -> None:
    before = burner.get("/stats")[1]
    started = time.monotonic()
    replies = [burner.get("/", x_work="2")[1] for _ in range(15)]
    wall_s = time.monotonic() - started
    after = burner.get("/stats")[1]
    assert all(10 <= reply["cpu_ms"] < 12 for reply in replies)
    burned_s = after["burned_cpu_s"] - before["burned_cpu_s"]
    used_s = after["process_cpu_s"] - before["process_cpu_s"]
    assert burned_s == pytest.approx(0.15, rel=0.1)
    assert burned_s <= used_s <= burned_s * 1.5
    assert used_s <= wall_s * 1.1
    assert after["requests"] - before["requests"] == 16


def test_work_from_header_query_or_neither(burner: Burner) -> None:
    assert burner.get("/", x_work="0.5")[1]["work"] == 0.5
    assert burner.get("/?work=0.25")[1]["work"] == 0.25
    assert burner.get("/")[1]["work"] == 1.0
    assert burner.get("/?work=0")[1]["cpu_ms"] == 0


def test_cpu_time_is_burned_in_full_on_a_crowded_core(burner: Burner) -> None:
    """Two burns share one core: each takes twice as long, none gets less."""
    pid = burner.process.pid
    cores = os.sched_getaffinity(pid)
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # of an earlier request
            os.sched_setaffinity(int(task.name), {min(cores)})
    results: list[float] = []
    try:
        threads = [
            threading.Thread(
                target=lambda: results.append(burner.get("/?work=20")[1]["cpu_ms"]),
            )
            for _ in range(2)
        ]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall_s = time.monotonic() - started
    finally:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # a thread of the two may just end
                os.sched_setaffinity(int(task.name), cores)
    assert len(results) == 2
    assert min(results) >= 100
    assert wall_s >= 0.2


def test_health_is_answered_at_once_while_burning(burner: Burner) -> None:
    with burner.connect() as one, burner.connect() as two:
        for sock in (one, two):
            sock.sendall(b"GET /?work=100 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        time.sleep(0.05)
        started = time.monotonic()
        assert burner.get("/healthz") == (200, {"status": "ok"})
        assert time.monotonic() - started < 0.3


def test_burning_ends_when_the_client_goes_away(burner: Burner) -> None:
    for _ in range(2):
        with burner.connect() as sock:
            sock.sendall(b"GET /?work=10000 HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.05)
    started = time.monotonic()
    assert burner.get("/")[0] == 200
    assert time.monotonic() - started < 1  # not behind 50 s of work on each thread


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ("/?work=x", 400, "work is 'x'"),
        ("/?work=-1", 400, "work is '-1'"),
        ("/?work=inf", 400, "work is 'inf'"),
        ("/?work=500000", 400, "more than 600 s"),
        ("/stream?chunks=nan", 400, "chunks is"),
        ("/sleep?ms=1e9", 400, "ms is"),
        ("/status/999", 404, "/status/200"),
        ("/nothing", 404, "there is no /nothing"),
        ("/status/503", 503, ""),
        ("/sleep?ms=5", 200, ""),
    ],
)
def test_statuses(burner: Burner, target: str, status: int, words: str) -> None:
    found, body = burner.get(target)
    assert found == status
    assert words in body.get("error", "")


def test_bodies_come_back_on_one_connection(burner: Burner) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", burner.port, timeout=10)
    for size in (0, 1, 100_000, 1024 * 1024):
        body = os.urandom(size)
        connection.request("POST", "/echo", body, {"Content-Type": "image/x"})
        response = connection.getresponse()
        assert response.read() == body
        assert response.headers["Content-Type"] == "image/x"
        assert not response.will_close
    connection.request("POST", "/echo", bytes(1024 * 1024 + 1))
    assert connection.getresponse().status == 413
    connection.close()


def test_pipelined_answers_keep_their_order_though_the_first_is_slow(burner: Burner) -> None:
    targets = ["/sleep?ms=100", "/?work=1", "/status/404", "/stream?chunks=2", "/healthz"]
    data = b"".join(f"GET {each} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for each in targets[:-1])
    last = f"GET {targets[-1]} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
    with burner.connect() as sock:
        sock.sendall(data + last)
        answer = read_all(sock).decode()
    statuses = [line.split()[1] for line in answer.splitlines() if line.startswith("HTTP/1.1 ")]
    assert statuses == ["200", "200", "404", "200", "200"]
    order = [answer.index(word) for word in ("slept_ms", "cpu_ms", "404}", "chunk", '"ok"')]
    assert order == sorted(order)


def test_stream_comes_chunk_by_chunk(burner: Burner) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", burner.port, timeout=10)
    connection.request("GET", "/stream?chunks=4&interval_ms=60")
    response = connection.getresponse()
    assert response.headers["Transfer-Encoding"] == "chunked"
    times = []
    for number in range(4):
        assert json.loads(response.readline()) == {"chunk": number, "of": 4}
        times.append(time.monotonic())
    assert response.read() == b""
    assert times[3] - times[0] >= 0.15
    connection.request("GET", "/healthz")  # the connection is as good as new
    assert connection.getresponse().status == 200
    connection.close()


def test_stream_to_an_http_1_0_client_ends_with_the_connection(burner: Burner) -> None:
    with burner.connect() as sock:
        sock.sendall(b"GET /stream?chunks=2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, body = read_all(sock).split(b"\r\n\r\n", 1)
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert body == b'{"chunk": 0, "of": 2}\n{"chunk": 1, "of": 2}\n'


def test_head_and_continue(burner: Burner) -> None:
    with burner.connect() as sock:
        sock.sendall(b"HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        assert sock.recv(65536).endswith(b"\r\n\r\n")
        sock.sendall(
            b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hi")
        assert read_all(sock).endswith(b"\r\n\r\nhi")


def test_nonsense_is_answered_and_the_connection_ended(burner: Burner) -> None:
    with burner.connect() as sock:
        sock.sendall(b"nonsense\r\n\r\nGET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" + bytes(100_000))
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_client_that_does_not_read_is_not_read_from_either(burner: Burner) -> None:
    body = os.urandom(200_000)
    request = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    memory = psutil.Process(burner.process.pid).memory_info
    before = memory().rss
    with burner.connect() as sock:
        sock.setblocking(False)
        sent = 0
        while select.select([], [sock], [], 0.3)[1]:
            sent += sock.send(request[sent % len(request) :])
            assert sent < 100_000_000
        assert memory().rss - before < 16_000_000
        sock.setblocking(True)
        sock.settimeout(10)
        whole = sent // len(request)
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < whole or got.count(body) < whole:
            got += sock.recv(1 << 20)


def test_waiting_room_and_connections_are_bounded() -> None:
    args = ("--cpu-ms", "1", "--max-waiting", "1", "--max-connections", "4")
    with Burner("--port", "0", *args) as process:
        process.listening()
        held = [process.connect() for _ in range(3)]
        for sock in held[:2]:  # one burns, one waits
            sock.sendall(b"GET /?work=3000 HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.1)
        held[2].sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert held[2].recv(65536).startswith(b"HTTP/1.1 503 ")
        with process.connect() as fourth, process.connect() as fifth:
            fourth.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            assert fourth.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert fifth.recv(65536).startswith(b"HTTP/1.1 503 ")
        for sock in held:
            sock.close()


def test_sigterm_finishes_what_runs_and_takes_nothing_new() -> None:
    with Burner("--port", "0") as process:
        process.listening()
        with process.connect() as busy, process.connect() as idle:
            busy.sendall(b"GET /sleep?ms=300 HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.1)
            process.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                process.connect()
            answer = read_all(busy)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in answer
        assert process.process.wait(5) == 0


def test_grace_runs_out_and_a_second_signal_forces() -> None:
    with Burner("--port", "0", "--grace-s", "0.1") as process:
        process.listening()
        with process.connect() as busy:
            busy.sendall(b"GET /?work=100000 HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.1)
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(5) == 0
    with Burner("--port", "0", "--grace-s", "60") as process:
        process.listening()
        with process.connect() as busy:
            busy.sendall(b"GET /sleep?ms=60000 HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.1)
            process.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(5) == 1


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_port_from_the_environment_late_start_and_failing_health() -> None:
    port = free_port()
    started = time.monotonic()
    with Burner("--start-delay-s", "0.4", "--fail-health", env={"PORT": str(port)}) as process:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
        assert process.listening().port == port
        assert time.monotonic() - started >= 0.4
        assert process.get("/healthz") == (503, {"status": "unhealthy"})
        assert process.get("/")[0] == 200


def test_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Burner("--port", str(port)) as process:
            out, err = process.process.communicate(timeout=10)
    assert process.process.returncode == 1
    assert out == ""
    assert f"127.0.0.1:{port}" in err
    assert "in use" in err


def crunch(*args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tango.cli.samples.crunch", *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_hash_of_known_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/two").write_bytes(b"2" * 300_000)
    (tmp_path / "one").write_bytes(b"1" * 100_000)
    (tmp_path / "link").symlink_to("one")
    found = crunch("--mode", "hash", "--mebibytes", "1", "--directory", str(tmp_path))
    once = b"1" * 100_000 + b"2" * 300_000
    expected = hashlib.sha256((once * 3)[: 1024 * 1024]).hexdigest()
    result = json.loads(found.stdout)
    assert (result["sha256"], result["input_bytes"]) == (expected, 1024 * 1024)


@pytest.mark.parametrize("algorithm", ["zlib", "bz2", "lzma"])
def test_compress_is_the_same_each_time(algorithm: str) -> None:
    args = ("--mode", "compress", "--algorithm", algorithm, "--mebibytes", "0.5")
    one, two = (json.loads(crunch(*args).stdout) for _ in range(2))
    assert one["sha256"] == two["sha256"]
    assert 0 < one["output_bytes"] < one["input_bytes"] / 2


def test_crunch_tells_progress_and_ends_as_asked() -> None:
    found = crunch("--mode", "hash", "--mebibytes", "4", "--exit-code", "7")
    assert found.returncode == 7
    assert json.loads(found.stdout)["mode"] == "hash"
    assert 3 <= len(found.stderr.splitlines()) <= 11
    assert found.stderr.splitlines()[-1] == "4.0 of 4.0 MiB"


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("--directory", "/proc/self/fdinfo/none"), 1, "no readable file"),
        (("--mebibytes", "0"), 2, "--mebibytes"),
        (("--mebibytes", "nan"), 2, "--mebibytes"),
        (("--exit-code", "256"), 2, "--exit-code"),
        (("--mode", "guess"), 2, "--mode"),
    ],
)
def test_crunch_refuses(args: tuple[str, ...], status: int, words: str) -> None:
    found = crunch(*args)
    assert found.returncode == status
    assert words in found.stderr
    assert found.stdout == ""
