"""Rows of the Google Borg trace of May 2011 as events.

Format (clusterdata-2011-2, CC-BY 4.0; Reiss, Wilkes, Hellerstein, "Google cluster-usage traces:
format + schema", v2.1, 2014): headerless CSV; the columns and their names are those of its
schema.csv. Event types of tasks and jobs count 0 to 8, of machines 0 to 2.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from tango.workload.cluster_events import (
    JobEvent,
    MachineEvent,
    MachineStep,
    Step,
    TaskEvent,
    TaskUsage,
)
from tango.workload.trace_rows import (
    InOrder,
    RowError,
    check_width,
    parse_decimal,
    parse_maybe_decimal,
    parse_maybe_whole,
    parse_whole,
    split_csv,
)

TASK_STEPS = (
    Step.SUBMIT,
    Step.SCHEDULE,
    Step.EVICT,
    Step.FAIL,
    Step.FINISH,
    Step.KILL,
    Step.LOST,
    Step.UPDATE_PENDING,
    Step.UPDATE_RUNNING,
)
MACHINE_STEPS = (MachineStep.ADD, MachineStep.REMOVE, MachineStep.UPDATE)
MAX_CLASS = 3
MAX_PRIORITY = 12
MAX_INDEX = 10_000_000
MAX_SHARE = 100.0  # requests are at most 1; measured use has been seen a little above


class _Headerless:
    """A format whose files begin with their first row. `names` are its columns."""

    first_line = ""
    names: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._order = InOrder(1_000_000)

    def header(self, text: str, line: int) -> bool:
        """There is none."""
        del text, line
        return False

    def _fields(self, text: str, line: int) -> list[str]:
        fields = split_csv(text, line)
        check_width(fields, len(self.names), line, "this table")
        return fields

    def _time(self, fields: Sequence[str], line: int, place: int = 0) -> int:
        at_us = parse_whole(fields[place], line, self.names[place])
        if place == 0:
            self._order.check(at_us, line, self.names[0])
        return at_us

    def _whole(self, fields: Sequence[str], place: int, line: int, high: int = 2**63 - 1) -> int:
        return parse_whole(fields[place], line, self.names[place], high)

    def _maybe_whole(self, fields: Sequence[str], place: int, line: int) -> int | None:
        return parse_maybe_whole(fields[place], line, self.names[place])

    def _maybe_share(self, fields: Sequence[str], place: int, line: int) -> float | None:
        return parse_maybe_decimal(fields[place], line, self.names[place], MAX_SHARE)


class MachineRows(_Headerless):
    """machine_events: each machine is added before it is updated or removed, and only then again.

    Remembers the machines that are there, so its memory follows the cell's size.
    """

    names = ("time", "machine ID", "event type", "platform ID", "CPUs", "Memory")

    def __init__(self) -> None:
        super().__init__()
        self._there: set[int] = set()

    def record(self, text: str, line: int) -> MachineEvent:
        """One row; RowError also for a machine that is not there, or is added while it is."""
        fields = self._fields(text, line)
        machine = self._whole(fields, 1, line)
        step = MACHINE_STEPS[self._whole(fields, 2, line, len(MACHINE_STEPS) - 1)]
        cpu, memory = (self._maybe_share(fields, place, line) for place in (4, 5))
        known = machine in self._there
        if known == (step is MachineStep.ADD):
            problem = f"machine {machine} is {'there already' if known else 'not there'}"
            fix = "add it before it changes, and remove it before it is added again"
            raise RowError(line, self.names[1], f"{step.value}: {problem}", fix)
        event = MachineEvent(line, self._time(fields, line), machine, step, fields[3], cpu, memory)
        if step is MachineStep.ADD:
            self._there.add(machine)
        elif step is MachineStep.REMOVE:
            self._there.discard(machine)
        return event


class TaskRows(_Headerless):
    """task_events. machines: the cell's machine ids, to refuse others; None takes any."""

    names = (
        "time",
        "missing info",
        "job ID",
        "task index",
        "machine ID",
        "event type",
        "user",
        "scheduling class",
        "priority",
        "CPU request",
        "memory request",
        "disk space request",
        "different machines restriction",
    )

    def __init__(self, machines: Container[int] | None = None) -> None:
        super().__init__()
        self._machines = machines

    def record(self, text: str, line: int) -> TaskEvent:
        """One row."""
        fields = self._fields(text, line)
        machine = self._maybe_whole(fields, 4, line)
        if machine is not None and self._machines is not None and machine not in self._machines:
            fix = "the machine_events file does not add it"
            raise RowError(line, self.names[4], f"there is no machine {machine}", fix)
        sensitivity = parse_maybe_whole(fields[7], line, self.names[7], MAX_CLASS)
        job, index = self._whole(fields, 2, line), self._whole(fields, 3, line, MAX_INDEX)
        step = TASK_STEPS[self._whole(fields, 5, line, len(TASK_STEPS) - 1)]
        priority = self._whole(fields, 8, line, MAX_PRIORITY)
        cpu, memory = (self._maybe_share(fields, place, line) for place in (9, 10))
        missing = self._maybe_whole(fields, 1, line) is not None
        at_us = self._time(fields, line)  # last: a row that is refused moves no clock
        return TaskEvent(
            line, at_us, step, job, index, machine, sensitivity, priority, cpu, memory, missing
        )


class JobRows(_Headerless):
    """job_events."""

    names = (
        "time",
        "missing info",
        "job ID",
        "event type",
        "user",
        "scheduling class",
        "job name",
        "logical job name",
    )

    def record(self, text: str, line: int) -> JobEvent:
        """One row."""
        fields = self._fields(text, line)
        job = self._whole(fields, 2, line)
        step = TASK_STEPS[self._whole(fields, 3, line, len(TASK_STEPS) - 1)]
        sensitivity = parse_maybe_whole(fields[5], line, self.names[5], MAX_CLASS)
        missing = self._maybe_whole(fields, 1, line) is not None
        at_us = self._time(fields, line)
        return JobEvent(line, at_us, step, job, sensitivity, None, fields[4], fields[7], missing)


class UsageRows(_Headerless):
    """task_usage, in order of the windows' starts (v2.1 has 20 columns, v2.0 only 19)."""

    names = (
        "start time",
        "end time",
        "job ID",
        "task index",
        "machine ID",
        "CPU rate",
        "canonical memory usage",
        "assigned memory usage",
        "unmapped page cache",
        "total page cache",
        "maximum memory usage",
        "disk I/O time",
        "local disk space usage",
        "maximum CPU rate",
        "maximum disk IO time",
        "cycles per instruction",
        "memory accesses per instruction",
        "sample portion",
        "aggregation type",
        "sampled CPU usage",
    )

    def record(self, text: str, line: int) -> TaskUsage:
        """One row; RowError also for a window that ends before it starts."""
        fields = split_csv(text, line)
        if len(fields) != len(self.names) - 1:
            check_width(fields, len(self.names), line, "this table")
        start_us, end_us = (self._whole(fields, place, line) for place in (0, 1))
        if end_us < start_us:
            raise RowError(line, self.names[1], f"{end_us} is before the start {start_us}")
        job, index = self._whole(fields, 2, line), self._whole(fields, 3, line, MAX_INDEX)
        machine = self._whole(fields, 4, line)
        cpu, memory = (
            parse_decimal(fields[place], line, self.names[place], MAX_SHARE) for place in (5, 6)
        )
        return TaskUsage(line, self._time(fields, line), end_us, job, index, machine, cpu, memory)
