"""What a scenario is loaded with: requests and jobs, as iterators that are read while it runs."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tango.model.service import ServiceSpec
from tango.workload.arrival import Arrival
from tango.workload.job_patterns import JobPatternSpec
from tango.workload.patterns import PatternSpec


class Distribution(enum.Enum):
    """Of CPU times: each the mean, or exponential with that mean."""

    CONSTANT = "constant"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True)
class SimService:
    """A service and what its requests cost.

    cpu_s: CPU seconds of an ordinary request (work 1.0), the mean of `distribution`.
    threads: cores that one replica can use at once; requests that it has taken beyond that wait in
    it, first come first served, as in a server with so many threads (1 for a Python process).
    start_s: from the start of its process until its health check succeeds. sites: those that have
    it, () for all. replicas: (site, count) where that differs from the spec's.
    """

    spec: ServiceSpec
    cpu_s: float
    distribution: Distribution = Distribution.CONSTANT
    threads: int = 1
    start_s: float = 0.5
    sites: tuple[str, ...] = ()
    replicas: tuple[tuple[str, int], ...] = ()


class ArrivalSource(Protocol):
    """Makes the arrivals of one stream, in order of time; called once for each stream and run."""

    def __call__(self, rng: random.Random, /) -> Iterator[Arrival]:
        """at_s counts from the start of the load. The same generator state, the same arrivals."""
        ...


@dataclass(frozen=True, slots=True)
class RequestLoad:
    """The users of one service.

    sites: where they are, () for all that have the service. each: every site has a stream of its
    own of this source; else one stream goes to the sites in turn, as `tango load` does.
    deadline_s: what users judge by, sent with each request; 0 for the service's own.
    """

    service: str
    source: PatternSpec | ArrivalSource
    sites: tuple[str, ...] = ()
    each: bool = True
    deadline_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """One request of a trace that says where it arrives. deadline_s: as in RequestLoad."""

    at_s: float
    service: str
    site: str
    work: float = 1.0
    deadline_s: float = 0.0


class RequestSource(Protocol):
    """Makes the requests of a trace, in order of time."""

    def __call__(self, rng: random.Random, /) -> Iterator[TracedRequest]:
        """at_s counts from the start of the load."""
        ...


@dataclass(frozen=True, slots=True)
class TraceLoad:
    """Requests of several services at several sites from one reader."""

    source: RequestSource


@dataclass(frozen=True, slots=True)
class JobShape:
    """What a BE job asks for and what it does.

    work_cpu_s: CPU seconds of each task, the mean of `distribution`; then it exits with code 0.
    threads: cores that a task can use at once. memory_bytes: declared by each task;
    used_share: of it that it takes; above 1 the kernel kills it.
    """

    work_cpu_s: float
    tasks: int = 1
    cpu_millis: int = 500
    memory_bytes: int = 128 * 2**20
    used_share: float = 1.0
    priority: int = 0
    retries: int = 0
    threads: float = 1.0
    distribution: Distribution = Distribution.CONSTANT
    name: str = "job"


@dataclass(frozen=True, slots=True)
class JobArrival:
    """One job of a trace."""

    at_s: float
    shape: JobShape


class JobSource(Protocol):
    """Makes jobs in order of time."""

    def __call__(self, rng: random.Random, /) -> Iterator[JobArrival]:
        """at_s counts from the start of the load."""
        ...


@dataclass(frozen=True, slots=True)
class JobLoad:
    """BE jobs. shape: of a pattern's jobs; a source brings each job's own, and has None here."""

    source: JobPatternSpec | JobSource
    shape: JobShape | None = None
