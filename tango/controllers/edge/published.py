"""One followed service: its followers, weights, and which of its replicas can be published."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tango.controllers.edge.books import Books
from tango.controllers.edge.follower import Follower
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_book import ServiceBook, generation_of
from tango.controllers.edge.views import unready_reason
from tango.model.service import Expose, ReplicaState, ServiceSpec

# At least this part of what fits stays for requests that the edge carries.
CARRIED_SHARE = 5
# The label of a node whose clients know it by another address than its edge does.
ADDRESS_LABEL = "address"


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A replica that can be published. slots: its concurrency."""

    replica: str
    node: NodeBook
    host: str
    port: int
    slots: int


class Published:
    """A service that someone follows. service: the book that its places were carved in.

    weights: the policy's counts, by replica id. claims: slots that followers shall have, held or
    not. where: node by replica id, as long as anything is
    held there. renewed: tables are to be sent even if their routes are the same.
    weighed: the policy was asked, so that an empty table means something.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.followers: dict[int, Follower] = {}
        self.service: ServiceBook | None = None
        self.weights: dict[str, int] = {}
        self.claims: dict[str, int] = {}
        self.where: dict[str, str] = {}
        self.dirty = False
        self.renewed = False
        self.weighed = False
        self._spec: ServiceSpec | None = None
        self._demand = 0

    @property
    def until(self) -> float:
        """When the first lease is over."""
        return min((one.until for one in self.followers.values()), default=math.inf)

    @property
    def most_slots(self) -> int:
        """Requests at one replica that a report is believed."""
        specs = self.service.specs.values() if self.service is not None else ()
        return max((spec.concurrency for spec in specs), default=0)

    @property
    def wanted(self) -> int:
        """Slots that followers want, all together."""
        return sum(one.want for one in self.followers.values() if one.entitled)

    @property
    def most_wanted(self) -> int:
        """What the last solve was asked for."""
        return self._demand

    def demand(self, fits: int) -> int:
        """What the policy is asked for, where so many fit: half of what may be published, or more
        where more is wanted. One that is published at all leaves a part for carried requests.
        """
        most = fits - -(-fits // CARRIED_SHARE)
        self._demand = min(most, max(-(-most // 2), self.wanted))
        return self._demand

    def held_by_node(self) -> dict[str, int]:
        """Slots set aside on each node, over all followers."""
        held: dict[str, int] = {}
        for follower in self.followers.values():
            for replica, slots in follower.held.items():
                node = self.where[replica]
                held[node] = held.get(node, 0) + slots
        return held

    def held_at(self, replica: str) -> int:
        """Slots set aside at one replica, over all followers."""
        return sum(one.held.get(replica, 0) for one in self.followers.values())

    def turn_to(self, service: ServiceBook | None) -> None:
        """Go over to another book of that name (or none); nothing stays carved in the old one."""
        spec = None if service is None else service.spec
        self.renewed = spec != self._spec
        self._spec = spec
        if self.service is not None and self.service is not service:
            for place in self.service.places.values():
                place.carve(0)
        self.service = service

    def tidy(self) -> None:
        """Forget where replicas were that nothing is held at any more."""
        held = {replica for one in self.followers.values() for replica in one.held}
        self.where = {r: node for r, node in self.where.items() if r in held or r in self.weights}


def by_node(targets: list[Target]) -> dict[str, list[Target]]:
    """The targets of each node."""
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(target.node.name, []).append(target)
    return found


def targets_of(books: Books, service: ServiceBook) -> list[Target]:
    """Replicas that are ready now and that clients can reach."""
    found = []
    for replica, where in service.placement.items():
        node = books.nodes.get(where)
        if node is None or node.session is None:
            continue
        status = node.statuses.get(replica)
        if status is None or status.state is not ReplicaState.READY or not status.port:
            continue
        spec = service.specs[generation_of(replica)]
        host = _host(books, node, spec)
        if host:
            found.append(Target(replica, node, host, status.port, spec.concurrency))
    return found


def unpublished_reason(books: Books, service: ServiceBook | None) -> str:
    """Why there is no route."""
    if service is None:
        return f"the service does not exist at edge {books.edge!r}"
    if not service.open:
        return unready_reason(books, service)
    if targets_of(books, service):
        return "what its replicas can take is all needed for requests that the edge carries"
    if service.spec.expose is Expose.NODE:
        return "its nodes have no address that clients elsewhere could use"
    return "its replicas listen on loopback only; write `expose: node`"


def _host(books: Books, node: NodeBook, spec: ServiceSpec) -> str:
    """Where clients of this site reach a replica of that spec on the node; "" where they cannot."""
    if books.embedded:
        # The edge itself can only be reached from this machine, so its clients are all here.
        return "127.0.0.1"
    if spec.expose is not Expose.NODE:
        return ""
    return dict(node.hello.labels).get(ADDRESS_LABEL, node.address)
