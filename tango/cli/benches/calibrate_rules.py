"""Pure parts of `tango bench calibrate`: costs from what was measured, and how far two runs differ.

One rule for the costs, and one set of them for all loads; nothing is fitted to a load:

    cpu_s of a request          CPU of the replica's group for one that is served alone
    edge_request, edge_answer   half each of the CPU of the edge's process for a request, its solve
                                included (traffic_solve.base_s is 0 then)
    worker_request, _answer     half each of the CPU of the workers' processes for a request
    user_edge, edge_worker      a quarter each of what is left of a carried request's latency (p50)
                                when all of that and the replica's own CPU are taken off: wake-ups
                                and loopback of the four messages on its way

The last three are of requests that cost the replica next to nothing, sent open loop, so that the
lateness of the sender's own timers is in them as it is in all latencies from `due` on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tango.sim.scenario import Costs, SolveCost
from tango.sim.topology import Delays

QOS_POINTS = 0.05
THROUGHPUT_SHARE = 0.10
CPU_POINTS = 0.05
P95_SHARE, P95_MS = 0.25, 2.0
_MESSAGES = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """What one request costs, in ms. direct, carried: p50 of a trivial one, straight to its replica
    and through the cluster; edge_cpu, worker_cpu, trivial_cpu: CPU for each carried one of edge,
    workers and replica; request_cpu: of the replica for one with its work."""

    direct: float
    carried: float
    edge_cpu: float
    worker_cpu: float
    trivial_cpu: float
    request_cpu: float

    @property
    def hop(self) -> float:
        """What is left for each of the four messages."""
        used = self.edge_cpu + self.worker_cpu + self.trivial_cpu
        return max(0.0, self.carried - used) / _MESSAGES


def costs_of(measured: Measured, where: str) -> Costs:
    """The control plane's, by the rule above. where: what they were measured on."""
    edge_s, worker_s = measured.edge_cpu / 2000, measured.worker_cpu / 2000
    return Costs(
        edge_request_s=edge_s,
        edge_answer_s=edge_s,
        worker_request_s=worker_s,
        worker_answer_s=worker_s,
        traffic_solve=SolveCost(0.0, Costs().traffic_solve.per_unit_s),
        calibrated=where,
    )


def delays_of(measured: Measured) -> Delays:
    """The network's, which is loopback here."""
    hop_s = measured.hop / 1000
    return Delays(user_edge_s=hop_s, edge_worker_s=hop_s)


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run. qos: share of all sent that was answered in time; answered_per_s: late ones too;
    lc_cpu, be_cpu: shares of what the nodes have. Latencies in ms, None where none was answered.
    others: share of the nodes' core that was used by what is not theirs: 0 in the simulator."""

    sent: int
    completed: int
    qos: float
    answered_per_s: float
    in_time_per_s: float
    lc_cpu: float
    be_cpu: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    others: float = 0.0

    @property
    def cpu(self) -> float:
        """Both sides."""
        return self.lc_cpu + self.be_cpu


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both runs. error: simulated against real, as `unit` says; allowed: at most,
    either way, None for a figure that is only shown."""

    what: str
    real: float | None
    simulated: float | None
    error: float
    unit: str
    allowed: float | None

    @property
    def holds(self) -> bool:
        """Whether it is within its bound."""
        return self.allowed is None or abs(self.error) <= self.allowed


def compare(real: RunFigures, simulated: RunFigures) -> tuple[Compared, ...]:
    """Each figure with its error and its bound: QoS and CPU in points, throughput as a ratio, p95
    in ms, where 25 % or 2 ms are allowed, whichever is more."""

    def points(what: str, a: float, b: float, bound: float) -> Compared:
        return Compared(what, a, b, b - a, "points", bound)

    ratio = simulated.answered_per_s / real.answered_per_s - 1 if real.answered_per_s else 1.0
    p95 = _ms("p95_ms", real.p95_ms, simulated.p95_ms)
    allowed_ms = max(P95_SHARE * (real.p95_ms or 0.0), P95_MS)
    return (
        points("qos", real.qos, simulated.qos, QOS_POINTS),
        Compared(
            "answered_per_s", real.answered_per_s, simulated.answered_per_s, ratio, "ratio",
            THROUGHPUT_SHARE,
        ),
        points("cpu", real.cpu, simulated.cpu, CPU_POINTS),
        points("lc_cpu", real.lc_cpu, simulated.lc_cpu, CPU_POINTS),
        points("be_cpu", real.be_cpu, simulated.be_cpu, CPU_POINTS),
        Compared("p95_ms", real.p95_ms, simulated.p95_ms, p95.error, "ms", allowed_ms),
        _ms("p50_ms", real.p50_ms, simulated.p50_ms),
        _ms("p99_ms", real.p99_ms, simulated.p99_ms),
    )  # fmt: skip


def _ms(what: str, real: float | None, simulated: float | None) -> Compared:
    """Only shown. One that has no answers at all has latencies of 0: its throughput tells."""
    return Compared(what, real, simulated, (simulated or 0.0) - (real or 0.0), "ms", None)


def missed(compared: Iterable[Compared]) -> tuple[Compared, ...]:
    """Those out of their bounds."""
    return tuple(each for each in compared if not each.holds)
