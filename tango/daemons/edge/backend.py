"""The edge master's shell: carries out the controller's commands, answers its gRPC servicer."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

from tango.adapters.clocks import LoopClock
from tango.adapters.helper_solver import HelperSolver
from tango.adapters.policies import policy_names, traffic_policy
from tango.adapters.replica_http import ReplicaClient
from tango.controllers.edge.calls import CallState
from tango.controllers.edge.controller import EdgeController
from tango.daemons.edge.callers import Callers
from tango.daemons.edge.carriers import Carriers
from tango.daemons.edge.checkpoints import DialCentral, EdgeCheckpoints
from tango.daemons.edge.explain import WorkerDecisions
from tango.daemons.edge.followers import Follower, Followers
from tango.daemons.edge.metrics import EdgeMetrics
from tango.daemons.edge.peer_streams import PeerStreams
from tango.daemons.lifecycle import log_event
from tango.daemons.logs_relay import LogRelay
from tango.daemons.operations import Operations, first_of, persist
from tango.daemons.replica_calls import ReplicaCalls
from tango.daemons.shell import Shell
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model import messages as msg
from tango.model.cluster import NodeView
from tango.model.errors import FailedPrecondition, NotFound, TangoError, Unavailable
from tango.model.explanation import Explanation, Subject
from tango.model.job import Checkpoint, CheckpointPart
from tango.model.peers import CloseGuest, ClosePeer, PeerView, SendGuest, SendPeer
from tango.model.plan import TrafficPlan, TrafficPolicy, TrafficSnapshot
from tango.model.request import CallReply, CallRequest, RequestDone
from tango.model.routes import RouteTable
from tango.model.service import ServiceSpec
from tango.model.settings import EdgeSettings
from tango.model.views import DrainView, ServiceView, TrafficPolicyView
from tango.ports import Store
from tango.wire.backends import GuestSession, WorkerSession
from tango.wire.stream_session import SessionBroken

HELLO_TIMEOUT_S = 5.0
DRAIN_POLL_S = 0.1
STUCK_PATIENCE_S = 2.0
STOP_POLL_S = 0.01
# How long other sites may take to hear that there is no room here any more: some of their pings.
FORGET_S = 0.5
STOPPING = "the edge is stopping"


class EdgeDaemon:
    """EdgeBackend and PeerBackend over an EdgeController; all of it on one event loop.

    sites: the streams to and from other sites. stopping: set once it takes no new calls.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        controller: EdgeController,
        policy: TrafficPolicy,
        solver: HelperSolver,
        store: Store,
        group: asyncio.TaskGroup,
        incarnation: int,
        metrics: EdgeMetrics,
        http: ReplicaClient,
        dial_central: DialCentral | None = None,
    ) -> None:
        self.incarnation = incarnation
        self._settings = settings
        self._controller = controller
        self._policy = policy
        self._solver = solver
        self._store = store
        self._group = group
        self._metrics = metrics
        self.shell: Shell[ev.EdgeEvent, cmd.EdgeCommand] = Shell(
            controller, self._perform, LoopClock()
        )
        self._calls = ReplicaCalls(http, group, self.shell.now, self._answered)
        self._followers = Followers(self.shell.post)
        self._ids = itertools.count(1)
        self._operations = Operations(self._ids)
        self._callers = Callers(self.shell.post, metrics)
        self._carriers = Carriers(settings.decisions.ring)
        self._workers: dict[int, WorkerSession] = {}
        self._nodes: dict[int, str] = {}
        self._changed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.sites = PeerStreams(self._callers, self.shell.post, self._ids)
        self._central: tuple[int, Callable[[msg.FromEdge], bool]] | None = None
        self._logs = LogRelay(f"{settings.name}-{incarnation}")
        # Logs that the central master reads, and the session that each comes from.
        self._central_logs: dict[str, WorkerSession] = {}
        self._checkpoints = EdgeCheckpoints(settings.name, group, self._link_of, dial_central)
        self.stopping = asyncio.Event()

    # ---- commands

    def _perform(self, command: cmd.EdgeCommand) -> None:
        match command:
            case cmd.Reply(reply):
                self._metrics.ended(reply)
                waiter = self._callers.waiting.pop(reply.request_id, None)
                if waiter is not None:
                    waiter(reply)
            case cmd.SendWorker(session, message):
                link = self._workers.get(session)
                if link is not None:
                    link.send(message)
            case cmd.Forward():
                self._calls.forward(command)
            case cmd.AbortForward(request_id):
                self._calls.abort(request_id)
            case cmd.Solve(solve_id, snapshot):
                self._solve(solve_id, cast("TrafficSnapshot", snapshot))
            case cmd.SendCentral(session, message):
                if self._central is not None and self._central[0] == session:
                    self._central[1](message)
            case cmd.Persist():
                write = persist(self._store, command, self.shell.post)
                self._group.create_task(write, name="persist")
            case cmd.Answer():
                self._operations.answer(command)
            case cmd.CloseWorker(session, reason):
                link = self._workers.get(session)
                if link is not None:
                    link.close(reason)
            case cmd.ServiceChanged(service):
                self._changed[service].set()
                del self._changed[service]
            case SendPeer() | ClosePeer() | SendGuest() | CloseGuest():
                self.sites.perform(command)
            case cmd.SendRoutes(follower, table):
                self._followers.send(follower, table)
            case cmd.Note(level, event, fields):
                log_event(level, event, **dict(fields))

    def _solve(self, solve_id: int, snapshot: TrafficSnapshot) -> None:
        policy = self._policy

        def done(plan: TrafficPlan | Exception, cost_s: float) -> None:
            if isinstance(plan, Exception):
                log_event("error", "policy failed", policy=policy.name, error=repr(plan))
                self.shell.post(ev.SolveFailed(solve_id, repr(plan)))
                return
            self._metrics.solved(cost_s)
            self.shell.post(ev.RouteSolved(solve_id, plan, cost_s, policy.name))

        self._solver.route(policy, snapshot, done)

    def _answered(self, done: RequestDone) -> None:
        self._metrics.served(done)
        self._carriers.ended(done)
        self.shell.post(ev.RequestFinished(done))

    # ---- users

    async def apply_service(self, spec: ServiceSpec, *, dry_run: bool) -> ServiceView:
        """Declare or change a service."""
        view = await self._operations.run(
            lambda op_id: self.shell.post(ev.ApplyService(op_id, spec, dry_run))
        )
        return cast("ServiceView", view)

    async def delete_service(self, name: str) -> None:
        """Remove a service."""
        await self._operations.run(lambda op_id: self.shell.post(ev.DeleteService(op_id, name)))

    def service(self, name: str) -> ServiceView:
        """One service; NotFound names those there are."""
        view = self._controller.service_view(name)
        if view is None:
            known = ", ".join(v.spec.name for v in self.services()) or "none"
            raise NotFound(f"service {name!r} is unknown at {self._settings.name}; known: {known}")
        return view

    def services(self) -> tuple[ServiceView, ...]:
        """All services."""
        return self._controller.service_views()

    def nodes(self) -> tuple[NodeView, ...]:
        """All nodes."""
        return self._controller.node_views()

    async def cordon_node(self, node: str, *, cordoned: bool) -> NodeView:
        """Cordon or uncordon a node."""
        view = await self._operations.run(
            lambda op_id: self.shell.post(ev.CordonNode(op_id, node, cordoned))
        )
        return cast("NodeView", view)

    async def drain_node(self, node: str, grace_s: float | None) -> AsyncGenerator[DrainView, None]:
        """Drain a node; the drain goes on when the caller has gone."""
        await self._operations.run(
            lambda op_id: self.shell.post(
                ev.CordonNode(op_id, node, cordoned=True, draining=True, grace_s=grace_s)
            )
        )
        told: DrainView | None = None
        stuck_since = math.inf
        while not self.stopping.is_set():
            view = self._controller.drain_view(node)
            if view is None:
                raise FailedPrecondition(f"node {node!r} was uncordoned while it was drained")
            if view != told:
                yield view
                told = view
            now = self.shell.now()
            stuck_since = min(stuck_since, now) if view.stuck else math.inf
            # Room may yet appear where a replica or a task has just ended.
            if view.done or now >= stuck_since + STUCK_PATIENCE_S:
                return
            await asyncio.sleep(DRAIN_POLL_S)

    async def watch_service(self, name: str) -> AsyncGenerator[ServiceView, None]:
        """The service now and after each change."""
        view = self.service(name)
        while not self.stopping.is_set():
            changed = self._changed[name]
            yield view
            await first_of(changed, self.stopping)
            latest = self._controller.service_view(name)
            if latest is None:
                return
            view = latest
        # Its end would say that the service was deleted.
        raise Unavailable("the edge is stopping; its services go on")

    def traffic_policy(self) -> TrafficPolicyView:
        """By which policy requests are routed now."""
        names = policy_names("tango.traffic")
        configured = self._settings.traffic_policy
        return TrafficPolicyView(self._settings.name, self._policy.name, configured, names)

    async def set_traffic_policy(self, name: str) -> TrafficPolicyView:
        """Route by another policy from the next solve on."""
        # Importing a solver takes half a second.
        policy = await asyncio.to_thread(traffic_policy, name)
        await self._solver.start(policy)
        log_event("info", "traffic policy switched", was=self._policy.name, now=policy.name)
        self._policy = policy
        return self.traffic_policy()

    def new_request_id(self) -> str:
        """Unique over all incarnations of this edge."""
        return f"{self._settings.name}-{self.incarnation:x}-{next(self._ids)}"

    def submit(self, request: CallRequest, on_reply: Callable[[CallReply], None]) -> None:
        """Take a call."""
        self._callers.submit(request, on_reply)

    def cancel(self, request_id: str) -> None:
        """The caller has gone."""
        self._callers.cancel(request_id)

    def call_streamed(
        self, request: CallRequest
    ) -> AsyncGenerator[msg.ReplyPart | CallReply, None]:
        """Parts, then the end."""
        return self._callers.streamed(request)

    def watch_routes(self, service: str) -> AsyncGenerator[RouteTable, None]:
        """Where a service can be called directly, now and after each change. Raises NotFound."""
        self.service(service)
        return self._followers.watch(service)

    def follow_routes(self, service: str) -> Follower:
        """Follow a service's routes, with slots. Raises NotFound, Unavailable."""
        self.service(service)
        return self._followers.add(service, passive=False)

    async def read_log(
        self, target: str, tail_bytes: int, *, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        """A replica's or attempt's log, from the node that has it."""
        read = self._logs.read(target, tail_bytes, follow=follow, link=self._log_link(target))
        async with aclosing(read) as chunks:
            async for chunk in chunks:
                yield chunk

    async def explain(
        self, name: str, subjects: tuple[Subject, ...], limit: int
    ) -> tuple[Explanation, ...]:
        """The edge's own decisions, and those of the workers concerned."""
        now = self.shell.now()
        books = self._controller.books
        found = [
            self._carriers.told(one, books)
            for one in self._controller.explain(name, subjects, limit, now)
        ]
        daemon = f"edge {self._settings.name}"
        asked = WorkerDecisions(self._logs, self._link_of)
        return tuple([await asked.explained(one, daemon, limit, now) for one in found])

    def _link_of(self, node: str) -> WorkerSession | None:
        session = self._controller.session_of_node(node)
        return None if session is None else self._workers.get(session)

    def _log_link(self, target: str) -> WorkerSession:
        session = self._controller.session_of(target)
        link = None if session is None else self._workers.get(session)
        if link is None:
            site = self._settings.name
            raise NotFound(f"no log of {target!r} at {site}: no connected node has it")
        return link

    # ---- other sites

    def peers(self) -> tuple[PeerView, ...]:
        """The sites that this edge dials."""
        return self._controller.peer_views(self.shell.now())

    async def guest_session(self, session: GuestSession) -> None:
        """Another site has dialled."""
        await self.sites.serve_guest(session)

    # ---- checkpoints

    def fetch_checkpoint(self, checkpoint: Checkpoint) -> AsyncGenerator[CheckpointPart, None]:
        """A checkpoint of another node, of this site or another one."""
        return self._checkpoints.fetch(checkpoint)

    async def take_checkpoint(self, transfer_id: str, parts: AsyncIterator[CheckpointPart]) -> None:
        """An offer of the worker that was asked."""
        await self._checkpoints.take(transfer_id, parts)

    # ---- workers

    async def worker_session(self, session: WorkerSession) -> None:
        """Hello, state, then messages until the stream ends."""
        try:
            hello = await session.receive(HELLO_TIMEOUT_S)
            state = await session.receive(HELLO_TIMEOUT_S)
        except (SessionBroken, TimeoutError) as error:
            raise FailedPrecondition(
                f"a worker must say hello and its state first: {error}"
            ) from error
        if not isinstance(hello, msg.WorkerHello) or not isinstance(state, msg.WorkerState):
            raise FailedPrecondition("a worker must say hello and its state first")
        number = next(self._ids)
        self._workers[number] = session
        self._nodes[number] = hello.node
        self.shell.post(ev.WorkerUp(number, hello, state, session.peer))
        if self._link_of(hello.node) is session:
            self._checkpoints.connected(hello.node, session)
        reason = "cut off"
        try:
            reason = await session.run(lambda message: self._on_worker(number, message))
        finally:
            del self._workers[number]
            log_event("info", "worker disconnected", node=self._nodes.pop(number), reason=reason)
            self._end_logs(session, f"node {hello.node} was cut off")
            self.shell.post(ev.WorkerDown(number, reason))

    def _on_worker(self, number: int, message: msg.FromWorker) -> None:
        match message:
            case msg.ReplyPart(request_id):
                deliver = self._callers.parts.get(request_id)
                if deliver is not None:
                    deliver(message)
            case msg.LogPart(log_id):
                if self._logs.opened(log_id):
                    self._logs.on_part(message)
                elif log_id in self._central_logs:
                    self._pass_on(message)
            case _:
                self.shell.post(ev.WorkerSaid(number, message))

    # ---- central

    def central_up(self, session: int, send: Callable[[msg.FromEdge], bool]) -> None:
        """The stream to the central master is open, and hello was said."""
        self._central = (session, send)
        self.shell.post(ev.CentralUp(session))

    def central_said(self, session: int, message: msg.ToEdge) -> None:
        """A message from the central master; logs pass by the controller, which places nothing."""
        match message:
            case msg.OpenLog(log_id, target):
                try:
                    link = self._central_logs[log_id] = self._log_link(target)
                    link.send(message)
                except TangoError as error:
                    self._pass_on(msg.LogPart(log_id, last=True, error=str(error)))
            case msg.OpenCheckpoint():
                self._checkpoints.offer(message)
            case msg.ForgetCheckpoints():
                self._checkpoints.forget(message)
            case msg.CloseLog(log_id):
                reader = self._central_logs.pop(log_id, None)
                if reader is not None:
                    reader.send(message)
            case _:
                self.shell.post(ev.CentralSaid(session, message))

    def central_down(self, session: int, reason: str) -> None:
        """The stream ended."""
        self._central = None
        for log_id, link in self._central_logs.items():
            link.send(msg.CloseLog(log_id))
        self._central_logs.clear()
        self.shell.post(ev.CentralDown(session, reason))

    def _pass_on(self, part: msg.LogPart) -> None:
        """A part of a log that the central master asked for."""
        if part.last:
            self._central_logs.pop(part.log_id, None)
        if self._central is not None:
            self._central[1](part)

    def _end_logs(self, session: WorkerSession, reason: str) -> None:
        self._logs.fail(session, reason)
        for log_id, link in tuple(self._central_logs.items()):
            if link is session:
                self._pass_on(msg.LogPart(log_id, last=True, error=reason))

    # ---- the end

    def begin_stop(self) -> None:
        """Take no new calls; streams with nothing under way end now."""
        self.stopping.set()
        self._callers.close()
        self.sites.begin_stop()
        self._followers.stop()
        self._checkpoints.stop()
        self._logs.stop(STOPPING)

    async def drain(self, grace_s: float) -> None:
        """Return when nothing is under way; what still is after the grace is answered as failed."""
        callers, operations, failed = self._callers, self._operations, self.shell.failed
        clock = asyncio.get_running_loop().time
        ends = clock() + grace_s
        while clock() < ends and not failed.done():
            if not (callers.waiting or operations.pending):
                break
            await asyncio.sleep(STOP_POLL_S)
        if callers.waiting:
            log_event("warning", "calls cut off", calls=len(callers.waiting), grace_s=grace_s)
        error = f"the edge has stopped; after {grace_s:g} s of grace this call had not ended"
        if failed.done():
            error = "the edge has failed while this call was under way"
            self.shell.close()
        callers.fail_all(error, self._has_begun)
        await self.sites.forgotten(FORGET_S)

    def stop(self) -> None:
        """Nothing is handled any more; sessions end when what waits to go out has gone."""
        self.shell.close()
        self.sites.stop()
        for link in self._workers.values():
            link.finish(STOPPING)

    def _has_begun(self, request_id: str) -> bool:
        """Whether a call was sent to a replica or to another site."""
        call = self._controller.books.calls.get(request_id)
        return call is not None and call.state is not CallState.QUEUED
