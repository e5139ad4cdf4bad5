"""What wants a node: a replica or a task."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tango.model.affinity import Preferences, Requirement, Toleration
from tango.model.checks import check_range
from tango.model.cores import MAX_CORES, check_core_ids
from tango.model.errors import InvalidField
from tango.model.fixed_ports import check_ports
from tango.model.units import MAX_CPU_MILLIS, MAX_MEMORY_BYTES


@dataclass(frozen=True, slots=True)
class Pod:
    """One replica or task. Names are unique in a room.

    cores: whole cores of its own, by id; cpu_millis: of the node's CPU (0: 1000 for each core).
    cpuset: ids that it insists on, at the node it names; cores follow from it. ports: fixed ones.
    group: pods that should not share a site, such as the replicas of a service. images: of all its
    containers.
    near: a node or a pod; the round trip to it (or to where that pod is) is bound_s at most.
    requires: all of them, of the node's labels; prefers: (requirement, weight), a score.
    protected: it wants a backup, where `delay_bound` places it.
    """

    name: str
    cpu_millis: int = 0
    memory_bytes: int = 0
    cores: int = 0
    cpuset: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()
    group: str = ""
    images: tuple[str, ...] = ()
    near: str = ""
    bound_s: float = math.inf
    node: str = ""
    requires: tuple[Requirement, ...] = ()
    prefers: Preferences = ()
    tolerations: tuple[Toleration, ...] = ()
    priority: int = 0
    protected: bool = True

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidField("pod.name", "is empty", "name it")
        if self.cpuset and not self.cores:
            object.__setattr__(self, "cores", len(self.cpuset))
        check_range("pod.cores", self.cores, 0, MAX_CORES)
        if self.cores and not self.cpu_millis:
            object.__setattr__(self, "cpu_millis", 1000 * self.cores)
        check_range("pod.cpu_millis", self.cpu_millis, 0, MAX_CPU_MILLIS)
        check_range("pod.memory_bytes", self.memory_bytes, 0, MAX_MEMORY_BYTES)
        check_range("pod.bound_s", self.bound_s, 0, math.inf)
        if self.bound_s < math.inf and not self.near:
            raise InvalidField("pod.near", "is empty beside a bound", "name a node or a pod")
        if self.near == self.name:
            raise InvalidField("pod.near", "names the pod itself", "name another pod or a node")
        if self.ports:
            check_ports(self.ports, "pod.ports")
        self._check_cpuset()

    def _check_cpuset(self) -> None:
        if not self.cpuset:
            return
        if not self.node:
            problem = "core ids mean something on one node only"
            raise InvalidField("pod.cpuset", problem, "say which one with `node`")
        check_core_ids(self.cpuset, "pod.cpuset")
        if len(self.cpuset) != self.cores:
            problem = f"names {len(self.cpuset)} cores, and cores is {self.cores}"
            raise InvalidField("pod.cpuset", problem, "leave one of the two out")
