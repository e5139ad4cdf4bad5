"""The payload: every attempt from its start to the acknowledgement of its end."""

from __future__ import annotations

import os
import time

from . import attempt as phases
from . import proc, record
from .attempt import Attempt
from .begin import Beginning, Outputs
from .checkpoint import Checkpointing, note_seal
from .end import Ending
from .log import Pump, RotatingLog, reopen_pipe
from .protocol import MAX_RECORDS, MAX_RUNS, PAGE_BYTES, Refused, encode
from .restore import Restoring
from .store import Acknowledged, KeptLogs
from .tool import Tools
from .tree import Tree, group_members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt import Answer
    from .diagnostics import Diagnostics
    from .loop import Loop
    from .protocol import Json
    from .spawn import Inherited
    from .spec import StartSpec
    from .store import Store

_UNKILLABLE_S = 15.0


class Payload:
    """All attempts by key.

    publish: gets "started" and "exited" events. finished: called with the exit status after a
    shutdown, when nothing is left.
    """

    def __init__(
        self,
        loop: Loop,
        store: Store,
        inherited: Inherited,
        diagnostics: Diagnostics,
        publish: Callable[[Json], None],
        finished: Callable[[int], None],
        criu: str = "",
    ) -> None:
        self._loop = loop
        self._store = store
        self._diagnostics = diagnostics
        self._publish = publish
        self._finished = finished
        self._attempts: dict[str, Attempt] = {}
        self._children: dict[int, Attempt] = {}
        self.stopping = False
        self._leftover = 0
        self._boot_id = proc.boot_id()
        self._acked = Acknowledged(store.directory)
        self._kept = KeptLogs(f"{store.directory}/logs", self._report_delete)
        self._ending = Ending(loop, store, diagnostics, self._ended)
        outputs = Outputs(loop, store, diagnostics)
        self._tools = Tools(loop, inherited)
        self._beginning = Beginning(loop, store, inherited, outputs, self._boot_id, self._settled)
        self._restoring = Restoring(
            loop, store, self._tools, outputs, diagnostics, self._boot_id, criu, self._settled
        )
        self.checkpointing = Checkpointing(
            loop, store, self._tools, self._ending, diagnostics, criu
        )
        # Three descriptors an attempt (pipe, log, pidfd), and some for connections and files.
        self._max_runs = min(MAX_RUNS, (inherited.raise_own() - 64) // 3)

    def start(self, spec: StartSpec, answer: Answer) -> None:
        """Begin an attempt, or tell how the one of that key fares; Refused at once or by answer."""
        known = self._attempts.get(spec.key)
        if known is not None:
            known.waiters.append((answer, True))
            if known.phase != phases.STARTING:
                known.answer()
            return
        if spec.key in self._acked:
            raise Refused("GONE", f"attempt {spec.key!r} was acknowledged; it never runs again")
        if self.stopping:
            raise Refused("STOPPING", "the supervisor is shutting down")
        live = sum(1 for each in self._attempts.values() if each.live)
        if live >= self._max_runs:
            raise Refused("LIMIT", f"{live} attempts run already; descriptors allow no more")
        if len(self._attempts) >= MAX_RECORDS:
            raise Refused("LIMIT", f"{MAX_RECORDS} records are held: acknowledge ends")
        self._check_groups(spec)
        # An old log of the same key, long acknowledged, gives way.
        self._kept.delete(spec.key)
        if spec.restore is not None:
            # Its first process becomes known, and our child, once it is restored.
            attempt = self._restoring.start(spec, answer)
        else:
            attempt = self._beginning.start(spec, answer)
            self._children[attempt.record["pid"]] = attempt
        self._attempts[attempt.key] = attempt

    def stop(self, key: str, grace_s: float, number: int | None) -> Json | None:
        """Stop a whole tree; its record, None if it had not begun. Refused if unknown."""
        attempt = self._get(key)
        if attempt.phase == phases.STARTING:
            self._beginning.kill(attempt)
            return None
        if attempt.live:
            self._ending.stop(attempt, grace_s, number)
        return attempt.shown()

    def checkpoint(
        self, key: str, root: str, max_bytes: int, limit_s: float, answer: Answer
    ) -> None:
        """Write an attempt's images and end it; if that fails it goes on. Refused if unknown."""
        self.checkpointing.start(self._get(key), root, max_bytes, limit_s, answer)

    def page(self, after: str | None, limit: int) -> tuple[list[Json], str | None]:
        """Records by key, and the key to go on after, None at the end."""
        keys = sorted(
            key
            for key, each in self._attempts.items()
            if each.phase != phases.STARTING and (after is None or key > after)
        )
        found: list[Json] = []
        size = 0
        for key in keys:
            if len(found) >= limit or size > PAGE_BYTES:
                return found, found[-1]["key"]
            shown = self._attempts[key].shown()
            size += len(encode(shown))
            found.append(shown)
        return found, None

    def acknowledge(self, key: str, *, keep_log: bool) -> bool:
        """Forget an ended attempt, durably; True if that was done before. OSError from the disk.

        A repeat without keep_log removes a log that was kept.
        """
        if key not in self._attempts and key in self._acked:
            if not keep_log:
                self._kept.delete(key)
            return True
        attempt = self._get(key)
        if attempt.live:
            raise Refused("RUNNING", f"attempt {key!r} has not ended")
        self._acked.add(key)
        del self._attempts[key]
        attempt.cancel_timer()
        self._store.forget_end(key)
        self._store.forget_run(key)
        if keep_log:
            self._kept.keep(key)
        else:
            self._kept.delete(key)
        return False

    def shutdown(self, grace_s: float) -> int:
        """Stop everything, whole trees; how many attempts. A repeat shortens the grace."""
        live = [each for each in self._attempts.values() if each.live]
        if not self.stopping:
            self._diagnostics("shutdown", runs=len(live), grace_s=grace_s)
        self.stopping = True
        self._loop.after(grace_s + _UNKILLABLE_S, lambda: self._finished(1))
        for attempt in live:
            attempt.shut_down = attempt.shut_down or not attempt.stop_asked
            self.stop(attempt.key, grace_s, None)
        self._check_finished()
        return len(live)

    def reap(self) -> None:
        """Take every child that ended: first processes of attempts, and orphans of their trees."""
        for _ in range(256):
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            attempt = self._children.pop(found.si_pid, None)
            if attempt is None:
                os.waitpid(found.si_pid, os.WNOHANG)
                self._tools.ended(found.si_pid)
            elif attempt.phase == phases.STARTING and self._beginning.died(attempt):
                continue
            else:
                self._ending.child_ended(attempt)
        self._loop.after(0, self.reap)

    def adopt(self) -> None:
        """Take up what an earlier supervisor left: ends, what runs still, what ended unseen."""
        ends = self._store.load("ends")
        for key, found in ends.items():
            if key in self._acked:
                self._store.forget_end(key)
                continue
            log = self._store.log_path(key)
            ended = found or record.unreadable(key, log, time.time())
            self._attempts[key] = Attempt(ended, None, phases.ENDED)
        lost: list[tuple[Attempt, Json | None]] = []
        # All that lives first: while an end is written, the next one might go unseen.
        for key, found in self._store.load("runs").items():
            if found is not None and found["restoring"]:
                self._restoring.clear(found)
            elif key in self._acked:
                self._store.forget_run(key)
            elif found is None:
                self._adopt_unreadable(key)
            else:
                known = self._attempts.get(key)
                attempt = self._adopt_run(found)
                if attempt is not None:
                    lost.append((attempt, None if known is None else known.record))
        for attempt, end in lost:
            self._ending.lost(attempt, end)
        self._kept.adopt(set(self._attempts))
        self._store.forget_pipes({key for key, each in self._attempts.items() if each.live})

    def _adopt_unreadable(self, key: str) -> None:
        self._diagnostics("unreadable", key=key)
        if key not in self._attempts:
            ended = record.unreadable(key, self._store.log_path(key), time.time())
            attempt = self._attempts[key] = Attempt(ended, None, phases.ENDED)
            attempt.saved = False
            self._ending.save(attempt)

    def _adopt_run(self, found: Json) -> Attempt | None:
        """One record from runs/: the process is the one that was started, or the attempt is lost.

        Returns the attempt if it is lost.
        """
        key = found["key"]
        tree = None
        if found["boot_id"] == self._boot_id:
            marker = found["marker"] or key
            tree = Tree(marker, found["pid"], found["start_time"], found["cgroup_dirs"])
            tree.reapers.add(1)
        attempt = Attempt(found, tree, phases.RUNNING)
        self._attempts[key] = attempt
        if self._ending.watch_adopted(attempt):
            self._diagnostics("adopted", key=key, pid=found["pid"])
            found["adopted"] = True
            attempt.pump = self._reopen(found)
            self._restoring.let_run(attempt)
            self.checkpointing.adopt(attempt)
            return None
        note_seal(found)
        self._diagnostics("lost", key=key, pid=found["pid"])
        return attempt

    def _reopen(self, found: Json) -> Pump | None:
        """Read on from the named pipe that the attempt holds open."""
        reading = -1
        try:
            reading = reopen_pipe(self._store.pipe_path(found["key"]))
            log = RotatingLog(found["log"], found["log_max_bytes"], found["log_files"])
        except OSError as problem:
            self._diagnostics("output_lost", key=found["key"], error=str(problem))
            if reading >= 0:
                os.close(reading)
            return None
        return Pump(self._loop, reading, log)

    def _get(self, key: str) -> Attempt:
        attempt = self._attempts.get(key)
        if attempt is not None:
            return attempt
        if key in self._acked:
            raise Refused("GONE", f"attempt {key!r} was acknowledged and forgotten")
        raise Refused("NOT_FOUND", f"no attempt {key!r}")

    def _check_groups(self, spec: StartSpec) -> None:
        """All that lives in an attempt's own groups dies with it: nothing else may live there."""
        for path in spec.cgroup_dirs:
            for other in self._attempts.values():
                if other.live and other.tree is not None and other.tree.overlaps(path):
                    raise Refused("CGROUP_BUSY", f"{path!r} belongs to attempt {other.key!r}")
            inside = group_members([path])
            if inside:
                some = ", ".join(map(str, sorted(inside)[:5]))
                raise Refused("CGROUP_BUSY", f"{path!r} holds {len(inside)} processes: {some}")

    def _settled(self, attempt: Attempt) -> None:
        if attempt.refusal is not None:
            del self._attempts[attempt.key]
            self._diagnostics("spawn_failed", key=attempt.key, error=attempt.refusal.error)
            attempt.answer()
            self._check_finished()
            return
        if attempt.record["source"] is not None:
            self._children[attempt.record["pid"]] = attempt
        self._diagnostics("started", key=attempt.key, pid=attempt.record["pid"])
        attempt.answer()
        self._publish({"event": "started", **attempt.shown()})
        if attempt.stop_asked:  # in the moment between fork and exec
            self._ending.stop(attempt, 0.0, None)

    def _ended(self, attempt: Attempt) -> None:
        shown = attempt.shown()
        self._leftover += shown["leftover"]
        told = ("key", "pid", "reason", "exit_code", "signal", "leftover")
        self._diagnostics("exited", **{name: shown[name] for name in told})
        self._publish({"event": "exited", **shown})
        self._check_finished()

    def _check_finished(self) -> None:
        if self.stopping and not any(each.live for each in self._attempts.values()):
            self._finished(1 if self._leftover else 0)

    def _report_delete(self, path: str, problem: OSError) -> None:
        self._diagnostics("disk", path=path, error=str(problem))
