"""Memory of processes, as the kernel has it."""

from __future__ import annotations

from pathlib import Path


def peak_rss_mib() -> float:
    """The most resident memory that this process has had, in MiB (proc_pid_status, VmHWM).

    Not ru_maxrss: that of a process holds its parent's too, from before it became another program
    (getrusage(2)).
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) / 1024
    raise ValueError("the kernel does not tell VmHWM")
