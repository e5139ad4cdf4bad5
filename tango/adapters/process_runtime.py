"""The Runtime of a node: replicas and tasks as children of its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from tango.adapters.checkpoint_dir import CHECK_S, Checkpoints
from tango.adapters.process_ends import Ends
from tango.adapters.process_launch import Launch, check_key, with_port
from tango.adapters.replica_ports import PortTaken, ReplicaPorts
from tango.adapters.supervisor_client import Json, SupervisorClient, SupervisorRefused
from tango.model.errors import InvalidField
from tango.model.fixed_ports import parse_ports
from tango.model.job import Checkpoint
from tango.model.process import ProcessRecord, ProcessSpec
from tango.model.settings import WorkerSettings
from tango.ports import Cgroups, CheckpointFailed, RuntimeLost, StartFailed

_START_S = 45.0  # the supervisor itself gives up after 30
_MAX_GRACE_S = 3600.0
# The same spec will fail again on this node, whatever the load.
_LASTING_ERRNOS = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ENOTDIR, errno.E2BIG}
)
_LASTING_STEPS = frozenset({"exec", "user", "cwd"})
_LASTING_CODES = frozenset({"INVALID", "TOO_LONG", "GONE"})


class ProcessRuntime:
    """`tango.ports.Runtime` over a supervisor's socket; make it with connect().

    A lost connection is made again for about 5 s, then calls and watchers raise RuntimeLost. The
    port of a process is in its record's meta under "port", so that it is known after a restart.
    For one event loop.
    """

    def __init__(
        self,
        socket_path: Path | str,
        cgroups: Cgroups | None,
        settings: WorkerSettings,
        *,
        on_down: Callable[[str], None] | None = None,
        on_up: Callable[[bool, int, int], None] | None = None,
        revive: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._launch = Launch(cgroups, settings)
        self._checkpoints = Checkpoints(settings)
        self._ports = ReplicaPorts()
        self._running: dict[str, ProcessRecord] = {}
        self._ended: set[str] = set()  # and not yet forgotten
        self._starting: dict[str, asyncio.Future[tuple[ProcessRecord, int]]] = {}
        self._watchers: set[Ends] = set()
        self._on_down = on_down
        self._on_up = on_up
        self._incarnation = 0
        self._told_down = False
        self._life: asyncio.Task[None] | None = None
        self._client = SupervisorClient(
            socket_path,
            on_event=self._on_event,
            on_connected=self._on_records,
            on_lost=self._on_lost,
            revive=revive,
        )

    @classmethod
    async def connect(
        cls,
        socket_path: Path | str,
        cgroups: Cgroups | None,
        settings: WorkerSettings,
        *,
        on_down: Callable[[str], None] | None = None,
        on_up: Callable[[bool, int, int], None] | None = None,
        revive: Callable[[], Awaitable[None]] | None = None,
    ) -> Self:
        """A runtime that knows what already runs. cgroups: None where groups are not used.

        on_down: told why the supervisor does not answer any more: its connection ended, or it
        gives no sign of life (then nothing is done about it). on_up: told, once one does
        again, whether it is another one, how many processes it has adopted, and how many that
        ran before it did not find. revive: starts a supervisor where none answers.

        Raises RuntimeLost, and InvalidField where settings.run_as is no user of this machine.
        """
        runtime = cls(socket_path, cgroups, settings, on_down=on_down, on_up=on_up, revive=revive)
        await runtime._client.connect()
        if on_down is not None:
            life = runtime._client.watch_life(runtime._on_silent, runtime._on_heard)
            runtime._life = asyncio.create_task(life, name="supervisor's life")
        return runtime

    async def start(self, spec: ProcessSpec) -> tuple[ProcessRecord, int]:
        """See Runtime. Of two starts of one key at once, both get the first one's answer."""
        under_way = self._starting.get(spec.key)
        if under_way is not None:
            return await asyncio.shield(under_way)
        known = self._running.get(spec.key)
        if known is not None:
            return known, port_of(known)
        answer: asyncio.Future[tuple[ProcessRecord, int]] = (
            asyncio.get_running_loop().create_future()
        )
        self._starting[spec.key] = answer
        try:
            record = await self._start(spec)
        except BaseException as error:
            failed = isinstance(error, Exception)
            answer.set_exception(error if failed else StartFailed("cancelled", lasting=False))
            answer.exception()  # that nobody else may have waited for it is no fault
            raise
        finally:
            del self._starting[spec.key]
        answer.set_result((record, port_of(record)))
        return record, port_of(record)

    async def stop(self, key: str, grace_s: float) -> None:
        """See Runtime. Fine where the key is unknown or has ended; a repeat can only hurry it."""
        with _on_ended_or_unknown(key):
            await self._client.call("stop", key=key, grace_s=min(max(grace_s, 0.0), _MAX_GRACE_S))

    async def checkpoint(self, key: str) -> None:
        """See Runtime."""
        try:
            limit_s, request = self._checkpoints.request()
            await self._client.call("checkpoint", limit_s, key=key, **request)
        except SupervisorRefused as refused:
            raise CheckpointFailed(str(refused)) from None

    async def can_checkpoint(self) -> tuple[bool, str]:
        """See Runtime."""
        try:
            await asyncio.to_thread(self._checkpoints.prepare)
            self._checkpoints.check(_uid_of(self._client.hello["pid"]))
            reply = await self._client.call("criu", CHECK_S)
        except (SupervisorRefused, CheckpointFailed, OSError) as refused:
            return False, str(refused)
        return True, f"criu {reply.get('version', '')}"

    async def forget(self, key: str, *, keep_log: bool) -> None:
        """See Runtime. ValueError for what has not ended."""
        with _on_ended_or_unknown(key):
            await self._client.call("ack", key=key, keep_log=keep_log)
        self._ended.discard(key)
        if not keep_log:
            await asyncio.to_thread(self._checkpoints.remove, check_key(key))

    async def list(self) -> tuple[ProcessRecord, ...]:
        """See Runtime."""
        return tuple(to_record(found) for found in await self._client.records())

    def watch(self) -> AsyncIterator[ProcessRecord]:
        """See Runtime. Ends count from this call on, not from the first one taken."""
        watcher = Ends(self._client.connect, self._watchers.discard)
        self._watchers.add(watcher)
        return watcher

    def log_path(self, key: str) -> str:
        """See Runtime. ValueError for what is no key."""
        return f"{self._client.hello['state_dir']}/logs/{check_key(key)}.log"

    async def close(self) -> None:
        """See Runtime. Watchers end."""
        for watcher in tuple(self._watchers):
            watcher.close()
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait((self._life,))
        await self._client.close()

    # ----

    async def _start(self, spec: ProcessSpec) -> ProcessRecord:
        port = self._port_for(spec)
        runs = False
        try:
            request = self._launch.request(with_port(spec, port))
            limit_s = _START_S
            if spec.restore is not None:
                limit_s, request["restore"] = self._checkpoints.source(spec.restore)
            reply = await self._client.call("start", limit_s, **request)
            record = to_record(reply["record"])
            # Its end may have come with the same bytes as the answer.
            runs = not record.ended and spec.key not in self._ended
        except SupervisorRefused as refused:
            raise StartFailed(str(refused), lasting=_is_lasting(refused)) from None
        except CheckpointFailed as failed:
            raise StartFailed(str(failed), lasting=True) from None
        except (OSError, ValueError) as error:
            message = f"the control group {spec.group!r} cannot be used: {error}"
            raise StartFailed(message, lasting=isinstance(error, ValueError)) from None
        finally:
            if not runs:
                self._ports.release(spec.key)
        if runs:
            self._adopt(record)
        return record

    def _port_for(self, spec: ProcessSpec) -> int | None:
        try:
            return self._ports.port_for(spec)
        except PortTaken as taken:
            raise StartFailed(str(taken), lasting=taken.lasting) from None

    def _adopt(self, record: ProcessRecord) -> None:
        self._running[record.key] = record
        ports = ports_of(record)
        if ports:
            self._ports.hold(record.key, *ports)
        else:
            self._ports.release(record.key)

    def _on_event(self, event: Json) -> None:
        record = to_record(event)
        if event["event"] == "exited":
            self._on_end(record)
        elif event["event"] == "started" and record.key not in self._starting:
            self._adopt(record)  # whoever wanted it was cancelled meanwhile

    def _on_end(self, record: ProcessRecord) -> None:
        self._running.pop(record.key, None)
        self._ports.release(record.key)
        if record.key not in self._ended:
            self._ended.add(record.key)
            for watcher in tuple(self._watchers):
                watcher.put(record)

    def _on_records(self, records: Sequence[Json]) -> None:
        """After each connect: what runs, and what ended while nobody listened."""
        found = {record.key: record for record in map(to_record, records)}
        before = set(self._running)
        for key, record in tuple(self._running.items()):
            # A supervisor that lost its state directory knows nothing of it any more.
            if key not in found:
                self._on_end(_lost(record))
        for record in found.values():
            if record.ended:
                self._on_end(record)
            else:
                self._adopt(record)
        incarnation = self._client.hello.get("incarnation", 0)
        renewed, self._incarnation = incarnation != self._incarnation, incarnation
        if self._on_up is not None and self._told_down:
            self._told_down = False
            kept = before & set(self._running)
            self._on_up(renewed, len(kept), len(before - kept))

    def _on_silent(self, reason: str) -> None:
        if self._on_down is not None:
            self._told_down = True
            self._on_down(reason)

    def _on_heard(self) -> None:
        if self._on_up is not None and self._told_down:
            self._told_down = False
            self._on_up(False, len(self._running), 0)

    def _on_lost(self, reason: str) -> None:
        if self._on_down is not None:
            self._told_down = True
            self._on_down(reason)
        for watcher in tuple(self._watchers):
            watcher.wake()


