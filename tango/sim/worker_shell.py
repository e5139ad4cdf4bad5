"""A worker on virtual time: carries out its controller's commands on a pretended machine."""

from __future__ import annotations

import itertools
import math
from typing import Final

from tango.controllers.worker import WorkerController
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.cgroup import CgroupFeatures
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.messages import NodeTargets
from tango.model.process import ProcessRecord, ProcessSpec
from tango.model.request import Code, RequestDone
from tango.model.settings import WorkerSettings
from tango.sim.engine import Alarm, Engine
from tango.sim.machine import Machine
from tango.sim.machine_process import Job, Process
from tango.sim.network import Dialler, End
from tango.sim.payload import EPOCH
from tango.sim.scenario import Costs
from tango.sim.shell import Shell

FEATURES = CgroupFeatures(
    version=2,
    controllers=frozenset({"cpu", "memory", "cpuset"}),
    burst=True,
    idle=True,
    pressure=True,
    oom_group=True,
)
WORK_HEADER: Final = "x-work"
SIGTERM, SIGKILL = 15, 9


class Serving:
    """A Forward that is not answered yet. gone: its client gave up, by its timeout or an abort."""

    __slots__ = ("began_at", "ends_at", "job", "process", "replica", "why")

    def __init__(
        self, process: Process, job: Job, replica: str, began_at: float, ends_at: float
    ) -> None:
        self.process = process
        self.job = job
        self.replica = replica
        self.began_at = began_at
        self.ends_at = ends_at
        self.why = Code.UNAVAILABLE


