"""One site as the central master knows it: its nodes, attempts there, and what they can be offered.

An offer is what a node can still give to BE:

    CPU    = capacity - held by LC - held by BE
    memory = capacity - memory of LC replicas - memory of BE

LC's CPU is compressible for BE's sake nowhere: what LC holds now is left out, as its memory is.
"Held by BE" must cover what central assigned and the edge has not told of yet, else two solves on
one old reading pick the same node. It is the larger of
  - what the edge says it holds, plus our attempts there that it never mentioned, and
  - all our active attempts there (a reading may be older than the mention).
Cores go by id: free are those that the edge says tasks may have there, less those that its attempts
have by its word, and less those of all our active attempts there. So do fixed ports.
For an elastic policy (`is_elastic`) there is beside it the CPU that BE holds and does not use, by
the word of the edge, which admits by the same; what is free may then be below zero, and full nodes
are offered too, for what runs there may be preempted.

Room that is reserved for backups of tasks (`bounds`) is left out like what BE holds; of cores, the
highest of those that are free, as many as are reserved.

Offers are withdrawn while a node is not ready or cordoned, reports a problem of its own (its
supervisor does not answer), its machine is short of memory, its BE gets less CPU than the floor, or
its edge is away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tango.controllers.central.lc_use import LcUse
from tango.model.bounds import NOTHING, Size
from tango.model.cluster import NodeReport, NodeView
from tango.model.cores import mask_of, without_highest
from tango.model.plan import BatchOffer
from tango.model.views import EdgeView


@dataclass(slots=True)
class Attempt:
    """An active attempt. sent: its start was told to the edge, or may have been before a restart.

    reported: the edge has spoken of it since this central master started.
    """

    attempt_id: str
    job_id: str
    index: int
    edge: str
    node: str
    cpu_millis: int
    memory_bytes: int
    sent: bool = False
    reported: bool = False
    cores: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(slots=True)
class Held:
    """Our active attempts on one node, and the sums of what they take. core_mask: a bit a core;
    ports: fixed ones."""

    attempts: dict[str, Attempt] = field(default_factory=dict)
    cpu_millis: int = 0
    memory_bytes: int = 0
    untold_cpu_millis: int = 0
    untold_memory_bytes: int = 0
    core_mask: int = 0
    ports: set[int] = field(default_factory=set)


_NOTHING = Held()
NO_PORTS: frozenset[int] = frozenset()


class Site:
    """One edge. session is None while it is away; the rest is what it said last."""

    def __init__(self, edge: str, be_floor: float = 0.0, *, elastic: bool = False) -> None:
        self.edge = edge
        self._be_floor = be_floor
        self.elastic = elastic
        self.session: int | None = None
        self.incarnation = 0
        self.dial = 0
        self.address = ""
        self.version = ""
        self.nodes: dict[str, NodeView] = {}
        self.held: dict[str, Held] = {}
        # By node: room that is kept for what migrates there, by attempt at the source.
        self.kept: dict[str, dict[str, tuple[int, int, int, tuple[int, ...]]]] = {}
        self.offers: dict[str, BatchOffer] = {}
        self.lc_use: dict[str, LcUse] = {}
        # By node: what is kept for backups of tasks, and for tasks on their way there.
        self.reserved: dict[str, Size] = {}
        self.reserved_ports: dict[str, frozenset[int]] = {}

    def attempts(self) -> Iterator[Attempt]:
        """Every active attempt that was assigned to this edge."""
        for held in self.held.values():
            yield from held.attempts.values()

    def read_use(self, report: NodeReport) -> None:
        """A node's report has come."""
        known = self.lc_use.get(report.node)
        if known is None:
            self.lc_use[report.node] = LcUse(report)
        else:
            known.read(report)

    def view(self) -> EdgeView:
        """For listings; nodes of an edge that is away are not ready."""
        nodes = tuple(self._with_reserved(view) for view in self.nodes.values())
        if self.session is None:
            nodes = tuple(replace(node, ready=False) for node in nodes)
        connected = self.session is not None
        return EdgeView(self.edge, self.address, connected, self.version, nodes)

    def starves(self, view: NodeView) -> bool:
        """Whether BE on the node gets less than the floor of what it asks for."""
        return view.report is not None and view.report.be_satisfaction < self._be_floor

    def free(self, node: str) -> Size | None:
        """What nobody holds, reserved or not; None where nothing new may go."""
        view = self.open(node)
        if view is None:
            return None
        be_cpu, be_memory, kept_cores = self._be_held(view)
        return Size(
            view.capacity.cpu_millis - view.lc_held_millis - be_cpu,
            view.capacity.memory_bytes - view.lc_memory_bytes - be_memory,
            self._free_cores(view, kept_cores).bit_count() if view.cores else 0,
        )

    def free_cores(self, node: str) -> int:
        """The cores that no task has, reserved or not, as bits."""
        view = self.open(node)
        return 0 if view is None else self._free_cores(view, self._be_held(view)[2])

    def booked_ports(self, node: str) -> frozenset[int]:
        """Fixed ports of our attempts there, and of those that migrate there."""
        held, kept = self.held.get(node, _NOTHING), self.kept.get(node)
        if kept is None:
            return frozenset(held.ports) if held.ports else NO_PORTS
        return frozenset(held.ports).union(*(one[3] for one in kept.values()))

    def taken_ports(self, node: str) -> frozenset[int]:
        """Fixed ports that somebody has there, or is to have; but for what is reserved."""
        view = self.nodes.get(node)
        booked = self.booked_ports(node)
        if view is None or not (view.lc_ports or view.be_ports):
            return booked
        return booked.union(view.lc_ports, view.be_ports)

    def _free_cores(self, view: NodeView, kept: int) -> int:
        held = self.held.get(view.node, _NOTHING)
        taken = held.core_mask | kept
        if view.be_cores:
            taken |= mask_of(view.be_cores)
        return mask_of(view.cores) & ~taken

    def _with_reserved(self, view: NodeView) -> NodeView:
        cpu, memory, _ = self.reserved.get(view.node, NOTHING)
        ports = tuple(sorted(self.reserved_ports.get(view.node, ())))
        if (cpu, memory, ports) == (view.reserved_millis, view.reserved_bytes, view.reserved_ports):
            return view
        return replace(view, reserved_millis=cpu, reserved_bytes=memory, reserved_ports=ports)

    def open(self, node: str) -> NodeView | None:
        """The node, if it takes anything new now."""
        view = self.nodes.get(node)
        if view is None or not view.ready or view.cordoned or self.session is None:
            return None
        if view.report is not None and (view.report.memory_short_bytes > 0 or view.report.problem):
            return None
        return None if self.starves(view) else view

    def emptied(self, node: str) -> BatchOffer | None:
        """What the node would offer now if no BE were there, but for what is reserved; None for
        nothing."""
        view = self.open(node)
        if view is None:
            return None
        reserved_cpu, reserved_memory, reserved_cores = self.reserved.get(node, NOTHING)
        cpu = view.capacity.cpu_millis - view.lc_held_millis - reserved_cpu
        memory = view.capacity.memory_bytes - view.lc_memory_bytes - reserved_memory
        if cpu <= 0 or memory <= 0:
            return None
        return BatchOffer(
            self.edge,
            node,
            cpu,
            memory,
            core_mask=without_highest(mask_of(view.cores), reserved_cores),
            labels=view.labels,
            taints=view.taints,
            ports=_sorted(self.reserved_ports.get(node, NO_PORTS).union(view.lc_ports)),
        )

    def _be_held(self, view: NodeView) -> tuple[int, int, int]:
        """What BE holds there, and what is kept for what migrates there; with that one's cores."""
        held = self.held.get(view.node, _NOTHING)
        cpu = max(view.be_held_millis + held.untold_cpu_millis, held.cpu_millis)
        memory = max(view.be_memory_bytes + held.untold_memory_bytes, held.memory_bytes)
        kept_cores = 0
        for kept_cpu, kept_memory, mask, _ in self.kept.get(view.node, {}).values():
            cpu += kept_cpu
            memory += kept_memory
            kept_cores |= mask
        return cpu, memory, kept_cores

    def offer(self, node: str) -> BatchOffer | None:
        """What the node offers now, computed afresh; None for nothing."""
        view = self.open(node)
        if view is None:
            return None
        held = self.held.get(node, _NOTHING)
        be_cpu, be_memory, kept_cores = self._be_held(view)
        core_mask = self._free_cores(view, kept_cores)
        reserved = self.reserved.get(node)
        if reserved is not None:
            be_cpu += reserved.cpu_millis
            be_memory += reserved.memory_bytes
            core_mask = without_highest(core_mask, reserved.cores)
        ports = self.taken_ports(node)
        if node in self.reserved_ports:
            ports |= self.reserved_ports[node]
        lc_use = self.lc_use.get(node)
        cpu = view.capacity.cpu_millis - view.lc_held_millis - be_cpu
        memory = view.capacity.memory_bytes - view.lc_memory_bytes - be_memory
        if not self.elastic and (cpu <= 0 or memory <= 0):
            return None
        return BatchOffer(
            self.edge,
            node,
            cpu,
            memory,
            be_tasks=max(view.be_tasks, len(held.attempts)),
            lc_held_millis=view.lc_held_millis,
            lc_memory_bytes=view.lc_memory_bytes,
            be_held_millis=be_cpu,
            be_memory_bytes=be_memory,
            lc_used_millis=lc_use.millis if lc_use is not None else 0,
            be_used_millis=view.report.be.cpu_millis if view.report is not None else 0,
            reclaimable_millis=view.be_reclaimable_millis if self.elastic else 0,
            core_mask=core_mask,
            labels=view.labels,
            taints=view.taints,
            ports=_sorted(ports),
        )


def _sorted(ports: frozenset[int]) -> tuple[int, ...]:
    return tuple(sorted(ports)) if ports else ()
