"""One service in the edge's books: spec, replicas, queue, measurements, and its places on nodes."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from tango.controllers.edge.calls import Call, Counts
from tango.controllers.edge.forecast import Forecast
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_place import ServicePlace
from tango.model.commands import ServiceRecord
from tango.model.service import ReplicaState, ReplicaStatus, ServiceSpec

Placement = tuple[tuple[str, str], ...]
"""(replica id, node) of each replica, node "" while there is no room."""


_REPLICA = re.compile(r".+-g(\d{1,18})-(\d{1,18})", re.ASCII)


def replica_id(service: str, generation: int, ordinal: int) -> str:
    """The name of a replica, never used again at this site."""
    return f"{service}-g{generation}-{ordinal}"


def generation_of(replica: str) -> int:
    """The generation in a replica's name; 0, which none has, in what a worker made up."""
    found = _REPLICA.fullmatch(replica)
    return int(found[1]) if found else 0


def ordinal_of(replica: str) -> int:
    """The number in a replica's name: later ones of a generation are larger; 0 as above."""
    found = _REPLICA.fullmatch(replica)
    return int(found[2]) if found else 0


def specs_of(record: ServiceRecord) -> dict[int, ServiceSpec]:
    """What replicas of each generation run."""
    specs = {older.generation: older.spec for older in record.older}
    specs[record.generation] = record.spec
    return specs


def claim_of(spec: ServiceSpec) -> int:
    """The CPU that one replica holds when it serves as many requests as it may, in millicores."""
    return spec.cpu_per_request_millis * spec.concurrency


def memory_by_node(placement: Placement, record: ServiceRecord) -> dict[str, int]:
    """What placed replicas declare, by node."""
    specs = specs_of(record)
    held: dict[str, int] = {}
    for name, node in placement:
        if node:
            held[node] = held.get(node, 0) + specs[generation_of(name)].memory_bytes
    return held


def ports_by_node(placement: Placement, record: ServiceRecord) -> frozenset[tuple[str, int]]:
    """(node, fixed port) of placed replicas."""
    specs = specs_of(record)
    placed = ((node, specs[generation_of(name)].port) for name, node in placement if node)
    return frozenset(one for one in placed if one[1])


class ServiceBook:
    """A service: its spec, where its replicas are, its queue and what was measured of it.

    placement: replica id -> node, "" while it has no room. specs: by generation, of its replicas.
    open: places with ready replicas, by node name. forecast: what was measured of it.
    away: calls that were forwarded and have no answer yet. spilling: let in for a neighbour's room
    since the last plan.
    saturated: how many of its places are.
    """

    __slots__ = (
        "away",
        "counts",
        "cpu_millis",
        "deleted",
        "dispatched",
        "forecast",
        "generation",
        "in_flight",
        "name",
        "open",
        "placement",
        "places",
        "queue",
        "record",
        "request_memory_bytes",
        "saturated",
        "short",
        "spec",
        "specs",
        "spilling",
        "unready",
    )

    def __init__(self, record: ServiceRecord, placement: Mapping[str, str]) -> None:
        self.name = record.spec.name
        self.spec: ServiceSpec = record.spec
        self.placement: dict[str, str] = {}
        self.places: dict[str, ServicePlace] = {}
        self.open: tuple[ServicePlace, ...] = ()
        self.queue: OrderedDict[str, Call] = OrderedDict()
        self.counts = Counts()
        self.in_flight = self.away = self.spilling = 0
        self.dispatched = 0
        self.saturated = 0
        self.forecast = Forecast()
        self.short = ""
        self.unready = ""
        self.deleted = False
        self.adopt(record, placement)

    def adopt(self, record: ServiceRecord, placement: Mapping[str, str]) -> None:
        """Take over what is now durable; readiness is to be recounted afterwards."""
        before = self.spec
        self.record = record
        self.spec = record.spec
        self.specs = specs_of(record)
        self.generation = record.generation
        self.cpu_millis: int = record.spec.cpu_per_request_millis
        self.request_memory_bytes = record.spec.memory_per_request_bytes
        self.placement = dict(placement)
        if replace(before, replicas=record.spec.replicas) != record.spec:
            self.saturated = 0
            for place in self.places.values():
                place.reset()

    def memory_on(self, node: str) -> int:
        """What its replicas placed on the node declare."""
        return sum(
            self.specs[generation_of(replica)].memory_bytes
            for replica, where in self.placement.items()
            if where == node
        )

    def room(self) -> int:
        """How many more requests of it fit, on all nodes together."""
        room = 0
        for place in self.open:
            room += place.room()
        return room

    def place(self, node: NodeBook) -> ServicePlace:
        """The service's place on the node, made if it is not there."""
        place = self.places.get(node.name)
        if place is None:
            place = self.places[node.name] = ServicePlace(self, node)
        return place

    def ready_on(self, node: NodeBook) -> list[tuple[ReplicaStatus, ServiceSpec]]:
        """The ready replicas that shall run there, and what each runs; none while it is away."""
        found: list[tuple[ReplicaStatus, ServiceSpec]] = []
        if node.session is not None:
            for replica, where in self.placement.items():
                if where == node.name:
                    status = node.statuses.get(replica)
                    if status is not None and status.state is ReplicaState.READY:
                        found.append((status, self.specs[generation_of(replica)]))
        return found

    def recount(self, node: NodeBook) -> bool:
        """Count ready slots on the node again; whether they changed."""
        slots = 0
        for _, spec in self.ready_on(node):
            slots += spec.concurrency
        place = self.places.get(node.name)
        if place is None and not slots:
            return False
        place = place or self.place(node)
        place.lanes = None
        if slots == place.slots:
            return False
        node.services += (slots > 0) - (place.slots > 0)
        place.slots = slots
        node.version += 1
        names = sorted(name for name, place in self.places.items() if place.slots > 0)
        self.open = tuple(self.places[name] for name in names)
        return True
