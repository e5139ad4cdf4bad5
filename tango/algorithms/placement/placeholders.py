"""Placeholders: room kept free for pods of other nodes, shared, so that any one node may fail.

At most one a node. For its host m, in CPU, memory and cores alike,
    size(m) >= max over nodes n of the sum over pods on n that m covers,
since pods of different nodes never need the same room at once while one node fails at a time; a
fixed port is shared likewise, and held for all that are covered. A
placeholder holds its size in the room like any pod, so nobody else can take it.
Toka, J. Grid Computing 2021; CPU, cores and ports are added here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Held, Room
from tango.model.errors import Refused

PREFIX = "placeholder/"


class Need(NamedTuple):
    """What a pod takes of a node, or a placeholder holds there. ports: fixed ones."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    cores: int = 0
    ports: frozenset[int] = frozenset()

    def plus(self, other: Need) -> Need:
        """Each added; ports of both."""
        cpu, memory, cores = self[0] + other[0], self[1] + other[1], self[2] + other[2]
        return Need(cpu, memory, cores, self[3] | other[3])

    def minus(self, other: Need) -> Need:
        """Each taken off."""
        cpu, memory, cores = self[0] - other[0], self[1] - other[1], self[2] - other[2]
        return Need(cpu, memory, cores, self[3] - other[3])

    def most(self, other: Need) -> Need:
        """The greater of each; ports of both."""
        cpu, memory = max(self[0], other[0]), max(self[1], other[1])
        return Need(cpu, memory, max(self[2], other[2]), self[3] | other[3])

    def least(self, other: Need) -> Need:
        """The smaller of each; ports that both have."""
        cpu, memory = min(self[0], other[0]), min(self[1], other[1])
        return Need(cpu, memory, min(self[2], other[2]), self[3] & other[3])

    def within(self, other: Need) -> bool:
        """Whether none exceeds the other's."""
        return (
            self[0] <= other[0]
            and self[1] <= other[1]
            and self[2] <= other[2]
            and self[3] <= other[3]
        )


NOTHING = Need()


def need_of(pod: Pod) -> Need:
    """What the pod takes."""
    return Need(pod.cpu_millis, pod.memory_bytes, pod.cores, frozenset(pod.ports))


class Placeholders:
    """Sizes by host, and which pod each covers. Every method leaves the invariant intact."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.sizes: dict[int, Need] = {}
        self.host_of: dict[str, int] = {}
        self._covered: dict[int, dict[int, dict[str, Need]]] = {}

    def load(self, host: int, node: int) -> Need:
        """What the pods on this node need that the host covers."""
        total = NOTHING
        for need in self._covered.get(host, {}).get(node, {}).values():
            total = total.plus(need)
        return total

    def required(self, host: int) -> Need:
        """The least size that the invariant allows."""
        most = NOTHING
        for node in self._covered.get(host, {}):
            most = most.most(self.load(host, node))
        return most

    def covered(self, host: int) -> tuple[str, ...]:
        """The pods that the host covers, by name."""
        by_node = self._covered.get(host, {})
        return tuple(sorted(name for pods in by_node.values() for name in pods))

    def suffices(self, host: int, node: int, need: Need) -> bool:
        """Whether the host could cover this much more of the node without growing."""
        size = self.sizes.get(host)
        return size is not None and host != node and self.load(host, node).plus(need).within(size)

    def may_grow(self, host: int, size: Need) -> bool:
        """Whether the host has room for a placeholder of this size in place of what it has."""
        free = Need(
            int(self._room.cpu[host]), int(self._room.memory[host]), int(self._room.cores[host])
        )
        more = size.minus(self.sizes.get(host, NOTHING))
        if any(
            (taken := self._room.port_taken(one)) is not None and taken[host] for one in more[3]
        ):
            return False
        return more._replace(ports=frozenset()).within(free)

    def resize(self, host: int, size: Need, cores: Sequence[int] = ()) -> None:
        """Hold this much, on these cores if free. Raises Refused where there is no room."""
        name = PREFIX + self._room.cluster.names[host]
        if not self.may_grow(host, size):
            raise Refused(f"no room for {name} to grow")
        if host in self.sizes:
            self._room.give(name)
        ports = tuple(sorted(size.ports))
        pod = Pod(name, size.cpu_millis, size.memory_bytes, size.cores, ports=ports)
        free = self._room.core_ids[host]
        if len(cores) == size.cores and all(free >> core & 1 for core in cores):
            self._room.restore(Held(pod, host, tuple(cores)))
        else:
            self._room.take(pod, host)
        self.sizes[host] = size

    def drop(self, host: int) -> tuple[str, ...]:
        """The placeholder goes; answers with the pods that are covered no more, by name."""
        names = self.covered(host)
        for name in names:
            del self.host_of[name]
        self._covered.pop(host, None)
        if self.sizes.pop(host, None) is not None:
            self._room.give(PREFIX + self._room.cluster.names[host])
        return names

    def cover(self, pod: Pod, node: int, host: int) -> None:
        """The pod on this node is covered by the host, whose size suffices."""
        assert self.suffices(host, node, need_of(pod)), (pod.name, node, host)
        self.host_of[pod.name] = host
        self._covered.setdefault(host, {}).setdefault(node, {})[pod.name] = need_of(pod)

    def uncover(self, name: str) -> int | None:
        """The pod is covered no more; the size stays. Answers with the host, None for none."""
        host = self.host_of.pop(name, None)
        if host is not None:
            by_node = self._covered[host]
            for node in [node for node, pods in by_node.items() if name in pods]:
                del by_node[node][name]
                if not by_node[node]:
                    del by_node[node]
        return host

    def shrink(self, host: int | None) -> None:
        """Hold what is required and no more, nothing where nothing is covered. None: no host."""
        if host is None or host not in self.sizes:
            return
        if not self._covered.get(host):
            self.drop(host)
            return
        size = self.required(host).least(self.sizes[host])
        # One that stays as it is keeps its cores.
        if size != self.sizes[host]:
            self.resize(host, size)
