"""The central master's shell: carries out the controller's commands, answers its servicer."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from tango.adapters.clocks import LoopClock
from tango.adapters.policies import batch_policy, policy_names
from tango.adapters.solvers import InProcessSolver
from tango.controllers.central.controller import CentralController
from tango.daemons.central.images import LayerKeeper
from tango.daemons.central.metrics import CentralMetrics
from tango.daemons.checkpoint_relay import CheckpointRelay
from tango.daemons.explaining import explanation
from tango.daemons.lifecycle import log_event
from tango.daemons.logs_relay import LogRelay
from tango.daemons.operations import Operations, persist
from tango.daemons.shell import Shell
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model import messages as msg
from tango.model.bounds import BoundPlan, BoundRule, BoundSnapshot, ImproveSnapshot
from tango.model.errors import FailedPrecondition, NotFound, Unavailable
from tango.model.explanation import Explanation, Subject
from tango.model.improvement import Improvement, ImproveView, TriedJob
from tango.model.job import Checkpoint, CheckpointPart, JobRecord, JobSpec, JobState, TaskRecord
from tango.model.layers import NodeImages
from tango.model.plan import BatchPlan, BatchPolicy, BatchSnapshot, marks_of
from tango.model.settings import CentralSettings
from tango.model.views import BatchPolicyView, EdgeView, ImagesView, JobCounts, SiteImages
from tango.ports import Solver, Store
from tango.wire.backends import EdgeSession
from tango.wire.stream_session import SessionBroken

HELLO_TIMEOUT_S = 5.0
IMPROVE_POLL_S = 0.2
NO_REGISTRY = "the central master asks no registry: its configuration has no [registry]"


class CentralDaemon:
    """CentralBackend over a CentralController; all of it on one event loop.

    solver: who closes it is who made it. bound_rule: as the controller was given it.
    """

    def __init__(
        self,
        settings: CentralSettings,
        controller: CentralController,
        policy: BatchPolicy,
        store: Store,
        group: asyncio.TaskGroup,
        incarnation: int,
        metrics: CentralMetrics,
        layers: LayerKeeper | None = None,
        solver: Solver | None = None,
        bound_rule: BoundRule | None = None,
    ) -> None:
        self.incarnation = incarnation
        self._settings = settings
        self._controller = controller
        self._policy = policy
        self._solver = solver or InProcessSolver()
        self._bound_rule = bound_rule
        self._store = store
        self._group = group
        self._metrics = metrics
        self._layers = layers
        self.shell: Shell[ev.CentralEvent, cmd.CentralCommand] = Shell(
            controller, self._perform, LoopClock()
        )
        self._ids = itertools.count(1)
        self._operations = Operations(self._ids)
        self._edges: dict[int, EdgeSession] = {}
        self._hellos: dict[int, msg.EdgeHello] = {}
        self._changed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._logs = LogRelay(f"central-{incarnation}")
        self._checkpoints = CheckpointRelay()
        self._stopping = asyncio.Event()

    # ---- commands

    def _perform(self, command: cmd.CentralCommand) -> None:
        match command:
            case cmd.Persist():
                write = persist(self._store, command, self.shell.post)
                self._group.create_task(write, name="persist")
            case cmd.Answer():
                self._operations.answer(command)
            case cmd.SendEdge(session, message):
                link = self._edges.get(session)
                if link is not None:
                    link.send(message)
            case cmd.JobChanged(job):
                self._metrics.changed(job)
                event = self._changed.pop(job.job_id, None)
                if event is not None:
                    event.set()
            case cmd.Solve(solve_id, BoundSnapshot() as snapshot):
                self._plan(solve_id, snapshot)
            case cmd.Solve(solve_id, ImproveSnapshot() as snapshot):
                self._improve(solve_id, snapshot)
            case cmd.Solve(solve_id, snapshot):
                self._solve(solve_id, cast("BatchSnapshot", snapshot))
            case cmd.CloseEdge(session, reason):
                link = self._edges.get(session)
                if link is not None:
                    link.close(reason)
            case cmd.Note(level, event_name, fields):
                log_event(level, event_name, **dict(fields))

    def _solve(self, solve_id: int, snapshot: BatchSnapshot) -> None:
        policy = self._policy

        def done(plan: BatchPlan | Exception, cost_s: float) -> None:
            if isinstance(plan, Exception):
                log_event("error", "policy failed", policy=policy.name, error=repr(plan))
                self.shell.post(ev.SolveFailed(solve_id, repr(plan)))
                return
            self._metrics.solved(cost_s)
            self.shell.post(ev.BatchSolved(solve_id, plan, cost_s, time.time(), policy.name))

        self._solver.place(policy, snapshot, done)

    def _plan(self, solve_id: int, snapshot: BoundSnapshot) -> None:
        rule = self._bound_rule
        assert rule is not None, "nobody asks for what no rule makes"

        def done(plan: BoundPlan | Exception, cost_s: float) -> None:
            if isinstance(plan, Exception):
                log_event("error", "plan of bounds failed", error=repr(plan))
                self.shell.post(ev.SolveFailed(solve_id, repr(plan)))
                return
            self._metrics.planned(cost_s)
            self.shell.post(ev.BoundsSolved(solve_id, plan, cost_s, time.time()))

        self._solver.plan(rule, snapshot, done)

    def _improve(self, solve_id: int, snapshot: ImproveSnapshot) -> None:
        rule = self._bound_rule
        assert rule is not None, "nobody asks for what no rule makes"

        def done(plan: Improvement | Exception, cost_s: float) -> None:
            if isinstance(plan, Exception):
                log_event("error", "better plan of bounds failed", error=repr(plan))
                self.shell.post(ev.SolveFailed(solve_id, repr(plan)))
                return
            self.shell.post(ev.ImproveSolved(solve_id, plan, cost_s, time.time()))

        self._solver.improve(rule, snapshot, done)

    # ---- users

    async def submit_job(
        self, spec: JobSpec, submission_id: str, *, require_fit: bool = False
    ) -> JobRecord:
        """Durable when it returns."""
        job_id = f"{spec.name}-{secrets.token_hex(4)}"
        submission = submission_id or job_id
        images = [image for task in spec.tasks for image in task.images]
        if images and self._layers is not None:
            await self._layers.look_first(images)
        job = await self._operations.run(
            lambda op_id: self.shell.post(
                ev.SubmitJob(op_id, job_id, submission, spec, time.time(), require_fit)
            )
        )
        record = cast("JobRecord", job)
        return replace(record, warning=self._controller.namesakes(record))

    async def cancel_job(self, job_id: str) -> JobRecord:
        """The job as it is after the cancel was taken."""
        job = await self._operations.run(
            lambda op_id: self.shell.post(ev.CancelJob(op_id, job_id, time.time()))
        )
        return cast("JobRecord", job)

    async def migrate_job(self, job_id: str, task: str, node: str, edge: str) -> JobRecord:
        """The job once the migration is decided and stored."""
        job = await self._operations.run(
            lambda op_id: self.shell.post(
                ev.MigrateJob(op_id, job_id, task, node, edge, time.time())
            )
        )
        return cast("JobRecord", job)

    async def improve_placement(
        self, max_moves: int, *, apply: bool
    ) -> AsyncGenerator[ImproveView, None]:
        """The plan, and how it stands; it is carried out when the caller has gone, too."""
        asked = await self._operations.run(
            lambda op_id: self.shell.post(ev.ImproveBounds(op_id, max_moves, apply, time.time()))
        )
        view = cast("ImproveView", asked)
        while True:
            yield view
            told = view
            while view == told and not view.done:
                if self._stopping.is_set():
                    raise Unavailable("the central master is stopping; moves under way go on")
                await asyncio.sleep(IMPROVE_POLL_S)
                view = self._controller.improvement or view
            if view == told:
                return

    async def try_job(self, spec: JobSpec) -> TriedJob:
        """Where a job with bounds would go now."""
        tried = await self._operations.run(
            lambda op_id: self.shell.post(ev.TryJob(op_id, spec, time.time()))
        )
        return cast("TriedJob", tried)

    def job(self, job_id: str) -> JobRecord:
        """One job."""
        return self._controller.existing_job(job_id)

    def jobs(self, states: tuple[JobState, ...], limit: int) -> tuple[JobRecord, ...]:
        """The newest of these states, newest last."""
        return self._controller.jobs(states, limit)

    def job_counts(self) -> JobCounts:
        """Over all jobs."""
        return self._controller.counts()

    def edges(self) -> tuple[EdgeView, ...]:
        """All sites."""
        return self._controller.edge_views()

    def images(self, edge: str) -> ImagesView:
        """What nodes hold by the word of their engines, and what registries say."""
        told = self._controller.node_images()
        sites = [view.edge for view in self._controller.edge_views() if edge in ("", view.edge)]
        if edge and not sites:
            raise NotFound(f"site {edge!r} is unknown; `tango get edges` lists them")
        return ImagesView(
            tuple(
                SiteImages(site, tuple(told[one] for one in sorted(told) if one[0] == site))
                for site in sites
            ),
            self._layers.views() if self._layers is not None else (),
            "" if self._layers is not None else NO_REGISTRY,
        )

    def batch_policy(self) -> BatchPolicyView:
        """By which policy jobs are placed now."""
        configured = self._settings.batch_policy
        return BatchPolicyView(self._policy.name, configured, policy_names("tango.batch"))

    async def set_batch_policy(self, name: str) -> BatchPolicyView:
        """Place by another policy from the next solve on; the queue stays."""
        # Importing numpy takes a while.
        policy = await asyncio.to_thread(batch_policy, name, self._settings.placement)
        log_event("info", "batch policy switched", was=self._policy.name, now=policy.name)
        self._policy = policy
        self.shell.post(ev.PolicySwitched(policy.name, **marks_of(policy)))
        return self.batch_policy()

    async def explain(
        self, name: str, subjects: tuple[Subject, ...], limit: int
    ) -> tuple[Explanation, ...]:
        """The central master's own decisions; edges tell theirs themselves."""
        now = self.shell.now()
        found = self._controller.explain(name, subjects, limit, now)
        return tuple(explanation(one, "central", now) for one in found)

    async def watch_job(self, job_id: str) -> AsyncGenerator[JobRecord, None]:
        """The job now and after each change, until it has ended."""
        record = self.job(job_id)
        while True:
            changed = self._changed[job_id]
            yield record
            if record.state.ended:
                return
            waits = [asyncio.ensure_future(e.wait()) for e in (changed, self._stopping)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if self._stopping.is_set():
                raise Unavailable("the central master is stopping; the job goes on")
            record = self.job(job_id)

    async def read_job_log(
        self, job_id: str, task: str, tail_bytes: int, *, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        """The log of a task's latest attempt, from its node."""
        record = _task_of(self.job(job_id), task)
        if not record.attempt_id or not record.edge:
            raise NotFound(f"no log of {job_id!r} yet: the task has not been placed")
        link = self._edge_link(record.edge)
        if link is None:
            raise Unavailable(f"site {record.edge!r}, which has the log, is not connected")
        async with aclosing(
            self._logs.read(record.attempt_id, tail_bytes, follow=follow, link=link)
        ) as chunks:
            async for chunk in chunks:
                yield chunk

    def _edge_link(self, edge: str) -> EdgeSession | None:
        # An older incarnation may still be on its way out, or be about to be refused.
        known = [
            (hello.incarnation, number)
            for number, hello in self._hellos.items()
            if hello.edge == edge
        ]
        return self._edges[max(known)[1]] if known else None

    # ---- edges

    async def edge_session(self, session: EdgeSession) -> None:
        """Hello, state, then messages until the stream ends."""
        try:
            hello = await session.receive(HELLO_TIMEOUT_S)
            state = await session.receive(HELLO_TIMEOUT_S)
        except (SessionBroken, TimeoutError) as error:
            raise FailedPrecondition(
                f"an edge must say hello and its state first: {error}"
            ) from error
        if not isinstance(hello, msg.EdgeHello) or not isinstance(state, msg.EdgeState):
            raise FailedPrecondition("an edge must say hello and its state first")
        number = next(self._ids)
        self._edges[number] = session
        self._hellos[number] = hello
        self.shell.post(ev.EdgeUp(number, hello, state, time.time()))
        reason = "cut off"
        try:
            reason = await session.run(lambda message: self._on_edge(number, message))
        finally:
            del self._edges[number]
            del self._hellos[number]
            log_event("info", "edge disconnected", edge=hello.edge, reason=reason)
            self._logs.fail(session, f"site {hello.edge} was cut off")
            if not self._stopping.is_set():
                self.shell.post(ev.EdgeDown(number, reason))

    def _on_edge(self, number: int, message: msg.FromEdge) -> None:
        if isinstance(message, msg.LogPart):
            self._logs.on_part(message)
        else:
            self.shell.post(ev.EdgeSaid(number, message, time.time()))
            if isinstance(message, NodeImages) and self._layers is not None:
                self._layers.node_has(message)

    def fetch_checkpoint(self, checkpoint: Checkpoint) -> AsyncGenerator[CheckpointPart, None]:
        """A checkpoint of a node of some site, for another site."""
        link = self._edge_link(checkpoint.edge)
        if link is None:
            raise Unavailable(f"site {checkpoint.edge!r}, which has it, is not connected")
        return self._checkpoints.fetch(checkpoint, link)

    async def take_checkpoint(self, transfer_id: str, parts: AsyncIterator[CheckpointPart]) -> None:
        """An offer of the site that was asked."""
        await self._checkpoints.take(transfer_id, parts)

    def stop(self) -> None:
        """Watches and sessions end."""
        self._stopping.set()
        self._checkpoints.stop()
        for link in self._edges.values():
            link.close("the central master is stopping")


def _task_of(job: JobRecord, name: str) -> TaskRecord:
    if not name:
        return job.tasks[0]
    for spec, record in zip(job.spec.tasks, job.tasks, strict=True):
        if spec.name == name:
            return record
    names = ", ".join(spec.name for spec in job.spec.tasks)
    raise NotFound(f"job {job.job_id!r} has no task {name!r}; it has: {names}")