def port_of(record: ProcessRecord) -> int:
    """The port that a process was started with, 0 for none."""
    text = dict(record.meta).get("port", "")
    return int(text) if text.isdecimal() and len(text) <= 5 else 0


def ports_of(record: ProcessRecord) -> tuple[int, ...]:
    """All that it was started with."""
    with contextlib.suppress(InvalidField, ValueError):
        if ports := parse_ports(dict(record.meta).get("ports", "")):
            return ports
    port = port_of(record)
    return (port,) if port else ()


def to_record(found: Json) -> ProcessRecord:
    """A record as the supervisor tells it; what it does not know is 0 or None."""
    signal = found.get("signal")
    made = found.get("checkpoint") if found["reason"] == "checkpointed" else None
    checkpoint = None if made is None else Checkpoint(found["key"], made["digest"], made["bytes"])
    return ProcessRecord(
        key=found["key"],
        pid=found["pid"] or 0,
        started_at=found["started_at"] or 0.0,
        meta=tuple((found.get("meta") or {}).items()),
        ended_at=found["ended_at"] or 0.0,
        exit_code=found["exit_code"],
        signal=signal or 0,
        cpu_s=found["cpu_s"] or 0.0,
        lost=found["reason"] == "lost",
        shut_down=found["reason"] == "shutdown",
        checkpoint=checkpoint,
    )


def _uid_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def _lost(record: ProcessRecord) -> ProcessRecord:
    return ProcessRecord(
        record.key, record.pid, record.started_at, record.meta, ended_at=time.time(), lost=True
    )


def _is_lasting(refused: SupervisorRefused) -> bool:
    if refused.code == "SPAWN_FAILED":
        step, number = refused.reply.get("step"), refused.reply.get("errno")
        return step in _LASTING_STEPS and number in _LASTING_ERRNOS
    return refused.code in _LASTING_CODES


@contextlib.contextmanager
def _on_ended_or_unknown(key: str) -> Iterator[None]:
    """What is refused of a process that is not there is as good as done."""
    try:
        yield
    except SupervisorRefused as refused:
        if refused.code == "RUNNING":
            raise ValueError(f"{key} has not ended") from None
        if refused.code != "NOT_FOUND":
            raise RuntimeLost(f"the supervisor refused: {refused}") from None
