"""Nodes, what they can give, and what they report; read by policies, listings and `top`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tango.model.affinity import Labels, Taints
from tango.model.cgroup import Mismatch
from tango.model.fast_init import fast_init


class Enforcement(enum.Enum):
    """How a node keeps BE from hurting LC; claimed only after a check at start.

    PRIORITY: nice, SCHED_IDLE and the autogroup's nice hold BE down; there are no limits of CPU or
    memory and no usage of the two sides.
    """

    NONE = "none"
    PRIORITY = "priority"
    CGROUP = "cgroup"


@dataclass(frozen=True, slots=True)
class NodeCapacity:
    """What the node gives to Tango's payload: millicores and bytes."""

    cpu_millis: int
    memory_bytes: int


@fast_init
@dataclass(frozen=True, slots=True)
class SideUsage:
    """One side (LC or BE) of a node.

    cpu_s is cumulative over the side's life (ended groups included); cpu_millis is the rate over
    the last report interval.
    """

    cpu_s: float = 0.0
    cpu_millis: int = 0
    memory_bytes: int = 0
    throttled_s: float = 0.0


@fast_init
@dataclass(frozen=True, slots=True)
class GroupReport:
    """Kernel counters of one replica's or task's group."""

    group: str
    cpu_s: float
    memory_bytes: int
    quota_millis: int
    n_throttled: int
    throttled_s: float
    n_oom_kills: int


@fast_init
@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a worker says of its node at each report. at_s: the worker's wall clock.

    groups is filled only in listing reports (1 s), empty in control reports (100 ms).
    problem: what is wrong with the node itself now, for people; "" for nothing.
    be_satisfaction: share of the CPU that BE tasks ask for they get, 1 where CPU is to be had.
    memory_short_bytes: what the machine has less than its reserve: BE is to yield that.
    """

    node: str
    at_s: float
    lc: SideUsage
    be: SideUsage
    in_flight: int = 0
    be_tasks: int = 0
    mismatches: tuple[Mismatch, ...] = ()
    groups: tuple[GroupReport, ...] = ()
    problem: str = ""
    memory_short_bytes: int = 0
    be_satisfaction: float = 1.0


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as its edge sees it and offers it to the central master.

    lc_held_millis: CPU held by in-flight LC requests. be_held: by BE attempts.
    lc_memory_bytes: declared memory of the replicas placed there.
    replicas: placed there, or about to leave. be_tasks: attempts that have not ended.
    be_reclaimable_millis: of be_held_millis, what its attempts measurably do not use.
    observe_only: its worker sets nothing; the report's mismatches are what it would set.
    dead: not heard of for node_dead_after_s. cordoned: takes no new replicas and tasks; draining:
    what it has moves away, BE tasks with drain_grace_s to end (None: their own grace).
    reserved_millis, reserved_bytes, reserved_ports: kept for backups of tasks, and for tasks on
    their way there, as the central master tells; an edge knows nothing of them.
    saturated: services that miss their target here although their CPU per request is at its bound.
    cores, cores_note: as in WorkerHello. be_cores: ids that its attempts have.
    checkpoints, checkpoint_note, checkpoint_shared, checkpoint_transfer: as in WorkerHello.
    services: that have a ready replica there. lc_ports, be_ports: fixed ones that replicas and
    attempts have there.
    """

    node: str
    edge: str
    ready: bool
    capacity: NodeCapacity
    enforcement: Enforcement = Enforcement.NONE
    lc_held_millis: int = 0
    be_held_millis: int = 0
    lc_memory_bytes: int = 0
    be_memory_bytes: int = 0
    replicas: int = 0
    be_tasks: int = 0
    report: NodeReport | None = None
    labels: Labels = ()
    observe_only: bool = False
    dead: bool = False
    cordoned: bool = False
    draining: bool = False
    drain_grace_s: float | None = None
    saturated: tuple[str, ...] = ()
    be_reclaimable_millis: int = 0
    cores: tuple[int, ...] = ()
    cores_note: str = ""
    be_cores: tuple[int, ...] = ()
    checkpoints: bool = False
    checkpoint_note: str = ""
    checkpoint_shared: bool = False
    checkpoint_transfer: bool = False
    reserved_millis: int = 0
    reserved_bytes: int = 0
    taints: Taints = ()
    lc_ports: tuple[int, ...] = ()
    be_ports: tuple[int, ...] = ()
    reserved_ports: tuple[int, ...] = ()
    services: tuple[str, ...] = ()
