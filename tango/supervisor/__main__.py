"""Runs the supervisor: arguments, single instance, signals, event loop."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import sys
import time

from . import proc
from .clients import Server, SocketInUse, listen
from .diagnostics import Diagnostics
from .leaf import enter_leaf
from .loop import READ, Loop
from .notify import Notifier
from .operations import Operations
from .payload import Payload
from .spawn import Inherited, close_inherited_on_exec
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_USAGE = """usage: python -m tango.supervisor --state DIR [--socket PATH] [--grace SECONDS]
                                 [--leaf NAME] [--criu PATH]

Parent of the payload on a node; see tango/supervisor/protocol.py.
  --state DIR      records, logs and lock; made with mode 0700 if missing
  --socket PATH    default DIR/supervisor.sock
  --grace SECONDS  between the stop signal and SIGKILL at SIGTERM or SIGINT (default 10)
  --criu PATH      the program that checkpoints (default: criu, where the system keeps it)
  --leaf NAME      move into this leaf of our own cgroup v2 group, which was delegated to us
"""
_PR_SET_CHILD_SUBREAPER = 36


class Arguments:
    """The command line; SystemExit 2 with the usage on stderr when it is wrong."""

    def __init__(self, words: list[str]) -> None:
        given = {"--state": "", "--socket": "", "--grace": "10", "--leaf": "", "--criu": ""}
        if words in (["--help"], ["-h"]):
            sys.stdout.write(_USAGE)
            raise SystemExit(0)
        rest = iter(words)
        for word in rest:
            name, equals, value = word.partition("=")
            if name not in given:
                raise _wrong(f"unknown argument {word!r}")
            given[name] = value if equals else next(rest, "")
            if not given[name]:
                raise _wrong(f"{name} needs a value")
        if not given["--state"]:
            raise _wrong("--state is required")
        self.state = os.path.abspath(given["--state"])
        self.socket = os.path.abspath(given["--socket"] or f"{self.state}/supervisor.sock")
        try:
            self.grace_s = float(given["--grace"])
        except ValueError:
            raise _wrong(f"--grace must be a number, not {given['--grace']!r}") from None
        if not 0 <= self.grace_s <= 3600:
            raise _wrong("--grace must be in 0..3600 seconds")
        self.criu = given["--criu"]
        self.leaf = given["--leaf"]
        if "/" in self.leaf or self.leaf.startswith("."):
            raise _wrong(f"--leaf must be the name of one group, not {self.leaf!r}")


def main(words: list[str]) -> int:
    """Run until shut down; the exit status."""
    arguments = Arguments(words)
    _open_standard_files()
    close_inherited_on_exec()
    os.umask(0o077)
    os.chdir("/")
    try:
        _own_directory(arguments.state)
        lock = _lock(arguments.state)
        os.pidfd_open(os.getpid())  # Linux 5.3; better to find out now than at the first adoption
        if arguments.leaf:
            enter_leaf(arguments.leaf)
        listening = listen(arguments.socket)
    except (SocketInUse, OSError) as problem:
        sys.stderr.write(f"tango.supervisor: {problem}\n")
        return 1
    try:
        return _serve(arguments, listening)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(arguments.socket)
        os.close(lock)


def _serve(arguments: Arguments, listening: socket.socket) -> int:
    diagnostics = Diagnostics()
    loop = Loop()
    notifier = Notifier(loop)
    statuses: list[int] = []

    def finished(status: int) -> None:
        statuses.append(status)
        loop.stop()

    store = Store(arguments.state)
    identity = {
        "boot_id": proc.boot_id(),
        "incarnation": store.next_incarnation(),
        "started_at": time.time(),
        "state_dir": arguments.state,
    }
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        diagnostics("no_subreaper")
    payload = Payload(
        loop,
        store,
        Inherited(),
        diagnostics,
        lambda event: server.publish(event),
        finished,
        arguments.criu,
    )
    operations = Operations(payload, identity, diagnostics)
    server = Server(loop, listening, operations.handle, diagnostics)
    payload.adopt()

    def terminate() -> None:
        again = payload.stopping
        notifier.stopping()
        payload.shutdown(0.0 if again else arguments.grace_s)

    _handle_signals(
        loop, {signal.SIGCHLD: payload.reap, signal.SIGTERM: terminate, signal.SIGINT: terminate}
    )
    diagnostics("ready", socket=arguments.socket, **identity)
    notifier.ready()
    loop.run()
    server.close()
    diagnostics("stopped", status=statuses[0])
    return statuses[0]


def _handle_signals(loop: Loop, actions: dict[signal.Signals, Callable[[], None]]) -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in actions:
        # The handler does nothing: what counts is the byte in the wake-up pipe.
        signal.signal(number, lambda _number, _frame: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def woken(_: int) -> None:
        try:
            seen = os.read(reading, 4096)
        except BlockingIOError:
            return
        for number, action in actions.items():
            if number in seen:
                action()

    loop.watch(reading, READ, woken)


def _own_directory(path: str) -> None:
    os.makedirs(path, mode=0o700, exist_ok=True)
    held = os.stat(path)
    if held.st_uid != os.geteuid():
        raise SocketInUse(f"state directory {path!r} belongs to uid {held.st_uid}")
    if held.st_mode & 0o077:
        os.chmod(path, 0o700)


def _lock(state: str) -> int:
    fd = os.open(f"{state}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode("ascii", "replace").strip()
        os.close(fd)
        raise SocketInUse(
            f"another supervisor (pid {holder or 'unknown'}) holds {state}/lock"
        ) from None
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode("ascii"))
    return fd


def _open_standard_files() -> None:
    """Started without stdin, stdout or stderr, the next files opened would take their numbers."""
    while True:
        fd = os.open("/dev/null", os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def _wrong(problem: str) -> SystemExit:
    sys.stderr.write(f"tango.supervisor: {problem}\n{_USAGE}")
    return SystemExit(2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
