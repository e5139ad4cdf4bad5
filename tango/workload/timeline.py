"""A run second by second: what the plot draws and the live view shows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServiceSecond:
    """One service in one second. `sent` counts requests sent in it, the others those that ended in
    it, so that a row need not add up; latencies in ms over those answered, None where none was."""

    sent: int = 0
    completed: int = 0
    late: int = 0
    rejected: int = 0
    failed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class NodeSecond:
    """CPU of one node, averaged over one second, in millicores."""

    lc_cpu_millis: float
    be_cpu_millis: float
    capacity_millis: int


@dataclass(frozen=True, slots=True)
class JobSecond:
    """BE jobs at the end of one second; succeeded and failed count from the start of the run."""

    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One second of a run. t_s: its end, seconds since the start of the load. Services and nodes
    that are missing in a row did not exist then."""

    t_s: float
    services: Mapping[str, ServiceSecond] = field(default_factory=dict)
    nodes: Mapping[str, NodeSecond] = field(default_factory=dict)
    jobs: JobSecond = field(default_factory=JobSecond)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A whole run, rows in order of time. deadlines_ms: each service's deadline.

    Raises ValueError where the rows' time does not rise.
    """

    rows: tuple[TimelineRow, ...]
    deadlines_ms: Mapping[str, float] = field(default_factory=dict)
    title: str = "Tango"

    def __post_init__(self) -> None:
        times = [row.t_s for row in self.rows]
        if any(after <= before for before, after in itertools.pairwise(times)):
            raise ValueError("the timeline's rows are not in order of time")

    @property
    def service_names(self) -> tuple[str, ...]:
        """All services of the run, sorted."""
        return tuple(sorted({name for row in self.rows for name in row.services}))

    @property
    def node_names(self) -> tuple[str, ...]:
        """All nodes of the run, sorted."""
        return tuple(sorted({name for row in self.rows for name in row.nodes}))
