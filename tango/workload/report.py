"""The common report that demo, load and simulate write, and the tally that it is made from.

Its JSON form is fixed by docs and tools: {"requests", "latency_ms", "services", "jobs", "nodes",
"policies", "seed", "duration_s"}. completed + late + rejected + failed == sent holds always, and
all but the completed are QoS violations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Final

from tango.model.request import Outcome
from tango.workload.latency import LatencyHistogram, LatencySummary

_COMPLETED: Final = Outcome.COMPLETED
_LATE: Final = Outcome.LATE
_REJECTED: Final = Outcome.REJECTED


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests by how they ended. Raises ValueError where the parts do not add up to `sent`."""

    sent: int = 0
    completed: int = 0
    late: int = 0
    rejected: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        _check_counts(self)
        if self.completed + self.late + self.rejected + self.failed != self.sent:
            raise ValueError(f"completed + late + rejected + failed is not sent: {self}")

    def __add__(self, other: RequestCounts) -> RequestCounts:
        return RequestCounts(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )

    @property
    def violations(self) -> int:
        """Requests whose QoS was missed: late, rejected and failed ones."""
        return self.sent - self.completed

    @property
    def satisfied_share(self) -> float | None:
        """Share of requests answered in time, 0..1; None where nothing was sent."""
        return self.completed / self.sent if self.sent else None

    def to_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


class FateCounts:
    """How many requests ended in which way."""

    __slots__ = ("completed", "failed", "late", "rejected")

    def __init__(self) -> None:
        self.completed = self.late = self.rejected = self.failed = 0

    def add(self, outcome: Outcome) -> None:
        """One more."""
        if outcome is _COMPLETED:
            self.completed += 1
        elif outcome is _LATE:
            self.late += 1
        elif outcome is _REJECTED:
            self.rejected += 1
        else:
            self.failed += 1

    def merge(self, other: FateCounts) -> None:
        """Count everything that `other` has counted; `other` stays as it is."""
        self.completed += other.completed
        self.late += other.late
        self.rejected += other.rejected
        self.failed += other.failed

    @property
    def total(self) -> int:
        """All of them."""
        return self.completed + self.late + self.rejected + self.failed


class RequestTally:
    """Counts one service's requests while they run; merges with others of its kind.

    Call `send` for each request as it goes out and `end` once when its fate is known.
    """

    __slots__ = ("ended", "latency", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.ended = FateCounts()
        self.latency = LatencyHistogram()

    def send(self) -> None:
        """One more request went out."""
        self.sent += 1

    def end(self, outcome: Outcome, latency_ms: float | None = None) -> None:
        """One request's fate. Latencies are kept of answered ones: completed and late.

        latency_ms: from the request's arrival time to its answer. It is required for completed
        ones; a late one without it was given up. Raises ValueError where it lacks, and where
        more requests end than were sent.
        """
        if self.in_flight <= 0:
            raise ValueError("more requests ended than were sent")
        if outcome is _COMPLETED and latency_ms is None:
            raise ValueError("a completed request has a latency")
        if latency_ms is not None and (outcome is _COMPLETED or outcome is _LATE):
            self.latency.add(latency_ms)
        self.ended.add(outcome)

    @property
    def in_flight(self) -> int:
        """Requests sent whose fate is not known yet."""
        return self.sent - self.ended.total

    def merge(self, other: RequestTally) -> None:
        """Count everything that `other` has counted; `other` stays as it is."""
        self.sent += other.sent
        self.ended.merge(other.ended)
        self.latency.merge(other.latency)

    def counts(self) -> RequestCounts:
        """The final counts. Raises ValueError while requests are in flight."""
        ended = self.ended
        return RequestCounts(self.sent, ended.completed, ended.late, ended.rejected, ended.failed)


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """One service's requests and latencies."""

    requests: RequestCounts = field(default_factory=RequestCounts)
    latency_ms: LatencySummary = field(default_factory=LatencySummary)

    @classmethod
    def of(cls, tally: RequestTally) -> ServiceReport:
        """The report on a tally. Raises ValueError while requests are in flight."""
        return cls(tally.counts(), tally.latency.summary())

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"requests": self.requests.to_dict(), "latency_ms": self.latency_ms.to_dict()}


