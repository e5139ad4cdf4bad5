"""The worker's controller: takes events, keeps the books of one node, returns commands; no I/O."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from tango import __version__
from tango.controllers.decisions import Decisions
from tango.controllers.forgotten import overwritten
from tango.controllers.worker.attempts import Attempts
from tango.controllers.worker.counters import Counters
from tango.controllers.worker.groups import GroupTree
from tango.controllers.worker.outbox import Outbox
from tango.controllers.worker.records import AttemptRecord, ReplicaRecord, read_record
from tango.controllers.worker.replica import ReplicaBooks
from tango.controllers.worker.replica_life import ReplicaLife
from tango.controllers.worker.replica_targets import ReplicaTargets
from tango.controllers.worker.requests import Requests
from tango.controllers.worker.timers import Timers
from tango.controllers.worker.usage import Usage
from tango.model.cgroup import CgroupFeatures
from tango.model.cluster import Enforcement, NodeCapacity, NodeReport
from tango.model.commands import ForgetProcess, WorkerCommand
from tango.model.decision import Decision
from tango.model.events import (
    CheckpointFailed,
    GroupApplied,
    HealthChecked,
    ImagesListed,
    ProcessEnded,
    ProcessesListed,
    ProcessStarted,
    ProcessStartFailed,
    RequestFinished,
    RuntimeDown,
    RuntimeUp,
    Tick,
    UpstreamDown,
    UpstreamSaid,
    UpstreamUp,
    UsageSampled,
    WorkerEvent,
)
from tango.model.explanation import Subject
from tango.model.job import AttemptStatus
from tango.model.layers import NodeImages
from tango.model.messages import (
    AckEnds,
    CancelDispatches,
    Dispatches,
    ForgetLogs,
    NodeTargets,
    PublishedShares,
    StartAttempt,
    StopAttempt,
    WorkerHello,
    WorkerPing,
    WorkerPong,
    WorkerState,
)
from tango.model.process import ProcessRecord
from tango.model.service import ReplicaStatus
from tango.model.settings import WorkerSettings

_REPLICA_TIMERS = frozenset({"backoff", "drain", "halt", "health", "start"})
_SHARES: Final = "shares"
_ATTEMPT_TIMERS = frozenset({"counters", "deadline", "repeat", "stop"})


class WorkerController:
    """One node: its replicas, attempts, requests in flight, quotas and usage.

    The shell hands in ProcessesListed first, then each event in order, carries the commands out in
    order, and sends Tick when `wake_at` has come. `now` never goes back. Same events and seed, same
    commands. Logs are the shell's: OpenLog and CloseLog are not for the controller.

    incarnation: higher at each start of the worker; it makes process keys unique for ever.
    key: of the node's state directory. features: None where there are no cgroups; then there are no
    group commands, no quotas, no memory limits, and both sides of the usage report stay 0.
    cores, cores_note: as in WorkerHello.
    checkpoints, checkpoint_note: what the runtime says of them.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        incarnation: int,
        key: str,
        capacity: NodeCapacity,
        enforcement: Enforcement,
        features: CgroupFeatures | None,
        checkpoints: bool = False,
        checkpoint_note: str = "",
        seed: int = 0,
        cores: tuple[int, ...] = (),
        cores_note: str = "",
        loopback: str = "",
    ) -> None:
        self._hello = WorkerHello(
            node=settings.node,
            key=key,
            incarnation=incarnation,
            capacity=capacity,
            enforcement=enforcement,
            version=__version__,
            labels=settings.labels,
            taints=settings.taints,
            observe_only=not settings.enforce,
            cores=cores,
            cores_note=cores_note,
            checkpoints=checkpoints,
            checkpoint_note=checkpoint_note,
            checkpoint_shared=bool(settings.checkpoint_dir),
            checkpoint_transfer=settings.checkpoint_transfer,
            loopback=loopback,
        )
        out = self._out = Outbox(settings.decisions.ring)
        timers = self._timers = Timers()
        counters = Counters(out, enabled=features is not None)
        groups = self._groups = GroupTree(settings, capacity, features, counters, out)
        books = self._books = ReplicaBooks(out)
        self._life = ReplicaLife(
            books,
            groups,
            counters,
            timers,
            out,
            incarnation=incarnation,
            rng=random.Random(seed),
        )
        self._targets = ReplicaTargets(books, self._life, groups, timers, out)
        self._attempts = Attempts(settings.node, groups, counters, timers, out)
        self._requests = Requests(settings.node, books, self._life, groups, out)
        self._usage = Usage(
            settings,
            groups,
            counters,
            out,
            in_flight=self._requests.__len__,
            be_tasks=lambda: self._attempts.running,
            be_asked=lambda: self._attempts.asked_millis,
            capacity_millis=capacity.cpu_millis,
        )
        self._listed = False
        self._keep_shares_s = 0.0
        self._dialled: int | None = None
        self._images: NodeImages | None = None
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            RequestFinished: self._requests.finished,
            UpstreamSaid: self._said,
            Tick: self._tick,
            GroupApplied: groups.applied,
            UsageSampled: self._sampled,
            ImagesListed: self._images_listed,
            HealthChecked: self._life.health.answered,
            ProcessesListed: self._list,
            RuntimeDown: self._runtime_down,
            RuntimeUp: self._runtime_up,
            ProcessStarted: self._started,
            ProcessStartFailed: self._start_failed,
            ProcessEnded: self._ended,
            CheckpointFailed: self._attempts.checkpoint_failed,
            UpstreamUp: self._up,
            UpstreamDown: self._down,
        }
        self._messages: dict[type, Callable[[Any, float], None]] = {
            Dispatches: self._requests.dispatch,
            CancelDispatches: self._requests.cancel,
            PublishedShares: self._publish,
            NodeTargets: self._targets.aim,
            StartAttempt: self._attempts.start,
            StopAttempt: self._attempts.stop,
            AckEnds: self._attempts.acknowledge,
            ForgetLogs: self._attempts.forget_logs,
            WorkerPing: self._pong,
        }

    def handle(self, event: WorkerEvent, now: float) -> list[WorkerCommand]:
        """Take one event; returns what is to be done, in order."""
        self._out.now = now
        self._handlers[type(event)](event, now)
        return self._out.take()

    @property
    def wake_at(self) -> float | None:
        """When a Tick is wanted, on the clock of `now`."""
        at = min(self._timers.next_at, self._usage.sample_at)
        quota_at = self._groups.wake_at
        if quota_at is not None and quota_at < at:
            return quota_at
        return None if at == math.inf else at

    # ---- what there is

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """Every replica, by id."""
        return self._books.statuses()

    def attempts(self) -> tuple[AttemptStatus, ...]:
        """Every attempt whose end is not acknowledged, by id."""
        return self._attempts.statuses()

    def in_flight(self) -> tuple[str, ...]:
        """Ids of the requests in flight, oldest first."""
        return self._requests.ids()

    @property
    def decisions(self) -> Decisions:
        """The records that are still kept; all are about this node."""
        return self._out.decisions

    def explain(
        self, name: str, subject: Subject, limit: int, now: float
    ) -> tuple[tuple[Decision, ...], tuple[str, ...]]:
        """At most `limit` records of that name, oldest first, and what is missing of them."""
        decisions = self._out.decisions
        if subject is Subject.NODE:
            found = decisions.latest(limit)
        else:
            found = list(islice(decisions.about(subject.value, name), limit))[::-1]
        return tuple(found), overwritten(decisions, subject, now)

    @property
    def latest_report(self) -> NodeReport | None:
        """The last report, sent or not; None before the first sample."""
        return self._usage.latest

    def process_key(self, target: str) -> str:
        """The process whose log is meant: a replica's latest, an attempt's own, or a key itself."""
        replica = self._books.by_id.get(target)
        return replica.last_key if replica is not None else target

    def validate(self) -> None:
        """Raise AssertionError where the books do not agree with themselves; for tests."""
        self._books.validate()
        self._attempts.validate()
        self._requests.validate()
        self._timers.validate()
        self._usage.validate()
        for key in self._books.by_key:
            assert key not in self._attempts, f"{key}: an attempt's key for a replica"
        replicas = self._books.by_id.values()
        if self._groups.enabled:
            assert all(replica.group for replica in replicas), "a replica without a group"
        self._groups.validate({replica.group: replica.busy for replica in replicas})

    # ---- the session to the edge

    def _up(self, event: UpstreamUp, now: float) -> None:
        del now
        self._dialled = event.session
        if self._listed:
            self._greet()

    def _greet(self) -> None:
        out = self._out
        out.session = self._dialled
        out.send(replace(self._hello, dial=self._dialled or 0))
        out.send(WorkerState(self.replicas(), self.attempts(), self.in_flight()))
        if self._images is not None:
            out.send(self._images)

    def _down(self, event: UpstreamDown, now: float) -> None:
        if event.session == self._dialled:
            self._dialled = self._out.session = None
            if self._keep_shares_s:
                self._timers.set(_SHARES, "", now + self._keep_shares_s)

    def _publish(self, message: PublishedShares, now: float) -> None:
        self._timers.clear(_SHARES, "")
        self._keep_shares_s = message.keep_s if message.shares else 0.0
        self._requests.publish(dict(message.shares), now)

    def _said(self, event: UpstreamSaid, now: float) -> None:
        if event.session != self._out.session:
            return
        handler = self._messages.get(type(event.message))
        if handler is not None:
            handler(event.message, now)

    def _pong(self, message: WorkerPing, now: float) -> None:
        """At once: the edge measures the way here by it."""
        self._out.send(WorkerPong(message.number))

    # ---- processes

    def _list(self, event: ProcessesListed, now: float) -> None:
        replicas: list[ReplicaRecord] = []
        attempts: list[AttemptRecord] = []
        understood = True
        for record in event.records:
            found = read_record(record)
            if isinstance(found, ReplicaRecord):
                replicas.append(found)
            elif isinstance(found, AttemptRecord):
                attempts.append(found)
            else:
                understood = False
                self._out.note("warning", "unknown_process_left_alone", key=record.key)
        self._groups.open()
        needed = [*(one.group for one in replicas), *(one.group for one in attempts)]
        self._groups.remove_leftovers(event.groups, needed, orphans=understood)
        self._targets.adopt(replicas, now)
        self._attempts.adopt(attempts, now)
        if event.targets is not None:
            self._targets.remember(event.targets, now)
        self._usage.begin(now)
        self._listed = True
        if self._dialled is not None:
            self._greet()

    def _runtime_down(self, event: RuntimeDown, now: float) -> None:
        del now
        self._usage.problem = f"supervisor down: {event.reason}"
        self._out.note("error", "supervisor_down", reason=event.reason)

    def _runtime_up(self, event: RuntimeUp, now: float) -> None:
        self._usage.problem = ""
        self._out.note(
            "warning" if event.renewed else "info",
            "supervisor_up",
            renewed=event.renewed,
            adopted=event.adopted,
            lost=event.lost,
        )
        if event.renewed:
            self._life.stop_again(now)
            self._attempts.stop_again(now)

    def _started(self, event: ProcessStarted, now: float) -> None:
        if event.key in self._attempts:
            self._attempts.started(event, now)
        else:
            self._life.started(event, now)

    def _start_failed(self, event: ProcessStartFailed, now: float) -> None:
        if event.key in self._attempts:
            self._attempts.start_failed(event, now)
        else:
            self._life.start_failed(event, now)

    def _ended(self, event: ProcessEnded, now: float) -> None:
        record: ProcessRecord = event.record
        if event.key in self._attempts:
            self._attempts.process_ended(record, now)
        elif event.key in self._books.by_key:
            self._life.ended(record, now)
        elif not self._targets.stray_ended(record):
            # Told twice, or of no kind that we know: nobody waits for it.
            self._out.add(ForgetProcess(event.key, keep_log=True))

    # ---- time and counters

    def _tick(self, event: Tick, now: float) -> None:
        del event
        while (timer := self._timers.pop_due(now)) is not None:
            kind, name = timer
            if kind in _REPLICA_TIMERS:
                self._life.fire(kind, name, now)
            elif kind in _ATTEMPT_TIMERS:
                self._attempts.fire(kind, name, now)
            else:
                self._keep_shares_s = 0.0
                self._requests.publish({}, now)
        if now >= self._usage.sample_at:
            self._usage.sample(now)
        self._groups.shrink_due(now)

    def _images_listed(self, event: ImagesListed, now: float) -> None:
        del now
        self._images = event.images
        self._out.send(event.images)

    def _sampled(self, event: UsageSampled, now: float) -> None:
        self._attempts.wall_clock(event.wall, now)
        oom, attempts = self._life.oom, self._attempts
        for used in event.groups:
            oom.sampled(used)
            attempts.sampled(used, now)
        self._usage.sampled(event, now)
