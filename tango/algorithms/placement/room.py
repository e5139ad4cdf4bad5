"""What is left of a cluster while pods come and go: arrays that change in place, pod by pod.

The one book of who holds what where. Taking and giving back are exact: cores by id, ports, CPU and
memory; a pod that does not fit is an error of the caller's, raised before anything has changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tango.algorithms.placement.arrays import Bools, Ints
from tango.algorithms.placement.cluster import Cluster
from tango.algorithms.placement.delays import Delays
from tango.algorithms.placement.layer_bytes import LayerBytes
from tango.algorithms.placement.pod import Pod
from tango.model.errors import AlreadyExists, NotFound, Refused

# Images whose masks are kept ready; a mask of 20,000 nodes is 20 kB.
MAX_MASKS = 1024


@dataclass(frozen=True, slots=True)
class Held:
    """A pod where it is. cores: ids. new_images, new_layers: what came to the node with it."""

    pod: Pod
    node: int
    cores: tuple[int, ...]
    new_images: tuple[str, ...] = ()
    new_layers: tuple[str, ...] = ()


class Group:
    """How many pods of a group are on each site and node."""

    __slots__ = ("nodes", "pods", "sites")

    def __init__(self, n_sites: int, n_nodes: int) -> None:
        self.sites: Ints = np.zeros(n_sites, np.int64)
        self.nodes = np.zeros(n_nodes, np.int32)
        self.pods = 0


class Room:
    """Free CPU, memory, cores and ports by node; who is where.

    open: nodes that may get something new (alive and not cordoned). delays: as measured last.
    yields: bytes that are counted as free and held by others, who give them up when they are
    wanted; None for nothing.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.open: Bools = cluster.schedulable.copy()
        self.cpu: Ints = cluster.cpu.copy()
        self.memory: Ints = cluster.memory.copy()
        self.cores: Ints = cluster.cores.copy()
        self.core_ids = [(1 << int(count)) - 1 for count in cluster.cores]
        self.yields: Ints | None = None
        self.delays: Delays | None = cluster.delays
        self.layers = LayerBytes(cluster)
        self.held: dict[str, Held] = {}
        self.pods_at: list[dict[str, None]] = [{} for _ in cluster.names]
        self._ports: dict[int, Bools] = {}
        self._groups: dict[str, Group] = {}
        self._images: dict[str, Bools] = {}
        self._holders: dict[str, set[int]] = {}
        for index, node in enumerate(cluster.nodes):
            for image in node.images:
                self._holders.setdefault(image, set()).add(index)

    # ---- looking

    def index_of(self, node: str) -> int:
        """The node's row. Raises NotFound."""
        found = self.cluster.index.get(node)
        if found is None:
            raise NotFound(f"no node is named {node}")
        return found

    def place_of(self, name: str) -> int | None:
        """The row of the node of this name, or of the node where the pod of this name is."""
        found = self.cluster.index.get(name)
        if found is not None:
            return found
        held = self.held.get(name)
        return None if held is None else held.node

    def node_of(self, pod: str) -> str:
        """Where the pod is, "" for nowhere."""
        held = self.held.get(pod)
        return "" if held is None else self.cluster.names[held.node]

    def port_taken(self, port: int) -> Bools | None:
        """Nodes where the port is taken; None for nowhere."""
        return self._ports.get(port)

    def ports_at(self, node: int) -> set[int]:
        """Fixed ports that are taken there."""
        return {port for port, taken in self._ports.items() if taken[node]}

    def group(self, name: str) -> Group | None:
        """Where the group's pods are; None if it has none."""
        return self._groups.get(name)

    def has_image(self, image: str) -> Bools:
        """Nodes that have the image, or will: a pod with it was placed there."""
        mask = self._images.get(image)
        if mask is None:
            if len(self._images) >= MAX_MASKS:
                self._images.clear()
            mask = self._images[image] = np.zeros(self.cluster.size, np.bool_)
            mask[list(self._holders.get(image, ()))] = True
        return mask

    def lack(self, pod: Pod, node: int) -> str:
        """The first thing that the node has too little of for the pod; "" if it fits."""
        if pod.cpu_millis > self.cpu[node]:
            return "CPU"
        if pod.memory_bytes > self.memory[node]:
            return "memory"
        if pod.cores > self.cores[node]:
            return "cores"
        free = self.core_ids[node]
        if any(not free >> core & 1 for core in pod.cpuset):
            return "the cores that it names"
        for port in pod.ports:
            taken = self._ports.get(port)
            if taken is not None and taken[node]:
                return f"port {port}"
        return ""

    # ---- taking and giving back

    def take(self, pod: Pod, node: int) -> Held:
        """Put the pod there. Raises AlreadyExists, and Refused where it does not fit."""
        if pod.name in self.held:
            raise AlreadyExists(f"{pod.name} is placed already")
        lacking = self.lack(pod, node)
        if lacking:
            raise Refused(f"{self.cluster.names[node]} has not the {lacking} for {pod.name}")
        cores = pod.cpuset or _lowest(self.core_ids[node], pod.cores)
        held = Held(pod, node, cores, *self._fetch(pod.images, node))
        self._shift(held, -1)
        self.held[pod.name] = held
        self.pods_at[node][pod.name] = None
        return held

    def note(self, group: str, ports: tuple[int, ...], node: int, count: int) -> None:
        """So many pods of a group, and what has these ports, are there; what else they hold is not
        counted here, and they stay."""
        self.block(ports, node)
        self._count(group, node, count)

    def block(self, ports: tuple[int, ...], node: int) -> None:
        """These ports are taken there, by what is not counted here and stays."""
        for port in ports:
            self._set_port(port, node, taken=True)

    def give(self, name: str) -> Held:
        """The pod has ended: all it held is free; its image stays. Raises NotFound."""
        held = self.held.pop(name, None)
        if held is None:
            raise NotFound(f"{name} is not placed")
        del self.pods_at[held.node][name]
        self._shift(held, 1)
        return held

    def undo(self, name: str) -> Held:
        """As if the pod had never been there: its image goes too. Undo the latest one first."""
        held = self.give(name)
        self.layers.take_back(held.new_layers, held.node)
        for image in held.new_images:
            self._holders[image].discard(held.node)
            self.has_image(image)[held.node] = False
        return held

    def restore(self, held: Held) -> None:
        """Put a pod back exactly where it was, on its own cores. Raises as `take`."""
        name, free = held.pod.name, self.core_ids[held.node]
        if name in self.held:
            raise AlreadyExists(f"{name} is placed already")
        lacking = self.lack(held.pod, held.node)
        if not lacking and any(not free >> core & 1 for core in held.cores):
            lacking = "cores that it had"
        if lacking:
            raise Refused(f"{self.cluster.names[held.node]} has not the {lacking} for {name}")
        self._shift(held, -1)
        self.held[name] = held
        self.pods_at[held.node][name] = None

    def _fetch(self, images: tuple[str, ...], node: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The images and layers that are new there, counted as there from now on."""
        new = []
        for image in images:
            holders = self._holders.setdefault(image, set())
            if node not in holders:
                holders.add(node)
                self.has_image(image)[node] = True
                new.append(image)
        return tuple(new), self.layers.add(images, node) if new else ()

    def _shift(self, held: Held, sign: int) -> None:
        """Take (-1) or give back (1) all that is counted."""
        pod, node = held.pod, held.node
        self.cpu[node] += sign * pod.cpu_millis
        self.memory[node] += sign * pod.memory_bytes
        if held.cores:
            self.cores[node] += sign * len(held.cores)
            for core in held.cores:
                self.core_ids[node] ^= 1 << core
        for port in pod.ports:
            self._set_port(port, node, taken=sign < 0)
        if pod.group:
            self._count(pod.group, node, -sign)

    def _set_port(self, port: int, node: int, *, taken: bool) -> None:
        mask = self._ports.get(port)
        if mask is None:
            mask = self._ports[port] = np.zeros(self.cluster.size, np.bool_)
        mask[node] = taken
        if not taken and not mask.any():
            del self._ports[port]

    def _count(self, name: str, node: int, change: int) -> None:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(len(self.cluster.sites), self.cluster.size)
        group.sites[self.cluster.site[node]] += change
        group.nodes[node] += change
        group.pods += change
        if not group.pods:
            del self._groups[name]


def _lowest(free: int, count: int) -> tuple[int, ...]:
    """The lowest-numbered free core ids; the caller knows that there are so many."""
    found: list[int] = []
    while len(found) < count:
        lowest = free & -free
        found.append(lowest.bit_length() - 1)
        free ^= lowest
    return tuple(found)
