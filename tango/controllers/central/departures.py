"""Attempts on nodes that die or are drained: given up, or stopped, and placed elsewhere.

An edge says that a node is dead when it has not heard of it for a while. A worker that restarts on
a busy machine may take longer than that, and adopts what it finds: so there is a grace on top of
it. After that the node's attempts are given up: their tasks wait for another node, under the next
attempt number, as soon as that is on disk. Should the node come back, what still runs there is
nobody's: it is stopped, and its end, however it ended, is only acknowledged. The stop is left with
the edge too, for the case that this central master is away when the node returns.

A node that its edge does not know at all (the edge was restarted, and the node has not dialled in)
is given REDIAL_S more. A site that is away as a whole says nothing of its nodes: its jobs go on
there.

Where BE on a node gets less than a floor of the CPU that it asks for, for some time, one attempt at
a time is moved in the same way as from a drained node, but only if another node has room for it.

On a drained node each attempt is marked in its task, on disk, before it is stopped: its end then
costs no retry, even if this central master has been restarted in between.
"""

from __future__ import annotations

from tango.controllers.central import jobs
from tango.controllers.central.core import Core
from tango.controllers.central.fits import batch_task, takes
from tango.controllers.central.ledger import SendStop
from tango.controllers.central.migration import Migrations
from tango.controllers.central.site import Attempt, Site
from tango.model.cluster import NodeView
from tango.model.decision import JOB_EVICT, JOB_GIVE_UP, Form
from tango.model.job import JobState
from tango.model.settings import CentralSettings

# On top of node_lost_after_s: a worker redials a restarted edge within 5 s.
REDIAL_S = 5.0


