"""Where everything is: sites, their nodes, and how long messages take between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tango.adapters.cgroup_values import MAX_PERIOD_US, MIN_PERIOD_US
from tango.model.errors import InvalidField
from tango.model.names import check_name
from tango.model.units import MAX_CPU_MILLIS, MAX_MEMORY_BYTES
from tango.workload.bounds import require_number, require_whole

EARTH_RADIUS_KM = 6371.0088
CENTRAL = "central"


@dataclass(frozen=True, slots=True)
class Position:
    """Degrees, north and east positive."""

    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        require_number("latitude", self.latitude, -90, 90)
        require_number("longitude", self.longitude, -180, 180)


@dataclass(frozen=True, slots=True)
class NodeShape:
    """One node: what it gives to payload. position: where it is no other than its site's, None.

    machine_memory_bytes: of the machine under it, 0 for what it gives and the worker's reserve.
    cap_period_us: the node is a group on whole cores, held to cpu_millis by a CFS quota of this
    period, as a container is; 0 for a machine of that size, the fluid limit of a short period.
    """

    name: str
    cpu_millis: int
    memory_bytes: int
    position: Position | None = None
    machine_memory_bytes: int = 0
    cap_period_us: int = 0


@dataclass(frozen=True, slots=True)
class Site:
    """One edge master and its nodes. Node names are unique over all sites."""

    name: str
    nodes: tuple[NodeShape, ...]
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class PairDelay:
    """One way between two sites, either way."""

    a: str
    b: str
    delay_s: float


@dataclass(frozen=True, slots=True)
class Delays:
    """One-way delays in seconds, of the network alone: what processes take is in Costs.

    between sites: the pair's own where it is in `pairs`, else base_s, plus s_per_km for the great
    circle between their positions where both have one. s_per_km: 5e-6 is light in glass fibre; what
    cables really take is about twice the great circle.
    jitter: each message takes its delay times exp(N(0, jitter)), drawn from the seed; 0 for none.
    """

    user_edge_s: float = 0.001
    edge_worker_s: float = 0.0002
    edge_central_s: float = 0.010
    base_s: float = 0.002
    s_per_km: float = 1e-5
    pairs: tuple[PairDelay, ...] = ()
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Topology:
    """The sites, and who is whose neighbour.

    neighbours: K, how many of its peers an edge's routing uses, the nearest as it measures them.
    peers: how many sites each edge dials, the nearest by one-way delay; 0 for `neighbours`.
    """

    sites: tuple[Site, ...]
    neighbours: int = 0
    peers: int = 0
    delays: Delays = Delays()

    def nodes(self) -> Iterator[tuple[Site, NodeShape]]:
        """Every node with its site."""
        return ((site, node) for site in self.sites for node in site.nodes)

    def validate(self) -> None:
        """Raise InvalidField for the first field that is wrong."""
        if not self.sites:
            raise InvalidField("sites", "is empty", "describe at least one site")
        require_whole("neighbours", self.neighbours, 0, 64)
        require_whole("peers", self.peers, 0, 64)
        seen: set[str] = set()
        for at, site in enumerate(self.sites):
            check_name(site.name, f"sites[{at}].name")
            if site.name in seen or site.name == CENTRAL:
                raise InvalidField(f"sites[{at}].name", f"{site.name!r} is taken", "rename it")
            seen.add(site.name)
        nodes: set[str] = set()
        for site, node in self.nodes():
            place = f"sites.{site.name}.nodes.{node.name}"
            check_name(node.name, f"{place}.name")
            if node.name in nodes:
                fix = "node names are unique over all sites"
                raise InvalidField(f"{place}.name", f"{node.name!r} is given twice", fix)
            nodes.add(node.name)
            require_whole(f"{place}.cpu_millis", node.cpu_millis, 1, MAX_CPU_MILLIS)
            require_whole(f"{place}.memory_bytes", node.memory_bytes, 2**20, MAX_MEMORY_BYTES)
            least, machine = node.memory_bytes, node.machine_memory_bytes
            if machine and machine < least:
                problem = "is less than what the node gives"
                raise InvalidField(f"{place}.machine_memory_bytes", problem, f"at least {least}")
            if node.cap_period_us:
                low, high = MIN_PERIOD_US, MAX_PERIOD_US
                require_whole(f"{place}.cap_period_us", node.cap_period_us, low, high)
        self._validate_delays(seen)

    def _validate_delays(self, sites: set[str]) -> None:
        delays = self.delays
        for name in ("user_edge_s", "edge_worker_s", "edge_central_s", "base_s"):
            require_number(f"delays.{name}", getattr(delays, name), 0, 60)
        require_number("delays.s_per_km", delays.s_per_km, 0, 1)
        require_number("delays.jitter", delays.jitter, 0, 2)
        for at, pair in enumerate(delays.pairs):
            require_number(f"delays.pairs[{at}].delay_s", pair.delay_s, 0, 60)
            for name in (pair.a, pair.b):
                if name not in sites:
                    fix = "name two of the sites"
                    raise InvalidField(f"delays.pairs[{at}]", f"no site is named {name!r}", fix)


def distance_km(a: Position, b: Position) -> float:
    """Great-circle distance by the haversine formula (Sinnott, Sky & Telescope 68, 1984)."""
    north_a, north_b = math.radians(a.latitude), math.radians(b.latitude)
    east = math.radians(b.longitude - a.longitude)
    half = math.sin((north_b - north_a) / 2) ** 2
    half += math.cos(north_a) * math.cos(north_b) * math.sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))


class SiteDelays:
    """One-way delays between sites, computed when asked for."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._sites = {site.name: site for site in topology.sites}
        self._pairs: dict[frozenset[str], float] = {}
        for pair in topology.delays.pairs:
            self._pairs[frozenset((pair.a, pair.b))] = pair.delay_s

    def between(self, a: str, b: str) -> float:
        """Seconds one way from a site to another."""
        stated = self._pairs.get(frozenset((a, b)))
        if stated is not None:
            return stated
        delays = self._topology.delays
        here, there = self._sites[a].position, self._sites[b].position
        if here is None or there is None:
            return delays.base_s
        return delays.base_s + delays.s_per_km * distance_km(here, there)

    def nearest(self, name: str, count: int) -> list[str]:
        """So many other sites, the nearest first; ties by name."""
        others = [other for other in self._sites if other != name]
        others.sort(key=lambda other: (self.between(name, other), other))
        return others[:count]
