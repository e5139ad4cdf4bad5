"""Backups of pods on a snapshot: where there is room for them, beside those that there are."""

from __future__ import annotations

from tango.algorithms.placement.cluster_snapshot import ClusterSnapshot
from tango.algorithms.placement.delay_books import Bound
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.placeholders import NOTHING, PREFIX, Need
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod


class Backups:
    """Made before anything is tried in the placer's room, which holds the snapshot."""

    def __init__(self, placer: Placer, snapshot: ClusterSnapshot) -> None:
        self._here = DelayBound(placer)
        room, sizes = placer.room, dict[str, Need]()
        for one in snapshot.reservations:
            room.give(PREFIX + one.node)
            sizes[one.node] = Need(one.cpu_millis, one.memory_bytes, ports=frozenset(one.ports))
        known = (placed for placed in snapshot.pods if placed.backup)
        self._here.resume((Bound(one.pod, one.node, one.backup) for one in known), sizes)
        # What is kept for pods on their way is no backup, and stays all the same.
        for node, size in sizes.items():
            host = room.index_of(node)
            rest = size.minus(self._here.placeholders.sizes.get(host, NOTHING))
            ports = tuple(sorted(rest.ports - room.ports_at(host)))
            name = f"{PREFIX}{node}/others"
            room.take(Pod(name, rest.cpu_millis, rest.memory_bytes, ports=ports), host)

    def look(self, pod: Pod) -> str:
        """The node that would back up the pod, which is in the room, and does from now on; "" for
        none."""
        here = self._here
        node = here.room.held[pod.name].node
        others = here.placer.candidates(pod, full_too=True)
        others[node] = False
        host = here.cover_of(pod, node, others)
        if host is None:
            return ""
        here.placeholders.cover(pod, node, host)
        name = here.room.cluster.names[host]
        here.bound[pod.name] = Bound(pod, here.room.cluster.names[node], name)
        return name
