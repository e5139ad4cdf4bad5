"""Layers: the share of the bytes of the pod's layers that a node has already."""

from __future__ import annotations

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room


class LayerShare:
    """Score: 100 x local bytes / all bytes. An unknown image has no say, and is no error.

    Other formulas are plugins of their own over the same array, `room.layers.local(images)`.
    """

    def __init__(self, room: Room) -> None:
        self._layers = room.layers

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        total = self._layers.total(pod.images)
        if not total:
            return False
        np.multiply(self._layers.local(pod.images), 100.0 / total, out=out)
        return True
