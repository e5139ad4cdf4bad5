"""A node around a worker controller: processes, groups and the edge's ears, with a fake now.

validate() runs after every handle. Groups behave as on cgroup v1: a child's quota above its
parent's is an error; so is a group that is used before it is made, or removed while a process is in
it, and a second live process of a replica. Processes and groups outlive the worker; what the worker
knows dies with it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from worker_groups import Groups

from tango.controllers.worker import WorkerController
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.cgroup import CgroupFeatures, GroupTarget
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.job import AttemptStatus, TaskSpec
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    CancelDispatches,
    Dispatches,
    FromWorker,
    NodeTargets,
    ReplicaChanged,
    ReplicaTarget,
    ReportUsage,
    RequestsDone,
    StartAttempt,
    StopAttempt,
    ToWorker,
    WorkerHello,
    WorkerState,
)
from tango.model.process import ProcessRecord, ProcessSpec
from tango.model.request import Code, Dispatch, RequestDone
from tango.model.service import ReplicaStatus, ServiceSpec
from tango.model.settings import ServerSettings, WorkerSettings

MIB = 2**20
WALL = 1_700_000_000.0
FEATURES = CgroupFeatures(
    version=1,
    controllers=frozenset({"cpu", "cpuacct", "cpuset", "memory"}),
    burst=True,
    idle=True,
    pressure=False,
)
SETTINGS = WorkerSettings(server=ServerSettings("", "", ""), node="n1", edge="localhost:1")
CAPACITY = NodeCapacity(cpu_millis=2000, memory_bytes=1024 * MIB)


def service(name: str = "hello", **fields: object) -> ServiceSpec:
    return replace(ServiceSpec(name=name, argv=("serve", "{port}")), **fields)  # type: ignore[arg-type]


def targets(*wanted: ReplicaTarget, version: int = 1) -> NodeTargets:
    return NodeTargets(version, wanted)


def target(spec: ServiceSpec, number: int = 0, generation: int = 1) -> ReplicaTarget:
    return ReplicaTarget(f"{spec.name}-{number}", generation, spec)


def dispatch(request_id: str, name: str = "hello") -> Dispatch:
    return Dispatch(request_id, name, "GET", "/", (), b"", 5.0, stream=False)


def task(**fields: object) -> TaskSpec:
    return replace(TaskSpec(name="t", argv=("work",)), **fields)  # type: ignore[arg-type]


class World:
    """auto: starts, stops and health checks are answered at once, and successfully."""

    def __init__(
        self,
        *,
        auto: bool = True,
        cgroups: bool = True,
        settings: WorkerSettings = SETTINGS,
    ) -> None:
        self.auto = auto
        self.features = FEATURES if cgroups else None
        self.settings = settings
        self.now = 100.0
        self.groups = Groups()
        self.records: dict[str, ProcessRecord] = {}
        self.specs: dict[str, ProcessSpec] = {}
        self.begun: Counter[str] = Counter()
        self.forgotten: set[str] = set()
        self.pids = 1000
        self.incarnation = 0
        self.session: int | None = None
        self.sessions = 0
        # Of the worker's present life.
        self.starts: list[ProcessSpec] = []
        self.stops: dict[str, float] = {}
        self.checks: list[cmd.CheckHealth] = []
        self.forwards: dict[str, cmd.Forward] = {}
        self.aborted: list[str] = []
        self.log: list[cmd.WorkerCommand] = []
        self.sent: list[FromWorker] = []
        # Of the present session.
        self.answers: Counter[str] = Counter()
        self._events: deque[ev.WorkerEvent] = deque()
        self._busy = False
        self.boot()

    # ---- the worker's life

    def boot(self, kept: NodeTargets | None = None) -> None:
        """Start a worker, which finds what earlier ones left; kept: the edge's last word."""
        self.incarnation += 1
        self.session = None
        self._events.clear()
        self.starts.clear()
        self.stops.clear()
        self.checks.clear()
        self.forwards.clear()
        self.aborted.clear()
        self.controller = WorkerController(
            self.settings,
            incarnation=self.incarnation,
            key="k",
            capacity=CAPACITY,
            enforcement=Enforcement.CGROUP if self.features else Enforcement.NONE,
            features=self.features,
            seed=7,
        )
        self.post(ev.ProcessesListed(tuple(self.records.values()), tuple(self.groups), kept))

    def post(self, event: ev.WorkerEvent) -> None:
        """Hand in an event, and those that its commands bring about, each in its turn."""
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                commands = self.controller.handle(self._events.popleft(), self.now)
                self.controller.validate()
                for command in commands:
                    self.log.append(command)
                    self._perform(command)
        finally:
            self._busy = False

    def advance(self, seconds: float) -> None:
        """Let time pass, with a Tick whenever one is wanted."""
        end = self.now + seconds
        ticks = 0
        while (wake_at := self.controller.wake_at) is not None and wake_at <= end:
            ticks = ticks + 1 if wake_at <= self.now else 0
            assert ticks < 1000, "Ticks change nothing"
            self.now = max(self.now, wake_at)
            self.post(ev.Tick())
        self.now = end

    # ---- what the edge does

    def connect(self) -> None:
        self.sessions += 1
        self.session = self.sessions
        self.sent.clear()
        self.answers.clear()
        self.post(ev.UpstreamUp(self.session))

    def disconnect(self) -> None:
        if self.session is not None:
            session, self.session = self.session, None
            self.post(ev.UpstreamDown(session, "cut"))

    def say(self, message: ToWorker) -> None:
        assert self.session is not None
        self.post(ev.UpstreamSaid(self.session, message))

    def aim(self, *wanted: ReplicaTarget) -> None:
        self.say(targets(*wanted))

    def dispatch(self, *request_ids: str, name: str = "hello") -> None:
        self.say(Dispatches(tuple(dispatch(one, name) for one in request_ids)))

    def cancel(self, *request_ids: str) -> None:
        self.say(CancelDispatches(request_ids))

    def start_attempt(self, attempt_id: str, spec: TaskSpec | None = None) -> None:
        self.say(StartAttempt(attempt_id, spec or task()))

    def stop_attempt(self, attempt_id: str, reason: str = "") -> None:
        self.say(StopAttempt(attempt_id, reason))

    def acknowledge(self, *attempt_ids: str) -> None:
        self.say(AckEnds(attempt_ids))

    # ---- what replicas and tasks do

    def finish(self, request_id: str, code: Code = Code.OK) -> None:
        del self.forwards[request_id]
        self.post(ev.RequestFinished(RequestDone(request_id, code, 200, service_s=0.01)))

    def begin(self, spec: ProcessSpec) -> None:
        """Answer a StartProcess: it runs, unless its key did so before."""
        if spec.key in self.forgotten:
            self.refuse(spec, "it ran and was acknowledged", lasting=True)
            return
        self.starts.remove(spec)
        if spec.key not in self.records:
            self._check_single(spec)
            self.begun[spec.key] += 1
            self.pids += 1
            port = 0 if spec.port is None else spec.port or 20_000 + self.pids
            meta = (*spec.meta, ("port", str(port)))
            self.records[spec.key] = ProcessRecord(spec.key, self.pids, self.wall, meta)
            self.specs[spec.key] = spec
        record = self.records[spec.key]
        self.post(ev.ProcessStarted(spec.key, record, int(dict(record.meta)["port"])))

    def begin_unheard(self, spec: ProcessSpec) -> None:
        """The runtime began it, and its worker is gone before it could be told."""
        self._busy = True
        self.begin(spec)
        self._busy = False
        self._events.clear()

    def refuse(self, spec: ProcessSpec, error: str, *, lasting: bool) -> None:
        self.starts.remove(spec)
        self.post(ev.ProcessStartFailed(spec.key, error, lasting))

    def end(self, key: str, exit_code: int | None = 0, signal: int = 0, cpu_s: float = 0.5) -> None:
        """A process ends; told to the worker."""
        self.die(key, exit_code, signal, cpu_s)
        self.stops.pop(key, None)
        self.post(ev.ProcessEnded(key, self.records[key]))

    def die(self, key: str, exit_code: int | None = 0, signal: int = 0, cpu_s: float = 0.5) -> None:
        """A process ends while no worker is there to be told."""
        record = self.records[key]
        assert not record.ended
        code = None if signal else exit_code
        self.records[key] = replace(
            record, ended_at=self.wall, exit_code=code, signal=signal, cpu_s=cpu_s
        )

    def answer(self, check: cmd.CheckHealth, error: str = "") -> None:
        self.checks.remove(check)
        self.post(ev.HealthChecked(check.key, not error, error))

    @property
    def wall(self) -> float:
        return WALL + self.now

    def running(self) -> list[str]:
        return sorted(key for key, record in self.records.items() if not record.ended)

    # ---- what the worker said

    def said(self, kind: type) -> list:  # type: ignore[type-arg]
        return [message for message in self.sent if isinstance(message, kind)]

    def replica(self, replica_id: str) -> ReplicaStatus:
        return next(one for one in self.controller.replicas() if one.replica_id == replica_id)

    def told(self, replica_id: str) -> ReplicaStatus:
        """What the edge was told last of a replica."""
        status = None
        for message in self.sent:
            if isinstance(message, WorkerState):
                status = next((r for r in message.replicas if r.replica_id == replica_id), None)
            elif isinstance(message, ReplicaChanged) and message.replica.replica_id == replica_id:
                status = message.replica
        assert status is not None
        return status

    def attempt(self, attempt_id: str) -> AttemptStatus:
        """What the edge was told last of an attempt."""
        status = None
        for message in self.sent:
            if isinstance(message, WorkerState):
                status = next((a for a in message.attempts if a.attempt_id == attempt_id), None)
            elif isinstance(message, AttemptChanged) and message.attempt.attempt_id == attempt_id:
                status = message.attempt
        assert status is not None
        return status

    def dones(self) -> list[RequestDone]:
        return [done for message in self.said(RequestsDone) for done in message.done]

    def commands(self, kind: type) -> list:  # type: ignore[type-arg]
        return [command for command in self.log if isinstance(command, kind)]

    # ---- commands

    def _perform(self, command: cmd.WorkerCommand) -> None:
        match command:
            case cmd.SendUpstream(session, message):
                if session == self.session:
                    self.sent.append(message)
                    self._hear(message)
            case cmd.CreateGroup(group, goal):
                self.groups.make(group)
                self._set(group, goal)
            case cmd.ApplyGroup(group, goal):
                self._set(group, goal)
            case cmd.RemoveGroup(group):
                in_use = [self.specs[key].group for key in self.running()]
                self.groups.drop(group, in_use)
            case cmd.StartProcess(spec):
                assert not self.features or spec.group in self.groups, f"{spec.key}: no group"
                assert self.features or not spec.group
                self.starts.append(spec)
                if self.auto:
                    self.begin(spec)
            case cmd.StopProcess(key, grace_s):
                # Its checkpoint may be on its way still, and is not to come any more.
                waits = any(spec.restore for spec in self.starts if spec.key == key)
                assert waits or key in self.records, f"{key}: stopped and never started"
                if key not in self.records:
                    self.stops[key] = grace_s
                elif not self.records[key].ended:
                    self.stops[key] = grace_s
                    if self.auto:
                        self.end(key, None, signal=15)
            case cmd.ForgetProcess(key):
                assert key not in self.records or self.records[key].ended, f"{key}: still runs"
                if self.records.pop(key, None) is not None:
                    self.forgotten.add(key)
            case cmd.CheckHealth():
                self.checks.append(command)
                if self.auto:
                    self.answer(command)
            case cmd.Forward(request):
                self._forward(command)
                assert self.forwards[request.request_id] is command
            case cmd.AbortForward(request_id):
                self.aborted.append(request_id)
            case cmd.SampleUsage(groups):
                used = tuple(self.groups.used(group) for group in groups if group in self.groups)
                self._events.append(ev.UsageSampled(used, self.wall))
            case cmd.Note():
                pass

    def _check_single(self, spec: ProcessSpec) -> None:
        replica_id = dict(spec.meta).get("replica_id")
        for key in self.running():
            other = dict(self.records[key].meta).get("replica_id")
            assert replica_id is None or other != replica_id, f"{replica_id} runs twice"

    def _hear(self, message: FromWorker) -> None:
        if isinstance(message, RequestsDone):
            self.answers.update(done.request_id for done in message.done)
        elif isinstance(message, WorkerHello | WorkerState | ReportUsage):
            assert self.session is not None

    def _forward(self, command: cmd.Forward) -> None:
        request_id = command.request.request_id
        assert request_id not in self.forwards, f"{request_id}: forwarded twice"
        self.forwards[request_id] = command
        group = f"lc/{command.request.service}/{command.replica_id}"
        assert not self.features or group in self.groups

    def _set(self, name: str, goal: GroupTarget) -> None:
        assert self.features, f"{name}: written without cgroups"
        self.groups.set(name, goal, self.now)
        self._events.append(ev.GroupApplied(name, ()))
