"""A node's machine: its processes, CPU and memory; what outlives the worker that drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tango.algorithms.quota.sides import BE, LC, NODE
from tango.model.cgroup import GroupTarget
from tango.model.events import GroupUsed
from tango.model.messages import NodeTargets
from tango.model.process import ProcessRecord, ProcessSpec
from tango.sim.engine import Alarm, Engine
from tango.sim.loads import SimService
from tango.sim.machine_process import Job, Process
from tango.sim.node_cpu import NodeCpu
from tango.sim.node_memory import BE_OOM_SCORE_ADJ, Killed, NodeMemory
from tango.sim.payload import EPOCH, TaskProgram, program_of

SIGKILL = 9
FIRST_PORT = 20_000
REMOVE_RETRY_S = 0.05


class Machine:
    """Processes and groups of one node. on: False while it is powered off.

    told: takes each process's end while a worker watches. targets: the edge's last word, on disk.
    """

    def __init__(
        self,
        engine: Engine,
        cpu_millis: int,
        memory_bytes: int,
        services: Mapping[str, SimService],
        *,
        cap_period_us: int = 0,
    ) -> None:
        self._engine = engine
        self._cpu_millis = cpu_millis
        self._cap_period_us = cap_period_us
        self._services = services
        # By what the CPU knows its work by: a request's id, or a task's key.
        self._works: dict[str, Process] = {}
        self._pids = 1000
        self._alarm = Alarm(engine, self._due)
        self._memory_bytes = memory_bytes
        self._memory = NodeMemory(memory_bytes)
        self.cpu = self._cores()
        self.groups: dict[str, None] = {}
        self.records: dict[str, ProcessRecord] = {}
        self.alive: dict[str, Process] = {}
        self.by_port: dict[int, Process] = {}
        self.told: Callable[[ProcessRecord], None] | None = None
        self.targets: NodeTargets | None = None
        self.on = True
        # CPU seconds of LC and BE before the latest boot.
        self._earlier = (0.0, 0.0)

    # ---- groups

    def set_group(self, group: str, target: GroupTarget) -> None:
        """Make a group, or change what is given."""
        self.groups[group] = None
        killed = self._memory.set_group(group, target)
        self.cpu.set_group(group, target, self._engine.now)
        self._alarm.by(self.cpu.next_at)
        if killed:
            self._bury(killed)

    def remove_group(self, group: str) -> None:
        """Once it is empty; its processes may be about to end."""
        if any(process.group == group for process in self.alive.values()):
            self._engine.at(self._engine.now + REMOVE_RETRY_S, self.remove_group, group)
        elif group in self.groups:
            del self.groups[group]
            self._memory.remove_group(group)
            self.cpu.remove_group(group, self._engine.now)
            self._alarm.by(self.cpu.next_at)

    def kill_group(self, group: str) -> None:
        """End what runs in it."""
        prefix = f"{group}/"
        for process in list(self.alive.values()):
            if process.group == group or process.group.startswith(prefix):
                self.end(process, None, SIGKILL)

    def used(self, groups: tuple[str, ...]) -> tuple[GroupUsed, ...]:
        """The kernel's counters of those groups that are there."""
        now, cpu, memory = self._engine.now, self.cpu, self._memory
        found = []
        for group in groups:
            if group in self.groups:
                cpu_s, n_throttled, throttled_s = cpu.counters(group, now)
                used_bytes, kills = memory.usage(group)
                found.append(GroupUsed(group, cpu_s, used_bytes, n_throttled, throttled_s, kills))
        return tuple(found)

    @property
    def available_bytes(self) -> int:
        """What the machine still has."""
        return self._memory.available_bytes

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds of LC and of BE since the beginning."""
        now, (lc_s, be_s) = self._engine.now, self._earlier
        if LC not in self.groups:
            return lc_s, be_s
        return lc_s + self.cpu.counters(LC, now)[0], be_s + self.cpu.counters(BE, now)[0]

    # ---- processes

    def start(self, spec: ProcessSpec) -> tuple[ProcessRecord, int]:
        """Run a program; a key that is known runs nothing."""
        known = self.records.get(spec.key)
        if known is not None:
            process = self.alive.get(spec.key)
            return known, process.port if process is not None else 0
        self._pids += 1
        port = 0
        if spec.port is not None:
            port = spec.port or next(
                number for number in range(FIRST_PORT, 65536) if number not in self.by_port
            )
        meta = (*spec.meta, ("port", str(port))) if port else spec.meta
        now = self._engine.now
        record = ProcessRecord(spec.key, self._pids, EPOCH + now, meta)
        self.records[spec.key] = record
        process = self.alive[spec.key] = Process(spec.key, spec.group, port)
        if port:
            self.by_port[port] = process
        program = program_of(spec, self._services)
        if isinstance(program, TaskProgram):
            self._hold(process, program.memory_bytes)
            if spec.key in self.alive:
                self._begin(process, program.cpu_s, program.threads)
        else:
            process.service = program
            process.ready_at = now + program.start_s
            process.request_bytes = program.spec.memory_per_request_bytes
            self._hold(process, program.spec.memory_bytes)
        return self.records[spec.key], port

    def end(self, process: Process, exit_code: int | None, signal: int = 0) -> None:
        """A process ends, by itself or not; its requests end with it, unserved."""
        if self.alive.pop(process.key, None) is None:
            return
        self.by_port.pop(process.port, None)
        if process.runs:
            self._halt(process.key)
        for job in list(process.jobs.values()):
            self._drop(process, job)
            job.done(job.request_id, False)
        process.memory_bytes = 0
        self._memory.end(process.key)
        self._alarm.by(self.cpu.next_at)
        record = replace(
            self.records[process.key],
            ended_at=EPOCH + self._engine.now,
            exit_code=None if signal else exit_code,
            signal=signal,
        )
        self.records[process.key] = record
        if self.told is not None:
            self.told(record)

    # ---- requests

    def serve(self, process: Process, job: Job) -> None:
        """A replica takes a request: at once, or when one of its threads is free."""
        assert process.service is not None
        process.jobs[job.request_id] = job
        if process.request_bytes:
            self._hold(process, process.request_bytes)
            if process.key not in self.alive:
                return
        if len(process.jobs) - len(process.waiting) > process.service.threads:
            process.waiting.append(job)
        else:
            self._run(process, job)

    def abort(self, process: Process, job: Job) -> None:
        """Its client has gone: the replica's handler is cancelled."""
        if process.jobs.get(job.request_id) is job:
            self._drop(process, job)
            self._next(process)
            self._alarm.by(self.cpu.next_at)
            job.done(job.request_id, False)

    def _run(self, process: Process, job: Job) -> None:
        job.runs = True
        self._works[job.request_id] = process
        self.cpu.start(job.request_id, process.group, job.cpu_s, self._engine.now)
        self._alarm.by(self.cpu.next_at)

    def _drop(self, process: Process, job: Job) -> None:
        del process.jobs[job.request_id]
        if process.request_bytes:
            self._hold(process, -process.request_bytes)
        if job.runs:
            self._halt(job.request_id)
        else:
            process.waiting.remove(job)

    def _halt(self, work: str) -> None:
        del self._works[work]
        self.cpu.stop(work, self._engine.now)

    def _next(self, process: Process) -> None:
        service = process.service
        assert service is not None
        while process.waiting and len(process.jobs) - len(process.waiting) < service.threads:
            self._run(process, process.waiting.popleft())

    def _begin(self, process: Process, cpu_s: float, threads: float) -> None:
        process.runs = True
        self._works[process.key] = process
        self.cpu.start(process.key, process.group, cpu_s, self._engine.now, threads=threads)
        self._alarm.by(self.cpu.next_at)

    # ---- CPU

    def _cores(self) -> NodeCpu:
        """Those of a machine that has just booted."""
        now = self._engine.now
        if not self._cap_period_us:
            return NodeCpu(self._cpu_millis, now)
        cpu = NodeCpu(-(-self._cpu_millis // 1000) * 1000, now)
        cpu.set_group(NODE, GroupTarget(self._cpu_millis, self._cap_period_us), now)
        return cpu

    def _due(self) -> None:
        now = self._engine.now
        if self.cpu.next_at <= now:
            for work in self.cpu.advance(now):
                process = self._works.pop(work)
                if process.service is None:
                    process.runs = False
                    self.end(process, 0)
                    continue
                job = process.jobs.pop(work)
                if process.request_bytes:
                    self._hold(process, -process.request_bytes)
                if process.waiting:
                    self._next(process)
                job.done(job.request_id, True)
        self._alarm.by(self.cpu.next_at)

    # ---- memory

    def _hold(self, process: Process, more_bytes: int) -> None:
        """A process takes more memory, or less; the kernel kills where there is none left."""
        process.memory_bytes += more_bytes
        adj = BE_OOM_SCORE_ADJ if process.service is None else 0
        killed = self._memory.use(
            process.key, process.group, process.memory_bytes, oom_score_adj=adj
        )
        if killed:
            self._bury(killed)

    def _bury(self, killed: tuple[Killed, ...]) -> None:
        for each in killed:
            process = self.alive.get(each.process)
            if process is not None:
                self.end(process, None, SIGKILL)

    # ---- power

    def power_off(self) -> None:
        """Everything that runs is gone, and so is what the kernel counted."""
        self.on = False
        self.told = None
        self._earlier = self.cpu_s()
        for process in list(self.alive.values()):
            for job in list(process.jobs.values()):
                self._drop(process, job)
            self.end(process, None, 0)
            self.records[process.key] = replace(
                self.records[process.key], exit_code=None, lost=True
            )
        self.cpu = self._cores()
        self.groups.clear()
        self._memory = NodeMemory(self._memory_bytes)

    def power_on(self) -> None:
        """It has booted."""
        self.on = True
