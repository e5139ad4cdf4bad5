"""An LC service as its owner declares it, and a replica as its node reports it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tango.model.affinity import NodeTerms, Preferences, Requirement, Toleration, terms_of
from tango.model.checks import check_argv, check_env, check_placeholders, check_range
from tango.model.errors import InvalidField
from tango.model.image import check_images
from tango.model.label_rules import check_terms
from tango.model.names import check_name

MAX_REPLICAS = 1000


class QuotaMode(enum.Enum):
    """Whether the CPU quota of a replica follows its in-flight requests (D-VPA) or stays off."""

    NONE = "none"
    FOLLOW = "follow"


class Expose(enum.Enum):
    """Where a replica is told to listen ({host}, HOST): on loopback or on all addresses.

    Tango itself dials loopback in both cases.
    """

    LOOPBACK = "loopback"
    NODE = "node"


LISTEN = {Expose.LOOPBACK: "127.0.0.1", Expose.NODE: "0.0.0.0"}  # noqa: S104  the user's word


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """HTTP GET `path` must answer 2xx; `start_timeout_s` is the grace before a start has failed."""

    path: str = "/healthz"
    interval_s: float = 1.0
    timeout_s: float = 1.0
    failures: int = 3
    start_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What to run and what one request of it needs.

    cpu_per_request_millis: held on the node while one request is served.
    concurrency: requests that one replica serves at once.
    deadline_s: end-to-end target; an answer after it counts as late.
    timeout_s: the hard end of a request; nothing answers after it.
    priority: larger is served first where services compete.
    port: fixed port, or 0 for one that the node picks.
    quota_base_millis: the quota of an idle replica under QuotaMode.FOLLOW.
    images: what its argv runs or unpacks: nodes that have them are preferred.
    requires: of the labels of a replica's node, all of them; prefers: a score, where a profile
    places; tolerations: of taints.
    """

    name: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    replicas: int = 1
    memory_bytes: int = 128 * 2**20
    cpu_per_request_millis: int = 100
    memory_per_request_bytes: int = 0
    concurrency: int = 1
    deadline_s: float = 0.1
    timeout_s: float = 5.0
    priority: int = 0
    idempotent: bool = False
    port: int = 0
    expose: Expose = Expose.LOOPBACK
    health: HealthCheck = HealthCheck()
    quota: QuotaMode = QuotaMode.NONE
    quota_base_millis: int = 50
    stop_grace_s: float = 5.0
    max_queue: int = 1000
    images: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()
    prefers: Preferences = ()
    tolerations: tuple[Toleration, ...] = ()

    @property
    def terms(self) -> NodeTerms | None:
        """What it says of nodes, None for nothing."""
        return terms_of(self.requires, self.prefers, self.tolerations)

    def validate(self) -> None:
        """Raise InvalidField for the first field that is out of range."""
        check_name(self.name, "name")
        check_argv(self.argv)
        check_placeholders(self.argv)
        check_env(self.env)
        check_range("replicas", self.replicas, 0, MAX_REPLICAS)
        check_range("memory", self.memory_bytes, 2**20, 2**50)
        check_range("cpu_per_request", self.cpu_per_request_millis, 1, 1_000_000)
        check_range("memory_per_request", self.memory_per_request_bytes, 0, 2**50)
        check_range("quota_base", self.quota_base_millis, 10, 1_000_000)
        check_range("concurrency", self.concurrency, 1, 10_000)
        check_range("deadline_ms", self.deadline_s * 1000, 1, 3_600_000)
        check_range("timeout_ms", self.timeout_s * 1000, self.deadline_s * 1000, 3_600_000)
        check_range("priority", self.priority, -1000, 1000)
        check_range("port", self.port, 0, 65535)
        check_range("stop_grace_s", self.stop_grace_s, 0, 600)
        check_range("max_queue", self.max_queue, 0, 100_000)
        check_images(self.images)
        check_range("health.interval_s", self.health.interval_s, 0.05, 3600)
        check_range("health.timeout_s", self.health.timeout_s, 0.01, 60)
        check_range("health.start_timeout_s", self.health.start_timeout_s, 0.1, 3600)
        check_range("health.failures", self.health.failures, 1, 100)
        check_terms(self.terms)
        if not self.health.path.startswith("/"):
            raise InvalidField("health.path", f"{self.health.path!r}", "begin it with '/'")


class ReplicaState(enum.Enum):
    """The life of a replica, seen from its node."""

    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    BACKOFF = "backoff"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica as its worker reports it; `reason` says why it is not ready."""

    replica_id: str
    service: str
    generation: int
    state: ReplicaState
    port: int = 0
    pid: int = 0
    restarts: int = 0
    in_flight: int = 0
    reason: str = ""
