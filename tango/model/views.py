"""What listings show: services with their replicas, edges with their nodes, counts of jobs."""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.cluster import NodeView
from tango.model.layers import ImageLayers, NodeImages
from tango.model.service import ReplicaStatus, ServiceSpec


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Since the edge started; sent - (the four others) are still on their way."""

    sent: int = 0
    completed: int = 0
    late: int = 0
    rejected: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica and where it is; node is "" while there is no room for it."""

    status: ReplicaStatus
    node: str


@dataclass(frozen=True, slots=True)
class QosView:
    """Re-assurance of a service on one node, as its last window left it.

    cpu_per_request_millis: in force. samples: requests of that window, 0 for none; slack and
    latency_ms (of the rule's percentile) are theirs.
    saturated: below its target although the adjustment is at its bound; routing goes elsewhere.
    """

    node: str
    cpu_per_request_millis: int
    samples: int = 0
    slack: float = 0.0
    latency_ms: float = 0.0
    saturated: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service with what runs of it at one site; `reason` says why it is short of replicas.

    published: slots set aside for clients that call its replicas directly.
    qos: of the nodes where requests were served lately.
    """

    spec: ServiceSpec
    generation: int
    edge: str
    replicas: tuple[ReplicaView, ...]
    ready: int
    queued: int
    in_flight: int
    counts: RequestCounts
    service_time_ms: float = 0.0
    reason: str = ""
    published: int = 0
    qos: tuple[QosView, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeView:
    """A site as the central master sees it."""

    edge: str
    address: str
    connected: bool
    version: str
    nodes: tuple[NodeView, ...]


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Over all jobs in the store."""

    pending: int = 0
    scheduled: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DrainItem:
    """A replica or a task of a drained node. kind: "replica" or "task".

    detail: where a replica's replacement is, or why it has not moved.
    """

    kind: str
    name: str
    moved: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DrainView:
    """How a drain stands. done: nothing is left there; stuck: nothing left can move as it is."""

    node: str
    done: bool
    stuck: bool
    items: tuple[DrainItem, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteImages:
    """What engines of a site's nodes hold, by node."""

    edge: str
    nodes: tuple[NodeImages, ...]


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image by the word of its registry; content None where it is unknown (yet).

    age_s: since the registry last confirmed it, None where it never did. problem: of the last try.
    """

    image: str
    content: ImageLayers | None = None
    age_s: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ImagesView:
    """Images that nodes hold, and those that somebody asked registries about.

    note: why nothing is known of layers, "" where registries are asked.
    """

    sites: tuple[SiteImages, ...]
    images: tuple[ImageView, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class BatchPolicyView:
    """By which policy the central master places jobs; the rest as in TrafficPolicyView."""

    policy: str
    configured: str
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficPolicyView:
    """By which policy an edge routes. configured: after a restart; known: all installed."""

    edge: str
    policy: str
    configured: str
    known: tuple[str, ...] = ()
