"""What the central master knows of all sites: sessions, active attempts, and offers; see `site`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tango.controllers.central.shapes import NodeShapes
from tango.controllers.central.site import NO_PORTS, Attempt, Held, Site
from tango.model.bounds import NOTHING, Size
from tango.model.cluster import NodeView
from tango.model.cores import mask_of
from tango.model.messages import EdgeHello
from tango.model.plan import BatchOffer


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

    def reserve(self, edge: str, node: str, size: Size, ports: frozenset[int] = NO_PORTS) -> bool:
        """Keep this much of the node, and these fixed ports. Whether it offers more than before."""
        site = self.site(edge)
        before = site.reserved.get(node, NOTHING), site.reserved_ports.get(node, NO_PORTS)
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
        found: list[BatchOffer] = []
        for site in self.by_session.values():
            found += site.offers.values()
        return tuple(found)

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
            or (before.ports != after.ports and bool(set(before.ports).difference(after.ports)))
            or after.labels != before.labels
            or after.taints != before.taints
        )


def _reshaped(old: NodeView, new: NodeView) -> bool:
    """Whether what decides if a job fits the node at all has changed."""
    return (
        old.capacity != new.capacity
        or old.cores != new.cores
        or old.labels != new.labels
        or old.taints != new.taints
    )
