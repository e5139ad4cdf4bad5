"""Delay: the round trip to a node, or to where another pod is, has a bound; nearer is better."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.bounds import told_reference


class Delay:
    """Score: 100 at no delay, 0 at the bound; without a bound, 0 at the farthest node measured.

    A reference that is neither a node nor a placed pod keeps every node out, and is named. The
    reference is within any bound, 0 included. Delays are those of `room.delays` at the time.
    """

    of_room = False

    def __init__(self, room: Room) -> None:
        self._room = room
        self._none: Bools = np.zeros(room.cluster.size, np.bool_)

    def keeps(self, pod: Pod) -> Iterator[tuple[str, Bools]]:
        """See Filter."""
        if not pod.near:
            return
        row, near = self._row(pod), told_reference(pod.near)
        if self._room.place_of(pod.near) is None:
            yield f"out of the question: no node or pod is named {near}", self._none
        elif row is None and pod.bound_s < math.inf:
            yield "out of the question: no delays are known", self._none
        elif row is not None and pod.bound_s < math.inf:
            yield f"beyond {pod.bound_s * 1000:g} ms of {near}", row <= pod.bound_s

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        if not pod.near:
            return False
        row = self._row(pod)
        if row is None:
            return False
        scale = pod.bound_s
        if scale == math.inf:
            scale = float(np.max(row, where=np.isfinite(row), initial=0.0))
        if scale <= 0:
            np.multiply(row == 0, 100.0, out=out)
            return True
        np.multiply(row, -100.0 / scale, out=out)
        np.add(out, 100.0, out=out)
        np.maximum(out, 0.0, out=out)
        return True

    def _row(self, pod: Pod) -> Floats | None:
        delays, place = self._room.delays, self._room.place_of(pod.near)
        return None if delays is None or place is None else delays.row(place)
