"""Where a quota between LC services helps: real processes on one core, the load from the other.

A service is one process that burns a fixed CPU time a request, in arrival order. Its load is open
loop with exponential gaps, the same seed in every arm. Arms run interleaved, `--repeats` times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tango.adapters.cgroup_detect import detect
from tango.adapters.cgroup_driver import CgroupDriver
from tango.algorithms.quota.follow import QuotaFollower
from tango.model.cgroup import GroupTarget

CPU_MS = 5.0
RATE, BUSY = 40.0, 120.0
SERVICE, GREEDY = "lc/service/r-0", "lc/greedy/r-0"

# On every core that its group has, whatever its parent was bound to.
SERVER = """
import os, sys, time
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
os.sched_setaffinity(0, range(os.cpu_count()))
burn_s = float(sys.argv[1]) / 1000
while os.read(0, 1):
    begun = time.thread_time()
    while time.thread_time() - begun < burn_s:
        pass
    os.write(1, b".")
"""
BURNER = """
import os
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
os.sched_setaffinity(0, range(os.cpu_count()))
while True: pass
"""


@dataclass(frozen=True)
class Arm:
    """greedy: burners in another LC service. own: quota per request of the service itself, 0 for
    none (D-VPA, base 100m); greedy_millis: a cap of the greedy one, 0 for none."""

    name: str
    greedy: int = 0
    greedy_millis: int = 0
    own_millis: int = 0
    period_ms: int = 10
    burst: bool = False
    rate: float = RATE


ARMS = (
    Arm("alone"),
    Arm("greedy neighbour", greedy=1),
    Arm("3 greedy processes", greedy=3),
    Arm("greedy at 200m, 100 ms", greedy=1, greedy_millis=200, period_ms=100),
    Arm("greedy at 200m, 10 ms", greedy=1, greedy_millis=200),
    Arm("busy, alone", rate=BUSY),
    Arm("busy, greedy", rate=BUSY, greedy=1),
    Arm("busy, greedy at 200m", rate=BUSY, greedy=1, greedy_millis=200),
    Arm("own 150m, 100 ms", own_millis=150, period_ms=100),
    Arm("own 150m, 10 ms", own_millis=150),
    Arm("own 150m, 10 ms, burst", own_millis=150, burst=True),
    Arm("own 1000m, 10 ms, burst", own_millis=1000, burst=True),
)


def percentile(values: list[float], percent: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))]


@contextlib.contextmanager
def process(cgroups: CgroupDriver, group: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group; ended at the end."""
    command = [sys.executable, "-I", "-S", "-c", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as made:
        try:
            cgroups.move(group, made.pid)
            yield made
        finally:
            made.kill()


def measure(cgroups: CgroupDriver, arm: Arm, seconds: float, seed: int) -> dict[str, float]:
    """Latencies of the service's requests in ms, and what the greedy one got of the core."""
    follower = QuotaFollower(period_us=arm.period_ms * 1000, cpus=1, burst=arm.burst)
    writes: list[float] = []

    def apply(changes: list[tuple[str, GroupTarget]]) -> None:
        for group, target in changes:
            writes.append(time.monotonic())
            cgroups.apply(group, target)

    for group in (SERVICE, GREEDY):
        cgroups.create(group)
    rule = follower.rule(100, arm.own_millis, 8) if arm.own_millis else None
    apply(follower.add({SERVICE: rule}, time.monotonic()))
    if arm.greedy_millis:
        cap = GroupTarget(arm.greedy_millis, arm.period_ms * 1000)
        cgroups.apply("lc/greedy", cap)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(process(cgroups, SERVICE, SERVER, str(CPU_MS)))
        for _ in range(arm.greedy):
            stack.enter_context(process(cgroups, GREEDY, BURNER))
        time.sleep(0.3)
        begun_s = cgroups.usage(GREEDY).cpu_s
        begun = time.monotonic()
        latencies = drive(server, follower if rule else None, apply, seconds, arm.rate, seed)
        took = time.monotonic() - begun
        greedy = (cgroups.usage(GREEDY).cpu_s - begun_s) / took
        throttled = cgroups.usage(SERVICE).throttled_s
    for group in (SERVICE, GREEDY):
        clear(cgroups, group)
    return {
        "p50_ms": percentile(latencies, 50),
        "p95_ms": percentile(latencies, 95),
        "p99_ms": percentile(latencies, 99),
        "requests": len(latencies),
        "greedy_cores": greedy,
        "throttled_s": throttled,
        "writes_per_s": len(writes) / took,
    }


def clear(cgroups: CgroupDriver, group: str) -> None:
    """Remove a service's groups once their processes are gone."""
    end = time.monotonic() + 5
    while True:
        try:
            cgroups.remove(group.rpartition("/")[0])
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def drive(
    server: subprocess.Popen[bytes],
    follower: QuotaFollower | None,
    apply: object,
    seconds: float,
    rate: float,
    seed: int,
) -> list[float]:
    """Open-loop load; the quota follows what is sent and not answered."""
    drawn = random.Random(seed)
    assert server.stdin is not None
    assert server.stdout is not None
    requests, answers = server.stdin.fileno(), server.stdout.fileno()
    begun = time.monotonic()
    arrivals: list[float] = []
    at = begun
    while at < begun + seconds:
        arrivals.append(at)
        at += drawn.expovariate(rate)
    sent = done = 0
    latencies: list[float] = []
    while done < len(arrivals):
        now = time.monotonic()
        due = sum(1 for at in arrivals[sent : sent + 64] if at <= now)
        if due:
            sent += due
            if follower is not None:
                apply(follower.set_in_flight(SERVICE, sent - done, now))  # type: ignore[operator]
            os.write(requests, b"." * due)
        wait = arrivals[sent] - now if sent < len(arrivals) else 0.05
        if follower is not None:
            apply(follower.due(now))  # type: ignore[operator]
            wait = min(wait, 0.005)
        ready, _, _ = select.select([answers], [], [], max(0.0, wait))
        if ready:
            got = len(os.read(answers, 64))
            now = time.monotonic()
            latencies += [(now - at) * 1000 for at in arrivals[done : done + got]]
            done += got
            if follower is not None:
                apply(follower.set_in_flight(SERVICE, sent - done, now))  # type: ignore[operator]
    return latencies


def main() -> None:
    """Measure every arm, print a table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load, for each arm")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("needs two cores: one for the services, one for their load")
    found = detect(f"tango-study-{os.getpid()}")
    if found.cgroups is None:
        sys.exit(f"no control groups here: {found.reason}")
    figures: dict[str, list[dict[str, float]]] = {arm.name: [] for arm in ARMS}
    with found.cgroups as cgroups:
        try:
            cgroups.apply("", GroupTarget(weight=10_000, cpuset=str(cores[-1])))
            os.sched_setaffinity(0, set(cores[:-1]))
            # Where the generator is late, that is no lateness of the service.
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            for repeat in range(args.repeats):
                for arm in ARMS:
                    figures[arm.name].append(measure(cgroups, arm, args.seconds, repeat))
        finally:
            cgroups.kill("")
            time.sleep(0.1)
            cgroups.remove("")
    print(f"{'':<26}{'p50':>8}{'p95':>8}{'p99':>8} ms{'greedy':>8}{'throttled':>11}{'writes':>9}")
    for name, runs in figures.items():
        row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"{name:<26}{row['p50_ms']:8.1f}{row['p95_ms']:8.1f}{row['p99_ms']:8.1f}   "
            f"{row['greedy_cores']:8.2f}{row['throttled_s']:9.2f} s{row['writes_per_s']:7.1f}/s"
        )
    if args.report:
        args.report.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
