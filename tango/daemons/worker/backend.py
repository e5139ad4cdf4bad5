"""The worker's shell: carries out the controller's commands on runtime, cgroups and replicas."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import aclosing
from pathlib import Path

from tango.adapters.clocks import LoopClock
from tango.adapters.log_files import read_log
from tango.adapters.machine_memory import available_memory
from tango.adapters.replica_http import ReplicaClient, ReplicaError
from tango.controllers.worker.controller import WorkerController
from tango.daemons.explaining import DECISIONS
from tango.daemons.lifecycle import log_event
from tango.daemons.replica_calls import PartsOut, ReplicaCalls
from tango.daemons.shell import Shell
from tango.daemons.worker.checkpoints import WorkerCheckpoints
from tango.daemons.worker.explain import told
from tango.daemons.worker.groups import GroupWriter
from tango.daemons.worker.kept_targets import KeptTargets
from tango.daemons.worker.metrics import WorkerMetrics
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model import messages as msg
from tango.model.cluster import Enforcement, NodeCapacity, NodeReport
from tango.model.job import AttemptStatus
from tango.model.process import ProcessSpec
from tango.model.request import RequestDone
from tango.model.service import ReplicaStatus
from tango.ports import Cgroups, CheckpointFailed, Runtime, StartFailed
from tango.wire.stream_session import StreamSession

# Of the time between two looks whether the stream is free.
LOG_PAUSE_S = 0.005
# Parts of a log (32 KiB each) that may wait on the stream; requests' answers wait behind them.
LOG_BACKLOG = 4

UpstreamSession = StreamSession[msg.ToWorker, msg.FromWorker]


class WorkerDaemon:
    """WorkerBackend over a WorkerController; all of it on one event loop."""

    def __init__(
        self,
        controller: WorkerController,
        runtime: Runtime,
        cgroups: Cgroups | None,
        http: ReplicaClient,
        group: asyncio.TaskGroup,
        metrics: WorkerMetrics,
        kept: KeptTargets,
        *,
        node: str,
        capacity: NodeCapacity,
        enforcement: Enforcement,
        checkpoints: WorkerCheckpoints,
    ) -> None:
        self.node = node
        self.capacity = capacity
        self.enforcement = enforcement
        self._controller = controller
        self._runtime = runtime
        self._http = http
        self._group = group
        self._metrics = metrics
        self._kept = kept
        self.checkpoints = checkpoints
        self.shell: Shell[ev.WorkerEvent, cmd.WorkerCommand] = Shell(
            controller, self._perform, LoopClock()
        )
        self._groups = GroupWriter(cgroups, self.shell.post) if cgroups is not None else None
        self._calls = ReplicaCalls(
            http, group, self.shell.now, self._answered, PartsOut(self._tell, self._backlog)
        )
        self._sessions = itertools.count(1)
        self._upstream: tuple[int, UpstreamSession] | None = None
        self._logs: dict[str, asyncio.Task[None]] = {}
        # Keys of processes that may still write to their logs.
        self._running: set[str] = set()

    # ---- commands

    def _perform(self, command: cmd.WorkerCommand) -> None:
        match command:
            case cmd.SendUpstream(session, message):
                if self._upstream is not None and self._upstream[0] == session:
                    self._upstream[1].send(message)
            case cmd.Forward():
                self._calls.forward(command)
            case cmd.ApplyGroup(group, target):
                if self._groups is not None:
                    self._groups.apply(group, target)
            case cmd.SampleUsage(groups):
                used = self._groups.sample(groups) if self._groups is not None else ()
                self.shell.post(ev.UsageSampled(used, time.time(), available_memory()))
            case cmd.AbortForward(request_id):
                self._calls.abort(request_id)
            case cmd.CreateGroup(group, target):
                if self._groups is not None:
                    self._groups.create(group, target)
            case cmd.RemoveGroup(group):
                if self._groups is not None:
                    self._groups.remove(group)
            case cmd.KillGroup(group):
                if self._groups is not None:
                    self._groups.kill(group)
            case cmd.StartProcess(spec):
                self._running.add(spec.key)
                self._group.create_task(self._start(spec), name=f"start {spec.key}")
            case cmd.CheckpointProcess(key):
                self._group.create_task(self._checkpoint(key), name=f"checkpoint {key}")
            case cmd.StopProcess(key, grace_s):
                self.checkpoints.abort(key)
                self._group.create_task(self._runtime.stop(key, grace_s), name=f"stop {key}")
            case cmd.ForgetProcess(key, keep_log):
                self._group.create_task(
                    self._runtime.forget(key, keep_log=keep_log), name=f"forget {key}"
                )
            case cmd.CheckHealth():
                self._group.create_task(self._check(command), name=f"health {command.key}")
            case cmd.Note(level, event, fields):
                log_event(level, event, **dict(fields))

    async def _start(self, spec: ProcessSpec) -> None:
        try:
            if spec.restore is not None:
                await self.checkpoints.bring(spec.key, spec.restore)
            record, port = await self._runtime.start(spec)
        except (StartFailed, CheckpointFailed) as error:
            if spec.restore is not None:
                await self.checkpoints.failed(spec.restore)
            self._running.discard(spec.key)
            lasting = error.lasting if isinstance(error, StartFailed) else True
            self.shell.post(ev.ProcessStartFailed(spec.key, str(error), lasting))
        else:
            if record.ended:
                self._running.discard(spec.key)
            self.shell.post(ev.ProcessStarted(spec.key, record, port))

    async def _checkpoint(self, key: str) -> None:
        try:
            await self._runtime.checkpoint(key)
        except CheckpointFailed as error:
            self.shell.post(ev.CheckpointFailed(key, str(error)))

    async def _check(self, command: cmd.CheckHealth) -> None:
        try:
            await self._http.health(command.port, command.path, command.timeout_s)
        except ReplicaError as error:
            self.shell.post(ev.HealthChecked(command.key, healthy=False, error=str(error)))
        else:
            self.shell.post(ev.HealthChecked(command.key, healthy=True))

    # ---- requests

    def _answered(self, done: RequestDone) -> None:
        self._metrics.served(done)
        self.shell.post(ev.RequestFinished(done))

    def _backlog(self) -> int:
        return self._upstream[1].backlog if self._upstream is not None else 0

    # ---- the session to the edge

    async def serve_upstream(self, session: UpstreamSession) -> str:
        """Tell the controller, then pass messages on until the stream ends."""
        number = next(self._sessions)
        self._upstream = (number, session)
        self.shell.post(ev.UpstreamUp(number))
        reason = "cut off"
        try:
            reason = await session.run(lambda message: self._on_edge(number, message))
        finally:
            self._upstream = None
            for task in self._logs.values():
                task.cancel()
            self.shell.post(ev.UpstreamDown(number, reason))
        return reason

    def _on_edge(self, number: int, message: msg.ToWorker) -> None:
        match message:
            case msg.OpenLog(log_id):
                task = self._group.create_task(self._send_log(message), name=f"log {log_id}")
                self._logs[log_id] = task
                task.add_done_callback(lambda _: self._logs.pop(log_id, None))
            case msg.CloseLog(log_id):
                reader = self._logs.get(log_id)
                if reader is not None:
                    reader.cancel()
            case msg.OpenCheckpoint():
                self.checkpoints.offer(message)
            case msg.ForgetCheckpoints():
                self.checkpoints.forget(message)
            case _:
                if isinstance(message, msg.NodeTargets):
                    self._kept.keep(message)
                self.shell.post(ev.UpstreamSaid(number, message))

    def _tell(self, message: msg.FromWorker) -> None:
        if self._upstream is not None:
            self._upstream[1].send(message)

    async def _send_log(self, request: msg.OpenLog) -> None:
        if request.target.startswith(DECISIONS):
            for chunk in told(self._controller, self.node, request.target, self.shell.now()):
                self._tell(msg.LogPart(request.log_id, chunk))
            self._tell(msg.LogPart(request.log_id, last=True))
            return
        key = self._controller.process_key(request.target)
        try:
            path = Path(self._runtime.log_path(key))
            async with aclosing(
                read_log(
                    path,
                    request.tail_bytes,
                    follow=request.follow,
                    ended=lambda: key not in self._running,
                )
            ) as chunks:
                async for chunk in chunks:
                    self._tell(msg.LogPart(request.log_id, chunk))
                    # Answers to requests travel on the same stream: a log only when it is free.
                    await asyncio.sleep(0)
                    while self._backlog() > LOG_BACKLOG:  # noqa: ASYNC110 - nothing announces it
                        await asyncio.sleep(LOG_PAUSE_S)
        except (OSError, ValueError) as error:
            # A target that is no key of ours is somebody's mistake, or worse; not the worker's end.
            reason = error.strerror if isinstance(error, OSError) else str(error)
            text = f"no log of {request.target}: {reason}"
            self._tell(msg.LogPart(request.log_id, last=True, error=text))
        else:
            self._tell(msg.LogPart(request.log_id, last=True))

    # ---- WorkerService

    def connected(self) -> bool:
        """Whether the session to the edge is up."""
        return self._upstream is not None

    def report(self) -> NodeReport | None:
        """The latest report."""
        return self._controller.latest_report

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """All replicas."""
        return self._controller.replicas()

    def attempts(self) -> tuple[AttemptStatus, ...]:
        """All attempts."""
        return self._controller.attempts()

    async def watch_processes(self, listed: asyncio.Event) -> None:
        """Tell the controller what already runs, set `listed`, then tell it every end."""
        ends = self._runtime.watch()
        found = await self._runtime.list()
        self._running.update(record.key for record in found if not record.ended)
        groups = self._groups.existing() if self._groups is not None else ()
        self.shell.post(ev.ProcessesListed(found, groups, self._kept.load()))
        listed.set()
        async for record in ends:
            self._running.discard(record.key)
            self.shell.post(ev.ProcessEnded(record.key, record))
