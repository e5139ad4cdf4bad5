"""CPU of the whole machine between two moments, from the kernel's own counters in /proc/stat."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Fields of a cpu line after its name (proc_stat(5)): user, nice, system, idle, iowait, irq,
# softirq, steal; guest times are in user already.
_IDLE, _IOWAIT, _COUNTED = 3, 4, 8


@dataclass(frozen=True, slots=True)
class MachineCpu:
    """Cumulative seconds over the cores that this process may use."""

    busy_s: float
    idle_s: float
    cores: int

    def since(self, before: MachineCpu) -> MachineCpu:
        """What passed between the two."""
        return MachineCpu(
            max(0.0, self.busy_s - before.busy_s), max(0.0, self.idle_s - before.idle_s), self.cores
        )

    @property
    def all_s(self) -> float:
        """Busy and idle together: about cores times the time passed."""
        return self.busy_s + self.idle_s


def machine_cpu(stat: Path = Path("/proc/stat")) -> MachineCpu:
    """The counters now."""
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    busy = idle = 0
    for line in stat.read_text().splitlines():
        name, *fields = line.split()
        if name in ours:
            values = [int(field) for field in fields[:_COUNTED]]
            resting = values[_IDLE] + values[_IOWAIT]
            idle += resting
            busy += sum(values) - resting
    return MachineCpu(busy * tick_s, idle * tick_s, len(ours))
