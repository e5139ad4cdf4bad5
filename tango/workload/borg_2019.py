"""Rows of the Google Borg trace of May 2019 as events.

Format (clusterdata-2019, CC-BY 4.0; Wilkes, "Google cluster-usage traces v3", 2020, and
clusterdata_trace_format_v3.proto): the tables instance_events and collection_events with the field
names of the .proto, as one JSON object a line (as they are published: requests nested in
`resource_request`, 64-bit numbers perhaps as text, fields without a value left out) or as CSV with
a header (what BigQuery exports once the request is flattened to `resource_request.cpus` and
`resource_request.memory`, or with "_" for "."). Enums as numbers or by name. A table comes in many
files that are not in order of time; sort them first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tango.workload.cluster_events import JobEvent, Step, TaskEvent
from tango.workload.trace_rows import (
    MAX_INT64,
    InOrder,
    RowError,
    check_width,
    find_columns,
    parse_decimal,
    parse_whole,
    split_csv,
)

STEPS = (
    Step.SUBMIT,
    Step.QUEUE,
    Step.ENABLE,
    Step.SCHEDULE,
    Step.EVICT,
    Step.FAIL,
    Step.FINISH,
    Step.KILL,
    Step.LOST,
    Step.UPDATE_PENDING,
    Step.UPDATE_RUNNING,
)
STEP_NAMES = tuple(step.name for step in STEPS)
CLASS_NAMES = ("MOST_INSENSITIVE", "INSENSITIVE", "SENSITIVE", "MOST_SENSITIVE")
TYPE_NAMES = ("JOB", "ALLOC_SET")
MISSING_NAMES = (
    "MISSING_TYPE_NONE",
    "SNAPSHOT_BUT_NO_TRANSITION",
    "NO_SNAPSHOT_OR_TRANSITION",
    "EXISTS_BUT_NO_CREATION",
    "TRANSITION_MISSING_STEP",
    "TOO_MANY_EVENTS",
)
MAX_PRIORITY = 1000  # seen: 0 to 450
MAX_INDEX = 2**31 - 1
MAX_SHARE = 100.0
CPUS, MEMORY = "resource_request.cpus", "resource_request.memory"


class _Rows:
    """What both tables share: JSON lines or CSV, told apart by the first line."""

    required: tuple[str, ...] = ()
    first_line = "a JSON object, or a CSV header with the trace's field names"

    def __init__(self) -> None:
        self._order = InOrder(1_000_000)
        self._names: tuple[str, ...] = ()  # of the CSV's columns; JSON lines have none

    def header(self, text: str, line: int) -> bool:
        """Take the CSV header; a JSON object is the first row already."""
        if text.lstrip().startswith("{"):
            return False
        names = tuple(name.strip() for name in split_csv(text, line))
        self._names = tuple(_DOTTED.get(name, name) for name in names)
        find_columns(self._names, self.required, line)
        return True

    def _values(self, text: str, line: int) -> Mapping[str, object]:
        if self._names:
            fields = split_csv(text, line)
            check_width(fields, len(self._names), line)
            return dict(zip(self._names, fields, strict=True))
        return _json_object(text, line)

    def _time(self, values: Mapping[str, object], line: int) -> int:
        at_us = _whole(values, "time", line)
        self._order.check(at_us, line, "time")
        return at_us


class InstanceRows(_Rows):
    """instance_events: tasks, and the instances of alloc sets."""

    required = (
        "time",
        "type",
        "collection_id",
        "scheduling_class",
        "priority",
        "instance_index",
        CPUS,
        MEMORY,
    )

    def record(self, text: str, line: int) -> TaskEvent:
        """One row."""
        values = self._values(text, line)
        step = STEPS[_enum(values, "type", STEP_NAMES, line)]
        machine = _maybe_whole(values, "machine_id", line, low=-1)
        job = _whole(values, "collection_id", line)
        index = _whole(values, "instance_index", line, MAX_INDEX)
        sensitivity = _maybe_enum(values, "scheduling_class", CLASS_NAMES, line)
        priority = _whole(values, "priority", line, MAX_PRIORITY)
        cpu, memory = (_maybe_share(values, name, line) for name in (CPUS, MEMORY))
        missing = bool(_maybe_enum(values, "missing_type", MISSING_NAMES, line))
        reservation = _maybe_enum(values, "collection_type", TYPE_NAMES, line) == 1
        at_us = self._time(values, line)  # last: a row that is refused moves no clock
        return TaskEvent(
            line,
            at_us,
            step,
            job,
            index,
            machine or None,  # 0 is "on none"; -1, a dedicated machine, stays
            sensitivity,
            priority,
            cpu,
            memory,
            missing,
            reservation,
        )


class CollectionRows(_Rows):
    """collection_events: jobs and alloc sets."""

    required = ("time", "type", "collection_id", "scheduling_class", "priority")

    def record(self, text: str, line: int) -> JobEvent:
        """One row."""
        values = self._values(text, line)
        step = STEPS[_enum(values, "type", STEP_NAMES, line)]
        job = _whole(values, "collection_id", line)
        sensitivity = _maybe_enum(values, "scheduling_class", CLASS_NAMES, line)
        priority = _whole(values, "priority", line, MAX_PRIORITY)
        missing = bool(_maybe_enum(values, "missing_type", MISSING_NAMES, line))
        reservation = _maybe_enum(values, "collection_type", TYPE_NAMES, line) == 1
        user, name = (_text(values, key) for key in ("user", "collection_logical_name"))
        at_us = self._time(values, line)
        return JobEvent(
            line, at_us, step, job, sensitivity, priority, user, name, missing, reservation
        )


_DOTTED = {"resource_request_cpus": CPUS, "resource_request_memory": MEMORY}


def _json_object(text: str, line: int) -> Mapping[str, object]:
    """One object, its `resource_request` flattened as in a CSV header."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise RowError(line, "", f"not a JSON object: {reason}", "one object a line") from None
    if not isinstance(found, dict):
        raise RowError(line, "", "not a JSON object", "one object a line")
    request = found.get("resource_request")
    if request is not None and not isinstance(request, dict):
        raise RowError(line, "resource_request", "is not an object", 'write {"cpus": ..}')
    for flat, dotted in _DOTTED.items():
        nested = (request or {}).get(dotted.rpartition(".")[2])
        found.setdefault(dotted, found.get(flat) if nested is None else nested)
    return found


