"""A submission that comes again: the job that it made, unless it is of another job now."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice
from typing import TypeGuard

from tango.model.errors import AlreadyExists
from tango.model.job import JobRecord, JobSpec

MAX_NAMED = 3


def check_same(known: JobRecord, spec: JobSpec) -> None:
    """Raise AlreadyExists, with what differs, unless the job was submitted as this."""
    fields = list(islice(_differing(known.spec, spec, ""), MAX_NAMED + 1))
    if not fields:
        return
    told = ", ".join(fields[:MAX_NAMED]) + (" and more" if len(fields) > MAX_NAMED else "")
    raise AlreadyExists(
        f"submission_id {known.submission_id!r} is that of another job, {known.job_id}: not the "
        f"same in {told}; draw a new one for each job"
    )


def _differing(one: object, other: object, field: str) -> Iterator[str]:
    """Fields that are not the same, from the outside in: "tasks[0].argv"."""
    if one == other:
        return
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        for part in dataclasses.fields(one):
            inner = f"{field}.{part.name}" if field else part.name
            yield from _differing(getattr(one, part.name), getattr(other, part.name), inner)
    elif _of_specs(one) and _of_specs(other) and len(one) == len(other):
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _differing(first, second, f"{field}[{index}]")
    else:
        yield field


def _of_specs(value: object) -> TypeGuard[tuple[object, ...]]:
    return isinstance(value, tuple) and bool(value) and dataclasses.is_dataclass(value[0])
