"""CFS bandwidth control of one group as a token bucket in continuous time.

After Documentation/scheduler/sched-bwc.rst and kernel/sched/fair.c: at each period boundary the
runtime grows by the quota, up to quota + burst; what runs uses it up; at zero the group is
throttled until a boundary (or a write, see `Bucket.write`) leaves it some. Boundaries lie on a grid
that begins where the quota is first set; the kernel draws that phase at random.

Left out: slices that stay on a core (5 ms), and running on until the next tick once the bucket is
empty. The kernel takes an overrun out of the next periods, so its shares are the same on average;
single pauses differ by up to a tick. A quota below a tick thus comes in fewer, longer pieces there.
"""

from __future__ import annotations

import math

from tango.adapters.cgroup_values import Bandwidth, bandwidth_goal
from tango.model.cgroup import UNLIMITED, GroupTarget

_NO_LIMIT = Bandwidth(UNLIMITED, 100_000, 0)
_US = 1e-6
# The kernel counts in ns, so one may be overdrawn: work whose end and whose quota's end are meant
# to be one moment does not wait for a period because of rounding. It is paid at the refill.
_NEAR_S = 1e-9
# A rate this close to the quota's, relatively, is the quota's.
_SAME = 1e-12
# The kernel's period timer stops at the second boundary after the last use.
_IDLE_PERIODS = 2


