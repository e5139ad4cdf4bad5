"""LRScheduler's score as a plugin: bytes of the pod's layers that are there, by the node's load."""

from __future__ import annotations

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.layer_arrays import layer_scores
from tango.algorithms.placement.load import used_fractions
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room


class LrScheduler:
    """Score: trunc(raw x omega) of LRScheduler (MSN 2024), re-implemented in `layers.py`.

    An unknown image scores 0 everywhere; a pod without images has no preference. In the original
    this counts twice beside `balanced`, once: give it weight 2.
    """

    def __init__(self, room: Room) -> None:
        self._room = room

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        if not pod.images:
            return False
        layers = self._room.layers
        cpu, memory = used_fractions(self._room, pod)
        local, total = layers.local(pod.images), layers.total(pod.images)
        np.copyto(out, layer_scores(local, total, cpu, memory))
        return True
