"""Where gangs would go, tried on a snapshot: each sees those before it, and nothing is done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tango.algorithms.placement.cluster import Cluster
from tango.algorithms.placement.cluster_snapshot import ClusterSnapshot
from tango.algorithms.placement.decision import Chosen
from tango.algorithms.placement.delay_trial import Backups
from tango.algorithms.placement.layers import download_s
from tango.algorithms.placement.nearest_miss import nearest_miss
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.plugin import Plugin
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import InvalidField
from tango.model.placement_profile import Profile

Gangs = Sequence[tuple[str, Sequence[Pod]]]


@dataclass(frozen=True, slots=True)
class Download:
    """What the node has to download for the pod. seconds: None where its bandwidth is unknown.

    unknown: images of which nobody knows the layers; they count in neither.
    """

    missing_bytes: int
    seconds: float | None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """A gang of so many pods. decisions, downloads: of its pods in the order of placing.

    Where it has no room, decisions has the pod that found none, and `nearest` what was nearest.
    never_fits: why not even the empty cluster would take it, "" where it would, or who knows.
    backups: by task that wants one, its node, "" where none was found.
    """

    gang: str
    size: int
    placed: bool
    decisions: tuple[Chosen, ...]
    downloads: tuple[Download, ...] = ()
    nearest: str = ""
    never_fits: str = ""
    backups: tuple[tuple[str, str], ...] = ()


def tried(
    gangs: Gangs,
    snapshot: ClusterSnapshot,
    profile: Profile,
    plugins: Mapping[str, Plugin],
    backed: Collection[str] = (),
) -> tuple[Tried, ...]:
    """Each gang in this order, whole or not at all; later ones may overtake.

    backed: pods that want a backup, which is looked for as for one that runs already.

    Raises InvalidField for a pod that wants to be near what nobody knows, or has the name of one
    that is placed.
    """
    room = snapshot.room()
    placer = Placer(room, profile, plugins)
    _check_names(gangs, room)
    backups = Backups(placer, snapshot)
    found = []
    for gang, pods in gangs:
        misses: list[str] = []
        result = placer.place_gang(
            pods,
            missed=lambda pod, misses=misses: misses.append(nearest_miss(placer, pod)),  # type: ignore[misc]
        )
        if isinstance(result, Chosen):
            never = _never_fits(pods, room.cluster, profile, plugins)
            found.append(Tried(gang, len(pods), False, (result,), (), misses[0], never))
        else:
            downloads = tuple(_download(room, chosen.pod) for chosen in result)
            others = tuple((pod.name, backups.look(pod)) for pod in pods if pod.name in backed)
            found.append(Tried(gang, len(pods), True, result, downloads, backups=others))
    return tuple(found)


def _check_names(gangs: Gangs, room: Room) -> None:
    asked = [pod for _, pods in gangs for pod in pods]
    known = {*room.cluster.names, *room.held, *(pod.name for pod in asked)}
    for pod in asked:
        if pod.name in room.held:
            at = room.node_of(pod.name)
            fix = "name it otherwise, or take that one out of the snapshot"
            raise InvalidField(pod.name, f"a pod of this name is on {at} already", fix)
        if pod.near and pod.near not in known:
            problem = f"no node or pod is named {pod.near!r}"
            raise InvalidField(f"{pod.name}.near", problem, "name a node, or a pod that is placed")


def _never_fits(
    pods: Sequence[Pod], cluster: Cluster, profile: Profile, plugins: Mapping[str, Plugin]
) -> str:
    """What is nearest on the empty cluster, all of its nodes in service; "" if that has room.

    Where one wants to be near a pod of another gang, or no node is known, there is no telling.
    """
    if not cluster.size:
        return ""
    known = {*cluster.names, *(pod.name for pod in pods)}
    if any(pod.near and pod.near not in known for pod in pods):
        return ""
    empty = Room(cluster)
    empty.open = np.ones(cluster.size, np.bool_)
    alone = Placer(empty, profile, plugins)
    misses: list[str] = []
    alone.place_gang(pods, missed=lambda pod: misses.append(nearest_miss(alone, pod)))
    return misses[0] if misses else ""


def _download(room: Room, name: str) -> Download:
    """Of a pod that was just placed: the layers that came with it."""
    held = room.held[name]
    images = held.pod.images
    sizes = room.layers.required(images)
    missing = sum(sizes[digest] for digest in held.new_layers)
    bandwidth = room.cluster.nodes[held.node].bandwidth_bytes_per_s
    unknown = tuple(image for image in images if image not in room.cluster.images)
    return Download(missing, download_s(missing, bandwidth), unknown)