class Bucket:
    """Runtime left of one group, and the kernel's counters of it. Seconds of CPU and of time.

    The owner says at which rate (cores) the group runs, and acts at `event_at`.
    """

    __slots__ = (
        "_anchor_s",
        "_at",
        "_empties",
        "_idle_periods",
        "_index",
        "burst_s",
        "event_at",
        "left_s",
        "n_periods",
        "n_throttled",
        "period_s",
        "queues",
        "quota_s",
        "rate",
        "throttled",
        "throttled_s",
    )

    def __init__(self, quota_s: float, period_s: float, burst_s: float, now: float) -> None:
        self.quota_s = quota_s
        self.period_s = period_s
        self.burst_s = burst_s
        self.left_s = quota_s
        self.rate = 0.0
        self.throttled = False
        # Cores on which the group waits: the kernel adds up their throttled times.
        self.queues = 1
        self.n_periods = 0
        self.n_throttled = 0
        self.throttled_s = 0.0
        self.event_at = math.inf
        self._at = now
        self._anchor_s = now
        self._index = 0
        self._idle_periods = _IDLE_PERIODS
        # `event_at` is when it is empty, not a boundary.
        self._empties = False

    def settle(self, now: float) -> None:
        """Use and refill up to `now` at the rate that was told."""
        elapsed_s = now - self._at
        if elapsed_s <= 0:
            return
        if self.throttled:
            self.throttled_s += elapsed_s * self.queues
        if self.quota_s == math.inf:
            self._at = now
            return
        boundary = self._boundary(self._index + 1)
        if now < boundary:
            self.left_s -= self.rate * elapsed_s
        else:
            self._pass_boundaries(boundary, now)
        self._at = now

    def run(self, rate: float, now: float) -> None:
        """The group runs at this rate from now on."""
        self.settle(now)
        self.rate = rate
        self._plan()

    def due(self, now: float) -> bool:
        """Act at `event_at`, which is now; True if the group has become throttled or free."""
        was = self.throttled
        self.settle(now)
        if was:
            self.throttled = self.left_s <= 0
        elif self._empties:
            # Exactly: what differs is rounding.
            self.left_s = -_NEAR_S
            self.throttled = True
        self._plan()
        return self.throttled != was

    def write(
        self, quota_s: float, period_s: float, burst_s: float, now: float, n_writes: int = 1
    ) -> None:
        """New values in so many writes: each refills the bucket, and the group is let run.

        That is tg_set_cfs_bandwidth() in kernel/sched/core.c, measured as such (architecture page).
        The next boundary stays where it is; later ones follow the new period.
        """
        self.settle(now)
        was_limited = self.quota_s < math.inf
        if not was_limited:
            self._index = self._last_index(now)
        if period_s != self.period_s:
            following = self._boundary(self._index + 1)
            self._anchor_s = following - period_s
            self._index = 0
            self.period_s = period_s
        self.quota_s = quota_s
        self.burst_s = burst_s
        if quota_s == math.inf:
            self.left_s = math.inf
        else:
            left_s = max(self.left_s, 0.0) if was_limited else 0.0
            self.left_s = min(left_s + quota_s * n_writes, quota_s + burst_s)
        self.throttled = False
        self._plan()

    def _boundary(self, index: int) -> float:
        return self._anchor_s + index * self.period_s

    def _last_index(self, now: float) -> int:
        """The last boundary that is not after `now`."""
        index = int((now - self._anchor_s) / self.period_s)
        while self._boundary(index) > now:
            index -= 1
        while self._boundary(index + 1) <= now:
            index += 1
        return index

    def _pass_boundaries(self, boundary: float, now: float) -> None:
        top_s = self.quota_s + self.burst_s
        self.left_s = min(self.left_s - self.rate * (boundary - self._at) + self.quota_s, top_s)
        last = self._last_index(now)
        passed = last - self._index
        if passed > 1:
            # At a constant rate each period changes it by the same, up to the top.
            gain_s = self.quota_s - self.rate * self.period_s
            self.left_s = min(self.left_s + (passed - 1) * gain_s, top_s)
        self._index = last
        self.left_s -= self.rate * (now - self._boundary(last))
        if self.throttled:
            self.n_throttled += passed
            self.n_periods += passed
        elif self.rate > 0:
            self._idle_periods = 0
            self.n_periods += passed
        else:
            counted = min(passed, _IDLE_PERIODS - self._idle_periods)
            self._idle_periods += counted
            self.n_periods += counted

    def _runs_out_before(self, boundary: float) -> bool:
        needed_s = self.rate * (boundary - self._at)
        return self.left_s < needed_s - _NEAR_S

    def _plan(self) -> None:
        """Set `event_at`: the bucket is empty, or a boundary after which it may be."""
        self._empties = False
        if self.quota_s == math.inf or (self.rate <= 0 and not self.throttled):
            self.event_at = math.inf
            return
        if self.rate > 0:
            self._idle_periods = 0
        boundary = self._boundary(self._index + 1)
        if self.throttled:
            # A boundary at this very moment may have been settled before it was acted on.
            self.event_at = self._at if self.left_s > 0 else boundary
        elif self._runs_out_before(boundary):
            self._empties = True
            self.event_at = self._at + max(self.left_s + _NEAR_S, 0.0) / self.rate
        elif self.rate * self.period_s > self.quota_s * (1 + _SAME):
            self.event_at = boundary
        else:
            self.event_at = math.inf


def write_target(
    bucket: Bucket | None, target: GroupTarget, now: float
) -> tuple[Bucket | None, bool]:
    """The bucket with the target's quota, period and burst, and whether anything was written.

    Each value that changes is a write of its own, as on cgroup v1; unchanged ones are none.
    """
    before = _NO_LIMIT if bucket is None else _bandwidth(bucket)
    goal = bandwidth_goal(before, target, burst=True)
    n_writes = (
        (goal.quota_us != before.quota_us)
        + (goal.period_us != before.period_us)
        + (goal.burst_us != before.burst_us)
    )
    if not n_writes:
        return bucket, False
    quota_s = math.inf if goal.quota_us == UNLIMITED else goal.quota_us * _US
    period_s, burst_s = goal.period_us * _US, goal.burst_us * _US
    if bucket is None:
        return Bucket(quota_s, period_s, burst_s, now), True
    bucket.write(quota_s, period_s, burst_s, now, n_writes)
    return bucket, True


def _bandwidth(bucket: Bucket) -> Bandwidth:
    quota_us = UNLIMITED if bucket.quota_s == math.inf else round(bucket.quota_s / _US)
    return Bandwidth(quota_us, round(bucket.period_s / _US), round(bucket.burst_s / _US))
