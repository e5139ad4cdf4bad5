"""A cluster as it was at one moment, pods included: what a decision can be tried on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tango.algorithms.placement.cluster import Cluster, ImageRow, NodeRow
from tango.algorithms.placement.delays import Delays, MatrixDelays, SiteDelays
from tango.algorithms.placement.placeholders import PREFIX
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import InvalidField, TangoError
from tango.model.fixed_ports import check_ports

# A matrix of as many nodes takes 128 MiB.
MAX_PAIRED_NODES = 4096


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Measured (one, other, ms) between nodes, or between sites; what is not there is not known.

    within_ms: between two nodes of one site, where sites are what was measured.
    """

    between: Literal["nodes", "sites"]
    pairs: tuple[tuple[str, str, float], ...]
    within_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A pod and the node where it is. backup: the one where room is kept for it, "" for none."""

    pod: Pod
    node: str
    backup: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a node keeps free, for backups of pods of other nodes and for pods on their way."""

    node: str
    cpu_millis: int
    memory_bytes: int
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """Nodes with what they hold. Fields in errors are paths in the document: pods[3], nodes[0]."""

    nodes: tuple[NodeRow, ...]
    images: tuple[ImageRow, ...] = ()
    round_trips: RoundTrips | None = None
    pods: tuple[Placed, ...] = ()
    reservations: tuple[Reservation, ...] = ()

    def cluster(self) -> Cluster:
        """The nodes without their pods. Raises InvalidField."""
        _no_doubles("nodes", (node.name for node in self.nodes))
        _no_doubles("images", (image.name for image in self.images))
        sizes: dict[str, int] = {}
        for at, image in enumerate(self.images):
            for part, (digest, size) in enumerate(image.layers):
                if sizes.setdefault(digest, size) != size:
                    field = f"images[{at}].layers[{part}].bytes"
                    problem = f"are {size}, and elsewhere {sizes[digest]}"
                    raise InvalidField(field, problem, "one digest has one size")
        return Cluster(self.nodes, images=self.images, delays=self._delays())

    def room(self) -> Room:
        """What pods and reservations leave of the nodes. Raises InvalidField where they cannot be
        so."""
        room = Room(self.cluster())
        _no_doubles("pods", (placed.pod.name for placed in self.pods))
        known = {*room.cluster.names, *(placed.pod.name for placed in self.pods)}
        for at, placed in enumerate(self.pods):
            if placed.node not in room.cluster.index:
                raise InvalidField(
                    f"pods[{at}].on", f"no node is named {placed.node!r}", "name one"
                )
            if placed.backup:
                _check_backup(placed, room.cluster, f"pods[{at}].backup")
            check_reference(placed.pod, known, f"pods[{at}]")
        # Those that name their cores first, or others would have them.
        for at in sorted(range(len(self.pods)), key=lambda at: not self.pods[at].pod.cpuset):
            pod, node = self.pods[at].pod, self.pods[at].node
            try:
                room.take(pod, room.index_of(node))
            except TangoError as error:
                fix = "correct what it takes, or what the node has"
                raise InvalidField(f"pods[{at}]", str(error), fix) from None
        self._reserve(room)
        return room

    def _reserve(self, room: Room) -> None:
        _no_doubles("reservations", (one.node for one in self.reservations), "node")
        for at, one in enumerate(self.reservations):
            field = f"reservations[{at}]"
            if one.node not in room.cluster.index:
                raise InvalidField(f"{field}.node", f"no node is named {one.node!r}", "name one")
            try:
                check_ports(one.ports, "ports")
                pod = Pod(PREFIX + one.node, one.cpu_millis, one.memory_bytes, ports=one.ports)
                room.take(pod, room.index_of(one.node))
            except TangoError as error:
                raise InvalidField(field, str(error), "keep no more than is left") from None
        keeping = {one.node for one in self.reservations}
        for at, placed in enumerate(self.pods):
            if placed.backup and placed.backup not in keeping:
                problem = f"nothing is reserved on {placed.backup}"
                fix = f"add {placed.backup} to `reservations`, or leave `backup` out"
                raise InvalidField(f"pods[{at}].backup", problem, fix)

    def _delays(self) -> Delays | None:
        trips = self.round_trips
        if trips is None:
            return None
        ordered = sorted(self.nodes, key=lambda node: node.name)
        by_site = trips.between == "sites"
        names = sorted({node.site for node in ordered} if by_site else {n.name for n in ordered})
        if len(names) > MAX_PAIRED_NODES:
            problem = f"are between {len(names)} {trips.between}"
            fix = f"at most {MAX_PAIRED_NODES}; for more nodes use `between: sites`"
            raise InvalidField("round_trips.pairs", problem, fix)
        index = {name: at for at, name in enumerate(names)}
        matrix = np.full((len(names), len(names)), -1.0)
        for at, (one, other, rtt_ms) in enumerate(trips.pairs):
            field = f"round_trips.pairs[{at}]"
            for key, name in (("from", one), ("to", other)):
                if name not in index:
                    problem = f"no {trips.between[:-1]} is named {name!r}"
                    raise InvalidField(f"{field}.{key}", problem, "name one of the snapshot")
            if not 0 <= rtt_ms < math.inf:
                raise InvalidField(f"{field}.rtt_ms", f"{rtt_ms:g} is no time", "give 0 and up")
            if by_site and one == other and rtt_ms > 0:
                problem = f"{rtt_ms:g} ms from {one!r} to itself"
                fix = "leave the pair out; round_trips.within_ms is between nodes of one site"
                raise InvalidField(f"{field}.rtt_ms", problem, fix)
            # Measured from both ends, the greater one counts.
            rtt_s = max(rtt_ms / 1000, matrix[index[one], index[other]])
            matrix[index[one], index[other]] = matrix[index[other], index[one]] = rtt_s
        matrix[matrix < 0] = math.inf
        if by_site:
            sites = [index[node.site] for node in ordered]
            return SiteDelays(sites, matrix, trips.within_ms / 1000)
        return MatrixDelays(matrix, "round_trips.pairs")


def check_reference(pod: Pod, known: Iterable[str], field: str) -> None:
    """Refuse a pod that wants to be near what is not there. known: nodes and pods by name."""
    if pod.near and pod.near not in known:
        problem = f"no node or pod is named {pod.near!r}"
        raise InvalidField(f"{field}.near", problem, "name a node, or a pod that is placed")


def _check_backup(placed: Placed, cluster: Cluster, field: str) -> None:
    host = placed.backup
    if host not in cluster.index:
        raise InvalidField(field, f"no node is named {host!r}", "name one")
    if host == placed.node:
        raise InvalidField(field, f"{host} is the pod's own node", "name another one")


def _no_doubles(field: str, names: Iterable[str], key: str = "name") -> None:
    first: dict[str, int] = {}
    for at, name in enumerate(names):
        if first.setdefault(name, at) != at:
            problem = f"{name!r} is there already, at {field}[{first[name]}]"
            raise InvalidField(f"{field}[{at}].{key}", problem, "names are unique")
