"""By profile: each task where a placement profile's plugins, weighed together, say. Needs numpy.

The framework of algorithms/placement on what the nodes of all sites offer: filters take nodes out,
scores rank the rest, and each task sees the room that those before it left. A job is the group that
`spread` keeps apart. Jobs state CPU, memory, cores, nodes, images and terms (labels, taints), so of
the plugins that come with Tango all but `delay` have a say; others may read what the nodes are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tango.algorithms.batch.packing import MAX_REJECTED
from tango.algorithms.batch.unplaced import bars_of, unplaced_reason
from tango.algorithms.placement.cluster import Cluster, ImageRow, NodeRow
from tango.algorithms.placement.decision import Chosen, named
from tango.algorithms.placement.placer import Placer, largest_first
from tango.algorithms.placement.plugin import Plugin
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.affinity import NodeTerms
from tango.model.errors import InvalidField
from tango.model.placement_profile import TERM_FILTERS, Profile, with_filters
from tango.model.plan import (
    BatchOffer,
    BatchPlan,
    BatchSnapshot,
    Gang,
    ImageFacts,
    Placement,
    TaskShape,
    Unplaced,
)

NO_TERMS = NodeTerms()


@dataclass(slots=True)
class _About:
    """Of a node, what facts about images say."""

    images: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    bandwidth: float | None = None


_NOTHING = _About()


class ByProfile:
    """BatchPolicy; deterministic, ignores the snapshot's seed. O(nodes) a task, on arrays.

    plugins: those of the profile and TERM_FILTERS: whatever the profile leaves out, the labels that
    a task requires and taints bar nodes.

    A placement's score is 100 - the profile's, lower is better; its scores say what each plugin
    gave. rejected: the first few that filters took out, by filter.
    """

    name = "profile"
    # Made with the profile that the configuration has, and its plugins.
    takes_profile = True

    def __init__(self, profile: Profile, plugins: Mapping[str, Plugin]) -> None:
        if not profile.plugins:
            problem = f"profile {profile.name!r} has none"
            raise InvalidField("placement.plugins", problem, "list some, or take another policy")
        self._profile = with_filters(profile, TERM_FILTERS)
        self._plugins = plugins
        # A profile that cannot be made is told at the start, not with the first job.
        Placer(Room(Cluster(())), self._profile, plugins)

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        offers = sorted(snapshot.offers, key=lambda offer: (offer.edge, offer.node))
        # The space sorts before all that names are made of: the cluster has the same order.
        facts = _facts(snapshot.images)
        cluster = Cluster(
            (_row(offer, facts.get((offer.edge, offer.node), _NOTHING)) for offer in offers),
            images=_images(snapshot.images),
        )
        room = Room(cluster)
        room.cpu[:] = np.array([offer.cpu_millis for offer in offers], np.int64)
        room.memory[:] = np.array([offer.memory_bytes for offer in offers], np.int64)
        room.core_ids[:] = [offer.core_mask for offer in offers]
        room.cores[:] = np.array([mask.bit_count() for mask in room.core_ids], np.int64)
        for index, offer in enumerate(offers):
            room.block(offer.ports, index)
        placer = Placer(room, self._profile, self._plugins)
        placements: list[Placement] = []
        unplaced: list[Unplaced] = []
        # Room only shrinks from gang to gang: what did not fit does not fit later.
        failed: dict[tuple[tuple[TaskShape, tuple[str, ...]], ...], Chosen] = {}
        names: dict[str, str] = {}
        for offer, name in zip(offers, cluster.names, strict=True):
            names.setdefault(offer.node, name)
        for gang in snapshot.gangs:
            missing = self._missing(gang)
            if missing:
                unplaced.append(Unplaced(gang.job_id, missing))
                continue
            shape = tuple((task.shape, task.images) for task in gang.tasks)
            found = failed.get(shape) or placer.place_gang(_pods(gang, names), named_first)
            if isinstance(found, Chosen):
                failed[shape] = found
                unplaced.append(Unplaced(gang.job_id, _reason(gang, found, offers)))
            else:
                placements += (_placement(gang, one, offers, cluster) for one in found)
        return BatchPlan(tuple(placements), tuple(unplaced))

    def _missing(self, gang: Gang) -> str:
        """What the profile cannot see to of that which the gang asks for; "" for nothing."""
        filters = {use.plugin for use in self._profile.plugins if use.filters}
        for plugin, asked in (
            ("cores", any(task.cores for task in gang.tasks)),
            ("fit", any(task.ports for task in gang.tasks)),
        ):
            if asked and plugin not in filters:
                return f"placement profile {self._profile.name!r} filters not by `{plugin}`"
        return ""


def named_first(pods: Sequence[Pod]) -> list[Pod]:
    """Those that name their cores before all others, which may have any; then the largest."""
    return sorted(largest_first(pods), key=lambda pod: not pod.cpuset)


def _facts(facts: ImageFacts | None) -> Mapping[tuple[str, str], _About]:
    """By node, of those that have anything."""
    found: dict[tuple[str, str], _About] = {}
    if facts is None:
        return found
    for name, places in facts.whole.items():
        for place in places:
            found.setdefault(place, _About()).images.append(name)
    for digest, places in facts.holders.items():
        for place in places:
            found.setdefault(place, _About()).layers.append(digest)
    for place, bandwidth in facts.bandwidth.items():
        found.setdefault(place, _About()).bandwidth = bandwidth
    return found


def _row(offer: BatchOffer, about: _About) -> NodeRow:
    return NodeRow(
        f"{offer.edge} {offer.node}",
        max(0, offer.all_cpu_millis),
        max(0, offer.all_memory_bytes),
        cores=offer.core_mask.bit_length(),
        site=offer.edge,
        images=tuple(about.images),
        layers=tuple(about.layers),
        bandwidth_bytes_per_s=about.bandwidth,
        labels=offer.labels,
        taints=offer.taints,
    )


def _images(facts: ImageFacts | None) -> Iterator[ImageRow]:
    if facts is not None:
        for name, layers in facts.layers.items():
            yield ImageRow(name, layers)


def _pods(gang: Gang, names: Mapping[str, str]) -> list[Pod]:
    """One for each task, named by its place in the gang. names: of the cluster, by node."""
    return [
        Pod(
            f"{gang.job_id} {at}",
            task.cpu_millis,
            task.memory_bytes,
            group=gang.job_id,
            priority=gang.priority,
            cores=task.cores,
            cpuset=task.cpuset,
            node=names.get(task.node, task.node),
            images=task.images,
            requires=(task.terms or NO_TERMS).requires,
            prefers=(task.terms or NO_TERMS).prefers,
            tolerations=(task.terms or NO_TERMS).tolerations,
            ports=task.ports,
        )
        for at, task in enumerate(gang.tasks)
    ]


def _at(chosen: Chosen) -> int:
    return int(chosen.pod.rpartition(" ")[2])


def _reason(gang: Gang, chosen: Chosen, offers: list[BatchOffer]) -> str:
    """In the words of the other policies where only room is short, or no node will do."""
    if all(plugin in (*TERM_FILTERS, "fit", "cores") for plugin, *_ in chosen.removed):
        task = gang.tasks[_at(chosen)]
        return unplaced_reason(gang, task, "free", bars_of(task, offers))
    return chosen.reason


def _placement(gang: Gang, chosen: Chosen, offers: list[BatchOffer], cluster: Cluster) -> Placement:
    task = gang.tasks[_at(chosen)]
    offer = offers[cluster.index[chosen.node]]
    other = ("", 0.0)
    if chosen.runner_up:
        other = offers[cluster.index[chosen.runner_up]].node, 100.0 - chosen.runner_up_score
    return Placement(
        task.job_id,
        task.task_index,
        offer.edge,
        offer.node,
        100.0 - chosen.score,
        other,
        tuple(_rejected(chosen, offers, cluster)),
        chosen.scores,
    )


def _rejected(
    chosen: Chosen, offers: list[BatchOffer], cluster: Cluster
) -> Iterator[tuple[str, str]]:
    left = MAX_REJECTED
    for _, why, _, bits in chosen.removed:
        for name in named(bits, cluster.names)[:left]:
            yield offers[cluster.index[name]].node, why
            left -= 1
