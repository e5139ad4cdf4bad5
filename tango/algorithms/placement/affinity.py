"""Node affinity: labels that a node must have, the one node that a pod names, labels it prefers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.affinity import Requirement

MAX_MASKS = 1024


class Affinity:
    """Score: the weight of the preferences that hold, of all that the pod has."""

    of_room = False

    def __init__(self, room: Room) -> None:
        self._cluster = room.cluster
        self._masks: dict[Requirement, Bools] = {}

    def keeps(self, pod: Pod) -> Iterator[tuple[str, Bools]]:
        """See Filter."""
        if pod.node:
            only = np.zeros(self._cluster.size, np.bool_)
            index = self._cluster.index.get(pod.node)
            if index is not None:
                only[index] = True
            yield f"not {pod.node}, which it names", only
        for requirement in pod.requires:
            told = " ".join((requirement.key, requirement.operator, ",".join(requirement.values)))
            yield f"without {told.rstrip()}", self._mask(requirement)

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        weights = sum(weight for _, weight in pod.prefers)
        if weights <= 0:
            return False
        out.fill(0.0)
        for requirement, weight in pod.prefers:
            out += self._mask(requirement) * (100.0 * weight / weights)
        return True

    def _mask(self, requirement: Requirement) -> Bools:
        mask = self._masks.get(requirement)
        if mask is None:
            if len(self._masks) >= MAX_MASKS:
                self._masks.clear()
            key, holds = requirement.key, requirement.holds
            mask = self._cluster.where(holds(labels.get(key)) for labels in self._cluster.labels)
            self._masks[requirement] = mask
        return mask
