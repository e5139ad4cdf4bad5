"""Usage of the node: when counters are read, and the reports that are made of them."""

from __future__ import annotations

import math
from collections.abc import Callable

from tango.algorithms.quota.sides import BE, LC
from tango.algorithms.quota.suppression import BeCap, Satisfaction
from tango.controllers.worker.counters import Counters, side_of
from tango.controllers.worker.groups import GroupTree
from tango.controllers.worker.outbox import Outbox
from tango.model.cluster import GroupReport, NodeReport, SideUsage
from tango.model.decision import SUPPRESS
from tango.model.events import GroupUsed, UsageSampled
from tango.model.messages import ReportUsage
from tango.model.settings import WorkerSettings

# BE's cap is never lower: what runs must be able to end.
MIN_BE_MILLIS = 20


class Side:
    """One side's counters between reports. cpu_s comes from the side's own group: the kernel
    counts hierarchically there, ended children included, and a restart of the worker loses nothing.
    """

    __slots__ = ("_anchor_at", "_anchor_cpu_s", "_memory_bytes", "cpu_millis", "cpu_s")

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.cpu_millis = 0
        self._memory_bytes = 0
        self._anchor_at: float | None = None
        self._anchor_cpu_s = 0.0

    def read(self, used: GroupUsed, now: float, least_s: float) -> None:
        """Take new counters; the rate is taken over no less than least_s."""
        self.cpu_s = used.cpu_s
        self._memory_bytes = used.memory_bytes
        if self._anchor_at is None:
            self._anchor_at, self._anchor_cpu_s = now, used.cpu_s
            return
        elapsed_s = now - self._anchor_at
        if elapsed_s >= least_s:
            used_s = used.cpu_s - self._anchor_cpu_s
            self.cpu_millis = round(used_s / elapsed_s * 1000) if used_s > 0 else 0
            self._anchor_at, self._anchor_cpu_s = now, used.cpu_s

    def usage(self, throttled_s: float) -> SideUsage:
        """As reported; throttled_s is summed over groups, since no side has a quota."""
        return SideUsage(
            cpu_s=self.cpu_s,
            cpu_millis=self.cpu_millis,
            memory_bytes=self._memory_bytes,
            throttled_s=throttled_s,
        )


class Usage:
    """Samples the sides each control interval, and every group each listing interval.

    Without cgroups both sides stay 0; the reports go out all the same, as signs of life.
    sample_at: when the next one is due. Not one of the timers: it is by far the most frequent.
    in_flight, be_tasks: how many there are now. be_asked: millicores that BE tasks declare.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        groups: GroupTree,
        counters: Counters,
        out: Outbox,
        *,
        in_flight: Callable[[], int],
        be_tasks: Callable[[], int],
        be_asked: Callable[[], int],
        capacity_millis: int,
    ) -> None:
        self._node = settings.node
        self._control_s = max(0.001, settings.control_interval_ms / 1000)
        self._listing_s = settings.listing_interval_ms / 1000
        self._reserve_bytes = settings.memory_reserve_bytes
        self._groups = groups
        self._counters = counters
        self._out = out
        self._in_flight = in_flight
        self._be_tasks = be_tasks
        self._be_asked = be_asked
        self._satisfaction = Satisfaction(capacity_millis)
        least = max(MIN_BE_MILLIS, capacity_millis // 100)
        self._cap = BeCap(capacity_millis, least) if settings.cap_be else None
        self._lc, self._be = Side(), Side()
        # Sums over groups, current while no counter of theirs has changed.
        self._lc_throttled_s = self._be_throttled_s = 0.0
        self.sample_at = math.inf
        self._listing_at = 0.0
        self._listing = False
        self.latest: NodeReport | None = None
        # What is wrong with the node itself, told with every report.
        self.problem = ""

    def begin(self, now: float) -> None:
        """Sample for the first time, all groups."""
        self._listing_at = now
        self.sample(now)

    def sample(self, now: float) -> None:
        """Ask for counters, and plan the next time."""
        groups: tuple[str, ...] = ()
        if now >= self._listing_at:
            self._listing_at = now + self._listing_s - self._control_s / 2
            self._listing = True
            groups = tuple(self._groups.leaves)
        self._counters.ask(groups)
        self.sample_at = now + self._control_s

    def sampled(self, event: UsageSampled, now: float) -> None:
        """Make a report of what was read."""
        lc, be, counters = self._lc, self._be, self._counters
        leaves = self._groups.leaves
        for used in event.groups:
            group = used.group
            if group == LC:
                lc.read(used, now, self._control_s / 2)
            elif group == BE:
                be.read(used, now, self._control_s / 2)
            elif group in leaves:
                counters.keep(used)
        reports = self._group_reports() if self._listing else ()
        self._listing = False
        if counters.changed:
            counters.changed = False
            self._lc_throttled_s, self._be_throttled_s = self._throttled()
        if self._cap is not None:
            change = self._cap.update(lc.cpu_millis, now)
            if change is not None:
                self._groups.cap_be(change)
                self._out.record(
                    SUPPRESS, change.before_millis, change.after_millis, change.lc_millis,
                    change.lc_peak_millis, change.why,
                )  # fmt: skip
        satisfied = self._satisfaction.update(lc.cpu_millis, be.cpu_millis, self._be_asked(), now)
        self.latest = NodeReport(
            node=self._node,
            at_s=event.wall,
            lc=lc.usage(self._lc_throttled_s),
            be=be.usage(self._be_throttled_s),
            in_flight=self._in_flight(),
            be_tasks=self._be_tasks(),
            mismatches=self._groups.mismatches(),
            groups=reports,
            problem=self.problem,
            be_satisfaction=satisfied,
            memory_short_bytes=self._memory_short(event.memory_available_bytes),
        )
        self._out.send(ReportUsage(self.latest))

    def _memory_short(self, available_bytes: int | None) -> int:
        """What the machine has less than its reserve."""
        if available_bytes is None:
            return 0
        return max(0, self._reserve_bytes - available_bytes)

    def _throttled(self) -> tuple[float, float]:
        """For how long LC and BE were throttled: every group that there is, or was."""
        counters = self._counters
        throttled = dict(counters.gone_throttled_s)
        for group in self._groups.leaves:
            kept = counters.get(group)
            if kept is not None:
                throttled[side_of(group)] += kept.throttled_s
        return throttled[LC], throttled[BE]

    def validate(self) -> None:
        """AssertionError where the sums are not those of the groups."""
        sums = self._lc_throttled_s, self._be_throttled_s
        assert self._counters.changed or sums == self._throttled(), "sums out of date"

    def _group_reports(self) -> tuple[GroupReport, ...]:
        """All groups whose counters are known."""
        found = []
        for group in self._groups.leaves:
            kept = self._counters.get(group)
            if kept is not None:
                found.append(self._group_report(kept))
        return tuple(found)

    def _group_report(self, used: GroupUsed) -> GroupReport:
        return GroupReport(
            group=used.group,
            cpu_s=used.cpu_s,
            memory_bytes=used.memory_bytes,
            quota_millis=self._groups.quota_millis(used.group),
            n_throttled=used.n_throttled,
            throttled_s=used.throttled_s,
            n_oom_kills=used.n_oom_kills,
        )
