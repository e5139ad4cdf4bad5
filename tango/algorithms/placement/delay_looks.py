"""On what grounds a pod with a delay bound got its place and its backup, as `explain` tells it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tango.algorithms.placement.arrays import Bools
from tango.algorithms.placement.decision import named
from tango.algorithms.placement.placer import CLOSED, Placer
from tango.algorithms.placement.pod import Pod
from tango.model.bounds import ANYWHERE, BoundLook, is_nowhere, told_reference

# Nodes that are named: of those inside the bound, and of each reason that removed some.
MOST_NAMED = 5


def looked(
    placer: Placer, pod: Pod, node: int, others: Sequence[int], step: int = 0, *, grew: bool = False
) -> BoundLook:
    """The pod is about to go to the node or, where it is there, to get a backup. others: that fit
    too, the best first.

    Rows of names like ANYWHERE, in which nobody can be, are not told of.
    """
    room = placer.room
    names, memory = room.cluster.names, room.memory
    inside, count = _inside(placer, pod)
    other = next((one for one in others if one != node), None)
    removed = []
    nowhere = nowhere_rows(names)
    found = placer.look(pod).removed if pod.name not in room.held else ()
    for plugin, why, number, bits in found:
        some = [name for name in named(bits, names) if not is_nowhere(name)]
        number -= nowhere if why == CLOSED else 0
        if number:
            said = f"{plugin}: {why}" if plugin else why
            removed.append((said, number, tuple(some[:MOST_NAMED])))
    return BoundLook(
        pod.name,
        "" if pod.near == ANYWHERE else told_reference(pod.near),
        pod.bound_s if pod.near and pod.bound_s < math.inf else None,
        inside,
        count,
        tuple(removed),
        names[node],
        int(memory[node]),
        "" if other is None else names[other],
        0 if other is None else int(memory[other]),
        step,
        grew,
    )


def inside(placer: Placer, pod: Pod) -> Bools:
    """Which nodes are within the pod's bound, whether they take it or not. All are without one."""
    room = placer.room
    reference = room.place_of(pod.near)
    within: Bools = np.ones(room.cluster.size, np.bool_)
    if room.delays is not None and reference is not None and pod.bound_s < math.inf:
        within = room.delays.row(reference) <= pod.bound_s
    within[room.cluster.size - nowhere_rows(room.cluster.names) :] = False
    return within


def nowhere_rows(names: Sequence[str]) -> int:
    """How many of the last rows are no nodes."""
    count = 0
    while count < len(names) and is_nowhere(names[-1 - count]):
        count += 1
    return count


def _inside(placer: Placer, pod: Pod) -> tuple[tuple[tuple[str, float], ...], int]:
    """The nearest within the bound with their round trips, and how many there are in all."""
    room = placer.room
    reference = room.place_of(pod.near)
    among = np.flatnonzero(inside(placer, pod)).tolist()
    if room.delays is None or reference is None or pod.bound_s == math.inf:
        return (), len(among)
    row = room.delays.row(reference)
    nearest = sorted(among, key=lambda at: (float(row[at]), at))[:MOST_NAMED]
    names = room.cluster.names
    return tuple((names[at], float(row[at])) for at in nearest), len(among)
