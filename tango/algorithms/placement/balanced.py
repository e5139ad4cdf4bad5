"""Balanced allocation: nodes whose CPU and memory would be used alike score higher."""

from __future__ import annotations

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.load import used_fractions
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room


class Balanced:
    """Score: kube-scheduler's NodeResourcesBalancedAllocation, as `layers.balanced_allocation`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        cpu, memory = used_fractions(self._room, pod)
        apart = np.abs(np.minimum(cpu, 1.0) - np.minimum(memory, 1.0)) / 2
        np.floor((1.0 - apart) * 100.0, out=out)
        return True
