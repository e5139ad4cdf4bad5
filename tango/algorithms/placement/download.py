"""Download: how long the layers that a node lacks take to get there, by the node's bandwidth."""

from __future__ import annotations

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.layer_arrays import download_times
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import InvalidField


class Download:
    """Score: 100 where nothing is missing, falling evenly to 0 at `slow_s` seconds and beyond.

    A node of unknown bandwidth that lacks something scores 0: nobody can say how long it takes.
    Where no image of the pod is known, it has no preference.
    """

    def __init__(self, room: Room, slow_s: float = 60.0) -> None:
        if not slow_s > 0:
            raise InvalidField("download.slow_s", f"{slow_s:g} is no time", "give seconds above 0")
        self._room = room
        self._slow_s = slow_s

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        if not self._room.layers.total(pod.images):
            return False
        seconds = expected_s(self._room, pod)
        np.copyto(out, np.nan_to_num(seconds, nan=np.inf))
        np.multiply(np.minimum(out, self._slow_s), -100.0 / self._slow_s, out=out)
        np.add(out, 100.0, out=out)
        return True


def expected_s(room: Room, pod: Pod) -> Floats:
    """Seconds by node, one download at a time: 0 where nothing is missing, NaN where unknown."""
    layers = room.layers
    return download_times(
        layers.local(pod.images), layers.total(pod.images), room.cluster.bandwidth
    )
