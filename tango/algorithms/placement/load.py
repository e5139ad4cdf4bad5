"""How much of each node would be used with one more pod there."""

from __future__ import annotations

import numpy as np

from tango.algorithms.placement.arrays import Floats, Ints
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room


def used_fractions(room: Room, pod: Pod) -> tuple[Floats, Floats]:
    """Of CPU and of memory, this pod included; 1 of a node that has none."""
    cluster = room.cluster
    return (
        _share(cluster.cpu - room.cpu + pod.cpu_millis, cluster.cpu),
        _share(cluster.memory - room.memory + pod.memory_bytes, cluster.memory),
    )


def _share(used: Ints, whole: Ints) -> Floats:
    # A quotient, and not the product with `per_millicore`: the formulas' bounds are exact.
    return np.divide(used, whole, out=np.ones(len(whole)), where=whole > 0)
