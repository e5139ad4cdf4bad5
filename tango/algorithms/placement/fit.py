"""Fit: CPU, memory and ports must be free; the emptier node scores higher, or the fuller one.

LeastAllocated and MostAllocated of Kubernetes: the mean of what is free (held) of CPU and memory
once the pod is there. Memory that others would yield to the pod is free for the filter, and held
for the score.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import InvalidField
from tango.model.fixed_ports import port_taken

NO_CPU = "not enough CPU"
NO_MEMORY = "not enough memory"


class Fit:
    """strategy: "least" (spread) or "most" (pack)."""

    of_room = True

    def __init__(self, room: Room, strategy: str = "least") -> None:
        if strategy not in ("least", "most"):
            raise InvalidField("fit.strategy", f"{strategy!r} is unknown", 'use "least" or "most"')
        self._room = room
        self._packs = strategy == "most"
        self._memory: Floats = np.empty(room.cluster.size)

    def keeps(self, pod: Pod) -> Iterator[tuple[str, Bools]]:
        """See Filter."""
        if pod.cpu_millis:
            yield NO_CPU, self._room.cpu >= pod.cpu_millis
        if pod.memory_bytes:
            yield NO_MEMORY, self._room.memory >= pod.memory_bytes
        for port in pod.ports:
            taken = self._room.port_taken(port)
            if taken is not None:
                yield port_taken(port), ~taken

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        room, memory = self._room, self._memory
        np.subtract(room.cpu, pod.cpu_millis, out=out)
        np.multiply(out, room.cluster.per_millicore, out=out)
        np.subtract(room.memory, pod.memory_bytes, out=memory)
        if room.yields is not None:
            np.subtract(memory, room.yields, out=memory)
            np.maximum(memory, 0.0, out=memory)
        np.multiply(memory, room.cluster.per_byte, out=memory)
        np.add(out, memory, out=out)
        np.multiply(out, 50.0, out=out)
        if self._packs:
            np.subtract(100.0, out, out=out)
        return True