class Departures:
    """Looks at a site's nodes after each word on them."""

    def __init__(self, core: Core, settings: CentralSettings, migrations: Migrations) -> None:
        self._core = core
        self._migrations = migrations
        self._grace_s = settings.node_lost_after_s
        self._unseen: dict[str, float] = {}
        self._dead: dict[tuple[str, str], float] = {}
        self._floor_s = settings.be_floor_s
        # Since when BE of a node starves.
        self._starving: dict[tuple[str, str], float] = {}

    @property
    def due_at(self) -> float | None:
        """When nodes that are dead, or that an edge does not know, have had time enough."""
        if not (self._unseen or self._dead):
            return None
        return min((*self._unseen.values(), *self._dead.values()))

    def connected(self, site: Site) -> None:
        """A stream began, or ended: what is not known, or was dead, has the full time again."""
        for place in [place for place in self._dead if place[0] == site.edge]:
            del self._dead[place]
        if site.session is not None and site.held.keys() - site.nodes.keys():
            self._unseen[site.edge] = self._core.now + self._grace_s + REDIAL_S
        else:
            self._unseen.pop(site.edge, None)

    def look(self, site: Site) -> None:
        """Give what is on dead nodes a last time, stop what is on drained ones."""
        due_at = self._core.now + self._grace_s
        for name in list(site.held):
            view = site.nodes.get(name)
            if view is not None and view.dead:
                self._dead.setdefault((site.edge, name), due_at)
            elif view is not None and view.draining:
                self._evict(site, name, view.drain_grace_s)
            elif view is not None and site.starves(view):
                self._move_one(site, view)
                continue
            self._starving.pop((site.edge, name), None)
        for edge, name in list(self._starving):
            if edge == site.edge and name not in site.held:
                del self._starving[edge, name]
        for edge, name in list(self._dead):
            if edge == site.edge and (name not in site.held or not site.nodes[name].dead):
                del self._dead[edge, name]

    def pump(self) -> None:
        """Give up what is on nodes that did not come back in time."""
        now = self._core.now
        for edge, name in [place for place, due_at in self._dead.items() if now >= due_at]:
            del self._dead[edge, name]
            site = self._core.sites.site(edge)
            if name in site.held:
                self._give_up(site, name)
        for edge in [edge for edge, due_at in self._unseen.items() if now >= due_at]:
            del self._unseen[edge]
            site = self._core.sites.site(edge)
            for name in sorted(site.held.keys() - site.nodes.keys()):
                self._give_up(site, name)

    def stop_again(self, site: Site, attempt: Attempt) -> bool:
        """Repeat a stop that may have been lost with its stream; False where none was due."""
        durable = self._core.ledger.jobs[attempt.job_id].durable
        evicting = durable.tasks[attempt.index].evicting if durable is not None else ""
        if not evicting:
            return False
        view = site.nodes.get(attempt.node)
        grace_s = view.drain_grace_s if view is not None else None
        self._core.stop(site.edge, attempt.attempt_id, evicting, grace_s)
        return True

    def _give_up(self, site: Site, node: str) -> None:
        core = self._core
        reason = f"node {node} lost"
        for attempt in list(site.held[node].attempts.values()):
            job = core.ledger.jobs[attempt.job_id]
            unsent = core.unsent(job)
            self._record(JOB_GIVE_UP, attempt, reason)
            if self._migrations.lost(job, attempt, reason, site.edge):
                continue
            if attempt.index in unsent:
                record = jobs.refused(job.record, attempt.index, reason, core.wall, 0.0)
                core.change(job, record)
                continue
            record = jobs.given_up(job.record, attempt.index, reason, core.wall, unsent)
            core.change(job, record, (SendStop(attempt.attempt_id, reason, edge=site.edge),))
            core.note("warning", "attempt_given_up", attempt=attempt.attempt_id, reason=reason)

    def _evict(self, site: Site, node: str, grace_s: float | None) -> None:
        core = self._core
        reason = f"node {node} is drained"
        for attempt in list(site.held[node].attempts.values()):
            job = core.ledger.jobs[attempt.job_id]
            task = job.record.tasks[attempt.index]
            if task.evicting or jobs.stopping(job.record) or attempt.index in core.unsent(job):
                continue
            if task.migration is not None:
                continue  # on its way; if it stays, it is looked at again
            self._record(JOB_EVICT, attempt, reason)
            record = jobs.evicting(job.record, attempt.index, reason)
            core.change(job, record, (SendStop(attempt.attempt_id, reason, grace_s=grace_s),))
            core.note("info", "attempt_evicted", attempt=attempt.attempt_id, node=node)

    def _record(self, form: Form, attempt: Attempt, reason: str) -> None:
        spec = self._core.ledger.jobs[attempt.job_id].record.spec
        name = spec.tasks[attempt.index].name
        self._core.record(
            form, attempt.job_id, name, attempt.attempt_id, attempt.edge, attempt.node, reason
        )

    def _move_one(self, site: Site, view: NodeView) -> None:
        """BE starves on the node: after a while one task goes, if another node has room for it.

        The one of the lowest priority that has run the shortest; the others have more then.
        """
        core = self._core
        place = site.edge, view.node
        since = self._starving.setdefault(place, core.now)
        report = view.report
        if core.now < since + self._floor_s or report is None:
            return
        offers = [one for one in core.sites.offers() if (one.edge, one.node) != place]
        movable = []
        for attempt in site.held[view.node].attempts.values():
            job = core.ledger.jobs[attempt.job_id]
            task = job.record.tasks[attempt.index]
            if task.state is not JobState.RUNNING or jobs.stopping(job.record):
                continue
            if task.evicting or task.migration is not None:
                return
            wanted = batch_task(job.record, attempt.index)
            if any(takes(one, wanted) for one in offers):
                movable.append((job.record.spec.priority, -task.started_at, attempt))
        if not movable:
            return
        self._starving[place] = core.now
        attempt = min(movable, key=lambda one: one[:2])[2]
        job = core.ledger.jobs[attempt.job_id]
        share = f"{report.be_satisfaction:.0%}"
        reason = f"tasks on node {view.node} get {share} of the CPU that they ask for"
        self._record(JOB_EVICT, attempt, reason)
        record = jobs.evicting(job.record, attempt.index, reason)
        core.change(job, record, (SendStop(attempt.attempt_id, reason),))
        core.note("info", "attempt_moved", attempt=attempt.attempt_id, node=view.node)