@dataclass(frozen=True, slots=True)
class JobCounts:
    """BE jobs of a run; the rest neither succeeded nor failed: waiting, running or cancelled.

    evictions: times a running task was stopped to make room. cpu_seconds: used by all tasks.
    Raises ValueError where more ended than were submitted.
    """

    submitted: int = 0
    succeeded: int = 0
    failed: int = 0
    evictions: int = 0
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        _check_counts(self)
        if self.succeeded + self.failed > self.submitted:
            raise ValueError(f"more jobs ended than were submitted: {self}")

    def __add__(self, other: JobCounts) -> JobCounts:
        return JobCounts(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )

    def to_dict(self) -> dict[str, int | float]:
        """For JSON."""
        return {**asdict(self), "cpu_seconds": round(self.cpu_seconds, 6)}


@dataclass(frozen=True, slots=True)
class NodeReport:
    """CPU of one node. cpu_utilisation: LC and BE together over capacity times duration. It is 0..1
    on a node with cores of its own; nodes that share cores by weight may use what others leave, and
    come out above 1."""

    cpu_utilisation: float = 0.0
    lc_cpu_seconds: float = 0.0
    be_cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        _check_counts(self)

    @classmethod
    def of(
        cls, lc_cpu_s: float, be_cpu_s: float, capacity_millis: int, duration_s: float
    ) -> NodeReport:
        """From CPU seconds used over `duration_s` on a node of `capacity_millis` millicores."""
        offered_s = capacity_millis / 1000 * duration_s
        used = (lc_cpu_s + be_cpu_s) / offered_s if offered_s > 0 else 0.0
        return cls(used, lc_cpu_s, be_cpu_s)

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return {each.name: round(getattr(self, each.name), 6) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class Report:
    """One run. Raises ValueError where the services do not add up to `requests`.

    policies: name of the policy in use by layer ({"traffic": "least-loaded", ...}).
    """

    requests: RequestCounts
    latency_ms: LatencySummary
    services: Mapping[str, ServiceReport]
    jobs: JobCounts
    nodes: Mapping[str, NodeReport]
    policies: Mapping[str, str]
    seed: int
    duration_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.duration_s < math.inf:
            raise ValueError(f"duration_s is {self.duration_s}")
        total = sum((each.requests for each in self.services.values()), RequestCounts())
        if total != self.requests:
            raise ValueError(f"the services' requests add up to {total}, not {self.requests}")

    @classmethod
    def of(
        cls,
        tallies: Mapping[str, RequestTally],
        *,
        seed: int,
        duration_s: float,
        jobs: JobCounts | None = None,
        nodes: Mapping[str, NodeReport] | None = None,
        policies: Mapping[str, str] | None = None,
    ) -> Report:
        """The report on finished tallies by service; totals and their percentiles are merged.

        Raises ValueError while requests are in flight.
        """
        total = merge_tallies(tallies.values())
        return cls(
            total.counts(),
            total.latency.summary(),
            {name: ServiceReport.of(tally) for name, tally in tallies.items()},
            jobs or JobCounts(),
            dict(nodes or {}),
            dict(policies or {}),
            seed,
            duration_s,
        )

    def to_dict(self) -> dict[str, object]:
        """The JSON form, keys in the documented order."""
        return {
            "requests": self.requests.to_dict(),
            "latency_ms": self.latency_ms.to_dict(),
            "services": {name: each.to_dict() for name, each in sorted(self.services.items())},
            "jobs": self.jobs.to_dict(),
            "nodes": {name: each.to_dict() for name, each in sorted(self.nodes.items())},
            "policies": dict(sorted(self.policies.items())),
            "seed": self.seed,
            "duration_s": round(self.duration_s, 6),
        }


def merge_tallies(tallies: Iterable[RequestTally]) -> RequestTally:
    """A new tally of everything that `tallies` have counted."""
    total = RequestTally()
    for tally in tallies:
        total.merge(tally)
    return total


def _check_counts(counts: RequestCounts | JobCounts | NodeReport) -> None:
    for each in fields(counts):
        if not 0 <= getattr(counts, each.name) < math.inf:
            raise ValueError(f"{each.name} is {getattr(counts, each.name)}: {counts}")
