"""Image present: a node that has the pod's images, or will have, starts it without a download."""

from __future__ import annotations

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room


class ImagePresent:
    """Score: the share of the pod's images that the node has as a whole."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        if not pod.images:
            return False
        share = 100.0 / len(pod.images)
        np.multiply(self._room.has_image(pod.images[0]), share, out=out)
        for image in pod.images[1:]:
            out += self._room.has_image(image) * share
        return True
