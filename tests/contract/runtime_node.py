"""A node for runtime tests: a real supervisor in a directory of its own, stopped at the end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tango.adapters.supervisor_start import ensure_supervisor
from tango.model.settings import ServerSettings, WorkerSettings

PATIENCE_S = 20.0


def worker_settings(**fields: Any) -> WorkerSettings:
    server = ServerSettings("127.0.0.1:0", "token", "state")
    return WorkerSettings(server, "node", "127.0.0.1:1", **fields)


class RealNode:
    """Started as the worker starts it, so that this way is tested too."""

    def __init__(self) -> None:
        # Short, since the path of a socket holds 107 bytes.
        self.state = Path(tempfile.mkdtemp(prefix="tango-rt-"))
        self.socket = self.state / "supervisor.sock"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.state)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.socket.exists() or not self.alive():
            self.start()  # a killed one leaves its processes to the next
        self.shutdown()
        log = (self.state / "supervisor.log").read_text()
        shutil.rmtree(self.state)
        assert "Traceback" not in log, log

    def start(self) -> None:
        assert ensure_supervisor(self.state) == self.socket

    @property
    def pid(self) -> int:
        return int((self.state / "lock").read_text())

    def alive(self) -> bool:
        return process_state(self.pid) not in ("", "Z", "X")

    def kill(self) -> None:
        pid = self.pid
        os.kill(pid, 9)
        self._reap(pid)

    def shutdown(self) -> None:
        pid = self.pid
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.socket))
            request = {"id": 1, "op": "shutdown", "grace_s": 0}
            connection.sendall(json.dumps(request).encode() + b"\n")
            assert json.loads(connection.recv(65536))["ok"]
        self._reap(pid)

    @staticmethod
    def _reap(pid: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    return
            except ChildProcessError:  # not ours: another worker's
                if process_state(pid) in ("", "Z", "X"):
                    return
            time.sleep(0.005)
        raise AssertionError(f"the supervisor {pid} does not end")


def process_state(pid: int) -> str:
    """The letter of /proc/PID/stat, "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
