"""The seams: Protocols behind which a daemon's I/O lives, each with a real and a fake one."""

from __future__ import annotations

from typing import Protocol

from tango.model.cgroup import CgroupFeatures, GroupTarget, GroupUsage, Mismatch


class Clock(Protocol):
    """Time for the shells; controllers never see it, they are told `now`."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; 0 or less yields once."""
        ...


class Cgroups(Protocol):
    """CPU and memory targets, usage and membership of groups under one root that Tango owns.

    Groups are named by relative paths of [A-Za-z0-9._-] parts ("lc/hello/r-1"); "" is the root.
    Calls are synchronous: one file operation takes 0.05 to 0.1 ms. Errors: OSError from the
    kernel as it is, ValueError for a name that would leave the root.
    """

    def features(self) -> CgroupFeatures:
        """What can be enforced here."""
        ...

    def create(self, group: str) -> None:
        """Make the group and its parents; fine if it exists."""
        ...

    def remove(self, group: str) -> None:
        """Remove the group and all below it; fine if absent. OSError EBUSY while processes live."""
        ...

    def apply(self, group: str, target: GroupTarget) -> tuple[Mismatch, ...]:
        """Write what differs from the kernel's value, in a safe order, and read it back.

        An unchanged value is never written (a CFS quota write refills the bucket). Burst goes down
        before quota goes down, quota up before burst up; shares are written while idle is 0.
        What the kernel refused or changed comes back as Mismatch, not as an exception.
        """
        ...

    def read(self, group: str) -> GroupTarget:
        """The kernel's values now; None for what this kernel does not have."""
        ...

    def usage(self, group: str) -> GroupUsage:
        """The kernel's counters now."""
        ...

    def procs(self, group: str) -> tuple[int, ...]:
        """Process ids in the group itself, not below it."""
        ...

    def move(self, group: str, pid: int) -> None:
        """Put a process into the group (every controller hierarchy on v1)."""
        ...

    def procs_files(self, group: str) -> tuple[str, ...]:
        """Absolute paths of every cgroup.procs that a process must enter to be in the group."""
        ...

    def groups(self) -> tuple[str, ...]:
        """Every group under the root that exists in the kernel, parents before children."""
        ...
