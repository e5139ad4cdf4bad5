"""A site around an edge controller: its store, solver, workers and central, all with a fake now.

validate() runs after every handle(), and so do the checks of what any shell relies on: one Reply
per call, one Dispatches per worker and commit, no node beyond its capacity after a dispatch, and a
wake_at that does not stand still.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

from tango.adapters.replica_rules import installed, replica_rule
from tango.algorithms.traffic.least_loaded import LeastLoaded
from tango.controllers.edge import EdgeController
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.affinity import Labels, Taints
from tango.model.cluster import Enforcement, NodeCapacity, NodeReport, SideUsage
from tango.model.job import AttemptStatus, TaskSpec
from tango.model.messages import (
    Dispatches,
    FromEdge,
    FromWorker,
    NodeTargets,
    ReplicaChanged,
    ReplicaGone,
    ReportUsage,
    RequestsDone,
    StartAttempt,
    ToEdge,
    ToWorker,
    WorkerHello,
    WorkerState,
)
from tango.model.placement_profile import DEFAULT
from tango.model.plan import TrafficPolicy, TrafficSnapshot
from tango.model.request import CallReply, CallRequest, Code, Dispatch, Outcome, RequestDone
from tango.model.routes import FollowReport, ReplicaTally, RouteTable
from tango.model.service import ReplicaState, ReplicaStatus, ServiceSpec
from tango.model.settings import EdgeSettings, ServerSettings
from tango.model.views import ServiceView

MIB = 2**20
CENTRAL = 900
PORT = 8000
Message = TypeVar("Message")


def settings(**fields: object) -> EdgeSettings:
    plain = EdgeSettings(ServerSettings("", "", ""), "site-a", placement=installed(DEFAULT))
    return replace(plain, **fields)  # type: ignore[arg-type]


def service(name: str = "hello", **fields: object) -> ServiceSpec:
    plain = ServiceSpec(name, ("serve", "{port}"), memory_bytes=64 * MIB)
    return replace(plain, **fields)  # type: ignore[arg-type]


def start(attempt_id: str, node: str, cpu_millis: int = 100, memory: int = MIB) -> StartAttempt:
    task = TaskSpec("t", ("work",), cpu_millis=cpu_millis, memory_bytes=memory)
    return StartAttempt(attempt_id, task, node)


class FakeWorker:
    """One node's worker: what it was told, and what it says. It outlives its sessions."""

    def __init__(self, world: EdgeWorld, node: str, cpu_millis: int, memory_bytes: int) -> None:
        self.world = world
        self.node = node
        self.key = f"key of {node}"
        self.incarnation = 1
        self.capacity = NodeCapacity(cpu_millis, memory_bytes)
        self.cores: tuple[int, ...] = ()
        self.labels: Labels = ()
        self.taints: Taints = ()
        self.loopback = ""
        self.session = 0
        self.inbox: list[ToWorker] = []
        self.replicas: dict[str, ReplicaStatus] = {}
        self.serving: dict[str, Dispatch] = {}
        self.attempts: dict[str, AttemptStatus] = {}

    def up(self, *, ready: bool = True, state: WorkerState | None = None) -> None:
        """Dial: hello and all that there is; then every replica asked for turns ready."""
        self.session = next(self.world.sessions)
        self.world.workers[self.session] = self
        hello = WorkerHello(
            self.node,
            self.key,
            self.incarnation,
            self.capacity,
            Enforcement.NONE,
            "0",
            self.labels,
            cores=self.cores,
            taints=self.taints,
            loopback=self.loopback,
        )
        self.world.do(ev.WorkerUp(self.session, hello, state or self.state()))
        if ready:
            self.ready()

    def state(self) -> WorkerState:
        """What lives on the node."""
        counts: dict[str, int] = {}
        for request in self.serving.values():
            counts[request.service] = counts.get(request.service, 0) + 1
        statuses = [
            replace(status, in_flight=counts.pop(status.service, 0))
            for status in self.replicas.values()
        ]
        return WorkerState(tuple(statuses), tuple(self.attempts.values()), tuple(self.serving))

    def say(self, message: FromWorker) -> None:
        self.world.do(ev.WorkerSaid(self.session, message))

    def down(self, reason: str = "cut") -> None:
        self.world.do(ev.WorkerDown(self.session, reason))

    def report(self) -> None:
        self.say(ReportUsage(NodeReport(self.node, self.world.now, SideUsage(), SideUsage())))

    def ready(self, state: ReplicaState = ReplicaState.READY, reason: str = "") -> None:
        """Every replica that shall run reports this state."""
        for replica_id in list(self.replicas):
            if replica_id not in self.replicas:
                continue  # Another one's news has just made it superfluous.
            status = replace(self.replicas[replica_id], state=state, reason=reason)
            self.replicas[replica_id] = status
            self.say(ReplicaChanged(status))

    def done(
        self,
        *request_ids: str,
        code: Code = Code.OK,
        http_status: int = 200,
        service_s: float = 0.0,
        ran: bool = True,
        error: str = "",
    ) -> None:
        """Answer these (or all) in one batch."""
        ids = request_ids or tuple(self.serving)
        answers = []
        for request_id in ids:
            self.serving.pop(request_id, None)
            answers.append(
                RequestDone(
                    request_id,
                    code,
                    http_status if code is Code.OK else 0,
                    service_s=service_s,
                    error=error,
                    ran=ran,
                )
            )
        self.say(RequestsDone(tuple(answers)))

    def told(self, kind: type[Message]) -> list[Message]:
        """Messages of one kind, since the last look at any."""
        found = [message for message in self.inbox if isinstance(message, kind)]
        self.inbox = [message for message in self.inbox if not isinstance(message, kind)]
        return found

    def hear(self, message: ToWorker) -> None:
        self.inbox.append(message)
        if isinstance(message, NodeTargets):
            wanted = {target.replica_id: target for target in message.replicas}
            gone = [name for name in self.replicas if name not in wanted]
            self.world.gone.extend((self, name) for name in gone)
            self.replicas = {k: v for k, v in self.replicas.items() if k in wanted}
            for replica_id, target in wanted.items():
                status = ReplicaStatus(
                    replica_id,
                    target.spec.name,
                    target.generation,
                    ReplicaState.STARTING,
                    port=PORT,
                )
                self.replicas.setdefault(replica_id, status)
        elif isinstance(message, Dispatches):
            for request in message.requests:
                assert request.request_id not in self.serving, "dispatched twice to one node"
                assert request.timeout_s > 0
                self.serving[request.request_id] = request


