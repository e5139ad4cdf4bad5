"""Control group values as the kernel writes them: names, units, conversions, safe goals (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tango.model.cgroup import UNLIMITED, GroupTarget, Mismatch, Pressure

MIN_QUOTA_US = 1_000
MIN_PERIOD_US = 1_000
MAX_PERIOD_US = 1_000_000
MIN_WEIGHT = 1
MAX_WEIGHT = 10_000
MIN_SHARES = 2
# v1 prints "no limit" as the largest page count that fits a long, which depends on the page size.
_NO_MEMORY_LIMIT = 1 << 62

UNAVAILABLE = "unavailable"

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_NAME = re.compile(rf"(?:{_PART}(?:/{_PART})*)?")
_CPUS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_MAX_NAME = 255


def check_name(name: str) -> str:
    """The name itself if it stays below the root.

    Raises ValueError for an absolute name, "..", a part that begins with "." or other characters.
    """
    if _NAME.fullmatch(name) is None or any(len(part) > _MAX_NAME for part in name.split("/")):
        raise ValueError(
            f"control group {name!r}: want parts of [A-Za-z0-9._-], none beginning with a dot,"
            " parted by single slashes"
        )
    return name


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """CFS bandwidth of one group in the kernel's units; quota_us UNLIMITED for none."""

    quota_us: int
    period_us: int
    burst_us: int

    @property
    def millis(self) -> int:
        """The quota in millicores, UNLIMITED for none."""
        if self.quota_us == UNLIMITED:
            return UNLIMITED
        return (self.quota_us * 1000 + self.period_us // 2) // self.period_us


def quota_us_of(millis: int, period_us: int) -> int:
    """Microseconds of CPU in a period; never below the kernel's smallest quota, 1 ms.

    `Bandwidth.millis` gives the same millicores back for every period of 1 ms or more, unless the
    floor was hit.
    """
    return max(MIN_QUOTA_US, (millis * period_us + 500) // 1000)


def bandwidth_goal(now: Bandwidth, target: GroupTarget, *, burst: bool) -> Bandwidth:
    """What can be asked of the kernel for `target`: valid in itself, as close as it goes.

    A period that changes alone keeps the quota in millicores. The burst is held at most at the
    quota, since the kernel refuses any quota below the burst. burst: the kernel knows bursts.
    """
    period = now.period_us
    if target.period_us is not None and MIN_PERIOD_US <= target.period_us <= MAX_PERIOD_US:
        period = target.period_us
    asked = target.quota_millis
    if asked is not None and asked >= UNLIMITED:
        quota = UNLIMITED if asked == UNLIMITED else quota_us_of(asked, period)
    elif period == now.period_us or now.quota_us == UNLIMITED:
        quota = now.quota_us
    else:
        quota = quota_us_of(now.millis, period)
    burst_us = now.burst_us
    if burst and target.burst_us is not None and target.burst_us >= 0:
        burst_us = target.burst_us
    if quota != UNLIMITED:
        burst_us = min(burst_us, quota)
    return Bandwidth(quota, period, burst_us)


def bandwidth_mismatches(
    group: str, before: Bandwidth, target: GroupTarget, found: Bandwidth, *, burst: bool
) -> list[Mismatch]:
    """What differs from the target, and what changed although nobody asked for it."""
    misses = []
    quota = before.millis if target.quota_millis is None else target.quota_millis
    if found.millis != quota:
        misses.append(Mismatch(group, "quota_millis", amount(quota), amount(found.millis)))
    period = before.period_us if target.period_us is None else target.period_us
    if found.period_us != period:
        misses.append(Mismatch(group, "period_us", str(period), str(found.period_us)))
    burst_us = before.burst_us if target.burst_us is None else target.burst_us
    if found.burst_us != burst_us:
        shown = str(found.burst_us) if burst else UNAVAILABLE
        misses.append(Mismatch(group, "burst_us", str(burst_us), shown))
    return misses


def quota_and_period_steps(now: Bandwidth, goal: Bandwidth) -> tuple[Bandwidth, ...]:
    """The states to pass through where quota and period are two files (v1), `goal` last.

    v1 refuses a ratio above the parent's or below a child's, so every state in between must lie
    between the two ratios. Where neither order does, the quota is lifted for a moment: a group
    without one counts as its parent in that check.
    """
    quota_first = replace(now, quota_us=goal.quota_us)
    period_first = replace(now, period_us=goal.period_us)
    end = replace(now, quota_us=goal.quota_us, period_us=goal.period_us)
    if now.quota_us == goal.quota_us or now.period_us == goal.period_us:
        return () if end == now else (end,)
    if goal.quota_us == UNLIMITED:
        return (quota_first, end)
    if now.quota_us == UNLIMITED:
        return (period_first, end)
    low, high = sorted((_ratio(now), _ratio(goal)))
    if low <= _ratio(quota_first) <= high:
        return (quota_first, end)
    if low <= _ratio(period_first) <= high:
        return (period_first, end)
    lifted = replace(now, quota_us=UNLIMITED)
    return (lifted, replace(lifted, period_us=goal.period_us), end)


def _ratio(bandwidth: Bandwidth) -> int:
    # The kernel's own fixed point (kernel/sched/core.c to_ratio), so that we agree on ties.
    return (bandwidth.quota_us << 20) // bandwidth.period_us


def shares_of(weight: int) -> int:
    """cpu.shares (v1) of a weight 1..10000: 100 is 1024; 1 is the kernel's floor, 2."""
    return MIN_SHARES if weight <= MIN_WEIGHT else (weight * 1024 + 50) // 100


def weight_of(shares: int) -> int:
    """The weight 1..10000 nearest to cpu.shares (v1); inverse of `shares_of`."""
    return min(MAX_WEIGHT, max(MIN_WEIGHT, (shares * 100 + 512) // 1024))


def memory_limit(text: str) -> int:
    """Bytes of a v1 or v2 memory limit file, UNLIMITED for none."""
    if text == "max":
        return UNLIMITED
    value = int(text)
    return UNLIMITED if value >= _NO_MEMORY_LIMIT else value


def amount(value: int) -> str:
    """A number for people, "unlimited" for UNLIMITED."""
    return "unlimited" if value == UNLIMITED else str(value)


def parse_cpus(text: str) -> frozenset[int] | None:
    """Core ids of a kernel list such as "0-1,3"; empty text is no core; None where malformed."""
    cores: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        match = _CPUS.fullmatch(part.strip())
        if match is None:
            return None
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            return None
        cores.update(range(first, last + 1))
    return frozenset(cores)


def format_cpus(cores: frozenset[int]) -> str:
    """Cores as the kernel prints them, the inverse of `parse_cpus`: "0-1,3"."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def keyed(text: str) -> dict[str, int]:
    """A flat keyed file ("nr_periods 3" per line) as a dict; lines of another form are left out."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            values[key] = int(value)
    return values


def parse_pressure(text: str) -> Pressure:
    """PSI of a cpu.pressure or memory.pressure file (kernel doc accounting/psi).

    Kernels before 5.13 have no "full" line for cpu; full counts as 0 there, which is what its
    absence means: no task group was ever stalled as a whole.
    """
    avg10 = {"some": 0.0, "full": 0.0}
    total = {"some": 0.0, "full": 0.0}
    for line in text.splitlines():
        kind, *fields = line.split()
        for field in fields:
            name, _, value = field.partition("=")
            if name == "avg10":
                avg10[kind] = float(value)
            elif name == "total":
                total[kind] = int(value) / 1e6
    return Pressure(avg10["some"], avg10["full"], total["some"], total["full"])
