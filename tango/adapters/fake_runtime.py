"""A Runtime in memory: the programs are pretended, everything else behaves like the real one."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from tango.adapters.process_ends import Ends
from tango.adapters.process_launch import check_key, with_port
from tango.adapters.replica_ports import PortTaken, ReplicaPorts
from tango.model.job import Checkpoint
from tango.model.process import ProcessRecord, ProcessSpec
from tango.ports import CheckpointFailed, RuntimeLost, StartFailed


@dataclass(frozen=True, slots=True)
class Program:
    """What a pretended process does. run_s: None for until it is stopped.

    missing: there is no such program. stubborn: SIGTERM does not end it. cpu_s: used when it ends.
    """

    run_s: float | None = None
    exit_code: int = 0
    missing: bool = False
    stubborn: bool = False
    cpu_s: float = 0.0


@dataclass(slots=True)
class _Node:
    """What outlives a runtime: the pretended supervisor with its processes."""

    specs: dict[str, ProcessSpec] = field(default_factory=dict)
    records: dict[str, ProcessRecord] = field(default_factory=dict)
    timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    ports: ReplicaPorts = field(default_factory=ReplicaPorts)
    watchers: set[Ends] = field(default_factory=set)
    last_pid: int = 1_000_000
    gone: bool = False


def run_until_stopped(spec: ProcessSpec) -> Program:
    """The usual program of a fake: it runs until it is stopped."""
    return Program()


class FakeRuntime:
    """`tango.ports.Runtime` without processes; `program` says what each spec does when started.

    reopen() gives the runtime that a restarted worker would find.
    """

    def __init__(self, program: Callable[[ProcessSpec], Program] = run_until_stopped) -> None:
        self._program = program
        self._node = _Node()
        self._watchers: set[Ends] = set()

    def reopen(self) -> FakeRuntime:
        """Another runtime of the same node: what runs and what ended is still there."""
        other = FakeRuntime(self._program)
        other._node = self._node
        return other

    def spec_of(self, key: str) -> ProcessSpec:
        """What was started under this key, its port filled in."""
        return self._node.specs[key]

    def end(self, key: str, exit_code: int | None = 0, number: int = 0, cpu_s: float = 0.0) -> None:
        """Let a process end by itself, with an exit code or by a signal; fine if it has ended."""
        node = self._node
        record = node.records[key]
        if record.ended:
            return
        timer = node.timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        node.ports.release(key)
        node.records[key] = replace(
            record,
            ended_at=max(time.time(), record.started_at),
            exit_code=None if number else exit_code,
            signal=number,
            cpu_s=cpu_s,
        )
        for watcher in tuple(node.watchers):
            watcher.put(node.records[key])

    def lose(self) -> None:
        """The pretended supervisor dies: every call and every watcher raises RuntimeLost."""
        self._node.gone = True
        for watcher in tuple(self._node.watchers):
            watcher.wake()

    async def start(self, spec: ProcessSpec) -> tuple[ProcessRecord, int]:
        """See Runtime."""
        await self._reach()
        node = self._node
        known = node.records.get(spec.key)
        if known is not None:
            return known, node.specs[spec.key].port or 0
        if spec.key in node.forgotten:
            raise StartFailed(f"{spec.key} was started before", lasting=True)
        program = self._program(spec)
        port = self._port_for(spec)
        if program.missing:
            node.ports.release(spec.key)
            raise StartFailed(f"argv[0]: {spec.argv[0]!r} not found", lasting=True)
        node.last_pid += 1
        spec = with_port(spec, port)
        node.specs[spec.key] = spec
        record = ProcessRecord(spec.key, node.last_pid, time.time(), spec.meta)
        node.records[spec.key] = record
        if program.run_s is not None:
            loop = asyncio.get_running_loop()
            node.timers[spec.key] = loop.call_later(
                program.run_s, self.end, spec.key, program.exit_code, 0, program.cpu_s
            )
        return record, port or 0

    async def stop(self, key: str, grace_s: float) -> None:
        """See Runtime."""
        await self._reach()
        node = self._node
        record = node.records.get(key)
        if record is None or record.ended:
            return
        stubborn = self._program(node.specs[key]).stubborn
        number = signal.SIGKILL if stubborn or grace_s <= 0 else signal.SIGTERM
        after = node.timers.pop(key, None)
        if after is not None:
            after.cancel()
        loop = asyncio.get_running_loop()
        delay = grace_s if stubborn else 0.0
        node.timers[key] = loop.call_later(delay, self.end, key, None, int(number))

    async def checkpoint(self, key: str) -> None:
        """See Runtime: the state is a digest of nothing, which any fake can start from."""
        await self._reach()
        record = self._node.records.get(key)
        if record is None or record.ended:
            raise CheckpointFailed(f"{key} does not run")
        made = Checkpoint(key, f"sha256:{0:064}", 1)
        self._node.records[key] = replace(record, checkpoint=made)
        self.end(key, None, int(signal.SIGKILL))

    async def can_checkpoint(self) -> tuple[bool, str]:
        """See Runtime."""
        await self._reach()
        return True, "pretended"

    async def forget(self, key: str, *, keep_log: bool) -> None:
        """See Runtime. ValueError for what has not ended."""
        await self._reach()
        record = self._node.records.get(key)
        if record is None:
            return
        if not record.ended:
            raise ValueError(f"{key} has not ended")
        del self._node.records[key]
        self._node.forgotten.add(key)

    async def list(self) -> tuple[ProcessRecord, ...]:
        """See Runtime."""
        await self._reach()
        return tuple(self._node.records[key] for key in sorted(self._node.records))

    def watch(self) -> AsyncIterator[ProcessRecord]:
        """See Runtime."""
        watcher = Ends(self._reach, self._let_go)
        self._watchers.add(watcher)
        self._node.watchers.add(watcher)
        return watcher

    def log_path(self, key: str) -> str:
        """See Runtime: a path that never exists."""
        return f"/nonexistent/{check_key(key)}.log"

    async def close(self) -> None:
        """See Runtime."""
        for watcher in tuple(self._watchers):
            watcher.close()

    async def _reach(self) -> None:
        if self._node.gone:
            raise RuntimeLost("the pretended supervisor is gone")

    def _let_go(self, watcher: Ends) -> None:
        self._watchers.discard(watcher)
        self._node.watchers.discard(watcher)

    def _port_for(self, spec: ProcessSpec) -> int | None:
        try:
            return self._node.ports.port_for(spec)
        except PortTaken as taken:
            raise StartFailed(str(taken), lasting=taken.lasting) from None
