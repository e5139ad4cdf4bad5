"""Published routes: where clients may call replicas themselves, and what they report."""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.fast_init import fast_init


@dataclass(frozen=True, slots=True)
class ReplicaRoute:
    """One replica that can be called directly (HTTP/1.1, no TLS).

    weight: its part of the plan, 1 and up. slots: requests that this follower may have under way
    there at once; 0 for one that only watches.
    """

    replica: str
    node: str
    host: str
    port: int
    weight: int
    slots: int = 0


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes of a service at one site. (incarnation, version) only grows.

    lease_s: slots stand for so long after the follower sent the report that was taken last.
    reason: why there is no route. deadline_s, timeout_s, idempotent: the service's own.
    """

    service: str
    edge: str
    incarnation: int
    version: int
    routes: tuple[ReplicaRoute, ...]
    deadline_s: float = 0.0
    timeout_s: float = 0.0
    idempotent: bool = False
    lease_s: float = 0.0
    reason: str = ""


@fast_init
@dataclass(frozen=True, slots=True)
class ReplicaTally:
    """What a follower had at one replica: under way now, ended since its last report.

    latency_s: summed over the completed and the late.
    """

    replica: str
    in_flight: int = 0
    completed: int = 0
    late: int = 0
    failed: int = 0
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FollowReport:
    """What a follower says of itself, in each lease at least once.

    number: from 1, one more each time. version: of the table in use. wanted: slots that it would
    use, those for what it sent through the edge for want of slots included. last: it goes, and has
    nothing under way any more.
    """

    number: int
    version: int
    wanted: int
    replicas: tuple[ReplicaTally, ...] = ()
    last: bool = False
