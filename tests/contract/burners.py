"""Processes that use CPU and memory as told, and what a group got of it."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from tango.adapters.cgroup_driver import CgroupDriver
from tango.model.cgroup import GroupTarget

TEN_PERCENT = GroupTarget(quota_millis=100, period_us=100_000)
# Waits to be moved, burns until told to stop, says how much CPU it has used since it was moved.
BURNER = """
import select, sys, time
print("ready", flush=True)
sys.stdin.readline()
# Not before: entering a cpuset group undoes it on v2 before Linux 6.2.
if len(sys.argv) > 1:
    import os
    os.sched_setaffinity(0, {int(sys.argv[1])})
start = time.process_time()
print("burning", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(2000):
        pass
print(time.process_time() - start, flush=True)
"""
HOG = """
import sys
print("ready", flush=True)
sys.stdin.readline()
data = bytearray(96 << 20)
data[::4096] = b"x" * len(data[::4096])
print("still here", flush=True)
"""


class Burner:
    """A process in a group that uses all the CPU it gets."""

    def __init__(self, cgroups: CgroupDriver, group: str, core: int | None = None) -> None:
        argv = [sys.executable, "-I", "-S", "-c", BURNER]
        self.process = subprocess.Popen(
            argv if core is None else [*argv, str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._line() == "ready"
        cgroups.move(group, self.process.pid)

    def start(self) -> None:
        self._tell()
        assert self._line() == "burning"

    def stop(self) -> float:
        """CPU seconds it has used by its own account."""
        self._tell()
        return float(self._line())

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")

    def _line(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 10.0)
        assert ready, "the burner says nothing"
        return self.process.stdout.readline().strip()


@contextlib.contextmanager
def burning(cgroups: CgroupDriver, group: str, core: int | None = None) -> Iterator[Burner]:
    burner = Burner(cgroups, group, core)
    try:
        yield burner
    finally:
        burner.end()


def share_over(
    cgroups: CgroupDriver, group: str, seconds: float, every_5_ms: Callable[[], object]
) -> float:
    """CPU share of one core that the group got while `every_5_ms` was called."""
    used, start = cgroups.usage(group).cpu_s, time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        every_5_ms()
        time.sleep(0.005)
    return (cgroups.usage(group).cpu_s - used) / (now - start)


def median_s(call: Callable[[int], object]) -> float:
    times = []
    for i in range(200):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return sorted(times)[100]
