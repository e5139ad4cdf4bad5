"""What edges say of attempts, and the full resync after each (re)connect.

Nothing is killed because a stream broke: a resync compares what the edge knows with what was
assigned to it. For an attempt that is assigned there:

    known there                             its status is applied
    unknown, its node is not complete       nothing yet: NodeResynced will tell
    unknown, SCHEDULED                      StartAttempt again, with the same attempt id
    unknown, RUNNING                        lost: a failure, with the retry rules
    unknown, and the job shall stop         it has ended

What is there but not assigned (unknown, superseded, of a job that is gone) is stopped, or, once
it has ended, acknowledged. An end is acknowledged only after it is on disk; until then a repeat of
it changes nothing.

A refusal answers a start that was not admitted: it has not run. It is no end of what runs. A stop
of what the edge does not know, as after its restart, is not answered but kept there until the node
dials in, and its resync tells; a node that never does is given up (departures.py).

An attempt that its node knows as STARTING, and then does not know, counts as SCHEDULED: the
supervisor starts an id once, and a worker that was killed on the way must not cost a retry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tango.controllers.central import jobs
from tango.controllers.central.bounds import Bounds
from tango.controllers.central.core import Core
from tango.controllers.central.departures import Departures
from tango.controllers.central.ledger import Acknowledge, Job
from tango.controllers.central.migration import Migrations
from tango.controllers.central.site import Attempt, Site
from tango.model.commands import CloseEdge, SendEdge
from tango.model.decision import JOB_END, JOB_REFUSED
from tango.model.events import EdgeDown, EdgeSaid, EdgeUp
from tango.model.job import AttemptState, AttemptStatus, JobState, parse_attempt_id
from tango.model.layers import NodeImages
from tango.model.messages import (
    AttemptChanged,
    AttemptRefused,
    CentralWelcome,
    EdgeState,
    NodeResynced,
    NodesChanged,
    StartAttempt,
)
from tango.model.settings import CentralSettings

REFUSED_FIRST_S = 0.2
REFUSED_LAST_S = 5.0


class Reports:
    """Applies the events of edges to the core."""

    def __init__(
        self, core: Core, settings: CentralSettings, incarnation: int, bounds: Bounds
    ) -> None:
        self._core = core
        self._bounds = bounds
        self._incarnation = incarnation
        self.migrations = Migrations(core)
        self.departures = Departures(core, settings, self.migrations)

    # ---- sessions

    def edge_up(self, event: EdgeUp) -> None:
        """A stream said Hello and its state."""
        core, hello = self._core, event.hello
        before = core.sites.site(hello.edge).incarnation
        site, superseded = core.sites.connect(event.session, hello)
        if site is None:
            reason = f"stale: a later stream of edge {hello.edge} has connected before"
            core.out.append(CloseEdge(event.session, reason))
            core.note(
                "warning",
                "edge_refused",
                edge=hello.edge,
                incarnation=hello.incarnation,
                dial=hello.dial,
                reason=reason,
            )
            return
        if superseded is not None:
            core.out.append(CloseEdge(superseded, "superseded by a newer stream of the same edge"))
        core.out.append(SendEdge(event.session, CentralWelcome(self._incarnation)))
        core.note("info", "edge_up", edge=site.edge, incarnation=hello.incarnation)
        if before != hello.incarnation:
            core.images.forget_site(site.edge)
        self._resync(site, event.state)

    def edge_down(self, event: EdgeDown) -> None:
        """A stream ended. Its nodes offer nothing; its attempts stay as they are."""
        site = self._core.sites.disconnect(event.session)
        if site is not None:
            self.departures.connected(site)
            self._core.note("warning", "edge_down", edge=site.edge, reason=event.reason)

    def edge_said(self, event: EdgeSaid) -> None:
        """A later message; one of a superseded stream is dropped."""
        site = self._core.sites.by_session.get(event.session)
        if site is None:
            return
        message = event.message
        if isinstance(message, AttemptChanged):
            self._apply(site, message.attempt)
        elif isinstance(message, NodesChanged):
            if self._core.sites.set_nodes(site, message.nodes):
                self._core.batch.room_grew()
            self._bounds.edge_told(site.edge, message)
            self.departures.look(site)
        elif isinstance(message, AttemptRefused):
            self._refused(site, message)
        elif isinstance(message, NodeResynced):
            held = site.held.get(message.node)
            ours = tuple(held.attempts.values()) if held else ()
            self._compare(site, message.attempts, ours)
        elif isinstance(message, EdgeState):
            self._resync(site, message)
        elif isinstance(message, NodeImages):
            self._core.images.node_told(site.edge, message)

    def _resync(self, site: Site, state: EdgeState) -> None:
        if self._core.sites.set_nodes(site, state.nodes):
            self._core.batch.room_grew()
        self._bounds.edge_told(site.edge, state)
        complete = frozenset(state.complete_nodes)
        ours = tuple(attempt for attempt in site.attempts() if attempt.node in complete)
        self._compare(site, state.attempts, ours)
        self.departures.connected(site)
        self.departures.look(site)

    def _compare(
        self, site: Site, statuses: Iterable[AttemptStatus], ours: Iterable[Attempt]
    ) -> None:
        known: set[str] = set()
        for status in statuses:
            known.add(status.attempt_id)
            self._apply(site, status)
            self._stop_again(site, status)
        for attempt in ours:
            active = self._core.sites.attempts.get(attempt.attempt_id) is attempt
            if active and attempt.attempt_id not in known:
                self._missing(attempt)

    # ---- attempts

    def _apply(self, site: Site, status: AttemptStatus) -> None:
        core = self._core
        attempt = core.sites.attempts.get(status.attempt_id)
        if attempt is None or attempt.edge != site.edge:
            self._foreign(site, status)
            return
        if core.sites.told(attempt):
            core.batch.room_grew()
        job = core.ledger.jobs[attempt.job_id]
        task = job.record.tasks[attempt.index]
        if status.state is AttemptState.ENDED:
            job.refusals.pop(attempt.index, None)
            if self.migrations.ended(site, job, attempt, status):
                return
            record = jobs.ended(job.record, attempt.index, status, core.wall, core.unsent(job))
            core.change(job, record, (Acknowledge(site.edge, status.attempt_id),))
            self._note_end(job, attempt)
        elif status.state is AttemptState.RUNNING and task.state is JobState.SCHEDULED:
            job.refusals.pop(attempt.index, None)
            core.change(job, jobs.running(job.record, attempt.index, status, core.wall))
        else:
            self.migrations.still(status, job, attempt)

    def _foreign(self, site: Site, status: AttemptStatus) -> None:
        """Not an active attempt of this edge: stop it, or let its end be forgotten."""
        if status.state is not AttemptState.ENDED:
            self._core.stop(site.edge, status.attempt_id, "not wanted any more")
            self._core.note("warning", "foreign_attempt", attempt=status.attempt_id)
            return
        # An edge may say anything; what no attempt of ours was called is nobody's.
        name = parse_attempt_id(status.attempt_id)
        job = self._core.ledger.jobs.get(name[0]) if name is not None else None
        if name is not None and job is not None:
            _, index, number = name
            tasks = job.record.tasks
            if index < len(tasks) and tasks[index].attempt > number:
                self._core.note("info", "superseded_end", attempt=status.attempt_id)
        ack = Acknowledge(site.edge, status.attempt_id)
        under_way = job is not None and any(effect == ack for _, effect in job.effects)
        if under_way or (job is not None and self._core.ledger.when_durable(job, ack)):
            return
        self._core.ack(site.edge, status.attempt_id)

    def _stop_again(self, site: Site, status: AttemptStatus) -> None:
        """A stop may have been lost with the stream that carried it."""
        attempt = self._core.sites.attempts.get(status.attempt_id)
        if attempt is None or attempt.edge != site.edge:
            return
        durable = self._core.ledger.jobs[attempt.job_id].durable
        if self.departures.stop_again(site, attempt):
            return
        if durable is not None and jobs.stopping(durable):
            self._core.stop(site.edge, attempt.attempt_id, durable.reason)
        elif status.state is AttemptState.RUNNING:
            self.migrations.checkpoint(attempt)

    def _missing(self, attempt: Attempt) -> None:
        """The node is complete and does not know this attempt of ours."""
        core = self._core
        job = core.ledger.jobs[attempt.job_id]
        task = job.record.tasks[attempt.index]
        if task.state is JobState.SCHEDULED and not jobs.stopping(job.record):
            if attempt.sent:
                self.start(job, attempt)
            return
        record = jobs.lost(job.record, attempt.index, core.wall, core.unsent(job))
        core.change(job, record)
        self._note_end(job, attempt)

    def _refused(self, site: Site, message: AttemptRefused) -> None:
        core = self._core
        attempt = core.sites.attempts.get(message.attempt_id)
        if attempt is None or attempt.edge != site.edge:
            return
        job = core.ledger.jobs[attempt.job_id]
        if job.record.tasks[attempt.index].state is not JobState.SCHEDULED:
            core.note("error", "refused_while_running", attempt=message.attempt_id)
            return
        if self.migrations.not_begun(job, attempt, f"refused: {message.reason}"):
            return
        in_a_row = job.refusals.get(attempt.index, 0)
        job.refusals[attempt.index] = in_a_row + 1
        delay = min(REFUSED_FIRST_S * 2 ** min(in_a_row, 10), REFUSED_LAST_S)
        reason = f"refused by {attempt.node} of {site.edge}: {message.reason}"
        core.note("info", "attempt_refused", attempt=message.attempt_id, reason=message.reason)
        name = job.record.spec.tasks[attempt.index].name
        core.record(
            JOB_REFUSED, attempt.job_id, name, attempt.attempt_id, attempt.edge, attempt.node,
            message.reason, delay,
        )  # fmt: skip
        record = jobs.refused(job.record, attempt.index, reason, core.wall, delay)
        core.change(job, record)

    def start(self, job: Job, attempt: Attempt) -> None:
        """Tell the edge to start the attempt: its assignment is on disk."""
        attempt.sent = True
        spec, priority = job.record.spec.tasks[attempt.index], job.record.spec.priority
        migration = job.record.tasks[attempt.index].migration
        restore = None
        if migration is not None and migration.checkpoint is not None:
            restore = replace(
                migration.checkpoint, edge=migration.from_edge, node=migration.from_node
            )
        start = StartAttempt(
            attempt.attempt_id, spec, attempt.node, priority, restore, attempt.cores
        )
        self._core.send(attempt.edge, start)

    def _note_end(self, job: Job, attempt: Attempt) -> None:
        task = job.record.tasks[attempt.index]
        waits = task.state is JobState.PENDING and task.retry_at > self._core.wall
        self._core.record(
            JOB_END, attempt.job_id, job.record.spec.tasks[attempt.index].name,
            attempt.attempt_id, attempt.edge, attempt.node, task.state, job.record.state,
            task.reason, task.retry_at - self._core.wall if waits else 0.0,
        )  # fmt: skip
        self._core.note(
            "info",
            "attempt_ended",
            attempt=attempt.attempt_id,
            node=attempt.node,
            task=task.state.value,
            job=job.record.state.value,
            reason=task.reason,
        )
