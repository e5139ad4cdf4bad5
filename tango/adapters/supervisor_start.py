"""Starts the node's supervisor, detached, where none answers yet."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import tango
from tango.model.errors import InvalidField
from tango.ports import RuntimeLost

PROTOCOL_VERSION = 1
SOCKET_NAME = "supervisor.sock"

_LOG_NAME = "supervisor.log"
MAX_SOCKET_PATH = 107  # sun_path of unix(7), less its NUL
_HELLO_S = 2.0
_POLL_S = 0.01
_OTHERS_POLL_S = 0.1
# Where another worker's supervisor won the race for the lock, its socket comes a moment later.
_OTHERS_START_S = 3.0
# Supervisors that this process has started: its children, to be reaped should they die before it.
_started: set[int] = set()
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONHOME")


def ensure_supervisor(state_dir: Path | str, *, timeout_s: float = 15.0) -> Path:
    """Path of the socket on which the supervisor of this state directory answers.

    Starts one where none does: in a session of its own, with stdin from /dev/null and its messages
    in DIR/supervisor.log, which it keeps below 1 MiB; it outlives this process. Blocks, and starts
    a process: call it before gRPC starts. Raises RuntimeLost with the reason, InvalidField where
    the path is too long.
    """
    state = Path(state_dir).absolute()
    path = state / SOCKET_NAME
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        problem = f"is too long: {path} is above {MAX_SOCKET_PATH} bytes"
        raise InvalidField("server.state_dir", problem, "a unix socket's path is short; move it")
    if answering_pid(path):
        return path
    _reap()
    log = state / _LOG_NAME
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        pid = _spawn(state, log)
    except OSError as error:
        raise RuntimeLost(f"cannot start the supervisor in {state}: {error}") from None
    deadline = time.monotonic() + timeout_s
    status: int | None = None
    while time.monotonic() < deadline:
        answering = answering_pid(path)
        if answering:
            if answering != pid and status is None:
                # Another worker's came first. Ours would only find the lock taken, but must not
                # come to life later, should that one be shut down before ours has looked.
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            elif answering == pid:
                _started.add(pid)
            return path
        if status is None:
            ended, found = os.waitpid(pid, os.WNOHANG)
            if ended:
                status = os.waitstatus_to_exitcode(found)
                if status < 0:  # killed, which says nothing about the next one
                    pid, status = _spawn(state, log), None
                else:
                    deadline = min(deadline, time.monotonic() + _OTHERS_START_S)
        time.sleep(_POLL_S)
    how = "does not answer" if status is None else f"ended with status {status}"
    raise RuntimeLost(f"the supervisor in {state} {how}: {_last_line(log)}")


def wait_for_supervisor(path: Path | str, *, timeout_s: float = 15.0) -> Path:
    """The socket of a supervisor that someone else runs, once it answers.

    Starts none: one beside that of a service would run payload in the wrong place. Blocks. Raises
    RuntimeLost where none answers in time.
    """
    socket_path = Path(path)
    deadline = time.monotonic() + timeout_s
    while not answering_pid(socket_path):
        if time.monotonic() > deadline:
            raise RuntimeLost(
                f"no supervisor answers at {socket_path} (worker.supervisor_socket); "
                "is tango-payload.service running?"
            )
        time.sleep(_OTHERS_POLL_S)
    return socket_path


def answering_pid(path: Path) -> int:
    """Process id of the supervisor that answers there, 0 where none does.

    Raises RuntimeLost where it speaks another version.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_HELLO_S)
        line = b""
        try:
            connection.connect(str(path))
            connection.sendall(b'{"id":1,"op":"hello"}\n')
            while not line.endswith(b"\n") and len(line) < 65536:
                data = connection.recv(4096)
                if not data:
                    return 0
                line += data
            reply = json.loads(line)
            version, pid = reply["version"], int(reply["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
    if version != PROTOCOL_VERSION:
        raise RuntimeLost(
            f"the supervisor at {path} speaks version {version}, this worker {PROTOCOL_VERSION}; "
            "stop it once what it runs has ended"
        )
    return pid


def _spawn(state: Path, log: Path) -> int:
    """posix_spawn, not fork: nothing of this process's threads and memory is carried over.

    Nor its files: a listening socket in the supervisor's hands would outlive this process.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        # -P: nothing is imported from the directory in which the worker happens to be.
        [sys.executable, "-P", "-m", "tango.supervisor", "--state", str(state)],
        _environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()),
        ],
        setsid=True,
        setsigmask=(),
        # What this process's loop ignores or blocks is not the supervisor's to inherit.
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGCHLD),
    )


def _inheritable() -> list[int]:
    """Files beyond the standard three that would be passed on."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        fd = int(path.name)
        # The descriptor that lists the directory is gone by now.
        with contextlib.suppress(OSError):
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
    return found


def _reap() -> None:
    """Those of ours that have died."""
    for pid in tuple(_started):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            gone = True
        if gone:
            _started.discard(pid)


def _environment() -> dict[str, str]:
    """Little of the worker's own: above all not its NOTIFY_SOCKET, which would speak for it."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    top = Path(tango.__file__).parents[1]
    if top.name not in ("site-packages", "dist-packages"):
        # A source tree: the supervisor is to be of the same code as this worker.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(top), kept.get("PYTHONPATH"))))
    return kept


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return f"no {log}: {error.strerror}"
    return lines[-1][:500] if lines else f"{log} is empty"
