"""Delays as tasks with bounds see them: measured, presumed, and those to a service; needs numpy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tango.algorithms.placement.arrays import Floats, frozen
from tango.algorithms.placement.delay_books import OUTSIDE
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delays import Delays
from tango.algorithms.placement.measured_delays import delays_of, delays_through_edges
from tango.algorithms.placement.room import Room
from tango.model.bounds import BoundService, BoundSnapshot
from tango.model.round_trips import RoundTrip


def presumed(here: DelayBound, snapshot: BoundSnapshot) -> Delays:
    """Of the nodes of a snapshot, and of the rows behind them that are none; the tasks are known
    here already."""
    references = _references(here.room, snapshot.services)
    return _Presumed(_delays(snapshot), here.room.cluster.size, _presumptions(here), references)


@dataclass(frozen=True, slots=True)
class _Reference:
    """A service: the rows of its hosts."""

    hosts: tuple[int, ...]
    sure: bool


def _references(room: Room, services: Sequence[BoundService]) -> dict[int, _Reference]:
    index = room.cluster.index
    return {
        index[one.name]: _Reference(tuple(index[at] for at in one.hosts if at in index), one.sure)
        for one in services
    }


class _Presumed:
    """Delays of the nodes, and of the rows behind them that are none.

    services: of these rows, those that are as near as the nearest of their hosts.
    known: for a reference, (node, bound) of what was within the bound when that was measured last:
    while nobody measures it, it counts as that, for not to know is no reason to stop what runs.
    """

    def __init__(
        self,
        inner: Delays,
        size: int,
        known: Mapping[int, Mapping[int, float]],
        services: Mapping[int, _Reference],
    ) -> None:
        self._inner = inner
        self._known = known
        self._services = services
        self.size = size
        self._rows: dict[int, Floats] = {}

    def row(self, reference: int) -> Floats:
        """See Delays."""
        row = self._rows.get(reference)
        if row is None:
            row = np.full(self.size, np.inf)
            nodes, service = row[: self._inner.size], self._services.get(reference)
            if reference < self._inner.size:
                nodes[:] = self._inner.row(reference)
            for host in service.hosts if service is not None else ():
                np.minimum(nodes, self._inner.row(host), out=nodes)
            row[reference] = 0.0
            unsure = service is not None and not service.sure
            for node, bound_s in self._known.get(reference, {}).items():
                if math.isinf(row[node]) or unsure:
                    row[node] = min(row[node], bound_s)
            self._rows[reference] = frozen(row)
        return row


def _presumptions(here: DelayBound) -> dict[int, dict[int, float]]:
    index, room = here.room.cluster.index, here.room
    known: dict[int, dict[int, float]] = {}
    for one in here.bound.values():
        reference = room.place_of(one.pod.near)
        if reference is None or math.isinf(one.pod.bound_s):
            continue
        row = known.setdefault(reference, {})
        for node in (one.node, one.backup):
            if node in index and one.warning != OUTSIDE:
                row[index[node]] = min(one.pod.bound_s, row.get(index[node], math.inf))
    return known


def _delays(snapshot: BoundSnapshot) -> Delays:
    names = sorted(one.name for one in snapshot.nodes)
    measured = delays_through_edges if snapshot.through_edges else delays_of
    return measured(names, _named(snapshot.trips, names)).delays


def _named(trips: Sequence[RoundTrip], names: Sequence[str]) -> Iterator[RoundTrip]:
    """A file may call a node by its bare name, where only one site has it."""
    bare: dict[str, list[str]] = {}
    for name in names:
        bare.setdefault(name.partition("/")[2], []).append(name)
    sites = {name.partition("/")[0] for name in names}
    known = {node: found[0] for node, found in bare.items() if len(found) == 1}

    def full(name: str) -> str:
        return name if name in sites else known.get(name, name)

    for trip in trips:
        yield replace(trip, source=full(trip.source), target=full(trip.target))
