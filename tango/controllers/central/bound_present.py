"""The present, as a plan for bounds and backups is checked against it; see bound_check.Now."""

from __future__ import annotations

from tango.controllers.central.bound_nodes import BoundNodes
from tango.controllers.central.core import Core
from tango.controllers.central.delay_table import DelayTable
from tango.controllers.central.jobs import stopping
from tango.controllers.central.service_hosts import ServiceHosts
from tango.model.bounds import service_of, task_of


class Present:
    """delays: the version of the table that the plan was made with. through_edges: as in
    BoundSnapshot."""

    def __init__(
        self,
        core: Core,
        nodes: BoundNodes,
        table: DelayTable,
        delays: int,
        hosts: ServiceHosts,
        *,
        through_edges: bool,
    ) -> None:
        self._core = core
        self._nodes = nodes
        self._table = table
        self._same_delays = table.version == delays
        self._hosts = hosts
        self._through_edges = through_edges

    def may_move(self, name: str) -> bool:
        """Whether the attempt may be stopped to run elsewhere, or is being so already."""
        job_id, index = task_of(name)
        job = self._core.ledger.jobs[job_id]
        task = job.record.tasks[index]
        return bool(task.evicting) or (task.migration is None and not stopping(job.record))

    def within(self, reference: str, node: str, bound_s: float) -> bool:
        """Not to know is not to be far. Of a service the nearest host counts, by those of now."""
        service = service_of(reference)
        if service:
            hosts = self._hosts.hosts(service)
            return not hosts or any(self._near(host, node, bound_s) for host in hosts)
        if self._same_delays or reference == node:
            return True
        return self._near(reference, node, bound_s)

    def _near(self, reference: str, node: str, bound_s: float) -> bool:
        if reference == node:
            return True
        measure = self._by_edges if self._through_edges else self._between
        rtt_s = measure(reference, node)
        return rtt_s is None or rtt_s <= bound_s

    def _by_edges(self, one: str, other: str) -> float | None:
        """The way that `delays_through_edges` adds up, which needs numpy."""
        told = self._table.rtt_s
        mine, theirs = one.partition("/")[0], other.partition("/")[0]
        ways = [told(mine, (mine,), (one,)), told(theirs, (theirs,), (other,))]
        if mine != theirs:
            both = [told(edge, (mine,), (theirs,)) for edge in (mine, theirs)]
            ways.append(max((way for way in both if way is not None), default=None))
        return None if None in ways else sum(way for way in ways if way is not None)

    def _between(self, one: str, other: str) -> float | None:
        return self._table.rtt_s("", self._names(one), self._names(other))

    def _names(self, node: str) -> tuple[str, ...]:
        """A file may call a node by its bare name, where only one site has it."""
        bare = node.partition("/")[2]
        return (node, bare) if self._nodes.full(bare) == (node,) else (node,)
