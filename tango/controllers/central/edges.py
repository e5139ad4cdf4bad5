"""What the central master knows of the sites: sessions, nodes, attempts there, and offers.

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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tango.controllers.central.lc_use import LcUse
from tango.controllers.central.shapes import NodeShapes
from tango.model.bounds import NOTHING, Size
from tango.model.cluster import NodeReport, NodeView
from tango.model.cores import mask_of, without_highest
from tango.model.messages import EdgeHello
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
_NO_PORTS: frozenset[int] = frozenset()


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
        kept = (one[3] for one in self.kept.get(node, {}).values())
        return frozenset(self.held.get(node, _NOTHING).ports).union(*kept)

    def taken_ports(self, node: str) -> frozenset[int]:
        """Fixed ports that somebody has there, or is to have; but for what is reserved."""
        view = self.nodes.get(node)
        booked = self.booked_ports(node)
        return booked if view is None else booked.union(view.lc_ports, view.be_ports)

    def _free_cores(self, view: NodeView, kept: int) -> int:
        held = self.held.get(view.node, _NOTHING)
        return mask_of(view.cores) & ~mask_of(view.be_cores) & ~(held.core_mask | kept)

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
            ports=_sorted(self.reserved_ports.get(node, _NO_PORTS).union(view.lc_ports)),
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
        reserved_cpu, reserved_memory, reserved_cores = self.reserved.get(node, NOTHING)
        be_cpu += reserved_cpu
        be_memory += reserved_memory
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
            lc_used_millis=self.lc_use[node].millis if node in self.lc_use else 0,
            be_used_millis=view.report.be.cpu_millis if view.report is not None else 0,
            reclaimable_millis=view.be_reclaimable_millis if self.elastic else 0,
            core_mask=without_highest(self._free_cores(view, kept_cores), reserved_cores),
            labels=view.labels,
            taints=view.taints,
            ports=_sorted(self.reserved_ports.get(node, _NO_PORTS) | self.taken_ports(node)),
        )


class Sites:
    """All sites, their sessions, and the index of active attempts.

    shapes: sizes of the known nodes. version: counts what may change whether a job fits at all.
    """

    def __init__(self, be_floor: float = 0.0, *, elastic: bool = False) -> None:
        self._be_floor = be_floor
        self.elastic = elastic
        self.by_name: dict[str, Site] = {}
        self.by_session: dict[int, Site] = {}
        self.attempts: dict[str, Attempt] = {}
        self.shapes = NodeShapes(self.views)
        self.version = 0
        # For who follows (`bound_nodes`): nodes (edge, node) of which something may have changed,
        # and edges that dialled in, went away, or have other nodes.
        self.touched: set[tuple[str, str]] = set()
        self.turned: set[str] = set()

    def set_elastic(self, elastic: bool) -> None:
        """Another policy is asked from now on: offer by its rules."""
        self.elastic = elastic
        for site in self.by_name.values():
            site.elastic = elastic
            for node in site.nodes:
                self._refresh(site, node)

    def site(self, edge: str) -> Site:
        """The site of this name, known or new."""
        site = self.by_name.get(edge)
        if site is None:
            site = self.by_name[edge] = Site(edge, self._be_floor, elastic=self.elastic)
        return site

    # ---- sessions

    def connect(self, session: int, hello: EdgeHello) -> tuple[Site | None, int | None]:
        """Open a session. Returns (site, the session it supersedes).

        No site: refused, because a later stream of the same edge has been here, or this very one:
        it was held up on its way, or copied.
        """
        site = self.site(hello.edge)
        if hello.incarnation < site.incarnation:
            return None, None
        if hello.incarnation == site.incarnation and 0 < hello.dial <= site.dial:
            return None, None
        old = site.session
        if old is not None:
            del self.by_session[old]
        site.session = session
        site.incarnation = hello.incarnation
        site.dial = hello.dial
        site.address = hello.address
        site.version = hello.version
        self.by_session[session] = site
        self.turned.add(site.edge)
        return site, old

    def disconnect(self, session: int) -> Site | None:
        """Close a session; its site's offers are withdrawn. None: it was not the current one."""
        site = self.by_session.pop(session, None)
        if site is not None:
            site.session = None
            site.offers.clear()
            self.turned.add(site.edge)
        return site

    def set_nodes(self, site: Site, nodes: Iterable[NodeView]) -> bool:
        """The site's nodes are now these. Returns whether some node offers more than before."""
        before, site.nodes = site.nodes, {view.node: view for view in nodes}
        grew = False
        reshaped = before.keys() != site.nodes.keys()
        for node, view in site.nodes.items():
            old = before.get(node)
            reshaped |= old is None or _reshaped(old, view)
            if view.report is not None:
                site.read_use(view.report)
            grew |= self._refresh(site, node)
        for node in before.keys() - site.nodes.keys():
            site.offers.pop(node, None)
            site.lc_use.pop(node, None)
        if before.keys() != site.nodes.keys():
            self.turned.add(site.edge)
        if reshaped:
            self.version += 1
            self.shapes.forget()
        return grew

    # ---- attempts

    def hold(self, attempt: Attempt) -> None:
        """The attempt takes its share of its node from now on."""
        site = self.site(attempt.edge)
        held = site.held.get(attempt.node)
        if held is None:
            held = site.held[attempt.node] = Held()
        self.attempts[attempt.attempt_id] = attempt
        held.attempts[attempt.attempt_id] = attempt
        held.cpu_millis += attempt.cpu_millis
        held.memory_bytes += attempt.memory_bytes
        held.core_mask |= mask_of(attempt.cores)
        held.ports.update(attempt.ports)
        if not attempt.reported:
            held.untold_cpu_millis += attempt.cpu_millis
            held.untold_memory_bytes += attempt.memory_bytes
        self._refresh(site, attempt.node)

    def told(self, attempt: Attempt) -> bool:
        """The edge spoke of the attempt. Returns whether its node offers more than before."""
        if attempt.reported:
            return False
        attempt.reported = True
        site = self.site(attempt.edge)
        held = site.held[attempt.node]
        held.untold_cpu_millis -= attempt.cpu_millis
        held.untold_memory_bytes -= attempt.memory_bytes
        return self._refresh(site, attempt.node)

    def release(self, attempt: Attempt) -> bool:
        """The attempt is over. Returns whether its node offers more than before."""
        grew = self.told(attempt)
        site = self.site(attempt.edge)
        held = site.held[attempt.node]
        del self.attempts[attempt.attempt_id], held.attempts[attempt.attempt_id]
        held.cpu_millis -= attempt.cpu_millis
        held.memory_bytes -= attempt.memory_bytes
        held.core_mask &= ~mask_of(attempt.cores)
        held.ports.difference_update(attempt.ports)
        if not held.attempts:
            del site.held[attempt.node]
        return self._refresh(site, attempt.node) or grew

    def keep(
        self,
        edge: str,
        node: str,
        attempt_id: str,
        cpu_millis: int,
        memory: int,
        cores: tuple[int, ...] = (),
        ports: tuple[int, ...] = (),
    ) -> None:
        """Room on the node is taken for an attempt that migrates there."""
        site = self.site(edge)
        site.kept.setdefault(node, {})[attempt_id] = (cpu_millis, memory, mask_of(cores), ports)
        self._refresh(site, node)

    def let_go(self, edge: str, node: str, attempt_id: str) -> bool:
        """That room is free again, or held by the attempt's successor. Whether more is offered."""
        site = self.site(edge)
        del site.kept[node][attempt_id]
        if not site.kept[node]:
            del site.kept[node]
        return self._refresh(site, node)

    def reserve(self, edge: str, node: str, size: Size, ports: frozenset[int] = _NO_PORTS) -> bool:
        """Keep this much of the node, and these fixed ports. Whether it offers more than before."""
        site = self.site(edge)
        before = site.reserved.get(node, NOTHING), site.reserved_ports.get(node, _NO_PORTS)
        if before == (size, ports):
            return False
        if ports:
            site.reserved_ports[node] = ports
        else:
            site.reserved_ports.pop(node, None)
        if any(size):
            site.reserved[node] = size
        else:
            site.reserved.pop(node, None)
        return self._refresh(site, node)

    # ---- offers and capacity

    def offers(self) -> tuple[BatchOffer, ...]:
        """What all nodes of all connected sites offer."""
        return tuple(offer for site in self.by_session.values() for offer in site.offers.values())

    @property
    def has_nodes(self) -> bool:
        """Whether any node is known."""
        return any(site.nodes for site in self.by_name.values())

    def has_offers(self) -> bool:
        """Whether any node offers anything."""
        return any(site.offers for site in self.by_session.values())

    def offer(self, edge: str, node: str) -> BatchOffer | None:
        """What this node offers now."""
        site = self.by_name.get(edge)
        return site.offers.get(node) if site is not None else None

    def emptied(self) -> tuple[BatchOffer, ...]:
        """What all nodes of all connected sites would offer if no BE were there."""
        found = (site.emptied(node) for site in self.by_session.values() for node in site.nodes)
        return tuple(offer for offer in found if offer is not None)

    def views(self) -> Iterator[NodeView]:
        """Every node that is known, in no order."""
        for site in self.by_name.values():
            yield from site.nodes.values()

    def _refresh(self, site: Site, node: str) -> bool:
        self.touched.add((site.edge, node))
        before = site.offers.get(node)
        after = site.offer(node)
        if after is None:
            site.offers.pop(node, None)
            return False
        site.offers[node] = after
        return (
            before is None
            or after.cpu_millis + after.reclaimable_millis
            > before.cpu_millis + before.reclaimable_millis
            or after.memory_bytes > before.memory_bytes
            or bool(after.core_mask & ~before.core_mask)
            or bool(set(before.ports).difference(after.ports))
            or after.labels != before.labels
            or after.taints != before.taints
        )


def _sorted(ports: frozenset[int]) -> tuple[int, ...]:
    return tuple(sorted(ports)) if ports else ()


def _reshaped(old: NodeView, new: NodeView) -> bool:
    """Whether what decides if a job fits the node at all has changed."""
    return (
        old.capacity != new.capacity
        or old.cores != new.cores
        or old.labels != new.labels
        or old.taints != new.taints
    )
