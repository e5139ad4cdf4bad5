"""[topology] and [delays] of a scenario file: listed sites, a grid, a scatter, EUA's places."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tango.adapters.cluster_traces import read_sites, read_users
from tango.adapters.documents import Section
from tango.model.errors import InvalidField
from tango.model.names import check_name
from tango.sim.scenario_fields import (
    Reading,
    data_path,
    known_names,
    milliseconds,
    placed,
    rows,
)
from tango.sim.topology import Delays, NodeShape, PairDelay, Position, Site, Topology
from tango.workload.geography import site_shares

KINDS = ("sites", "grid", "scatter", "eua")
MAX_SITES = 10_000
MAX_NODES = 100_000
# One degree of latitude on a sphere of the Earth's mean radius.
KM_PER_DEGREE = 111.195
# Central Melbourne, as the EUA data set: where made-up positions are, if nobody says.
_LATITUDE, _LONGITUDE = -37.8136, 144.9631
_DELAYS = Delays()


@dataclass(frozen=True, slots=True)
class Places:
    """The topology, and which share of all users is at each site; even where `shares` is empty."""

    topology: Topology
    shares: Mapping[str, float]

    @property
    def sites(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(site.name for site in self.topology.sites)

    @property
    def cpu_millis(self) -> int:
        """What all nodes have together."""
        return sum(node.cpu_millis for _, node in self.topology.nodes())


def read_places(document: Section, reading: Reading) -> Places:
    """[topology] and [delays]. Raises InvalidField with field, file and line."""
    section = document.section("topology", required=True)
    kinds = [kind for kind in KINDS if kind in section]
    if len(kinds) != 1:
        problem = f"has {' and '.join(kinds)}" if kinds else "has no sites"
        fix = f"give it one of {', '.join(KINDS)}"
        raise InvalidField("topology", problem, fix, document.where("topology"))
    shares: Mapping[str, float] = {}
    match kinds[0]:
        case "sites":
            sites = tuple(_listed(section))
        case "grid":
            sites = _grid(section.section("grid"))
        case "scatter":
            sites = _scatter(section.section("scatter"))
        case _:
            sites, shares = _eua(section.section("eua"), reading)
    count = sum(len(site.nodes) for site in sites)
    if count > MAX_NODES:
        raise section.error(kinds[0], f"makes {count} nodes", f"at most {MAX_NODES}")
    topology = Topology(
        sites,
        section.integer("neighbours", 0, low=0, high=64),
        section.integer("peers", 0, low=0, high=64),
        _delays(document.section("delays"), tuple(site.name for site in sites)),
    )
    with placed(section):
        topology.validate()
    return Places(topology, shares)


def _listed(section: Section) -> Iterator[Site]:
    seen: set[str] = set()
    nodes: set[str] = set()
    for table in section.sections("sites"):
        name = table.string("name")
        with placed(table):
            check_name(name)
        if name in seen:
            raise table.error("name", f"{name!r} is given twice", "rename one")
        seen.add(name)
        site = Site(name, _nodes(table, name), _position(table))
        for node in site.nodes:
            if node.name in nodes:
                fix = "node names are unique over all sites"
                raise table.error("node", f"a node named {node.name!r} is given twice", fix)
            nodes.add(node.name)
        yield site


def _nodes(section: Section, site: str) -> tuple[NodeShape, ...]:
    """The nodes of one site: `nodes` alike, or [[...node]] of each size."""
    if "node" not in section:
        count = section.integer("nodes", 1, low=1, high=MAX_NODES)
        return _alike(section, site, count, 1)
    if "nodes" in section:
        raise section.error("nodes", "stands beside 'node'", "leave one of them out")
    found: list[NodeShape] = []
    for table in section.sections("node"):
        if "name" in table:
            name = table.string("name")
            with placed(table):
                check_name(name)
            found.append(_shape(table, name))
        else:
            count = table.integer("count", 1, low=1, high=MAX_NODES)
            found += _alike(table, site, count, len(found) + 1)
    return tuple(found)


def _alike(section: Section, site: str, count: int, first: int) -> tuple[NodeShape, ...]:
    return tuple(_shape(section, f"{site}-{number}") for number in range(first, first + count))


def _shape(section: Section, name: str) -> NodeShape:
    return NodeShape(
        name,
        section.cpu("cpu"),
        section.memory("memory"),
        machine_memory_bytes=section.memory("machine_memory", 0),
        cap_period_us=round(1000 * section.number("cap_period_ms", 0.0, low=0.0, high=1000.0)),
    )


def _position(section: Section) -> Position | None:
    if "latitude" not in section and "longitude" not in section:
        return None
    return Position(
        section.number("latitude", low=-90, high=90),
        section.number("longitude", low=-180, high=180),
    )


def _corner(section: Section) -> tuple[float, float]:
    return (
        section.number("latitude", _LATITUDE, low=-80, high=80),
        section.number("longitude", _LONGITUDE, low=-179, high=179),
    )


def _moved(latitude: float, longitude: float, north_km: float, east_km: float) -> Position:
    """On a plane, which a city is."""
    wide = KM_PER_DEGREE * math.cos(math.radians(latitude))
    return Position(
        round(latitude + north_km / KM_PER_DEGREE, 6), round(longitude + east_km / wide, 6)
    )


def _grid(section: Section) -> tuple[Site, ...]:
    """Row by row from the north-west."""
    count = section.integer("sites", low=1, high=MAX_SITES)
    columns = section.integer("columns", math.ceil(math.sqrt(count)), low=1, high=MAX_SITES)
    spacing_km = section.number("spacing_km", 1.0, low=0, high=1000)
    latitude, longitude = _corner(section)
    return tuple(
        Site(
            name,
            _nodes(section, name),
            _moved(latitude, longitude, -(at // columns) * spacing_km, at % columns * spacing_km),
        )
        for at, name in enumerate(_names(count))
    )


def _scatter(section: Section) -> tuple[Site, ...]:
    """Uniform in a rectangle around its middle; the same seed, the same places."""
    count = section.integer("sites", low=1, high=MAX_SITES)
    width_km = section.number("width_km", 5.0, low=0, high=2000)
    height_km = section.number("height_km", 5.0, low=0, high=2000)
    rng = random.Random(section.integer("seed", 1, low=0))
    latitude, longitude = _corner(section)
    return tuple(
        Site(
            name,
            _nodes(section, name),
            _moved(
                latitude,
                longitude,
                rng.uniform(-height_km / 2, height_km / 2),
                rng.uniform(-width_km / 2, width_km / 2),
            ),
        )
        for name in _names(count)
    )


def _names(count: int) -> list[str]:
    digits = len(str(count))
    return [f"site-{number:0{digits}}" for number in range(1, count + 1)]


def _eua(section: Section, reading: Reading) -> tuple[tuple[Site, ...], Mapping[str, float]]:
    """Sites where the file has them; users, if given, go to the nearest one."""
    skip = reading.bad.skip
    path = data_path(section, "sites", reading.base)
    most = section.integer("most", MAX_SITES, low=1, high=MAX_SITES)
    places = list(rows(read_sites(path, skip_bad_rows=skip), reading.bad))[:most]
    names = [f"eua-{place.name.lower()}" for place in places]
    with placed(section, name="sites"):
        for name in names:
            check_name(name)
    sites = tuple(
        Site(name, _nodes(section, name), Position(place.latitude, place.longitude))
        for name, place in zip(names, places, strict=True)
    )
    if "users" not in section:
        return sites, {}
    users = read_users(data_path(section, "users", reading.base), skip_bad_rows=skip)
    shares = site_shares(places, rows(users, reading.bad))
    return sites, {name: found.share for name, found in zip(names, shares, strict=True)}


def _delays(section: Section, sites: tuple[str, ...]) -> Delays:
    minute_ms = 60_000.0
    pairs = []
    for table in section.sections("pairs") if "pairs" in section else ():
        names = known_names(table, "sites", sites, "site")
        if len(names) != 2 or names[0] == names[1]:
            raise table.error("sites", f"are {len(names)}", 'write two: ["a", "b"]')
        pairs.append(PairDelay(*names, milliseconds(table, "delay_ms", None, 0, minute_ms)))
    return Delays(
        milliseconds(section, "user_edge_ms", _DELAYS.user_edge_s, 0, minute_ms),
        milliseconds(section, "edge_worker_ms", _DELAYS.edge_worker_s, 0, minute_ms),
        milliseconds(section, "edge_central_ms", _DELAYS.edge_central_s, 0, minute_ms),
        milliseconds(section, "base_ms", _DELAYS.base_s, 0, minute_ms),
        milliseconds(section, "ms_per_km", _DELAYS.s_per_km, 0, 1000),
        tuple(pairs),
        section.number("jitter", _DELAYS.jitter, low=0, high=2),
    )
