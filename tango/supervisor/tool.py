"""Tool processes: children of the supervisor that take their time over one thing.

A child is forked, not executed anew, so that no interpreter has to start. It lives in a session of
its own, waits for the word to go (by then a record says that it is there) and answers with one
object when it ends. It keeps no descriptor of the supervisor's: after a kill -9 of that, socket and
lock must be free for the next one.
"""

from __future__ import annotations

import json
import os
import signal
import socket

from . import proc
from .spawn import GO, go, reset_signals
from .tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from .loop import Loop, Timer
    from .protocol import Json
    from .spawn import Inherited

_MAX_ANSWER = 16 << 10
# Beyond the limit that the child keeps by itself.
_MARGIN_S = 30.0


class Tool:
    """One such child. done: gets the answer, {"error": text} where it has none of its own."""

    __slots__ = ("channel", "done", "pid", "start_time", "timer")

    def __init__(
        self, pid: int, start_time: int, channel: socket.socket, done: Callable[[Json], None]
    ) -> None:
        self.pid = pid
        self.start_time = start_time
        self.channel = channel
        self.done = done
        self.timer: Timer | None = None

    def tree(self) -> Tree:
        """The child and what it started."""
        return Tree("", self.pid, self.start_time, [])


class Tools:
    """Starts them, and hears of their ends."""

    def __init__(self, loop: Loop, inherited: Inherited) -> None:
        self._loop = loop
        self._inherited = inherited
        self._tools: dict[int, Tool] = {}

    def fork(
        self,
        work: Callable[[], Json],
        limit_s: float,
        done: Callable[[Json], None],
        keep_fd: int = -1,
    ) -> Tool:
        """Fork it; it waits for begin(). OSError when fork fails."""
        ours, theirs = socket.socketpair()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _work(work, theirs.detach(), keep_fd, self._inherited.signals)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        ours.setblocking(False)
        found = proc.stat(pid)
        if found is None:
            raise AssertionError(f"child {pid} has no entry in /proc before it was waited for")
        tool = self._tools[pid] = Tool(pid, found.start_time, ours, done)
        tool.timer = self._loop.after(limit_s + _MARGIN_S, lambda: tool.tree().kill())
        return tool

    def begin(self, tool: Tool) -> None:
        """The word to go."""
        go(tool.channel)

    def give_up(self, tool: Tool) -> None:
        """It was forked, and shall not begin: without the word it ends by itself."""
        tool.channel.close()
        tool.done = _ignore

    def ended(self, pid: int) -> bool:
        """A child of this id was reaped: whether it was one of these."""
        tool = self._tools.pop(pid, None)
        if tool is None:
            return False
        if tool.timer is not None:
            tool.timer.cancel()
        answer = _heard(tool.channel)
        tool.channel.close()
        tool.done(answer)
        return True


def _ignore(_: Json) -> None:
    pass


def _heard(channel: socket.socket) -> Json:
    data = b""
    try:
        while len(data) < _MAX_ANSWER:
            piece = channel.recv(_MAX_ANSWER)
            if not piece:
                break
            data += piece
        answer = json.loads(data)
    except (OSError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        return {"error": "the process that was to do it was killed"}
    return answer


def _work(
    work: Callable[[], Json], channel: int, keep_fd: int, signals: set[signal.Signals]
) -> NoReturn:
    """The child, from fork to exit."""
    status = 1
    try:
        reset_signals(signals)
        os.setsid()
        os.umask(0o077)
        _close_all_but({0, 1, 2, channel, keep_fd})
        if os.read(channel, 1) != GO:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            answer = work()
            status = 0
        except Exception as problem:  # noqa: BLE001 (told to whoever asked)
            known = type(problem).__name__ in ("CriuFailed", "BadImages")
            answer = {"error": str(problem) if known else repr(problem)}
        os.write(channel, json.dumps(answer)[: _MAX_ANSWER - 1].encode("utf-8", "replace"))
    finally:
        os._exit(status)


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number not in kept:
            try:
                os.close(number)
            except OSError:  # the descriptor that listed the directory
                continue
