"""Delays from measured round trips, whoever measured them, and what the measurements left open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tango.algorithms.placement.arrays import Floats
from tango.algorithms.placement.delays import Delays, MatrixDelays, SiteDelays
from tango.model.checks import check_range
from tango.model.errors import InvalidField
from tango.model.round_trips import RoundTrip

# Names that a sentence for people repeats.
MOST_NAMED = 5
SEPARATOR = "/"


@dataclass(frozen=True, slots=True)
class MeasuredDelays:
    """delays: in the order of the names. A pair that nobody measured is infinitely far apart.

    pairs: of different places. one_way: measured in one direction, which counts for both.
    unmeasured: in neither. stale: trips left out for their age. strangers: names that are none of
    ours, sorted.
    """

    delays: Delays
    pairs: int
    one_way: int
    unmeasured: int
    stale: int
    strangers: tuple[str, ...]

    def sentence(self) -> str:
        """For people: what is missing."""
        said = [f"{self.pairs - self.unmeasured} of {self.pairs} pairs measured"]
        if self.one_way:
            said.append(f"{self.one_way} of them in one direction")
        if self.stale:
            said.append(f"{self.stale} measurements too old")
        if self.strangers:
            named = ", ".join(self.strangers[:MOST_NAMED])
            more = len(self.strangers) - MOST_NAMED
            said.append(f"unknown: {named}" + (f" and {more} more" if more > 0 else ""))
        return "; ".join(said)


def delays_of(
    names: Sequence[str], trips: Iterable[RoundTrip], *, max_age_s: float = math.inf
) -> MeasuredDelays:
    """Delays between the nodes of these names, from trips between them.

    Of both directions, and of repeated measurements, the greatest counts.
    Raises InvalidField for names that are there twice and a negative age.
    """
    table = _Table(names, max_age_s)
    for trip in trips:
        table.add(trip, trip.source, trip.target)
    return table.read(MatrixDelays(table.filled()))


def delays_through_edges(
    names: Sequence[str], trips: Iterable[RoundTrip], *, max_age_s: float = math.inf
) -> MeasuredDelays:
    """Delays between nodes named "edge/node", from trips of edges to each other and to their nodes.

    From node to node by way of their edges, which is the way that requests take; the direct way
    may be shorter, never longer than what was measured. Raises as `delays_of`.
    """
    homes = [_edge_of(name) for name in names]
    edges = sorted(set(homes))
    table = _Table(edges, max_age_s)
    index = _index(names)
    access = np.full(len(names), -1.0)
    for trip in trips:
        at = index.get(trip.target)
        if at is None:
            table.add(trip, trip.source, trip.target)
        elif trip.source != homes[at]:
            table.strange(trip.source)
        elif table.fresh(trip):
            access[at] = max(access[at], trip.rtt_s)
    access[access < 0] = np.inf
    site_of = [table.index[home] for home in homes]
    return table.read(SiteDelays(site_of, table.filled(), access_s=access))


class _Table:
    """Measurements between named places, -1 where there is none."""

    def __init__(self, names: Sequence[str], max_age_s: float) -> None:
        check_range("max_age_s", max_age_s, 0, math.inf)
        self.index = _index(names)
        self._max_age_s = max_age_s
        self._rows: Floats = np.full((len(names), len(names)), -1.0)
        self._stale = 0
        self._strangers: set[str] = set()

    def fresh(self, trip: RoundTrip) -> bool:
        """Whether it is young enough; it is counted where it is not."""
        if trip.age_s <= self._max_age_s:
            return True
        self._stale += 1
        return False

    def strange(self, name: str) -> None:
        """A name that is none of ours."""
        self._strangers.add(name)

    def add(self, trip: RoundTrip, source: str, target: str) -> None:
        """Take it in."""
        row, column = self.index.get(source), self.index.get(target)
        for at, name in ((row, source), (column, target)):
            if at is None:
                self.strange(name)
        if row is not None and column is not None and self.fresh(trip):
            self._rows[row, column] = max(self._rows[row, column], trip.rtt_s)

    def filled(self) -> Floats:
        """The greater of both directions, infinite where there is neither."""
        both: Floats = np.maximum(self._rows, self._rows.T)
        np.fill_diagonal(both, 0.0)
        both[both < 0] = np.inf
        return both

    def read(self, delays: Delays) -> MeasuredDelays:
        """The whole, with what is missing."""
        size = len(self._rows)
        upper = np.triu_indices(size, 1)
        there, back = self._rows[upper] >= 0, self._rows.T[upper] >= 0
        return MeasuredDelays(
            delays,
            pairs=size * (size - 1) // 2,
            one_way=int(np.count_nonzero(there != back)),
            unmeasured=int(np.count_nonzero(~(there | back))),
            stale=self._stale,
            strangers=tuple(sorted(self._strangers)),
        )


def _index(names: Sequence[str]) -> Mapping[str, int]:
    index = {name: at for at, name in enumerate(names)}
    if len(index) != len(names):
        twice = next(name for at, name in enumerate(names) if index[name] != at)
        raise InvalidField("names", f"{twice} is there twice", "names are unique")
    return index


def _edge_of(name: str) -> str:
    edge, separator, node = name.partition(SEPARATOR)
    if not edge or not separator or not node:
        raise InvalidField("names", f"{name!r} names no node of an edge", 'write "edge/node"')
    return edge
