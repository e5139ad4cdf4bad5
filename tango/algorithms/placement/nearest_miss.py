"""How near a pod came that no node can take: "nearest w1, 4 of 8 cores"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tango.algorithms.placement.arrays import Floats, Ints
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.model.units import format_cpu, format_memory


def nearest_miss(placer: Placer, pod: Pod) -> str:
    """Of the nodes that only lack room, the one that has the most of what it has least of.

    Where every node is out for another reason, says which.
    """
    room = placer.room
    only_room = placer.candidates(pod, full_too=True)
    if not only_room.any():
        return placer.look(pod).reason
    kinds: list[tuple[Ints, int, Callable[[int, int], str]]] = [
        (room.cores, pod.cores, lambda free, want: f"{free} of {want} cores"),
        (room.cpu, pod.cpu_millis, lambda a, b: f"{format_cpu(a)} of {format_cpu(b)} CPU"),
        (room.memory, pod.memory_bytes, lambda a, b: f"{format_memory(a)} of {format_memory(b)}"),
    ]
    wanted = [kind for kind in kinds if kind[1]]
    shares: list[Floats] = [np.minimum(free / want, 1.0) for free, want, _ in wanted]
    least = np.minimum.reduce([*shares, np.ones(room.cluster.size)])
    best = int(np.where(only_room, least, -1.0).argmax())
    nearest = f"nearest {room.cluster.names[best]}"
    for share, (free, want, told) in zip(shares, wanted, strict=True):
        if share[best] == least[best] < 1:
            return f"{nearest}, {told(int(free[best]), want)}"
    lacking = room.lack(pod, best)
    return f"{nearest}, without {lacking}" if lacking else placer.look(pod).reason
