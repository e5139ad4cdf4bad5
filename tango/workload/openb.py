"""Rows of the Alibaba openb trace of 2023 as nodes and pods.

Format (clusterdata, cluster-trace-gpu-v2023; also in hkust-adsl/kubernetes-scheduler-simulator,
Apache-2.0; Weng et al., "Beware of Fragmentation", USENIX ATC 2023): CSV with a header, CPU in
millicores, memory in MiB, times in seconds since the trace began, pods in order of creation.
Columns are found by name; those about GPUs are passed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from tango.workload.trace_rows import (
    InOrder,
    RowError,
    check_width,
    find_columns,
    parse_decimal,
    parse_whole,
    split_csv,
)

QOS = ("LS", "Guaranteed", "Burstable", "BE")
PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
MAX_CPU_MILLIS = 10_000_000
MAX_MEMORY_MIB = 2**30
MAX_TIME_S = 1e10
MIB = 2**20


@dataclass(frozen=True, slots=True)
class OpenbNode:
    """One node of the data centre."""

    line: int
    name: str
    cpu_millis: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class OpenbPod:
    """One pod. scheduled_s, deleted_s: None where it never was. phase: its last one."""

    line: int
    name: str
    cpu_millis: int
    memory_bytes: int
    qos: str
    phase: str
    created_s: float
    scheduled_s: float | None
    deleted_s: float | None


class _Rows:
    """A table with a header whose columns are found by name, and a first column that is unique."""

    names: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._places: tuple[int, ...] = ()
        self._width = 0

    @property
    def first_line(self) -> str:
        """The header, with the columns that are used."""
        return f"a header with {','.join(self.names)}"

    def header(self, text: str, line: int) -> bool:
        """Find the columns."""
        fields = split_csv(text, line)
        self._places, self._width = find_columns(fields, self.names, line), len(fields)
        return True

    def _fields(self, text: str, line: int) -> list[str]:
        fields = split_csv(text, line)
        check_width(fields, self._width, line)
        found = [fields[place].strip() for place in self._places]
        if not found[0]:
            raise RowError(line, self.names[0], "is empty", "give each row a name")
        return found


class NodeRows(_Rows):
    """The node list; its memory follows the number of nodes, whose names must differ."""

    names = ("sn", "cpu_milli", "memory_mib")

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def record(self, text: str, line: int) -> OpenbNode:
        """One row."""
        name, cpu, memory = self._fields(text, line)
        if name in self._seen:
            raise RowError(line, "sn", f"{name!r} is given twice", "keep one row")
        node = OpenbNode(
            line,
            name,
            parse_whole(cpu, line, "cpu_milli", MAX_CPU_MILLIS, low=1),
            parse_whole(memory, line, "memory_mib", MAX_MEMORY_MIB, low=1) * MIB,
        )
        self._seen.add(name)
        return node


class PodRows(_Rows):
    """The pod list."""

    names = (
        "name",
        "cpu_milli",
        "memory_mib",
        "qos",
        "pod_phase",
        "creation_time",
        "deletion_time",
        "scheduled_time",
    )

    def __init__(self) -> None:
        super().__init__()
        self._order = InOrder()

    def record(self, text: str, line: int) -> OpenbPod:
        """One row; RowError also where it is scheduled before it is created, or deleted before."""
        name, cpu, memory, qos, phase, created, deleted, scheduled = self._fields(text, line)
        for column, value, allowed in (("qos", qos, QOS), ("pod_phase", phase, PHASES)):
            if value not in allowed:
                fix = f"write one of {', '.join(allowed)}"
                raise RowError(line, column, f"{value[:40]!r} is unknown", fix)
        created_s = parse_decimal(created, line, "creation_time", MAX_TIME_S)
        times = [("creation_time", created_s)]
        for column, text_s in (("scheduled_time", scheduled), ("deletion_time", deleted)):
            if text_s:
                times.append((column, parse_decimal(text_s, line, column, MAX_TIME_S)))
        _check_order(times, line)
        found = dict(times)
        pod = OpenbPod(
            line,
            name,
            parse_whole(cpu, line, "cpu_milli", MAX_CPU_MILLIS),
            parse_whole(memory, line, "memory_mib", MAX_MEMORY_MIB) * MIB,
            qos,
            phase,
            created_s,
            found.get("scheduled_time"),
            found.get("deletion_time"),
        )
        self._order.check(created_s, line, "creation_time")
        return pod


def _check_order(times: Sequence[tuple[str, float]], line: int) -> None:
    for (before, before_s), (column, at_s) in itertools.pairwise(times):
        if at_s < before_s:
            problem = f"{at_s:g} is before {before} {before_s:g}"
            raise RowError(line, column, problem, "correct one of them")