class Worker:
    """One life of a node's worker. It dials `link` once it knows what runs."""

    def __init__(
        self,
        engine: Engine,
        settings: WorkerSettings,
        machine: Machine,
        costs: Costs,
        *,
        incarnation: int,
        seed: int,
        check: bool,
    ) -> None:
        self._engine = engine
        self._machine = machine
        self._costs = costs
        self._per_request_s = costs.worker_request_s + costs.worker_answer_s
        self.controller = WorkerController(
            settings,
            incarnation=incarnation,
            key=f"key-of-{settings.node}",
            capacity=NodeCapacity(settings.cpu_millis, settings.memory_bytes),
            enforcement=Enforcement.CGROUP,
            features=FEATURES,
            seed=seed,
            # Booked as on a real node. What a task does is not pinned to them (node_cpu.py).
            cores=tuple(range(settings.cpu_millis // 1000)),
        )
        self.shell = Shell(
            engine,
            self.controller,
            {
                cmd.SendUpstream: self._send,
                cmd.Forward: self._forward,
                cmd.ApplyGroup: self._set_group,
                cmd.SampleUsage: self._sample,
                cmd.AbortForward: self._abort,
                cmd.CreateGroup: self._set_group,
                cmd.RemoveGroup: self._remove_group,
                cmd.KillGroup: self._kill_group,
                cmd.StartProcess: self._start,
                cmd.StopProcess: self._stop,
                cmd.CheckpointProcess: self._checkpoint,
                cmd.ForgetProcess: self._forget,
                cmd.CheckHealth: self._check_health,
                cmd.Note: _ignore,
            },
            check=check,
        )
        self._serving: dict[str, Serving] = {}
        self._sweeps = Alarm(engine, self._sweep)
        self._sessions = itertools.count(1)
        self._session = 0
        self._end: End | None = None
        self._dialler: Dialler | None = None

    def begin(self, dialler: Dialler) -> None:
        """What runs is listed; then the edge is dialled."""
        machine = self._machine
        machine.told = self._process_ended
        records = tuple(machine.records[key] for key in sorted(machine.records))
        self.shell.post(ev.ProcessesListed(records, tuple(machine.groups), machine.targets))
        self._dialler = dialler
        dialler.dial()

    def die(self, *, silent: bool) -> None:
        """kill -9; its connections to replicas go with it. silent: the whole machine is off."""
        self.shell.close()
        self._machine.told = None
        if self._dialler is not None:
            self._dialler.stop(silent=silent)
        serving, self._serving = self._serving, {}
        if not silent:
            for one in serving.values():
                self._machine.abort(one.process, one.job)

    # ---- the session to the edge

    def opened(self, end: End) -> None:
        """The stream is there: the controller says hello on it."""
        self._end = end
        self._session = next(self._sessions)
        end.receive = self._said
        end.ended = self._ended
        self.shell.post(ev.UpstreamUp(self._session))

    def _said(self, message: object) -> None:
        if type(message) is NodeTargets:
            self._machine.targets = message
        self.shell.post(ev.UpstreamSaid(self._session, message))  # type: ignore[arg-type]

    def _ended(self, reason: str) -> None:
        session, self._session, self._end = self._session, 0, None
        self.shell.post(ev.UpstreamDown(session, reason))

    def _send(self, command: cmd.SendUpstream) -> None:
        if command.session == self._session and self._end is not None:
            self._end.send(command.message, self.shell.leaves_at())

    # ---- requests

    def _forward(self, command: cmd.Forward) -> None:
        request = command.request
        process = self._machine.by_port.get(command.port)
        if process is None or process.service is None:
            error = "connection refused"
            done = RequestDone(request.request_id, Code.UNAVAILABLE, error=error, ran=False)
            self.shell.then(ev.RequestFinished(done))
            return
        cpu_s = process.service.cpu_s
        for name, value in request.headers:
            if name == WORK_HEADER:
                cpu_s *= float.fromhex(value)
        now = self._engine.now
        job = Job(request.request_id, cpu_s, self._served)
        ends_at = now + request.timeout_s
        self._serving[request.request_id] = Serving(process, job, command.replica_id, now, ends_at)
        self._sweeps.by(ends_at)
        self._machine.serve(process, job)

    def _served(self, request_id: str, ok: bool) -> None:
        serving = self._serving.pop(request_id, None)
        if serving is None:
            return
        shell = self.shell
        service_s = self._engine.now - serving.began_at + self._per_request_s
        shell.work(self._per_request_s)
        if ok:
            done = RequestDone(
                request_id, Code.OK, 200, replica=serving.replica, service_s=service_s
            )
        else:
            done = RequestDone(
                request_id,
                serving.why,
                replica=serving.replica,
                service_s=service_s,
                error=_WHY[serving.why],
            )
        shell.post(ev.RequestFinished(done))

    def _abort(self, command: cmd.AbortForward) -> None:
        self._engine.at(self._engine.now, self._give_up, (command.request_id, Code.CANCELLED))

    def _give_up(self, what: tuple[str, Code]) -> None:
        """The HTTP client closes the connection: the replica's handler is cancelled."""
        request_id, why = what
        serving = self._serving.get(request_id)
        if serving is not None:
            serving.why = why
            self._machine.abort(serving.process, serving.job)

    def _sweep(self) -> None:
        """Give up what has run out of time; the edge does so first, while it is there."""
        now = self._engine.now
        due = [name for name, one in self._serving.items() if one.ends_at <= now]
        for request_id in due:
            self._give_up((request_id, Code.DEADLINE_EXCEEDED))
        first = min((one.ends_at for one in self._serving.values()), default=math.inf)
        self._sweeps.by(first)

    # ---- processes and groups

    def _start(self, command: cmd.StartProcess) -> None:
        self._engine.at(self._engine.now + self._costs.process_start_s, self._started, command.spec)

    def _started(self, spec: ProcessSpec) -> None:
        if not self.shell.closed:
            record, port = self._machine.start(spec)
            self.shell.post(ev.ProcessStarted(spec.key, record, port))

    def _checkpoint(self, command: cmd.CheckpointProcess) -> None:
        """Nothing that is simulated has a state to write; its nodes say that they cannot."""
        self.shell.then(ev.CheckpointFailed(command.key, "simulated nodes write no checkpoints"))

    def _stop(self, command: cmd.StopProcess) -> None:
        """Pretended programs end at once when they are told to."""
        self._engine.at(self._engine.now, self._stopped, (command.key, command.grace_s))

    def _stopped(self, what: tuple[str, float]) -> None:
        key, grace_s = what
        process = self._machine.alive.get(key)
        if process is not None and not self.shell.closed:
            self._machine.end(process, None, SIGTERM if grace_s > 0 else SIGKILL)

    def _process_ended(self, record: ProcessRecord) -> None:
        self.shell.post(ev.ProcessEnded(record.key, record))

    def _forget(self, command: cmd.ForgetProcess) -> None:
        if command.key not in self._machine.alive:
            self._machine.records.pop(command.key, None)

    def _check_health(self, command: cmd.CheckHealth) -> None:
        self._engine.at(self._engine.now + self._costs.health_check_s, self._checked, command)

    def _checked(self, command: cmd.CheckHealth) -> None:
        process = self._machine.alive.get(command.key)
        if process is None:
            event = ev.HealthChecked(command.key, healthy=False, error="connection refused")
        elif self._engine.now < process.ready_at:
            event = ev.HealthChecked(command.key, healthy=False, error="it is starting")
        else:
            event = ev.HealthChecked(command.key, healthy=True)
        self.shell.post(event)

    def _set_group(self, command: cmd.ApplyGroup | cmd.CreateGroup) -> None:
        self._machine.set_group(command.group, command.target)

    def _remove_group(self, command: cmd.RemoveGroup) -> None:
        self._engine.at(self._engine.now, self._machine.remove_group, command.group)

    def _kill_group(self, command: cmd.KillGroup) -> None:
        self._engine.at(self._engine.now, self._machine.kill_group, command.group)

    def _sample(self, command: cmd.SampleUsage) -> None:
        machine = self._machine
        used = machine.used(command.groups)
        wall = EPOCH + self._engine.now
        self.shell.then(ev.UsageSampled(used, wall, machine.available_bytes))


_WHY = {
    Code.UNAVAILABLE: "the replica closed the connection",
    Code.CANCELLED: "cancelled",
    Code.DEADLINE_EXCEEDED: "no answer in time",
}


def _ignore(_: object) -> None:
    """A log line: nobody reads it here."""
