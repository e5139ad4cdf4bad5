"""What each daemon's controller begins with: begun with the same, it is the same.

stored: what the store held, as (key, record) in the order in which it gave them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.cgroup import CgroupFeatures
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.commands import NodeRecord, PlacementRecord, ServiceRecord
from tango.model.job import JobRecord
from tango.model.placements import BoundRecord, ReservationRecord
from tango.model.settings import CentralSettings, EdgeSettings, WorkerSettings


@dataclass(frozen=True, slots=True)
class CentralStart:
    """See CentralController."""

    settings: CentralSettings
    incarnation: int
    seed: int
    jobs: tuple[tuple[str, JobRecord], ...] = ()
    elastic: bool = False
    strict: bool = False
    needs_node: bool = False
    bounds: tuple[tuple[str, BoundRecord], ...] = ()
    reservations: tuple[tuple[str, ReservationRecord], ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeStart:
    """See EdgeController."""

    settings: EdgeSettings
    incarnation: int
    seed: int
    services: tuple[tuple[str, ServiceRecord], ...] = ()
    placements: tuple[tuple[str, PlacementRecord], ...] = ()
    nodes: tuple[tuple[str, NodeRecord], ...] = ()
    loopback: str = ""


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """See WorkerController."""

    settings: WorkerSettings
    incarnation: int
    seed: int
    key: str
    capacity: NodeCapacity
    enforcement: Enforcement
    features: CgroupFeatures | None
    cores: tuple[int, ...] = ()
    cores_note: str = ""
    checkpoints: bool = False
    checkpoint_note: str = ""
    loopback: str = ""


Start = CentralStart | EdgeStart | WorkerStart


@dataclass(frozen=True, slots=True)
class Life:
    """Whose log or recording this is. daemon: "central", "edge NAME", "worker NODE".

    now, wall: one moment near its start, on the controller's clock and in unix seconds.
    """

    daemon: str
    incarnation: int
    now: float
    wall: float
