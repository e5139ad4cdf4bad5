"""What happens in a load, as it happens: tallies, one timeline row a second, CPU and jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from tango.model.request import Outcome
from tango.model.views import JobCounts as ClusterJobCounts
from tango.sdk.observe import ClusterSnapshot, CpuMeter
from tango.workload.latency import LatencyHistogram, LatencySummary
from tango.workload.reasons import Reasons
from tango.workload.report import JobCounts, NodeReport, Report, RequestTally
from tango.workload.timeline import JobSecond, ServiceSecond, Timeline, TimelineRow

# 5.5 hours: rows are about 1 KiB each, and a load may last for days.
MAX_ROWS = 20_000
RECENT_SECONDS = 5


class ServiceRecord:
    """One service's requests: of the whole run, and of the second that is under way."""

    def __init__(self) -> None:
        self.tally = RequestTally()
        self.reasons = Reasons()
        self._recent: deque[_Second] = deque([_Second()], maxlen=RECENT_SECONDS + 1)

    def send(self) -> None:
        """One more went out."""
        self.tally.send()
        self._recent[-1].sent += 1

    def end(self, outcome: Outcome, latency_ms: float | None = None, reason: str = "") -> None:
        """One request's fate; see RequestTally.end. reason: why it was rejected or failed."""
        self.tally.end(outcome, latency_ms)
        second = self._recent[-1]
        second.ended[outcome] += 1
        if latency_ms is not None and outcome in (Outcome.COMPLETED, Outcome.LATE):
            second.latency.add(latency_ms)
        self.reasons.note(reason)

    @property
    def second_has_requests(self) -> bool:
        """Whether the second under way has seen any request."""
        second = self._recent[-1]
        return bool(second.sent or any(second.ended.values()))

    def close_second(self) -> ServiceSecond:
        """The second that ends now; another one begins."""
        second = self._recent[-1]
        self._recent.append(_Second())
        return second.row()

    def recent(self) -> tuple[float, LatencySummary]:
        """Requests sent per second, and latencies, over the last few whole seconds."""
        whole = list(self._recent)[:-1]
        latency = LatencyHistogram()
        for second in whole:
            latency.merge(second.latency)
        rate = sum(second.sent for second in whole) / len(whole) if whole else 0.0
        return rate, latency.summary()


class _Second:
    __slots__ = ("ended", "latency", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.ended = dict.fromkeys(Outcome, 0)
        self.latency = LatencyHistogram()

    def row(self) -> ServiceSecond:
        p50 = p99 = None
        if self.latency.count:
            p50, p99 = self.latency.percentiles(50, 99)
        ended = {outcome.value: count for outcome, count in self.ended.items()}
        return ServiceSecond(self.sent, **ended, p50_ms=p50, p99_ms=p99)


class RunRecord:
    """All of a run. deadlines_ms: each service's, in the order in which services are shown.

    Rows are kept of the last 20,000 seconds.
    """

    def __init__(self, deadlines_ms: Mapping[str, float]) -> None:
        self.deadlines_ms = dict(deadlines_ms)
        self.services = {name: ServiceRecord() for name in deadlines_ms}
        self.rows: deque[TimelineRow] = deque(maxlen=MAX_ROWS)
        self.snapshot = ClusterSnapshot(0.0)
        self._cpu = CpuMeter()
        self._jobs_before: ClusterJobCounts | None = None
        self._jobs_now = ClusterJobCounts()

    @property
    def in_flight(self) -> int:
        """Requests sent whose fate is not known yet."""
        return sum(each.tally.in_flight for each in self.services.values())

    @property
    def second_has_requests(self) -> bool:
        """Whether a request was sent or ended since the last row."""
        return any(each.second_has_requests for each in self.services.values())

    def see(self, snapshot: ClusterSnapshot) -> None:
        """Take a look at the cluster into account."""
        self.snapshot = snapshot
        self._cpu.see(snapshot.nodes)
        if snapshot.jobs is not None:
            self.see_jobs(snapshot.jobs)

    def see_jobs(self, counts: ClusterJobCounts) -> None:
        """The jobs as they are now; the first look is what later ones are compared with."""
        self._jobs_before = self._jobs_before or counts
        self._jobs_now = counts

    def close_second(self, t_s: float) -> TimelineRow:
        """End the second at `t_s` seconds after the start; its row."""
        row = TimelineRow(
            t_s,
            {name: each.close_second() for name, each in self.services.items()},
            self._cpu.rates(),
            self._job_second(),
        )
        self.rows.append(row)
        return row

    def _job_second(self) -> JobSecond:
        now, before = self._jobs_now, self._jobs_before or self._jobs_now
        return JobSecond(
            now.pending + now.scheduled,
            now.running,
            now.succeeded - before.succeeded,
            now.failed - before.failed,
        )

    # ---- the end

    def jobs(self) -> JobCounts:
        """BE jobs of this run: those that were open when it began, and those that came later.

        evictions is 0: nothing in the cluster evicts tasks yet.
        """
        now, before = self._jobs_now, self._jobs_before or self._jobs_now
        ended_before = before.succeeded + before.failed + before.cancelled
        # A central master that came back with another store may count less than before.
        succeeded = max(0, now.succeeded - before.succeeded)
        failed = max(0, now.failed - before.failed)
        return JobCounts(
            submitted=max(_all(now) - ended_before, succeeded + failed),
            succeeded=succeeded,
            failed=failed,
            cpu_seconds=max(0.0, now.cpu_s - before.cpu_s),
        )

    def nodes(self) -> dict[str, NodeReport]:
        """CPU of each node from the kernel's counters, over the time between its first and last
        report in this run."""
        return {
            name: NodeReport.of(use.lc_cpu_s, use.be_cpu_s, use.capacity_millis, use.span_s)
            for name, use in sorted(self._cpu.nodes.items())
        }

    def cpu_spans(self) -> dict[str, tuple[int, float]]:
        """Each node's capacity in millicores, and the seconds over which its CPU was measured."""
        return {
            name: (use.capacity_millis, use.span_s) for name, use in sorted(self._cpu.nodes.items())
        }

    def report(
        self, *, seed: int, duration_s: float, policies: Mapping[str, str] | None = None
    ) -> Report:
        """The common report. Raises ValueError while requests are in flight."""
        return Report.of(
            {name: each.tally for name, each in self.services.items()},
            seed=seed,
            duration_s=duration_s,
            jobs=self.jobs(),
            nodes=self.nodes(),
            policies=policies,
        )

    def timeline(self, title: str) -> Timeline:
        """The rows, for the plot; the last one tells how jobs stand now."""
        rows = list(self.rows)
        if rows:
            rows[-1] = replace(rows[-1], jobs=self._job_second())
        return Timeline(tuple(rows), self.deadlines_ms, title)


def _all(counts: ClusterJobCounts) -> int:
    return (
        counts.pending
        + counts.scheduled
        + counts.running
        + counts.succeeded
        + counts.failed
        + counts.cancelled
    )