def _given(values: Mapping[str, object], name: str) -> str | None:
    """The value as text; None where it is left out, null or empty."""
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value.strip() or None if value else None
    # repr keeps a float's digits; objects and true end as text that no number looks like.
    return repr(value)


def _needed(values: Mapping[str, object], name: str, line: int) -> str:
    text = _given(values, name)
    if text is None:
        raise RowError(line, name, "is missing", "every row has it")
    return text


def _whole(values: Mapping[str, object], name: str, line: int, high: int = MAX_INT64) -> int:
    return parse_whole(_needed(values, name, line), line, name, high)


def _maybe_whole(values: Mapping[str, object], name: str, line: int, low: int = 0) -> int | None:
    text = _given(values, name)
    return None if text is None else parse_whole(text, line, name, low=low)


def _maybe_share(values: Mapping[str, object], name: str, line: int) -> float | None:
    text = _given(values, name)
    return None if text is None else parse_decimal(text, line, name, MAX_SHARE)


def _enum(values: Mapping[str, object], name: str, names: Sequence[str], line: int) -> int:
    text = _needed(values, name, line)
    if text in names:
        return names.index(text)
    if text.isdigit():
        return parse_whole(text, line, name, len(names) - 1)
    fix = f"write 0 to {len(names) - 1}, or one of {', '.join(names)}"
    raise RowError(line, name, f"{text[:40]!r} is unknown", fix)


def _maybe_enum(
    values: Mapping[str, object], name: str, names: Sequence[str], line: int
) -> int | None:
    return None if _given(values, name) is None else _enum(values, name, names, line)


def _text(values: Mapping[str, object], name: str) -> str:
    return _given(values, name) or ""
