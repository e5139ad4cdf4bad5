"""Replicas placed by a profile of filters and scores. Needs numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tango.algorithms.placement.arrays import Ints
from tango.algorithms.placement.cluster import Cluster, NodeRow
from tango.algorithms.placement.decision import Chosen, named
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.plugin import Plugin
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.replicas import (
    MAX_NODES_NAMED,
    Candidate,
    Choice,
    ReplicaDemand,
    ReplicaPlan,
    grouped,
    no_room_for,
    shortage,
)
from tango.algorithms.placement.room import Room
from tango.model.affinity import NodeTerms
from tango.model.placement_profile import Profile
from tango.model.units import MAX_CPU_MILLIS

# Plans that found nothing and are kept; one over 1,000 nodes is 150 kB.
MAX_IN_VAIN = 64
_NO_TERMS = NodeTerms()
_Asked = tuple[int, ReplicaDemand, tuple[Candidate, ...], tuple[tuple[str, str], ...]]


class ProfileRule:
    """ReplicaRule: one profile, on arrays made anew for each plan (0.5 ms, and 4 us a node).

    Memory is a replica's to hold. CPU is not: each request holds its own while it is served, so it
    ranks nodes and bars none. For that a node is stretched by all CPU that its replicas may claim,
    and what is left of the stretched one is its score: half where as much is claimed as it has.
    Memory that BE holds counts as free, for BE yields it, and lowers the score like any other.
    Each node is a site of its own to `spread`: what it keeps apart is what fails together.
    """

    def __init__(self, profile: Profile, plugins: Mapping[str, Plugin]) -> None:
        self.name = profile.name
        self._profile = profile
        self._plugins = plugins
        # A service that waits for room asks again whenever anything of any service changes.
        self._in_vain: dict[str, tuple[_Asked, ReplicaPlan]] = {}
        # A profile that cannot be made is told at the start, not with the first replica.
        Placer(Room(Cluster(())), profile, plugins)

    def plan(
        self,
        count: int,
        demand: ReplicaDemand,
        nodes: Sequence[Candidate],
        closed: Sequence[tuple[str, str]] = (),
    ) -> ReplicaPlan:
        """See ReplicaRule."""
        left = {node.node: node for node in sorted(nodes, key=lambda node: node.node)}
        looked = tuple(left.values())
        asked = count, demand, looked, tuple(closed)
        known = self._in_vain.get(demand.service)
        if known is not None and known[0] == asked:
            return known[1]
        placer = self._placer(count, demand, looked)
        out = grouped(closed)
        names = placer.room.cluster.names
        chosen: list[str] = []
        choices: list[Choice] = []
        reason = ""
        while len(chosen) < count:
            found = placer.place(_pod(f"new {len(chosen)}", demand))
            if not found.node:
                missing = count - len(chosen)
                if all(plugin == "fit" for plugin, *_ in found.removed):
                    reason = shortage(missing, demand, list(left.values()), closed)
                else:
                    reason = f"{no_room_for(missing)}: {found.reason}"
                break
            chosen.append(found.node)
            choices.append(_choice(found, names, out))
            left[found.node] = left[found.node].beside(demand)
        plan = ReplicaPlan(tuple(chosen), reason, looked, tuple(choices))
        if reason and not chosen:
            if len(self._in_vain) >= MAX_IN_VAIN:
                self._in_vain.clear()
            self._in_vain[demand.service] = asked, plan
        return plan

    def scores(self, demand: ReplicaDemand, nodes: Sequence[Candidate]) -> Mapping[str, float]:
        """See ReplicaRule."""
        placer = self._placer(1, demand, sorted(nodes, key=lambda node: node.node))
        marks = placer.marks(_pod("new", demand)).tolist()
        names = placer.room.cluster.names
        return {name: mark for name, mark in zip(names, marks, strict=True) if mark >= 0}

    def _placer(self, count: int, demand: ReplicaDemand, nodes: Sequence[Candidate]) -> Placer:
        """On the room that there is; nodes by name."""
        extra = [node.claimed_millis + count * _cpu(demand) for node in nodes]
        cluster = Cluster(
            NodeRow(
                node.node,
                node.cpu_millis + more,
                node.all_memory_bytes,
                cores=0,
                site=node.node,
                images=node.images,
                labels=node.labels,
                taints=node.taints,
            )
            for node, more in zip(nodes, extra, strict=True)
        )
        room = Room(cluster)
        ports = (demand.port,) if demand.port else ()
        for index, node in enumerate(nodes):
            if node.replicas:
                room.note(demand.service, ports, index, node.replicas)
        room.cpu -= _column([node.claimed_millis for node in nodes])
        room.memory[:] = _column([node.memory_bytes for node in nodes])
        room.yields = _column([node.memory_bytes - node.idle_bytes for node in nodes])
        return Placer(room, self._profile, self._plugins)


def _pod(name: str, demand: ReplicaDemand) -> Pod:
    ports = (demand.port,) if demand.port else ()
    terms = demand.terms or _NO_TERMS
    return Pod(
        name,
        _cpu(demand),
        demand.memory_bytes,
        ports=ports,
        group=demand.service,
        images=demand.images,
        requires=terms.requires,
        prefers=terms.prefers,
        tolerations=terms.tolerations,
    )


def _cpu(demand: ReplicaDemand) -> int:
    return min(demand.cpu_millis, MAX_CPU_MILLIS)


def _column(values: list[int]) -> Ints:
    return np.array(values, np.int64)


def _choice(
    found: Chosen, names: Sequence[str], closed: tuple[tuple[str, int, tuple[str, ...]], ...]
) -> Choice:
    removed = tuple(
        (why, count, named(bits, names)[:MAX_NODES_NAMED]) for _, why, count, bits in found.removed
    )
    other = (found.runner_up, found.runner_up_score)
    return Choice(found.score, other, found.scores, removed + closed)
