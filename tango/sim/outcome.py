"""What a simulation gives back: the common report, and what plots are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tango.sim.tally import Interval
from tango.workload.latency import LatencyHistogram
from tango.workload.reasons import Reasons
from tango.workload.report import Report


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a simulation is, in seconds of the load; negative while daemons start."""

    at_s: float
    until_s: float
    sent: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. The report leaves the warm-up out; the timeline has it.

    latency: of answered requests of all services, for the CDF. stopped: it ended early, and
    duration_s of the report says when. problems: services that were refused, or lacked replicas
    when the load began. events: calls that the engine made. log_lines: of the decision log.
    reasons: by service, why requests were rejected or failed, and how many.
    """

    report: Report
    timeline: tuple[Interval, ...]
    latency: LatencyHistogram
    stopped: bool = False
    problems: tuple[str, ...] = ()
    events: int = 0
    log_lines: int = 0
    reasons: Mapping[str, Reasons] = field(default_factory=dict)