class EdgeWorld:
    """The controller and everyone it talks to. auto_*: answer Persist and Solve at once."""

    def __init__(self, *, seed: int = 0, loopback: str = "", **fields: object) -> None:
        chosen = settings(**fields)
        rule = replica_rule(chosen.placement)
        # Off in tests of thousands of events, of which each is like the one before.
        self.validates = True
        self.controller = EdgeController(
            chosen, incarnation=7, seed=seed, rule=rule, loopback=loopback
        )
        self.now = 100.0
        self.reporting = True
        self.reported_at = self.now
        self.auto_persist = True
        self.auto_solve = True
        self.cost_s = 0.0001
        self.policy: TrafficPolicy = LeastLoaded()
        self.sessions = itertools.count(1)
        self.ids = itertools.count(1)
        self.workers: dict[int, FakeWorker] = {}
        self.persists: deque[cmd.Persist] = deque()
        self.solves: deque[cmd.Solve] = deque()
        self.stored: dict[tuple[str, str], cmd.Stored] = {}
        self.answers: dict[int, cmd.Answer] = {}
        self.replies: dict[str, CallReply] = {}
        self.central: list[FromEdge] = []
        self.closed: dict[int, str] = {}
        self.changed: list[str] = []
        # By follower, oldest first.
        self.tables: dict[int, list[RouteTable]] = {}
        self.reports: dict[int, int] = {}
        self.notes: list[cmd.Note] = []
        self.open_calls: dict[str, int] = {}
        self.cancelled: set[str] = set()
        # Replicas whose end their workers are about to tell.
        self.gone: deque[tuple[FakeWorker, str]] = deque()
        # What the edge has at replicas itself, and what it has given up of that.
        self.direct: dict[str, cmd.Forward] = {}
        self.aborted: deque[str] = deque()
        self.auto_abort = True
        self.auto_gone = True
        self.log: list[tuple[object, tuple[cmd.EdgeCommand, ...]]] = []

    # ---- driving

    def do(self, event: ev.EdgeEvent) -> list[cmd.EdgeCommand]:
        """Handle one event, check, carry out; then whatever is answered at once."""
        commands = self.controller.handle(event, self.now)
        if self.validates:
            self.controller.validate()
        self.log.append((event, tuple(commands)))
        self._check(event, commands)
        for command in commands:
            self._perform(command)
        while (
            (self.auto_persist and self.persists)
            or (self.auto_solve and self.solves)
            or (self.auto_gone and self.gone)
            or (self.auto_abort and self.aborted)
        ):
            if self.auto_abort and self.aborted:
                self.answer(self.aborted.popleft(), code=Code.CANCELLED, error="cancelled")
            if self.auto_gone and self.gone:
                worker, name = self.gone.popleft()
                if self.workers.get(worker.session) is worker:
                    worker.say(ReplicaGone(name))
            if self.auto_persist and self.persists:
                self.persist()
            if self.auto_solve and self.solves:
                self.solve()
        return commands

    def advance(self, seconds: float) -> None:
        """Let time pass: a Tick whenever one is due, a report of each worker each second."""
        end = self.now + seconds
        while True:
            wake_at = self.controller.wake_at or math.inf
            report_at = self.reported_at + 1.0 if self.reporting else math.inf
            at = max(self.now, min(wake_at, report_at))
            if at > end:
                break
            self.now = at
            if report_at <= wake_at:
                self.reported_at = at
                for worker in list(self.workers.values()):
                    worker.report()
            else:
                self.do(ev.Tick())
        self.now = end

    def persist(self, error: str = "") -> None:
        """The oldest Persist is done, or has failed."""
        command = self.persists.popleft()
        if error:
            self.do(ev.PersistFailed(command.persist_id, error))
            return
        for write in command.writes:
            if isinstance(write, cmd.Put):
                self.stored[write.kind, write.key] = write.value
            else:
                self.stored.pop((write.kind, write.key), None)
        self.do(ev.Persisted(command.persist_id))

    def solve(self) -> None:
        """The outstanding Solve is answered by the policy."""
        command = self.solves.popleft()
        plan = self.policy.route(cast("TrafficSnapshot", command.snapshot))
        self.do(ev.RouteSolved(command.solve_id, plan, self.cost_s))

    def answer(
        self,
        *request_ids: str,
        code: Code = Code.OK,
        service_s: float = 0.0,
        ran: bool = True,
        error: str = "",
    ) -> None:
        """Replicas answer these direct calls (or all)."""
        for request_id in request_ids or tuple(self.direct):
            forward = self.direct.pop(request_id)
            status = 200 if code is Code.OK else 0
            done = RequestDone(
                request_id, code, status, replica=forward.replica_id, service_s=service_s,
                error=error, ran=ran,
            )  # fmt: skip
            self.do(ev.RequestFinished(done))

    # ---- users, workers, central

    def worker(self, node: str = "n1", cpu: int = 1000, memory: int = 1024 * MIB) -> FakeWorker:
        """A node whose worker has just dialled."""
        worker = FakeWorker(self, node, cpu, memory)
        worker.up()
        return worker

    def apply(self, spec: ServiceSpec, *, dry_run: bool = False, ready: bool = True) -> int:
        """Apply; new replicas turn ready. The op id: its Answer is in `answers`."""
        op_id = next(self.ids)
        self.do(ev.ApplyService(op_id, spec, dry_run))
        if ready:
            for worker in list(self.workers.values()):
                if any(s.state is ReplicaState.STARTING for s in worker.replicas.values()):
                    worker.ready()
        return op_id

    def roll(self) -> None:
        """Every replica that starts turns ready, until nothing starts any more."""
        for _ in range(100):
            starting = [
                worker
                for worker in self.workers.values()
                if any(s.state is ReplicaState.STARTING for s in worker.replicas.values())
            ]
            if not starting:
                return
            for worker in starting:
                worker.ready()
        raise AssertionError("replicas start without end")

    def cordon(
        self, node: str, *, drain: bool = False, off: bool = False, grace_s: float | None = None
    ) -> int:
        """Cordon, drain or uncordon a node. The op id: its Answer is in `answers`."""
        op_id = next(self.ids)
        self.do(ev.CordonNode(op_id, node, not off, drain, grace_s))
        return op_id

    def delete(self, name: str = "hello") -> int:
        op_id = next(self.ids)
        self.do(ev.DeleteService(op_id, name))
        return op_id

    def call(self, service: str = "hello", request_id: str = "", **fields: object) -> str:
        request_id = request_id or f"r{next(self.ids)}"
        request = CallRequest(request_id, service, **fields)  # type: ignore[arg-type]
        self.do(ev.CallArrived(request))
        return request_id

    def cancel(self, request_id: str) -> None:
        self.cancelled.add(request_id)
        self.open_calls.pop(request_id, None)
        self.do(ev.CallCancelled(request_id))

    def follow(self, service: str = "hello", *, passive: bool = False) -> int:
        """Someone follows a service's routes. Its number: its tables are in `tables`."""
        number = next(self.ids)
        self.tables[number] = []
        self.reports[number] = 0
        self.do(ev.FollowStarted(number, service, passive))
        return number

    def report(
        self,
        follower: int,
        wanted: int = 0,
        *tallies: ReplicaTally,
        version: int | None = None,
        last: bool = False,
    ) -> None:
        """A follower that uses its latest table, or the one of that version."""
        self.reports[follower] += 1
        if version is None:
            version = self.tables[follower][-1].version if self.tables[follower] else 0
        report = FollowReport(self.reports[follower], version, wanted, tallies, last)
        self.do(ev.FollowReported(follower, report))

    def slots(self, follower: int) -> dict[str, int]:
        """What its latest table gives a follower, by replica."""
        return {r.replica: r.slots for r in self.tables[follower][-1].routes if r.slots}

    def central_up(self, session: int = CENTRAL) -> None:
        self.do(ev.CentralUp(session))

    def central_says(self, message: ToEdge, session: int = CENTRAL) -> None:
        self.do(ev.CentralSaid(session, message))

    def told_central(self, kind: type[Message]) -> list[Message]:
        """Messages of one kind, since the last look at them."""
        found = [message for message in self.central if isinstance(message, kind)]
        self.central = [message for message in self.central if not isinstance(message, kind)]
        return found

    def view(self, name: str = "hello") -> ServiceView:
        view = self.controller.service_view(name)
        assert view is not None
        return view

    def outcomes(self) -> dict[Outcome, int]:
        counts = dict.fromkeys(Outcome, 0)
        for reply in self.replies.values():
            counts[reply.outcome] += 1
        return counts

    # ---- inside

    def _perform(self, command: cmd.EdgeCommand) -> None:
        match command:
            case cmd.Persist():
                self.persists.append(command)
            case cmd.Solve():
                routed = command.solve_id > 0
                assert all((s.solve_id > 0) != routed for s in self.solves), "two solves at once"
                self.solves.append(command)
            case cmd.Answer(op_id):
                assert op_id not in self.answers, "answered twice"
                self.answers[op_id] = command
            case cmd.SendWorker(session, message):
                if session in self.workers:
                    self.workers[session].hear(message)
            case cmd.Forward(request):
                assert request.request_id not in self.direct, "called twice at once"
                assert request.timeout_s > 0
                self.direct[request.request_id] = command
            case cmd.AbortForward(request_id):
                assert request_id in self.direct, "given up, and was not under way"
                self.aborted.append(request_id)
            case cmd.CloseWorker(session, reason):
                self.closed[session] = reason
                self.workers.pop(session, None)
            case cmd.SendCentral(_, message):
                self.central.append(message)
            case cmd.ServiceChanged(name):
                self.changed.append(name)
            case cmd.SendRoutes(follower, table):
                told = self.tables[follower]
                assert not told or table.version > told[-1].version, "versions increase"
                told.append(table)
            case cmd.Note():
                self.notes.append(command)

    def _check(self, event: ev.EdgeEvent, commands: Sequence[cmd.EdgeCommand]) -> None:
        if isinstance(event, ev.CallArrived):
            request_id = event.request.request_id
            self.open_calls[request_id] = self.open_calls.get(request_id, 0) + 1
        sessions = []
        for command in commands:
            if isinstance(command, cmd.Reply):
                self._check_reply(command.reply)
            if isinstance(command, cmd.SendWorker) and isinstance(command.message, Dispatches):
                sessions.append(command.session)
        assert len(sessions) == len(set(sessions)), "two Dispatches to one worker in a commit"
        for session in sessions:
            node = self.controller.books.sessions[session]
            assert node.lc_cpu_millis <= node.cpu_millis, "CPU exceeded at dispatch"
            assert node.lc_memory_left() >= 0 or not node.lc_request_memory_bytes
        wake_at = self.controller.wake_at
        if isinstance(event, ev.Tick) and wake_at is not None:
            assert wake_at > self.now, "wake_at stands still: the shell would spin"

    def _check_reply(self, reply: CallReply) -> None:
        left = self.open_calls.get(reply.request_id, 0)
        assert left > 0, f"{reply.request_id} was answered though nobody waits for it"
        self.open_calls[reply.request_id] = left - 1
        if left == 1:
            del self.open_calls[reply.request_id]
        parts = reply.queue_ms + reply.network_ms + reply.service_ms
        assert math.isclose(parts, reply.total_ms, abs_tol=1e-6) or reply.service_ms > 0
        self.replies[reply.request_id] = reply
