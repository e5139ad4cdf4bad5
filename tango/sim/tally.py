"""What becomes of requests, and how busy nodes are, while a simulation runs: bounded in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tango.model.request import Outcome
from tango.workload.latency import LatencyHistogram, PackedHistogram
from tango.workload.reasons import Reasons
from tango.workload.report import FateCounts, RequestTally

_COMPLETED: Final = Outcome.COMPLETED
_LATE: Final = Outcome.LATE

# Rows of the timeline: beyond that, two become one and the interval doubles.
MAX_ROWS = 720
_NOTHING = LatencyHistogram()


@dataclass(frozen=True, slots=True)
class Interval:
    """One piece of the timeline, warm-up included. from_s, to_s: after the start of the load.

    sent counts requests that were due in it, the others those that ended in it; latencies of those
    that were answered, None where none was. lc_share, be_share: CPU used over what all nodes have,
    those that are off included. pending, running: BE jobs at its end.
    """

    from_s: float
    to_s: float
    sent: int
    completed: int
    late: int
    rejected: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    lc_share: float
    be_share: float
    pending: int
    running: int

    @property
    def qos(self) -> float | None:
        """Share of those that ended in it which were in time; None where none ended."""
        ended = self.completed + self.late + self.rejected + self.failed
        return self.completed / ended if ended else None


class _Row:
    """latency: of the row that is still counted. packed: of one that is kept."""

    __slots__ = (
        "be_s", "ended", "from_s", "latency", "lc_s", "packed", "pending", "running", "sent",
        "to_s",
    )  # fmt: skip

    def __init__(self, from_s: float) -> None:
        self.from_s = self.to_s = from_s
        self.sent = 0
        self.ended = FateCounts()
        self.latency = LatencyHistogram()
        self.packed: PackedHistogram | None = None
        self.lc_s = self.be_s = 0.0
        self.pending = self.running = 0

    def keep(self) -> None:
        """Nothing more is counted in it but what `absorb` adds."""
        self.packed, self.latency = self.latency.packed(), _NOTHING

    def latencies(self) -> LatencyHistogram:
        found = LatencyHistogram()
        found.merge(self.packed or self.latency)
        return found

    def absorb(self, later: _Row) -> None:
        """Both are kept ones."""
        self.to_s = later.to_s
        self.sent += later.sent
        self.ended.merge(later.ended)
        both = self.latencies()
        both.merge(later.packed or later.latency)
        self.packed = both.packed()
        self.lc_s += later.lc_s
        self.be_s += later.be_s
        self.pending, self.running = later.pending, later.running

    def interval(self, cores: float) -> Interval:
        p50 = p95 = p99 = None
        latency = self.latencies()
        if latency.count:
            p50, p95, p99 = latency.percentiles(50, 95, 99)
        offered_s = cores * (self.to_s - self.from_s)
        ended = self.ended
        return Interval(
            self.from_s, self.to_s, self.sent,
            ended.completed, ended.late, ended.rejected, ended.failed,
            p50_ms=p50, p95_ms=p95, p99_ms=p99,
            lc_share=self.lc_s / offered_s if offered_s > 0 else 0.0,
            be_share=self.be_s / offered_s if offered_s > 0 else 0.0,
            pending=self.pending, running=self.running,
        )  # fmt: skip


class Tally:
    """Counts requests by service and by interval. counts_from: those due before are warm-up."""

    def __init__(self, services: Iterable[str], starts_at: float, counts_from: float) -> None:
        self._starts_at = starts_at
        self._counts_from = counts_from
        self._rows: list[_Row] = []
        self._row = _Row(0.0)
        self.services = {name: RequestTally() for name in services}
        # Of what was rejected or failed after the warm-up, by service.
        self.reasons = {name: Reasons() for name in self.services}
        self.warm_up = RequestTally()
        self.interval_s = 1.0

    @property
    def sent(self) -> int:
        """All so far, warm-up included."""
        return self.warm_up.sent + sum(tally.sent for tally in self.services.values())

    @property
    def in_flight(self) -> int:
        """Sent, and not ended."""
        tallies = self.services.values()
        return self.warm_up.in_flight + sum(tally.in_flight for tally in tallies)

    def send(self, service: str, due_at: float) -> None:
        """A request went out when it was due."""
        tally = self.services[service] if due_at >= self._counts_from else self.warm_up
        tally.send()
        self._row.sent += 1

    def end(self, service: str, due_at: float, fate: Outcome, at: float, reason: str = "") -> None:
        """Its user knows at `at` what became of it. reason: why it was rejected or failed."""
        tally = self.services[service] if due_at >= self._counts_from else self.warm_up
        row = self._row
        row.ended.add(fate)
        if fate is _COMPLETED or fate is _LATE:
            latency_ms = (at - due_at) * 1000
            tally.end(fate, latency_ms)
            row.latency.add(latency_ms)
        else:
            tally.end(fate)
            if tally is not self.warm_up:
                self.reasons[service].note(reason)

    def close_interval(
        self, now: float, lc_s: float, be_s: float, pending: int, running: int
    ) -> None:
        """The interval ends now; CPU seconds that were used in it, and jobs as they are."""
        row = self._row
        row.to_s = now - self._starts_at
        row.lc_s, row.be_s = lc_s, be_s
        row.pending, row.running = pending, running
        row.keep()
        last = self._rows[-1] if self._rows else None
        if last is not None and row.to_s - last.from_s <= self.interval_s * 1.001:
            last.absorb(row)
        else:
            self._rows.append(row)
        if len(self._rows) > MAX_ROWS:
            self.interval_s *= 2
            for first, second in zip(self._rows[::2], self._rows[1::2], strict=False):
                first.absorb(second)
            del self._rows[1::2]
        self._row = _Row(row.to_s)

    def timeline(self, cores: float) -> tuple[Interval, ...]:
        """All intervals, in order. cores: of all nodes together."""
        return tuple(row.interval(cores) for row in self._rows)
