"""Nodes as a rule for bounds and backups is shown them: rows that are made anew where one changed.

A node that is away, or has not dialled in since a restart, is taken as it was, without free room:
backups there stay. One that is dead, drained, or unknown to its edge is gone: tasks that were there
run again on their backups.
"""

from __future__ import annotations

from tango.controllers.central.bound_books import BoundBooks
from tango.controllers.central.edges import Sites
from tango.controllers.central.site import Site
from tango.model.bounds import NOTHING, BoundNode, node_name
from tango.model.cluster import NodeView


class BoundNodes:
    """All that matter: those that are known, and those that tasks or backups are on.

    names_version: counts changes of which nodes are known; open_version: of these and of which take
    something new; version: of any row.
    """

    def __init__(self, sites: Sites, books: BoundBooks) -> None:
        self._sites = sites
        self._books = books
        self._rows: dict[str, BoundNode] = {}
        self._listed: tuple[BoundNode, ...] | None = None
        self._order: list[str] | None = None
        # Rows that are to be made anew.
        self._due: dict[str, None] = {}
        # Nodes that are known, by edge; full names by bare one.
        self._of_edge: dict[str, frozenset[str]] = {}
        self._bare: dict[str, list[str]] = {}
        self.names_version = 0
        self.open_version = 0
        self.version = 0

    # ---- the rows

    def refresh(self, limit: int) -> bool:
        """Make rows anew, so many at most. Whether all are as of now."""
        self._collect()
        while self._due and limit > 0:
            name, _ = self._due.popitem()
            self._make(name)
            limit -= 1
        return not self._due

    def row(self, name: str) -> BoundNode:
        """The row as of now, of any name."""
        if name not in self._rows or not self.current(name):
            self._due.pop(name, None)
            self._make(name)
        return self._rows.get(name) or self.made(name)

    def all(self) -> tuple[BoundNode, ...]:
        """Every row, by name."""
        if self._listed is None:
            if self._order is None:
                self._order = sorted(self._rows)
            self._listed = tuple(map(self._rows.__getitem__, self._order))
        return self._listed

    def keep(self, node: str) -> None:
        """What is kept of this node, or held there, has changed."""
        self._due[node] = None

    def _collect(self) -> None:
        sites = self._sites
        for edge in sites.turned:
            self._named(edge)
        sites.turned.clear()
        for edge, node in sites.touched:
            self._due[node_name(edge, node)] = None
        sites.touched.clear()

    def _named(self, edge: str) -> None:
        """The edge has dialled in, is away, or has other nodes than before."""
        site = self._sites.by_name[edge]
        before, after = self._of_edge.get(edge, frozenset()), frozenset(site.nodes)
        for node in before | after:
            self._due[node_name(edge, node)] = None
        for name in self._books.nodes():
            if name.partition("/")[0] == edge:
                self._due[name] = None
        if before != after:
            self._of_edge[edge] = after
            self.names_version += 1
            for node in before ^ after:
                full = self._bare.setdefault(node, [])
                name = node_name(edge, node)
                (full.append if node in after else full.remove)(name)
                full.sort()
                if not full:
                    del self._bare[node]

    def _make(self, name: str) -> None:
        before = self._rows.get(name)
        used = self._books.holds(name).plus(self._books.claims(name))
        if used == NOTHING and self._find(name)[1] is None:
            if before is not None:
                del self._rows[name]
                self._moved()
            return
        after = self.made(name)
        if before is None:
            self._moved()
        elif before == after:
            return
        elif before.open != after.open or self._lost_port(name, before, after):
            self.open_version += 1
        self._rows[name] = after
        self._listed = None
        self.version += 1

    def _lost_port(self, name: str, before: BoundNode, after: BoundNode) -> bool:
        """Whether somebody has taken a port that was kept there, for a backup perhaps."""
        new = set(after.ports).difference(before.ports)
        return bool(new) and not new.isdisjoint(self._books.claimed_ports(name))

    def _moved(self) -> None:
        self._order = self._listed = None
        self.open_version += 1
        self.version += 1

    def current(self, name: str) -> bool:
        """Whether the row is known to be as of now."""
        sites, (edge, _, node) = self._sites, name.partition("/")
        return (
            name not in self._due and edge not in sites.turned and (edge, node) not in sites.touched
        )

    def made(self, name: str) -> BoundNode:
        """A row as of now, of any name, looked up nowhere."""
        edge, _, node = name.partition("/")
        holds, claims = self._books.holds(name), self._books.claims(name)
        site = self._sites.by_name.get(edge)
        view = site.nodes.get(node) if site is not None else None
        if site is None or view is None:
            cpu, memory, cores = holds.plus(claims)
            return BoundNode(name, edge, cpu, memory, open=not self.gone(name), cores=cores)
        # What is reserved stays so even while LC, which comes first, is in its place.
        cpu, memory, cores = site.free(node) or NOTHING
        cpu, memory = holds[0] + max(cpu, claims[0]), holds[1] + max(memory, claims[1])
        if view.cores or holds[2] or claims[2]:
            cores = holds[2] + max(cores, claims[2])
            cores = cores if view.dead else max(holds[2], min(cores, len(view.cores)))
        if not view.dead:
            cpu = max(holds[0], min(cpu, view.capacity.cpu_millis))
            memory = max(holds[1], min(memory, view.capacity.memory_bytes))
        taking = not (view.cordoned or view.dead or view.draining)
        ports = tuple(sorted(site.taken_ports(node) - self._books.held_ports(name)))
        return BoundNode(
            name, edge, cpu, memory, taking, cores, labels=view.labels, taints=view.taints,
            ports=ports,
        )  # fmt: skip

    # ---- questions

    def gone(self, name: str) -> bool:
        """Whether the node is out of reach for good, as far as anybody can tell."""
        edge, _, node = name.partition("/")
        site = self._sites.by_name.get(edge)
        if site is None:
            return False
        view = site.nodes.get(node)
        if view is None:
            return site.session is not None and node not in site.held
        return view.dead or view.draining

    def answers(self, name: str) -> bool:
        """Whether it may be told to start something at this moment."""
        site, view = self._find(name)
        return site is not None and view is not None and site.session is not None and view.ready

    def full(self, name: str) -> tuple[str, ...]:
        """The full names of the node, or nodes, of this bare or full name."""
        if self._find(name)[1] is not None:
            return (name,)
        return tuple(self._bare.get(name, ()))

    def names(self) -> tuple[str, ...]:
        """The full names of all nodes that sites have told of."""
        return tuple(
            node_name(edge, node) for edge, nodes in self._of_edge.items() for node in nodes
        )

    def _find(self, name: str) -> tuple[Site | None, NodeView | None]:
        edge, _, node = name.partition("/")
        site = self._sites.by_name.get(edge)
        return site, site.nodes.get(node) if site is not None else None
