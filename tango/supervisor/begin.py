"""The beginning of an attempt: pipe and log, fork, record on disk, the child's word."""

from __future__ import annotations

import os
import time

from . import attempt as phases
from . import proc, record
from .attempt import Attempt
from .log import Pump, RotatingLog, delete, log_files, open_pipe
from .loop import READ
from .protocol import Refused
from .spawn import go, read_failure, spawn
from .tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt import Answer
    from .diagnostics import Diagnostics
    from .loop import Loop
    from .spawn import Inherited
    from .spec import StartSpec
    from .store import Store

# Entering a group that is throttled or idle on a busy node can take seconds, not half a minute.
_PATIENCE_S = 30.0


class Outputs:
    """Pipes and logs of attempts that begin."""

    def __init__(self, loop: Loop, store: Store, diagnostics: Diagnostics) -> None:
        self._loop = loop
        self._store = store
        self._diagnostics = diagnostics

    def open(self, spec: StartSpec) -> tuple[Pump, int]:
        """What carries its output into its log, and the end that it writes to. Refused if not."""
        owner = None if spec.uid is None or spec.gid is None else (spec.uid, spec.gid)
        reading = writing = -1
        try:
            reading, writing = open_pipe(self._store.pipe_path(spec.key), owner)
            log = self._store.log_path(spec.key)
            rotating = RotatingLog(log, spec.log_max_bytes, spec.log_files)
        except OSError as problem:
            for fd in (reading, writing):
                if fd >= 0:
                    os.close(fd)
            self.remove(spec.key)
            raise Refused("INTERNAL", f"cannot make the log of {spec.key!r}: {problem}") from None
        return Pump(self._loop, reading, rotating), writing

    def remove(self, key: str) -> None:
        """It never began: no record, no pipe, no log of it."""
        try:
            self._store.forget_run(key)
        except OSError as problem:
            self._diagnostics("disk", key=key, error=str(problem))
        delete(log_files(self._store.log_path(key)), self._report)

    def _report(self, path: str, problem: OSError) -> None:
        self._diagnostics("disk", path=path, error=str(problem))


class Beginning:
    """Starts attempts; calls `settled` when one runs or, with its refusal set, never began."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        inherited: Inherited,
        outputs: Outputs,
        boot_id: str,
        settled: Callable[[Attempt], None],
    ) -> None:
        self._loop = loop
        self._store = store
        self._inherited = inherited
        self._outputs = outputs
        self._boot_id = boot_id
        self._settled = settled

    def start(self, spec: StartSpec, answer: Answer) -> Attempt:
        """Fork it; the answer follows. Refused when not even that was possible."""
        log = self._store.log_path(spec.key)
        pump, writing = self._outputs.open(spec)
        try:
            pid, channel = spawn(spec, writing, self._inherited)
        except OSError as problem:
            pump.close()
            self._outputs.remove(spec.key)
            raise Refused(
                "SPAWN_FAILED",
                f"fork: {problem.strerror}",
                step="fork",
                field="",
                errno=problem.errno or 0,
            ) from None
        finally:
            os.close(writing)
        found = proc.stat(pid)
        if found is None:
            raise AssertionError(f"child {pid} has no entry in /proc before it was waited for")
        written = record.new(spec, pid, found.start_time, self._boot_id, log, time.time())
        tree = Tree(spec.key, pid, found.start_time, spec.cgroup_dirs)
        attempt = Attempt(written, tree, phases.STARTING)
        attempt.pump = pump
        attempt.waiters.append((answer, False))
        attempt.channel = channel
        try:
            self._store.write_run(written)
        except OSError as problem:
            # Without the word to go the child kills itself; its end brings the refusal.
            attempt.refusal = Refused("INTERNAL", f"cannot write the record: {problem}")
            self._close_channel(attempt)
            return attempt
        go(channel)
        self._loop.watch(channel.fileno(), READ, lambda _: self._hear(attempt))
        attempt.timer = self._loop.after(_PATIENCE_S, lambda: self._too_late(attempt))
        return attempt

    def kill(self, attempt: Attempt) -> None:
        """Stop what has not begun; should it just have begun, it ends as stopped."""
        attempt.stop_asked = True
        attempt.kill_at = time.monotonic()
        if attempt.tree is not None:
            attempt.tree.kill()

    def died(self, attempt: Attempt) -> bool:
        """Its child ended: True (and reaped) if it never began, False if it was the program."""
        for _ in range(4):  # a failure holds less than 4000 bytes, so it and the end are here now
            self._hear(attempt)
        self._close_channel(attempt)
        if attempt.refusal is None:
            return False
        os.waitpid(attempt.record["pid"], 0)
        attempt.cancel_timer()
        if attempt.pump is not None:
            attempt.pump.close()
        self._outputs.remove(attempt.key)
        self._settled(attempt)
        return True

    def _hear(self, attempt: Attempt) -> None:
        """Read from the child: a failure, or the end of file that exec makes."""
        if attempt.channel is None:
            return
        unheard = False
        try:
            data = attempt.channel.recv(8192)
        except BlockingIOError:
            return
        except ConnectionResetError:
            # It closed without having read our word: no program ever ran.
            data = b""
            unheard = True
        if data:
            attempt.message += data
            return
        self._close_channel(attempt)
        if attempt.message:
            failure = read_failure(attempt.message)
            attempt.refusal = Refused(
                "SPAWN_FAILED",
                failure.text,
                step=failure.step,
                field=failure.field,
                errno=failure.errno,
            )
        elif unheard:
            step = "stopped" if attempt.stop_asked else "spawn"
            text = f"{step}: the child was killed before it became the program"
            attempt.refusal = Refused("SPAWN_FAILED", text, step=step, field="", errno=0)
        else:
            attempt.cancel_timer()
            attempt.phase = phases.RUNNING
            self._settled(attempt)

    def _too_late(self, attempt: Attempt) -> None:
        text = (
            f"spawn: it did not become the program within {_PATIENCE_S:g} s; is its group starved?"
        )
        attempt.refusal = Refused("SPAWN_FAILED", text, step="spawn", field="", errno=0)
        self._close_channel(attempt)
        self.kill(attempt)

    def _close_channel(self, attempt: Attempt) -> None:
        if attempt.channel is not None:
            self._loop.unwatch(attempt.channel.fileno())
            attempt.channel.close()
            attempt.channel = None
