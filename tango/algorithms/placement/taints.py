"""Taints and tolerations: a node keeps pods away, or would rather not have them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.affinity import Taint, Toleration

MAX_MASKS = 1024
Tolerations = tuple[Toleration, ...]


class Taints:
    """Score: the fewer PreferNoSchedule taints a pod does not tolerate, the higher."""

    of_room = False

    def __init__(self, room: Room) -> None:
        self._cluster = room.cluster
        self._bearers: dict[Taint, list[int]] = {}
        for index, node in enumerate(room.cluster.nodes):
            for taint in node.taints:
                self._bearers.setdefault(taint, []).append(index)
        self._hard = [taint for taint in self._bearers if taint.effect != "PreferNoSchedule"]
        self._soft = [taint for taint in self._bearers if taint.effect == "PreferNoSchedule"]
        self._masks: dict[Tolerations, Bools] = {}
        self._marks: dict[Tolerations, Floats] = {}

    def keeps(self, pod: Pod) -> Iterator[tuple[str, Bools]]:
        """See Filter."""
        if not self._hard:
            return
        mask = self._masks.get(pod.tolerations)
        if mask is None:
            if len(self._masks) >= MAX_MASKS:
                self._masks.clear()
            mask = np.ones(self._cluster.size, np.bool_)
            for taint in self._hard:
                if not _borne(taint, pod.tolerations):
                    mask[self._bearers[taint]] = False
            self._masks[pod.tolerations] = mask
        yield "tainted, and not tolerated", mask

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        if not self._soft:
            return False
        marks = self._marks.get(pod.tolerations)
        if marks is None:
            if len(self._marks) >= MAX_MASKS:
                self._marks.clear()
            counts = np.zeros(self._cluster.size)
            for taint in self._soft:
                if not _borne(taint, pod.tolerations):
                    counts[self._bearers[taint]] += 1.0
            marks = 100.0 * (1.0 - counts / max(1.0, counts.max(initial=0.0)))
            self._marks[pod.tolerations] = marks
        np.copyto(out, marks)
        return True


def _borne(taint: Taint, tolerations: Tolerations) -> bool:
    return any(toleration.bears(taint) for toleration in tolerations)
