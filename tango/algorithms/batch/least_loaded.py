"""Least loaded: each task where the node's CPU is least held afterwards, by LC and BE together.

Greedy list scheduling (Graham, "Bounds on multiprocessing timing anomalies", 1969, with shares of a
node's CPU as lengths), the "load-greedy" of Tango (ICPP 2023), and for CPU alone what Kubernetes
calls LeastAllocated, formerly least requested. Held is what was asked for, not what is used.
"""

from __future__ import annotations

from tango.algorithms.batch.packing import Packing, Room
from tango.algorithms.batch.scored import Score, Scored
from tango.model.plan import BatchTask


class LeastLoaded(Scored):
    """score: share of the node's CPU held afterwards, 0 to 1."""

    name = "least-loaded"

    def scores(self, packing: Packing, seed: int) -> Score:
        """See Scored."""
        del packing, seed
        return load


def load(room: Room, task: BatchTask) -> float:
    """Share of the node's CPU that is held with the task; above 1 where more is held than is."""
    return 1 - (room.cpu_millis - task.cpu_millis) / room.all_cpu_millis
