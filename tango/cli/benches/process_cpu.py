"""CPU of processes, to the nanosecond, and on which cores they may run."""

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


def keep_on(pids: Iterable[int], cores: Collection[int]) -> None:
    """Every thread of these processes runs on these cores from now on, as do those it starts."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            for thread in psutil.Process(pid).threads():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, cores)
