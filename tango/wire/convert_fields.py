"""What all converters pb2 <-> model share: enums, maps, durations, texts, and numbers that fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from tango.model.cores import check_core_ids
from tango.model.errors import InvalidField
from tango.model.units import format_number

E = TypeVar("E")
V = TypeVar("V", bound=int)

# A model's validate() speaks of "cpu" and "memory", as manifests do; the protos name their units.
_PROTO_TERMS = ((re.compile(r"\bcpu$"), "cpu_millis"), (re.compile(r"\bmemory$"), "memory_bytes"))


def pairs_from_map(entries: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """A proto map as the model's tuple of pairs, sorted by name: maps have no order on the wire."""
    return tuple(sorted(entries.items()))


def text(value: str) -> str:
    """A free text (an error, a reason) that protobuf takes: lone surrogates become '?'.

    Texts of OSError may hold names of files that are no UTF-8; they must not end a session.
    """
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def finite(value: float, field: str, most: float) -> float:
    """A number from 0 to `most`. Raises InvalidField for any other, NaN included."""
    if 0 <= value <= most:
        return value
    fix = f"use 0 to {format_number(most)}"
    raise InvalidField(field, f"{format_number(value)} is out of range", fix)


def core_ids_from_pb(ids: Iterable[int], field: str) -> tuple[int, ...]:
    """Ids of cores. Raises InvalidField for what is none or twice there: masks are made of them."""
    found = tuple(ids)
    if found:
        check_core_ids(found, field)
    return found


def seconds_from_ms(value_ms: float) -> float:
    """Seconds, to the nanosecond: with `ms_from_seconds` the way there and back changes nothing."""
    return round(value_ms / 1000, 9)


def ms_from_seconds(value_s: float) -> float:
    """Milliseconds, to the nanosecond."""
    return round(value_s * 1000, 6)


def inverse(table: Mapping[E, V]) -> dict[int, E]:
    """Wire number -> enum member, of a table enum member -> wire number."""
    return {number: member for member, number in table.items()}


def required(table: Mapping[int, E], number: int, field: str, names: Iterable[str]) -> E:
    """The enum member; InvalidField where it is unspecified or unknown to this version."""
    member = table.get(number)
    if member is not None:
        return member
    problem = "is not set" if number == 0 else f"{number} is unknown to this version"
    raise InvalidField(field, problem, "use one of " + ", ".join(n for n in names if n)[:300])


def optional(
    table: Mapping[int, E], number: int, default: E, field: str, names: Iterable[str]
) -> E:
    """The enum member, `default` where it is unspecified; InvalidField where it is unknown."""
    return default if number == 0 else required(table, number, field, names)


@contextmanager
def fits_the_wire(field: str) -> Iterator[None]:
    """Turns protobuf's refusals (a number too big, a text that is no UTF-8) into InvalidField."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise InvalidField(field, f"cannot be sent: {error}", "correct that value") from error


def in_proto_terms(error: InvalidField, prefix: str) -> InvalidField:
    """A model's complaint with the field as the proto names it: "spec.tasks[0].cpu_millis"."""
    field = error.field
    for pattern, name in _PROTO_TERMS:
        field = pattern.sub(name, field)
    return InvalidField(f"{prefix}.{field}" if field else prefix, error.problem, error.fix)
