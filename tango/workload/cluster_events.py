"""What Google's cluster traces say, whichever year's format it stood in: events of machines, jobs
and tasks.

Times are microseconds since 600 s before the trace began: 0 is "before it", AFTER_TRACE_US "after
it". CPU and memory are shares of the largest machine. line: where it stood in the file.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tango.model.fast_init import fast_init
from tango.workload.trace_rows import MAX_INT64

AFTER_TRACE_US = MAX_INT64
MICROS = 1_000_000


class Step(enum.Enum):
    """What happened to a task or job."""

    SUBMIT = "submit"
    QUEUE = "queue"
    ENABLE = "enable"
    SCHEDULE = "schedule"
    EVICT = "evict"
    FAIL = "fail"
    FINISH = "finish"
    KILL = "kill"
    LOST = "lost"
    UPDATE_PENDING = "update_pending"
    UPDATE_RUNNING = "update_running"


class MachineStep(enum.Enum):
    """What happened to a machine."""

    ADD = "add"
    REMOVE = "remove"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class MachineEvent:
    """A machine came, went or changed. cpu, memory: its capacity, None where it is not told."""

    line: int
    at_us: int
    machine: int
    step: MachineStep
    platform: str
    cpu: float | None
    memory: float | None


@fast_init
@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One step in the life of task `index` of `job`.

    scheduling_class: 0 (least) to 3 (most latency-sensitive). machine: None where it is on none.
    cpu, memory: what it asks for. missing: the trace's authors put the event in for one they lack.
    reservation: an instance of a 2019 alloc set, which reserves room for tasks and runs nothing.
    """

    line: int
    at_us: int
    step: Step
    job: int
    index: int
    machine: int | None
    scheduling_class: int | None
    priority: int
    cpu: float | None
    memory: float | None
    missing: bool = False
    reservation: bool = False


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One step in the life of a job (2019: collection). priority: None, 2011 gives it per task."""

    line: int
    at_us: int
    step: Step
    job: int
    scheduling_class: int | None
    priority: int | None
    user: str
    name: str
    missing: bool = False
    reservation: bool = False


@fast_init
@dataclass(frozen=True, slots=True)
class TaskUsage:
    """What a task used in one window (5 minutes, or less). cpu: mean cores, as a share of the
    largest machine's; memory: mean resident memory, likewise."""

    line: int
    start_us: int
    end_us: int
    job: int
    index: int
    machine: int
    cpu: float
    memory: float
