"""D-VPA's rule for one replica: quota by requests in flight, and what each write of it costs.

What a write of a CFS quota costs is CPU time that no period granted: the kernel refills the
group's bucket and forgives what its threads overran (kernel/sched/core.c, tg_set_cfs_bandwidth).
Measured on 6.18 at 250 Hz with saturating groups: at most quota * period + 2 ms for each running
CPU, which is half a tick, the mean overrun.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.cgroup import GroupTarget

MIN_QUOTA_US = 1_000
MAX_PERIOD_US = 100_000
OVERRUN_PER_CPU_S = 0.002

# Share of the granted CPU time that writes may give away beyond it. The promise is 0.1 in all; the
# rest is for a start with full credit.
EXCESS = 0.08
# Credit that is kept at most: this long at the quota in force, or what a ramp of so many requests
# from base costs when each is written exactly.
CREDIT_S = 0.1
CREDIT_STEPS = 4


@dataclass(frozen=True, slots=True)
class FollowRule:
    """quota(n) = base + n * per_request millicores, for n requests in flight, 0..limit.

    window_s: how long a quota stands after its last need, and after any write, before it shrinks.
    overrun_s: what a write forgives at most, in CPU seconds.
    burst: whether what a period leaves of its quota counts for the next one, up to one quota.
    Make one with `follow_rule`, which chooses period and window.
    """

    base_millis: int
    per_request_millis: int
    limit: int
    period_us: int
    window_s: float
    overrun_s: float
    burst: bool = False

    def quota(self, in_flight: int) -> int:
        """Millicores for that many requests."""
        return self.base_millis + in_flight * self.per_request_millis

    def cost_s(self, in_flight: int) -> float:
        """CPU seconds that writing this quota may give away; a burst is another such write."""
        cost_s = self.quota(in_flight) * self.period_us / 1e9 + self.overrun_s
        return 2 * cost_s if self.burst else cost_s

    def target(self, in_flight: int) -> GroupTarget:
        """What the kernel is asked for with that many requests."""
        return quota_target(self.quota(in_flight), self.period_us, burst=self.burst)

    def earned_s(self, in_flight: int, seconds: float) -> float:
        """CPU seconds of writes that a quota held for so long pays for."""
        return EXCESS * self.quota(in_flight) / 1000 * seconds

    def credit_cap_s(self, in_flight: int) -> float:
        """CPU seconds of writes that are kept paid for at most, at this level."""
        steps = min(self.limit, CREDIT_STEPS)
        ramp_s = sum(self.cost_s(level) for level in range(1, steps + 1))
        return max(ramp_s, self.quota(in_flight) / 1000 * CREDIT_S)

    def roomy(self, in_flight: int) -> int:
        """The smallest level whose quota is twice that of `in_flight`, at most the limit."""
        if self.per_request_millis <= 0:
            return in_flight
        wanted = 2 * self.quota(in_flight) - self.base_millis
        level = -(-wanted // self.per_request_millis)
        return max(in_flight, min(level, self.limit))


def quota_target(millis: int, period_us: int, *, burst: bool) -> GroupTarget:
    """A quota of so many millicores, and a burst of one period's, or none that is looked at."""
    return GroupTarget(millis, period_us, millis * period_us // 1000 if burst else None)


def follow_rule(
    base_millis: int,
    per_request_millis: int,
    limit: int,
    *,
    window_s: float = 0.5,
    period_us: int = 10_000,
    cpus: int = 2,
    burst: bool = False,
) -> FollowRule:
    """The rule of a replica that serves up to `limit` requests at once.

    The kernel's smallest quota is 1 ms, so the period is lengthened until the base is one, at most
    to 100 ms; a base below 10 millicores becomes 10.

    The window is lengthened until the writes between two shrinks are paid for by the time for which
    the last of them stands, in the worst case. That case, with P the period and o the overrun: one
    write that the credit does not cover, to q(1) at least, and the shrink: 2 P + 2 o/q(1); with
    two, the first at least doubling: 3 P + 1.5 o/q(1); with more: 4 P + o/q(1); each over EXCESS.
    With a burst all of it twice: its file is written with the quota's, and refills the bucket too.

    cpus: cores of the node. The service is taken to run on two of them, or on one for each request.
    """
    floor_us = -(-MIN_QUOTA_US * 1000 // max(1, base_millis))
    period = min(max(period_us, floor_us), max(period_us, MAX_PERIOD_US))
    base = max(base_millis, -(-MIN_QUOTA_US * 1000 // period))
    period_s = period / 1e6
    overrun_s = OVERRUN_PER_CPU_S * min(max(1, cpus), max(2, limit))
    overrun = overrun_s * 1000 / (base + per_request_millis)
    writes_s = max(2 * period_s + 2 * overrun, 3 * period_s + 1.5 * overrun, 4 * period_s + overrun)
    if burst:
        writes_s *= 2
    return FollowRule(
        base_millis=base,
        per_request_millis=per_request_millis,
        limit=max(1, limit),
        period_us=period,
        window_s=max(window_s, writes_s / EXCESS),
        overrun_s=overrun_s,
        burst=burst,
    )


def implied_stretch(cpu_per_request_millis: int) -> float:
    """How many times longer a single-threaded request takes under a quota that follows it.

    200 millicores a request: 5.0; 1000 and more: 1.0. The replica's base is not counted, since
    other threads may use it.
    """
    return 1000 / min(1000, max(1, cpu_per_request_millis))
