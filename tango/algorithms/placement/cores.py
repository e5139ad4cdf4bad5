"""Cores: whole cores of a node for the pod alone, by id; which node by a packing strategy.

A re-implementation of RESTfulSwarm's core-level packing: a pod gets the lowest-numbered ids that
are free (`Room.take`), or the ones that it names.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import InvalidField

NO_CORES = "not enough free cores"
STRATEGIES = ("best-fit", "first-fit")


class Cores:
    """Score, for pods with cores of their own.

    "best-fit": the fewer cores are left free, the higher (100 for none, 0 for the most that any
    node has); "first-fit": by name, falling evenly from 100.
    """

    of_room = True

    def __init__(self, room: Room, strategy: str = "best-fit") -> None:
        if strategy not in STRATEGIES:
            fix = f"use one of: {', '.join(STRATEGIES)}"
            raise InvalidField("cores.strategy", f"{strategy!r} is unknown", fix)
        self._room = room
        size = room.cluster.size
        self._ranks = np.linspace(100.0, 0.0, size) if strategy == "first-fit" else None
        self._most = max(1, int(room.cluster.cores.max(initial=0)))

    def keeps(self, pod: Pod) -> Iterator[tuple[str, Bools]]:
        """See Filter."""
        if not pod.cores:
            return
        yield NO_CORES, self._room.cores >= pod.cores
        if pod.cpuset:
            wanted = sum(1 << core for core in pod.cpuset)
            ids = self._room.core_ids
            free = np.fromiter((wanted & mask == wanted for mask in ids), np.bool_, len(ids))
            yield f"where core {','.join(map(str, pod.cpuset))} is not free", free

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        if not pod.cores:
            return False
        if self._ranks is not None:
            np.copyto(out, self._ranks)
            return True
        np.subtract(self._room.cores, pod.cores, out=out)
        np.multiply(out, -100.0 / self._most, out=out)
        np.add(out, 100.0, out=out)
        return True
