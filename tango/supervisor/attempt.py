"""One attempt in memory: its record, its processes, its output and how far it is."""

from __future__ import annotations

import math
import os

from .protocol import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .log import Pump
    from .loop import Timer
    from .protocol import Json
    from .tree import Tree

    Answer = Callable[[Json | Refused], None]

STARTING = "starting"  # forked, not known to be the program yet
RUNNING = "running"
ENDING = "ending"  # its first process is gone, others of its tree are not
ENDED = "ended"
END_FIELDS = ("exit_code", "signal", "reason", "cpu_s", "max_rss_bytes", "ended_at")


class Attempt:
    """State that only the payload's lifecycle changes.

    waiters: who asked for the start, and whether as a repeat; checkpoint_waiters: for its
    checkpoint. channel: from the child before exec.
    refusal: why it never began. kill_at: monotonic seconds from when SIGKILL is in order.
    shut_down: the supervisor's own end came before any stop.
    end: what is known of the end, shown once the tree is gone. saved: the end is on disk.
    """

    __slots__ = (
        "channel",
        "checkpoint_waiters",
        "end",
        "kill_at",
        "message",
        "patience",
        "phase",
        "pidfd",
        "pump",
        "record",
        "refusal",
        "saved",
        "shut_down",
        "stop_asked",
        "timer",
        "tree",
        "waiters",
    )

    def __init__(self, record: Json, tree: Tree | None, phase: str) -> None:
        self.record = record
        self.tree = tree
        self.phase = phase
        self.pump: Pump | None = None
        self.waiters: list[tuple[Answer, bool]] = []
        self.checkpoint_waiters: list[Answer] = []
        self.channel: socket.socket | None = None
        self.message = b""
        self.refusal: Refused | None = None
        self.pidfd = -1
        self.timer: Timer | None = None
        self.patience = 0.005
        self.stop_asked = False
        self.shut_down = False
        self.kill_at = math.inf
        self.end: Json | None = None
        self.saved = phase == ENDED

    @property
    def key(self) -> str:
        """The attempt id."""
        return str(self.record["key"])

    @property
    def end_asked(self) -> str:
        """The reason of its end where that was asked for, "" where it was not."""
        if self.shut_down:
            return "shutdown"
        return "stopped" if self.stop_asked else ""

    @property
    def live(self) -> bool:
        """True while processes of it may exist."""
        return self.phase != ENDED

    def shown(self) -> Json:
        """The record as others see it now."""
        if self.pump is not None:
            self.record["log_lost_bytes"] = self.pump.log.lost_bytes
        return self.record

    def saving(self) -> Json:
        """The end as it goes to disk, perhaps before the tree is gone."""
        return {**self.shown(), **(self.end or {}), "state": "ended"}

    def answer(self) -> None:
        """Tell all who asked for the start: the record, or why it never began."""
        waiters, self.waiters = self.waiters, []
        for tell, duplicate in waiters:
            tell(self.refusal or {"record": self.shown(), "duplicate": duplicate})

    def cancel_timer(self) -> None:
        """No more call for this attempt."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def end_fields(
    status: int | None, usage: tuple[float, int] | None, *, asked: str, now: float
) -> Json:
    """The end part of a record.

    status: as wait(2) gives it, None if nobody saw it. usage: (CPU seconds, max RSS bytes).
    asked: the reason where its end was asked for, "" where it was not.
    """
    exit_code = signal = None
    if status is None:
        reason = "lost"
    elif os.WIFSIGNALED(status):
        signal = os.WTERMSIG(status)
        reason = "signalled"
    else:
        exit_code = os.WEXITSTATUS(status)
        reason = "exited"
    return {
        "exit_code": exit_code,
        "signal": signal,
        "reason": asked or reason,
        "cpu_s": None if usage is None else round(usage[0], 6),
        "max_rss_bytes": None if usage is None else usage[1],
        "ended_at": now,
    }
