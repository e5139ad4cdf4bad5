"""Spread: pods of one group over sites first, then over the nodes of a site."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import InvalidField


class SiteSpread:
    """Score: 100 x (m + 1 - n) / (m + 1), n the group's pods on the site and m the most on any;
    of that 1 / (1 + k) on a node with k of them. A pod without a group has no preference.

    most_per_site, most_per_node: a filter, 0 for no bound.
    """

    of_room = True

    def __init__(self, room: Room, most_per_site: int = 0, most_per_node: int = 0) -> None:
        for field, most in (("most_per_site", most_per_site), ("most_per_node", most_per_node)):
            if most < 0:
                raise InvalidField(f"spread.{field}", f"{most} is below 0", "0 for no bound")
        self._room = room
        self._most_per_site, self._most_per_node = most_per_site, most_per_node
        self._divisor: Floats = np.empty(room.cluster.size)

    def keeps(self, pod: Pod) -> Iterator[tuple[str, Bools]]:
        """See Filter."""
        group = self._room.group(pod.group)
        if group is None:
            return
        if self._most_per_site:
            stays = group.sites < self._most_per_site
            yield "on sites that have enough of its group", stays[self._room.cluster.site]
        if self._most_per_node:
            yield "with enough of its group", group.nodes < self._most_per_node

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """See Score."""
        group = self._room.group(pod.group)
        if group is None:
            return False
        beyond = int(group.sites.max()) + 1
        by_site = (100.0 / beyond) * (beyond - group.sites)
        # mode: the indices are ours, and checking them would cost a copy.
        np.take(by_site, self._room.cluster.site, out=out, mode="clip")
        np.add(group.nodes, 1.0, out=self._divisor)
        np.divide(out, self._divisor, out=out)
        return True
