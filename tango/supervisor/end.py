"""The end of an attempt: signals, SIGKILL after the grace, and nothing of the tree left."""

from __future__ import annotations

import contextlib
import os
import time

from . import attempt as phases
from . import proc
from .attempt import END_FIELDS, Attempt, end_fields
from .loop import READ
from .pidfd import NotKept, wait_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .diagnostics import Diagnostics
    from .loop import Loop
    from .protocol import Json
    from .store import Store

_LEFTOVER_S = 5.0
_POLL_MAX_S = 0.2
# An init that reaps only now and then (some container runtimes: once a second) is waited for.
_STATUS_PATIENCE_S = 2.5
_STATUS_POLL_S = 0.02
_SAVE_AGAIN_S = 1.0


class Ending:
    """Brings attempts to their end; calls `ended` when the whole tree of one is gone."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        diagnostics: Diagnostics,
        ended: Callable[[Attempt], None],
    ) -> None:
        self._loop = loop
        self._store = store
        self._diagnostics = diagnostics
        self._ended = ended

    def stop(self, attempt: Attempt, grace_s: float, number: int | None) -> None:
        """Signal the tree now and kill what is left after the grace; a repeat only shortens it."""
        attempt.stop_asked = True
        attempt.record["state"] = "stopping"
        attempt.kill_at = min(attempt.kill_at, time.monotonic() + grace_s)
        if grace_s > 0 and attempt.tree is not None:
            attempt.tree.signal(number or attempt.record["stop_signal"])
            self._look_again(attempt)
        else:
            self._look(attempt)

    def child_ended(self, attempt: Attempt) -> None:
        """Its first process is a zombie of ours: deal with its tree, then reap it."""
        # Until it is reaped its pid is taken, so session and group of that number are its own.
        left = self._kill_what_is_left(attempt)
        _, status, usage = os.wait4(attempt.record["pid"], 0)
        used = (usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
        self._main_gone(attempt, left, status, used)

    def watch_adopted(self, attempt: Attempt) -> bool:
        """Watch, through a pidfd, a first process that is not our child; False if it is gone."""
        tree = attempt.tree
        if tree is None:
            return False
        try:
            pidfd = os.pidfd_open(tree.pid)
        except ProcessLookupError:
            return False
        # Compared after the pidfd was opened: from here on it cannot become another process.
        found = proc.same(tree.pid, tree.start_time)
        if found is None:
            os.close(pidfd)
            return False
        tree.reapers.add(found.ppid)
        attempt.pidfd = pidfd
        self._loop.watch(pidfd, READ, lambda _: self._adopted_ended(attempt))
        return True

    def lost(self, attempt: Attempt, end: Json | None) -> None:
        """It ended while nobody watched: record that, and kill what it left behind.

        end: its end as an earlier supervisor recorded it while the tree was not gone yet.
        """
        left = self._kill_what_is_left(attempt)
        if end is not None:
            self._settle(attempt, left, {name: end[name] for name in END_FIELDS})
        else:
            self._main_gone(attempt, left, None, None)

    def save(self, attempt: Attempt) -> None:
        """Write its end; where the disk refuses, again every second."""
        if attempt.saved:
            return
        try:
            self._store.write_end(attempt.saving())
            if not attempt.live:
                self._store.forget_run(attempt.key)
                attempt.saved = True
        except OSError as problem:
            self._diagnostics("disk", key=attempt.key, error=str(problem))
            if not attempt.live:
                attempt.timer = self._loop.after(_SAVE_AGAIN_S, lambda: self.save(attempt))

    def _adopted_ended(self, attempt: Attempt) -> None:
        self._loop.unwatch(attempt.pidfd)
        self._kill_what_is_left(attempt)
        self._ask_status(attempt, time.monotonic() + _STATUS_PATIENCE_S)

    def _ask_status(self, attempt: Attempt, deadline: float) -> None:
        """The kernel tells how it ended once its new parent has reaped it, a moment later."""
        status = None
        with contextlib.suppress(NotKept):
            status = wait_status(attempt.pidfd)
            if status is None and time.monotonic() < deadline:
                self._loop.after(_STATUS_POLL_S, lambda: self._ask_status(attempt, deadline))
                return
        os.close(attempt.pidfd)
        attempt.pidfd = -1
        self._main_gone(attempt, self._kill_what_is_left(attempt), status, None)

    def _kill_what_is_left(self, attempt: Attempt) -> int:
        """Processes that still live. They have the rest of the grace only after a stop."""
        if attempt.tree is None:
            return 0
        left = len(attempt.tree.members(thorough=True))
        if not attempt.stop_asked:
            attempt.kill_at = time.monotonic()
        if left and attempt.kill_at <= time.monotonic():
            attempt.tree.kill()
        return left

    def _main_gone(
        self, attempt: Attempt, left: int, status: int | None, used: tuple[float, int] | None
    ) -> None:
        end = end_fields(status, used, asked=attempt.end_asked, now=time.time())
        if "digest" in (attempt.record["checkpoint"] or ()):
            end["reason"] = "checkpointed"
        self._settle(attempt, left, end)

    def _settle(self, attempt: Attempt, left: int, end: Json) -> None:
        attempt.cancel_timer()
        attempt.phase = phases.ENDING
        attempt.end = end
        if left == 0:
            self._finish(attempt, 0)
            return
        attempt.record["state"] = "stopping"
        self.save(attempt)  # what it left may take its time; the exit code must not be at risk
        self._look_again(attempt)

    def _look_again(self, attempt: Attempt) -> None:
        """Come back when SIGKILL is due, or soon when all that is left to do is to wait."""
        attempt.cancel_timer()
        wait = max(0.0, attempt.kill_at - time.monotonic())
        if attempt.phase == phases.ENDING or wait == 0.0:
            attempt.patience = min(attempt.patience * 2, _POLL_MAX_S)
            wait = min(wait, attempt.patience) if wait else attempt.patience
        attempt.timer = self._loop.after(wait, lambda: self._look(attempt))

    def _look(self, attempt: Attempt) -> None:
        attempt.timer = None
        if attempt.tree is None or not attempt.live:
            return
        now = time.monotonic()
        left = attempt.tree.members() if attempt.phase == phases.ENDING else None
        if left is not None and not left:
            self._finish(attempt, 0)
            return
        if now >= attempt.kill_at:
            attempt.tree.kill()
            if left is not None and now >= attempt.kill_at + _LEFTOVER_S:
                self._diagnostics("unkillable", key=attempt.key, pids=sorted(left)[:32])
                self._finish(attempt, len(left))
                return
        self._look_again(attempt)

    def _finish(self, attempt: Attempt, leftover: int) -> None:
        if attempt.pump is not None:
            attempt.pump.close()
        record = attempt.shown()
        attempt.pump = None
        record.update(attempt.end or {}, state="ended", leftover=leftover)
        attempt.phase = phases.ENDED
        self.save(attempt)
        self._ended(attempt)
