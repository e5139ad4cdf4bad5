"""What wants a node (a replica or a task), and the words in which nodes and pods choose each other.

Meanings are those of Kubernetes: node affinity, taints and tolerations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tango.model.checks import check_range
from tango.model.cores import MAX_CORES, check_core_ids
from tango.model.errors import InvalidField
from tango.model.units import MAX_CPU_MILLIS, MAX_MEMORY_BYTES

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Taint:
    """A node keeps pods away that do not tolerate it."""

    key: str
    value: str = ""
    effect: Effect = "NoSchedule"

    def __post_init__(self) -> None:
        if self.effect not in EFFECTS:
            fix = f"use one of: {', '.join(EFFECTS)}"
            raise InvalidField("taint.effect", f"{self.effect!r} is unknown", fix)


@dataclass(frozen=True, slots=True)
class Toleration:
    """A pod bears the taints that match. key "": all keys; value None: all values; effect likewise.

    An empty key with a value is refused, as in Kubernetes.
    """

    key: str = ""
    value: str | None = None
    effect: Effect | None = None

    def __post_init__(self) -> None:
        if not self.key and self.value is not None:
            raise InvalidField("toleration.key", "is empty beside a value", "name the taint's key")

    def bears(self, taint: Taint) -> bool:
        """Whether this one taint keeps the pod away no more."""
        return (
            self.key in ("", taint.key)
            and self.value in (None, taint.value)
            and self.effect in (None, taint.effect)
        )


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a node's labels. Gt and Lt compare whole numbers."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            fix = f"use one of: {', '.join(OPERATORS)}"
            raise InvalidField("affinity.operator", f"{self.operator!r} is unknown", fix)
        field, count = "affinity.values", len(self.values)
        if self.operator in ("Exists", "DoesNotExist"):
            if count:
                raise InvalidField(field, f"{self.operator} takes no values", "remove them")
        elif not count:
            raise InvalidField(field, f"{self.operator} needs a value", "give one")
        elif self.operator in ("Gt", "Lt") and (count != 1 or _whole(self.values[0]) is None):
            raise InvalidField(field, f"{self.operator} needs one whole number", 'such as "3"')

    def holds(self, label: str | None) -> bool:
        """Whether a node with this value of the label (None: it has no such label) will do."""
        match self.operator:
            case "In":
                return label in self.values
            case "NotIn":
                return label not in self.values
            case "Exists":
                return label is not None
            case "DoesNotExist":
                return label is None
        number, bound = _whole(label or ""), _whole(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "Gt" else number < bound


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
    prefers: tuple[tuple[Requirement, float], ...] = ()
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
            _check_ports(self.ports)
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


def _check_ports(ports: tuple[int, ...]) -> None:
    for port in ports:
        check_range("pod.ports", port, 1, 65535)
    if len(set(ports)) != len(ports):
        twice = next(port for port in ports if ports.count(port) > 1)
        raise InvalidField("pod.ports", f"port {twice} is there twice", "give each once")


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
