"""CPU of processes, to the nanosecond, and of cores; on which cores processes may run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

import psutil


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads that live (proc_pid_schedstat)."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def core_busy_s(core: int) -> float:
    """Seconds in which a core was not idle so far, in ticks of 10 ms (proc_stat)."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            busy = user + nice + system + irq + softirq + steal
            return busy / os.sysconf("SC_CLK_TCK")
    raise ValueError(f"there is no core {core}")


def keep_on(pids: Iterable[int], cores: Collection[int]) -> None:
    """Every thread of these processes runs on these cores from now on, as do those it starts."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            for thread in psutil.Process(pid).threads():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, cores)
