"""The seams: Protocols behind which a daemon's I/O lives, each with a real and a fake one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from tango.model.cgroup import (
    CgroupFeatures,
    GroupPressure,
    GroupTarget,
    GroupUsage,
    Mismatch,
)
from tango.model.commands import Delete, Put, Stored
from tango.model.errors import TangoError
from tango.model.image import ImageReference
from tango.model.layers import HeldImage, ImageLayers
from tango.model.plan import (
    BatchPlan,
    BatchPolicy,
    BatchSnapshot,
    TrafficPlan,
    TrafficPolicy,
    TrafficSnapshot,
)
from tango.model.process import ProcessRecord, ProcessSpec
from tango.model.round_trips import MeasuredTrips

if TYPE_CHECKING:
    # A worker has ports, too, and nothing of bounds: what every node loads stays small.
    from tango.model.bounds import BoundPlan, BoundRule, BoundSnapshot, ImproveSnapshot
    from tango.model.improvement import Improvement


class Timer(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """It will not be called; fine if it was."""
        ...


class Clock(Protocol):
    """Time for the shells; controllers never see it, they are told `now`."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call once, when at least this much time has passed; never before this returns."""
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

    def pressure(self, group: str) -> GroupPressure:
        """How long its processes stood still for want of CPU, memory and I/O."""
        ...

    def procs(self, group: str) -> tuple[int, ...]:
        """Process ids in the group itself, not below it."""
        ...

    def kill(self, group: str) -> None:
        """SIGKILL to every process in the group and below; returns before they are gone."""
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


class Runtime(Protocol):
    """Runs replicas and tasks, and outlives nothing: what it started may outlive *it*."""

    async def start(self, spec: ProcessSpec) -> tuple[ProcessRecord, int]:
        """Start once per key; a repeat returns the first record. Also the port (0: none).

        Raises StartFailed: nothing runs, and nothing is left behind.
        """
        ...

    async def stop(self, key: str, grace_s: float) -> None:
        """TERM to the whole tree, KILL after grace_s. Returns at once; the end comes by watch()."""
        ...

    async def checkpoint(self, key: str) -> None:
        """Write its state to disk, then end it; the end comes by watch().

        Raises CheckpointFailed: it runs on, or has ended.
        """
        ...

    async def can_checkpoint(self) -> tuple[bool, str]:
        """Whether checkpoint() and a start from one work here; by what, or why not."""
        ...

    async def forget(self, key: str, *, keep_log: bool) -> None:
        """Drop the record of an ended process; fine if unknown."""
        ...

    async def list(self) -> tuple[ProcessRecord, ...]:
        """Everything that runs, and every end not yet forgotten."""
        ...

    def watch(self) -> AsyncIterator[ProcessRecord]:
        """Records of processes as they end. Ends by itself only with RuntimeLost."""
        ...

    def log_path(self, key: str) -> str:
        """Where the log of a process is; the file may be absent."""
        ...

    async def close(self) -> None:
        """Let go of the runtime; payload runs on."""
        ...


class StartFailed(Exception):
    """A process could not be started. lasting: the same spec will fail again."""

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


class CheckpointFailed(Exception):
    """The state of a process could not be written; the text says why."""


class RuntimeLost(TangoError):
    """The runtime (the supervisor) is gone; what it ran may still run."""


class Store(Protocol):
    """Durable records by (kind, key). One writer; commits are grouped."""

    async def commit(self, writes: Sequence[Put | Delete]) -> None:
        """All or nothing, on disk when it returns. Raises StoreFailed."""
        ...

    async def load(self, kind: str) -> Mapping[str, Stored]:
        """All records of one kind."""
        ...

    async def close(self) -> None:
        """Finish what was begun, then let go."""
        ...


class StoreFailed(TangoError):
    """The store could not do it (disk full, corrupt, newer schema); the text says which."""


class Solver(Protocol):
    """Runs policies, in process or in a helper process.

    `done` is called exactly once, maybe before the method returns, with the plan and the seconds
    that it took, or with what the policy raised.
    """

    def route(
        self,
        policy: TrafficPolicy,
        snapshot: TrafficSnapshot,
        done: Callable[[TrafficPlan | Exception, float], None],
    ) -> None:
        """Ask a traffic policy."""
        ...

    def place(
        self,
        policy: BatchPolicy,
        snapshot: BatchSnapshot,
        done: Callable[[BatchPlan | Exception, float], None],
    ) -> None:
        """Ask a batch policy."""
        ...

    def plan(
        self,
        rule: BoundRule,
        snapshot: BoundSnapshot,
        done: Callable[[BoundPlan | Exception, float], None],
    ) -> None:
        """Ask the rule for bounds and backups."""
        ...

    def improve(
        self,
        rule: BoundRule,
        snapshot: ImproveSnapshot,
        done: Callable[[Improvement | Exception, float], None],
    ) -> None:
        """Ask it for a better plan for tasks that run; takes longer than all others."""
        ...


class ImageRegistry(Protocol):
    """What images consist of; many registries behind one face.

    Raises NotFound (no such image), Refused, Unavailable (also where it is asked too often), and
    other TangoErrors for an answer that cannot be trusted or used.
    """

    async def resolve(self, reference: ImageReference) -> ImageLayers:
        """The layers of an image, verified."""
        ...

    async def digest(self, reference: ImageReference) -> str | None:
        """What a tag points to now, cheaply; None where only `resolve` can say."""
        ...


class ImageSource(Protocol):
    """Which images a node has, by the word of its container engine."""

    async def images(self) -> tuple[tuple[HeldImage, ...], int]:
        """Those that have names, MAX_HELD_IMAGES at most, and how many more there are.

        Names are in full, by tag and by digest. Raises Unavailable, and other TangoErrors for an
        answer that cannot be used.
        """
        ...


class RoundTripSource(Protocol):
    """Round trips between nodes, from files, Goldpinger or our own pings alike."""

    async def measure(self) -> MeasuredTrips:
        """What is known now. Raises Unavailable, InvalidField and other TangoErrors."""
        ...
