"""CPU of the whole machine between two moments, from the kernel's own counters in /proc/stat."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

# Fields of a cpu line after its name (proc_stat(5)): user, nice, system, idle, iowait, irq,
# softirq, steal; guest times are in user already.
_IDLE, _IOWAIT, _COUNTED = 3, 4, 8


@dataclass(frozen=True, slots=True)
class MachineCpu:
    """Cumulative seconds over the cores that this process may use. client_s, daemons_s: parts of
    busy_s, used by this process and by the cluster's daemons."""

    busy_s: float
    idle_s: float
    client_s: float
    daemons_s: float

    def since(self, before: MachineCpu) -> MachineCpu:
        """What passed between the two."""
        return MachineCpu(
            max(0.0, self.busy_s - before.busy_s),
            max(0.0, self.idle_s - before.idle_s),
            max(0.0, self.client_s - before.client_s),
            max(0.0, self.daemons_s - before.daemons_s),
        )

    @property
    def all_s(self) -> float:
        """Busy and idle together: about cores times the time passed."""
        return self.busy_s + self.idle_s


def machine_cpu(daemons_s: float, stat: Path = Path("/proc/stat")) -> MachineCpu:
    """The counters now. daemons_s: what the daemons have used by now."""
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
    return MachineCpu(busy * tick_s, idle * tick_s, time.process_time(), daemons_s)
