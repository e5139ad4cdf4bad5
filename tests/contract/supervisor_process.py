"""A real supervisor process for tests, and a client of a few lines for its socket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]
PATIENCE_S = 20.0
PATH = os.environ.get("PATH", "/usr/bin:/bin")


class Connection:
    """Requests and replies; events that come in between are kept."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._buffer = b""
        self._last_id = 0
        self.events: list[Json] = []
        self.replies: dict[int | None, Json] = {}

    def line(self) -> Json:
        while b"\n" not in self._buffer:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the supervisor closed the connection")
            self._buffer += data
        first, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(first)

    def send(self, op: str, **fields: object) -> int:
        self._last_id += 1
        message = {"id": self._last_id, "op": op, **fields}
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        return self._last_id

    def wait(self, number: int | None) -> Json:
        while number not in self.replies:
            message = self.line()
            if "event" in message:
                self.events.append(message)
            else:
                self.replies[message["id"]] = message
        return self.replies.pop(number)

    def call(self, op: str, **fields: object) -> Json:
        return self.wait(self.send(op, **fields))

    def ok(self, op: str, **fields: object) -> Json:
        reply = self.call(op, **fields)
        assert reply["ok"], reply
        return reply

    def start(self, key: str, *argv: str, **fields: object) -> Json:
        fields.setdefault("env", {"PATH": PATH})
        return self.ok("start", key=key, argv=list(argv), **fields)["record"]

    def event(self, name: str, key: str) -> Json:
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name and event["key"] == key:
                    return self.events.pop(index)
            self.events.append(self.line())

    def records(self) -> dict[str, Json]:
        found: dict[str, Json] = {}
        after = None
        while True:
            reply = self.ok("list", after=after)
            found.update((each["key"], each) for each in reply["records"])
            after = reply["next"]
            if after is None:
                return found

    def close(self) -> None:
        self.socket.close()


class Supervisor:
    """One state directory and the process that serves it, which may be killed and started again."""

    def __init__(self) -> None:
        # Short, since the path of a socket holds 107 bytes.
        self.state = Path(tempfile.mkdtemp(prefix="tango-sup-"))
        self.socket = self.state / "supervisor.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self._connections: list[Connection] = []

    def begin(self, *arguments: str) -> Supervisor:
        with (self.state / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tango.supervisor", "--state", str(self.state), *arguments],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
            )
        eventually(lambda: self.answers() or self.process.poll() is not None)
        assert self.process.poll() is None, self.diagnostics()
        return self

    def answers(self) -> bool:
        try:
            connection = Connection(self.socket)
            try:
                connection.ok("hello")
            finally:
                connection.close()
        except OSError:
            return False
        return True

    def connect(self) -> Connection:
        connection = Connection(self.socket)
        self._connections.append(connection)
        return connection

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def diagnostics(self) -> str:
        return (self.state / "stderr").read_text()

    def end(self) -> None:
        """Stop whatever the test left, also what a killed supervisor left running."""
        for connection in self._connections:
            connection.close()
        if self.process is not None:
            if self.process.poll() is not None and any((self.state / "runs").glob("*.json")):
                self.begin()
            if self.process.poll() is None:
                Connection.ok(self.connect(), "shutdown", grace_s=0)
                assert self.process.wait(PATIENCE_S) == 0, self.diagnostics()
            self._connections[-1].close() if self._connections else None
        assert "Traceback" not in self.diagnostics(), self.diagnostics()
        shutil.rmtree(self.state)


@contextmanager
def supervised(*arguments: str) -> Iterator[Supervisor]:
    supervisor = Supervisor().begin(*arguments)
    try:
        yield supervisor
    finally:
        supervisor.end()


def eventually(true: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + patience_s
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def output(record: Json) -> str:
    return Path(record["log"]).read_text()
