"""How near a pod came that no node can take: "nearest w1, 4 of 8 cores"."""

from __future__ import annotations

import numpy as np

from tango.algorithms.placement.arrays import Floats
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.model.units import format_cpu, format_memory


def nearest_miss(placer: Placer, pod: Pod) -> str:
    """Of the nodes that only lack room, the one that lacks the least share of any one thing.

    Says why there is none where every node is out for another reason.
    """
    room = placer.room
    open_to = placer.candidates(pod, full_too=True)
    if not open_to.any():
        return placer.look(pod).reason
    shares: list[Floats] = [
        np.maximum(free, 0) / want
        for free, want in (
            (room.cores, pod.cores),
            (room.cpu, pod.cpu_millis),
            (room.memory, pod.memory_bytes),
        )
        if want
    ]
    least = np.minimum.reduce([*shares, np.ones(room.cluster.size)])
    best = int(np.where(open_to, least, -1.0).argmax())
    free, want = int(room.cores[best]), pod.cores
    if want and free / want <= least[best] < 1:
        had = f"{free} of {want} cores"
    elif pod.cpu_millis and room.cpu[best] / pod.cpu_millis <= least[best] < 1:
        had = f"{format_cpu(int(room.cpu[best]))} of {format_cpu(pod.cpu_millis)} CPU"
    elif least[best] < 1:
        had = f"{format_memory(int(room.memory[best]))} of {format_memory(pod.memory_bytes)}"
    else:
        had = room.lack(pod, best) or "all of it, but for what other plugins hold"
        had = f"without {had}" if room.lack(pod, best) else had
    return f"nearest {room.cluster.names[best]}, {had}"
