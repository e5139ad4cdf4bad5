"""Attempts that begin from a checkpoint: groups, CRIU, record on disk, and only then they run.

Until the record names the restored process the run is marked as restoring, and its processes are
stopped: a supervisor that takes over kills what it finds of it, for it never ran.
"""

from __future__ import annotations

import os
import signal
import time

from . import attempt as phases
from . import criu, images, proc, record
from .attempt import Attempt
from .protocol import Refused
from .spawn import StepFailed, enter_groups
from .spec import MARKER
from .tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt import Answer
    from .begin import Outputs
    from .diagnostics import Diagnostics
    from .loop import Loop
    from .protocol import Json
    from .spec import StartSpec
    from .store import Store
    from .tool import Tools

_GONE_S = 5.0
_LOOK_AGAIN_S = 0.05


class Restoring:
    """Restores attempts; calls `settled` when one runs or, with its refusal set, never began."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        tools: Tools,
        outputs: Outputs,
        diagnostics: Diagnostics,
        boot_id: str,
        program: str,
        settled: Callable[[Attempt], None],
    ) -> None:
        self._loop = loop
        self._store = store
        self._tools = tools
        self._outputs = outputs
        self._diagnostics = diagnostics
        self._boot_id = boot_id
        self._program = program
        self._settled = settled

    def start(self, spec: StartSpec, answer: Answer) -> Attempt:
        """Have it restored; the answer follows. Refused when it cannot even begin."""
        source = spec.restore
        assert source is not None
        pump, writing = self._outputs.open(spec)
        program = self._program
        user = (
            os.geteuid() if spec.uid is None else spec.uid,
            os.getegid() if spec.gid is None else spec.gid,
        )
        path = images.directory(source.root, source.key)
        scratch = f"{self._store.directory}/pipes/{spec.key}.criu"

        def work() -> Json:
            images.check_root(source.root)
            found = criu.find(program)
            try:
                enter_groups(spec)
            except StepFailed as failed:
                raise criu.CriuFailed(failed.failure.text) from None
            return criu.restore(found, path, source.digest, user, writing, scratch, source.limit_s)

        try:
            tool = self._tools.fork(
                work, source.limit_s, lambda result: self._restored(attempt, result), writing
            )
        except OSError as problem:
            pump.close()
            self._outputs.remove(spec.key)
            raise _failed(f"fork: {problem.strerror}") from None
        finally:
            os.close(writing)
        log = self._store.log_path(spec.key)
        written = record.new(spec, tool.pid, tool.start_time, self._boot_id, log, time.time())
        written["restoring"] = True
        written["source"] = {"root": source.root, "key": source.key}
        tree = Tree(spec.key, tool.pid, tool.start_time, spec.cgroup_dirs)
        attempt = Attempt(written, tree, phases.STARTING)
        attempt.pump = pump
        attempt.waiters.append((answer, False))
        try:
            self._store.write_run(written)
        except OSError as problem:
            attempt.refusal = Refused("INTERNAL", f"cannot write the record: {problem}")
            tool.channel.close()  # without the word to go it ends, which brings the refusal
            return attempt
        self._tools.begin(tool)
        return attempt

    def let_run(self, attempt: Attempt) -> None:
        """It is recorded: it runs, and nobody else is to begin from its checkpoint.

        Also for one that is adopted: an earlier supervisor may not have come to this.
        """
        source = attempt.record["source"]
        if source is None or attempt.record["checkpoint"] is not None:
            return  # what is being dumped is stopped on purpose
        if attempt.tree is not None:
            attempt.tree.signal(signal.SIGCONT)
        images.remove(source["root"], source["key"])

    def clear(self, left: Json) -> None:
        """Kill what an earlier supervisor had not restored to its end; then nothing was."""
        deadline = time.monotonic() + _GONE_S
        for tree in _trees(left):
            while tree.members(thorough=True) and time.monotonic() < deadline:
                tree.kill()
                time.sleep(_LOOK_AGAIN_S)
        self._diagnostics("restore_cleared", key=left["key"])
        self._store.forget_run(left["key"])

    def _restored(self, attempt: Attempt, result: Json) -> None:
        if attempt.refusal is None:
            attempt.refusal = self._take(attempt, result)
        if attempt.refusal is not None:
            attempt.kill_at = time.monotonic() + _GONE_S
            self._clean(attempt)
            return
        attempt.phase = phases.RUNNING
        self._settled(attempt)
        # Recorded, and a child that is waited for: now it may run.
        self.let_run(attempt)

    def _take(self, attempt: Attempt, result: Json) -> Refused | None:
        """Make the restored process the attempt's first one; why not, if not."""
        if attempt.stop_asked:
            return Refused(
                "SPAWN_FAILED", "stopped: before it was restored", step="stopped", field="", errno=0
            )
        if "error" in result:
            return _failed(str(result["error"]))
        pid, start_time = result["pid"], result["start_time"]
        if proc.same(pid, start_time) is None:
            return _failed(f"the restored process {pid} was killed")
        written = attempt.record
        written.update(pid=pid, start_time=start_time, marker=result["marker"])
        attempt.tree = Tree(result["marker"], pid, start_time, written["cgroup_dirs"])
        written["restoring"] = False
        written["started_at"] = time.time()
        try:
            self._store.write_run(written)
        except OSError as problem:
            return Refused("INTERNAL", f"cannot write the record: {problem}")
        return None

    def _clean(self, attempt: Attempt) -> None:
        """Nothing of it may be left when the refusal is told."""
        trees = [tree for tree in _trees(attempt.record) if tree.members()]
        if trees and time.monotonic() < attempt.kill_at:
            for tree in trees:
                tree.kill()
            self._loop.after(_LOOK_AGAIN_S, lambda: self._clean(attempt))
            return
        if attempt.pump is not None:
            attempt.pump.close()
            attempt.pump = None
        self._outputs.remove(attempt.key)
        self._settled(attempt)


def _trees(left: Json) -> list[Tree]:
    """What a restore may have left: CRIU's tree with all in its groups, and the restored one."""
    trees = [Tree(left["key"], left["pid"], left["start_time"], left["cgroup_dirs"])]
    trees[0].reapers.add(1)
    # Without groups of its own the restored tree is known by its id and the marker it kept.
    source = left["source"]
    path = "" if source is None else images.directory(source["root"], source["key"])
    found = images.about(path) or {}
    started = proc.stat(found["pid"]) if "pid" in found else None
    marker = f"{MARKER}={found.get('marker')}".encode()
    if started is not None and proc.started_with(started.pid, marker):
        trees.append(Tree(found["marker"], started.pid, started.start_time, []))
    return trees


def _failed(text: str) -> Refused:
    return Refused("SPAWN_FAILED", f"restore: {text}", step="restore", field="restore", errno=0)
