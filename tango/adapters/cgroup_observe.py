"""Control group files of a worker that only observes: groups are made, targets are not written.

The driver above compares, "writes", reads back, and so reports as mismatch just what it would have
set.
"""

from __future__ import annotations

from tango.adapters.cgroup_files import KernelFiles

# What decides how much a group gets. The rest (cgroup.procs, subtree_control, cpuset.mems, ...)
# only makes a group that processes can be in.
_TARGETS = frozenset(
    {
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "cpu.cfs_burst_us",
        "cpu.shares",
        "cpu.idle",
        "cpu.max",
        "cpu.max.burst",
        "cpu.weight",
        "cpuset.cpus",
        "memory.limit_in_bytes",
        "memory.max",
        "memory.oom.group",
    }
)


class ObservingFiles(KernelFiles):
    """KernelFiles that pass over every write of a target."""

    def write(self, path: str, value: str) -> None:
        """See GroupFiles. A new v1 cpuset is empty, and takes no process until it is filled."""
        name = path.rpartition("/")[2]
        if name in _TARGETS and not (name == "cpuset.cpus" and self.read(path) == ""):
            return
        super().write(path, value)
