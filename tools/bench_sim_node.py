#!/usr/bin/env python3
"""Times the simulated node: microseconds of CPU time for each start and end of a piece of work.

Poisson requests of 10 ms in three services on four cores, beside so many best-effort tasks; the
best of five runs.
"""

from __future__ import annotations

import json
import math
import random
import time

from tango.model.cgroup import GroupTarget
from tango.sim.node_cpu import NodeCpu

WORKS = 20_000
SERVICES = 3


def once(tasks: int, rate: float, quota_millis: int) -> float:
    """Microseconds for each event (a start, or an advance to an end)."""
    cpu = NodeCpu(4000, 0.0)
    cpu.set_group("be", GroupTarget(weight=1, idle=True), 0.0)
    for service in range(SERVICES):
        target = GroupTarget(quota_millis, 10_000) if quota_millis else GroupTarget()
        cpu.set_group(f"lc/s{service}/r-1", target, 0.0)
    for task in range(tasks):
        cpu.set_group(f"be/t{task}", GroupTarget(), 0.0)
        cpu.start(f"t{task}", f"be/t{task}", 1e9 if task % 2 else math.inf, 0.0)
    rng = random.Random(1)
    now = 0.0
    works = []
    for number in range(WORKS):
        now += rng.expovariate(rate)
        group = f"lc/s{rng.randrange(SERVICES)}/r-1"
        works.append((str(number), group, rng.expovariate(100.0), now))
    events = WORKS
    begun = time.process_time()
    for work_id, group, cpu_s, at in works:
        while cpu.next_at <= at:
            cpu.advance(cpu.next_at)
            events += 1
        cpu.start(work_id, group, cpu_s, at)
    return (time.process_time() - begun) / events * 1e6


def main() -> None:
    found = []
    for tasks, rate, quota_millis in (
        (0, 20.0, 0),
        (0, 200.0, 0),
        (4, 20.0, 0),
        (4, 200.0, 0),
        (16, 200.0, 0),
        (4, 380.0, 0),
        (4, 200.0, 2000),
    ):
        best = min(once(tasks, rate, quota_millis) for _ in range(5))
        found.append(
            {
                "be_tasks": tasks,
                "requests_per_s": rate,
                "quota_millis": quota_millis,
                "us_per_event": round(best, 2),
            }
        )
    print("\n".join(json.dumps(each) for each in found))


if __name__ == "__main__":
    main()
