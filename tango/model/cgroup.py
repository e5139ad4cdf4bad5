"""What is asked of a control group and what the kernel answers; the same for cgroup v1 and v2."""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.fast_init import fast_init

UNLIMITED = -1


@fast_init
@dataclass(frozen=True, slots=True)
class GroupTarget:
    """Absolute targets of one group. None: leave the kernel's value alone.

    quota_millis: CPU cap in millicores over a period, UNLIMITED for none.
    period_us: CFS period, 1_000..1_000_000 us.
    burst_us: CFS burst, at most the quota of one period.
    weight: relative CPU weight on the cgroup v2 scale 1..10000 (100 is the default);
        v1 drivers convert to cpu.shares (weight 100 = 1024 shares, floor 2).
    idle: True puts the group under SCHED_IDLE against its siblings.
    memory_max_bytes: hard memory limit, UNLIMITED for none.
    cpuset: list of core ids in kernel form ("0-1,3").
    oom_group: True has the whole group killed where the OOM killer takes one of its processes,
        so that no half of it runs on (v2's memory.oom.group).
    """

    quota_millis: int | None = None
    period_us: int | None = None
    burst_us: int | None = None
    weight: int | None = None
    idle: bool | None = None
    memory_max_bytes: int | None = None
    cpuset: str | None = None
    oom_group: bool | None = None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A target that the kernel did not take as asked: read back after the write."""

    group: str
    field: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class Pressure:
    """PSI of one resource (kernel doc accounting/psi): avg10 in percent, stall seconds in all."""

    some_avg10: float
    full_avg10: float
    some_total_s: float
    full_total_s: float


@dataclass(frozen=True, slots=True)
class GroupPressure:
    """PSI of one group; None where the kernel has none (v1): unavailable, which is not 0."""

    cpu: Pressure | None = None
    memory: Pressure | None = None
    io: Pressure | None = None


@fast_init
@dataclass(frozen=True, slots=True)
class GroupUsage:
    """Counters of one group; since it was made where the name says `_s` or `n_`."""

    cpu_s: float
    memory_bytes: int
    n_periods: int
    n_throttled: int
    throttled_s: float
    n_oom_kills: int


@dataclass(frozen=True, slots=True)
class CgroupFeatures:
    """What this kernel offers to this process, found by looking, not by version number.

    version: 1 or 2. controllers: those usable under our root, e.g. {"cpu", "memory", "cpuset"}.
    pressure: PSI per group. oom_group: see GroupTarget.
    """

    version: int
    controllers: frozenset[str]
    burst: bool
    idle: bool
    pressure: bool
    oom_group: bool = False
