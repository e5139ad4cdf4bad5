"""The books that all parts of the edge controller share."""

from __future__ import annotations

from collections.abc import Iterable

from tango.algorithms.placement.replicas import ReplicaRule
from tango.controllers.decisions import Decisions
from tango.controllers.edge.calls import Call, Counts
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_book import ServiceBook, claim_of, ports_by_node
from tango.model.addresses import parse_address
from tango.model.commands import (
    Delete,
    EdgeCommand,
    NodeRecord,
    Note,
    Persist,
    Put,
    ServiceChanged,
)
from tango.model.fixed_ports import port_taken
from tango.model.settings import EdgeSettings


class Books:
    """What the parts of the edge controller share. out: the commands of the handle() in progress.

    nodes_dirty: something that the central master is told of nodes has changed.
    anonymous: request ids that nodes listed and this edge does not know, with how many nodes.
    guests: site -> request id -> call, of those that other sites have forwarded.
    cordons: nodes that take nothing new. unseen_lost: nodes that have not dialled in since this
    edge started had time enough to.
    embedded: only clients on this machine reach this edge. published: services whose routes someone
    follows; republish: those of them whose replicas or readiness changed since the last settle;
    followed_slots: requests that their followers have slots for, or shall have, by replica id.
    loopback: whose 127.0.0.1 this edge has, "" where it calls no replica itself; moved: services
    whose replicas or readiness changed since its direct calls were settled.
    pressed: nodes whose memory LC or BE has taken some of: BE may have to yield.
    rule: says where replicas go.
    replica_memory, replicas_on, claimed_millis: bytes claimed for replicas, replicas placed, and
    the CPU that they hold when they serve as much as they may, by node name.
    ports_on: by node name and fixed port, the services whose replicas are placed on it.
    port_claims: by service, (node, port) of replicas whose change is on its way to the disk.
    moving: service -> its replica that goes once the one that was placed for it is ready.
    decisions: what `explain` can still tell about.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        incarnation: int,
        seed: int,
        rule: ReplicaRule,
        loopback: str = "",
    ) -> None:
        self.settings = settings
        self.rule = rule
        self.edge = settings.name
        self.incarnation = incarnation
        self.seed = seed
        self.services: dict[str, ServiceBook] = {}
        self.nodes: dict[str, NodeBook] = {}
        self.sessions: dict[int, NodeBook] = {}
        self.calls: dict[str, Call] = {}
        self.anonymous: dict[str, int] = {}
        self.guests: dict[str, dict[str, Call]] = {}
        self.queued = 0
        self.totals = Counts()
        self.replica_memory: dict[str, int] = {}
        self.replicas_on: dict[str, int] = {}
        self.claimed_millis: dict[str, int] = {}
        self.ports_on: dict[str, dict[int, set[str]]] = {}
        self.port_claims: dict[str, frozenset[tuple[str, int]]] = {}
        self.moving: dict[str, str] = {}
        self.cordons: dict[str, NodeRecord] = {}
        self.pressed: dict[str, NodeBook] = {}
        self.unseen_lost = False
        self.nodes_dirty = False
        self.embedded = not settings.server.listen or parse_address(settings.server.listen).loopback
        self.published: set[str] = set()
        self.republish: set[str] = set()
        self.followed_slots: dict[str, int] = {}
        self.loopback = loopback if settings.direct_calls else ""
        self.moved: set[str] = set()
        self._persists = 0
        self.out: list[EdgeCommand] = []
        self.decisions = Decisions(settings.decisions.ring)

    def note(self, level: str, event: str, **fields: object) -> None:
        """One log line; for what is rare, never for each request."""
        self.out.append(Note(level, event, tuple(fields.items())))

    def take_in(self, call: Call) -> None:
        """A call is admitted."""
        self.calls[call.request_id] = call
        origin = call.request.origin
        if origin:
            self.guests.setdefault(origin, {})[call.request_id] = call

    def forget(self, call: Call) -> None:
        """A call is answered, and holds nothing any more."""
        del self.calls[call.request_id]
        origin = call.request.origin
        if origin:
            calls = self.guests[origin]
            del calls[call.request_id]
            if not calls:
                del self.guests[origin]

    def changed(self, service: ServiceBook) -> None:
        """The service's replicas or their readiness changed: watchers look again."""
        service.unready = ""
        self.nodes_dirty = True
        self.out.append(ServiceChanged(service.name))
        if service.name in self.published:
            self.republish.add(service.name)
        if self.loopback:
            self.moved.add(service.name)

    def is_lost(self, node: str) -> bool:
        """Whether the node is dead, as far as this edge can tell."""
        book = self.nodes.get(node)
        return book.dead if book is not None else self.unseen_lost

    def is_draining(self, node: str) -> bool:
        """Whether what the node has shall move away."""
        cordon = self.cordons.get(node)
        return cordon is not None and cordon.draining

    def persist(self, writes: tuple[Put | Delete, ...]) -> int:
        """Write these, all or none; the number that Persisted or PersistFailed will name."""
        self._persists += 1
        self.out.append(Persist(self._persists, writes))
        return self._persists

    def count_replicas(self) -> None:
        """Count the placed replicas of each node again, after placements changed."""
        counts: dict[str, int] = {}
        claims: dict[str, int] = {}
        for service in self.services.values():
            claim = claim_of(service.spec)
            for node in service.placement.values():
                counts[node] = counts.get(node, 0) + 1
                claims[node] = claims.get(node, 0) + claim
        self.replicas_on, self.claimed_millis = counts, claims
        self.ports_on = {}
        for service in self.services.values():
            for node, port in ports_by_node(tuple(service.placement.items()), service.record):
                self.ports_on.setdefault(node, {}).setdefault(port, set()).add(service.name)

    def lc_ports(self, node: NodeBook) -> dict[int, set[str]]:
        """Fixed ports that replicas have there, are about to have, or leave; and whose they are."""
        found = {port: set(names) for port, names in self.ports_on.get(node.name, {}).items()}
        for service, claims in self.port_claims.items():
            for name, port in claims:
                if name == node.name:
                    found.setdefault(port, set()).add(service)
        for replica, port in node.leaving_ports.items():
            found.setdefault(port, set()).add(node.leaving.get(replica, replica))
        return found

    def port_taken(self, node: NodeBook, ports: Iterable[int], besides: str = "") -> str:
        """Who has one of these fixed ports there, as a reason; "" if nobody has.

        besides: a service that does not count.
        """
        wanted = tuple(ports)
        if not wanted:
            return ""
        lc, be = self.lc_ports(node), node.be_ports()
        for port in wanted:
            services = sorted(lc.get(port, set()) - {besides})
            if services:
                return f"{port_taken(port)} by service {services[0]}"
            if port in be:
                return f"{port_taken(port)} by task {be[port]}"
        return ""

    def claim_memory(self, node: str, memory_bytes: int) -> None:
        """Add to (or take from) what LC replicas hold of a node that may be away."""
        total = self.replica_memory.get(node, 0) + memory_bytes
        self.replica_memory[node] = total
        book = self.nodes.get(node)
        if book is not None:
            book.claim(total)
            self.pressed[node] = book
        self.nodes_dirty = True
