"""Pods with delay bounds and the room reserved for their backups, as a master stores them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequirementRecord:
    """A condition on a node's labels; see placement.pod.Requirement. weight: of a preference."""

    key: str
    operator: str
    values: tuple[str, ...] = ()
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class TolerationRecord:
    """See placement.pod.Toleration."""

    key: str = ""
    value: str | None = None
    effect: str | None = None


@dataclass(frozen=True, slots=True)
class PodRecord:
    """All that a placement.pod.Pod says. bound_s: None for no bound."""

    name: str
    cpu_millis: int = 0
    memory_bytes: int = 0
    cores: int = 0
    cpuset: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()
    group: str = ""
    images: tuple[str, ...] = ()
    near: str = ""
    bound_s: float | None = None
    node: str = ""
    requires: tuple[RequirementRecord, ...] = ()
    prefers: tuple[RequirementRecord, ...] = ()
    tolerations: tuple[TolerationRecord, ...] = ()
    priority: int = 0
    protected: bool = True


@dataclass(frozen=True, slots=True)
class BoundRecord:
    """A pod, where it is and where its backup would start. cores: the ids that it has; those of the
    central master's tasks are with their attempts."""

    pod: PodRecord
    node: str = ""
    backup: str = ""
    warning: str = ""
    cores: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ReservationRecord:
    """Room kept on a node for backups of pods of other nodes. cores: ids; of the central master's
    tasks only how many they are counts."""

    node: str
    cpu_millis: int
    memory_bytes: int
    cores: tuple[int, ...] = ()
