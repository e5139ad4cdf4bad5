"""Checkpoints of running attempts: dumped, sealed, then ended; or continued as if nothing had been.

The seal on the images (images.py) decides. Before it everything that goes wrong continues the
attempt; after it the attempt is killed and its end says "checkpointed". That a dump is under way is
in the run's record before it begins, so a supervisor that takes over knows what to look for.
"""

from __future__ import annotations

import os
import signal
import time

from . import attempt as phases
from . import criu, images, proc
from .protocol import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt import Answer, Attempt
    from .diagnostics import Diagnostics
    from .end import Ending
    from .loop import Loop
    from .protocol import Json
    from .store import Store
    from .tool import Tools

_LOOK_AGAIN_S = 0.1


class Checkpointing:
    """Makes checkpoints, by the program `criu` (as find() takes it)."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        tools: Tools,
        ending: Ending,
        diagnostics: Diagnostics,
        program: str,
    ) -> None:
        self._loop = loop
        self._store = store
        self._tools = tools
        self._ending = ending
        self._diagnostics = diagnostics
        self._program = program

    def check(self, answer: Answer) -> None:
        """Whether CRIU works here: {"version"}, or Refused UNAVAILABLE with the reason."""
        program = self._program

        def told(result: Json) -> None:
            if "error" in result:
                answer(Refused("UNAVAILABLE", str(result["error"])))
            else:
                answer(result)

        tool = self._tools.fork(lambda: criu.check(criu.find(program)), 40.0, told)
        self._tools.begin(tool)

    def start(
        self, attempt: Attempt, root: str, max_bytes: int, limit_s: float, answer: Answer
    ) -> None:
        """Dump it; the answer follows, then the end. Refused where it cannot even begin."""
        record = attempt.record
        begun = record["checkpoint"]
        if begun is not None and "digest" in begun:
            answer({"checkpoint": {name: begun[name] for name in ("digest", "bytes")}})
            return
        if begun is not None and attempt.live:
            # Perhaps begun under an earlier supervisor.
            attempt.checkpoint_waiters.append(answer)
            return
        if attempt.phase != phases.RUNNING or attempt.stop_asked:
            raise Refused("ENDED", f"attempt {attempt.key!r} is {record['state']}, not running")
        program = self._program
        pipe = os.path.realpath(self._store.pipe_path(attempt.key)).lstrip("/")
        about = {**record, "pipe": pipe}

        def work() -> Json:
            return criu.dump(criu.find(program), about, root, max_bytes, limit_s)

        try:
            tool = self._tools.fork(work, limit_s, lambda result: self._dumped(attempt, result))
        except OSError as problem:
            raise Refused("CHECKPOINT_FAILED", f"fork: {problem.strerror}") from None
        record["checkpoint"] = {"root": root, "pid": tool.pid, "start_time": tool.start_time}
        try:
            self._store.write_run(record)
        except OSError as problem:
            record["checkpoint"] = None
            self._tools.give_up(tool)
            raise Refused("INTERNAL", f"cannot write the record: {problem}") from None
        attempt.checkpoint_waiters.append(answer)
        self._diagnostics("checkpointing", key=attempt.key, pid=record["pid"])
        self._tools.begin(tool)

    def adopt(self, attempt: Attempt) -> None:
        """Finish what an earlier supervisor began with an attempt that runs (or is stopped)."""
        begun = attempt.record["checkpoint"]
        if begun is None:
            return
        if proc.same(begun["pid"], begun["start_time"]) or _session_lives(begun["pid"]):
            # CRIU must not be killed while it has the processes in its hands.
            self._loop.after(_LOOK_AGAIN_S, lambda: self.adopt(attempt))
            return
        if not attempt.live:
            self._ended_meanwhile(attempt)
        elif note_seal(attempt.record):
            self._end(attempt)
        else:
            self._go_on(attempt, "the supervisor was restarted meanwhile")

    def _dumped(self, attempt: Attempt, result: Json) -> None:
        record = attempt.record
        if not attempt.live or attempt.phase != phases.RUNNING or record["checkpoint"] is None:
            self._ended_meanwhile(attempt)
        elif "error" in result:
            self._go_on(attempt, str(result["error"]))
        elif attempt.stop_asked:
            self._go_on(attempt, "it was stopped meanwhile")
        else:
            record["checkpoint"].update(digest=result["digest"], bytes=result["bytes"])
            self._end(attempt)

    def _ended_meanwhile(self, attempt: Attempt) -> None:
        """It did not wait for the seal: nobody will start from these images."""
        begun = attempt.record["checkpoint"]
        if begun is not None and "digest" not in begun:
            images.remove(begun["root"], attempt.key)
        self._tell(attempt, Refused("ENDED", f"attempt {attempt.key!r} ended meanwhile"))

    def _end(self, attempt: Attempt) -> None:
        """The images are sealed: from here on nothing of it may run again here."""
        record = attempt.record
        record["state"] = "stopping"
        told = {name: record["checkpoint"][name] for name in ("digest", "bytes")}
        self._diagnostics("checkpointed", key=attempt.key, **told)
        attempt.kill_at = time.monotonic()
        if attempt.tree is not None:
            attempt.tree.kill()
        self._tell(attempt, {"checkpoint": told})

    def _go_on(self, attempt: Attempt, why: str) -> None:
        record = attempt.record
        # A child that was killed has left what it had.
        images.remove(record["checkpoint"]["root"], attempt.key)
        record["checkpoint"] = None
        self._diagnostics("checkpoint_failed", key=attempt.key, error=why)
        if attempt.tree is not None:
            attempt.tree.signal(signal.SIGCONT)
        try:
            self._store.write_run(record)
        except OSError as problem:
            # The next supervisor will find no seal, and come to the same.
            self._diagnostics("disk", key=attempt.key, error=str(problem))
        self._tell(attempt, Refused("CHECKPOINT_FAILED", why))

    def _tell(self, attempt: Attempt, result: Json | Refused) -> None:
        waiters: list[Callable[[Json | Refused], None]] = attempt.checkpoint_waiters
        attempt.checkpoint_waiters = []
        for tell in waiters:
            tell(result)


def note_seal(record: Json) -> bool:
    """Look whether the checkpoint that the record speaks of was sealed; put its digest there."""
    begun = record["checkpoint"]
    if begun is None:
        return False
    if "digest" not in begun:
        found = images.sealed(images.directory(begun["root"], record["key"]))
        if found is None:
            return False
        begun["digest"], begun["bytes"] = found
    return True


def _session_lives(session: int) -> bool:
    return any(each.session == session and each.alive for each in proc.scan())
