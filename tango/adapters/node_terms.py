"""What documents say of nodes: `requires`, `prefers`, `tolerations` and taints; and back again.

One reader for pods of placement, services and jobs, so that all of them have the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from tango.adapters.documents import Section
from tango.model.affinity import Effect, Operator, Preferences, Requirement, Taint, Toleration
from tango.model.errors import InvalidField

T = TypeVar("T")
Row = dict[str, object]
TERMS = ("requires", "prefers", "tolerations")


def read_requires(row: Section) -> tuple[Requirement, ...]:
    """requires: [{key, operator, values}]; In where no operator is given."""
    return tuple(_requirement(one) for one in row.sections("requires", required=False))


def read_prefers(row: Section) -> Preferences:
    """prefers: [{key, operator, values, weight}]; weight 1 where none is given."""
    return tuple(
        (_requirement(one), one.number("weight", 1.0, low=0))
        for one in row.sections("prefers", required=False)
    )


def read_tolerations(row: Section) -> tuple[Toleration, ...]:
    """tolerations: [{key, value, effect}]; what is left out may be any."""
    return tuple(_toleration(one) for one in row.sections("tolerations", required=False))


def read_taint(row: Section) -> Taint:
    """{key, value, effect}"""
    key, value = row.string("key"), row.string("value", "")
    effect = cast("Effect", row.string("effect", "NoSchedule"))
    return checked(row, lambda: Taint(key, value, effect))


def term_rows(
    requires: tuple[Requirement, ...],
    prefers: Preferences,
    tolerations: tuple[Toleration, ...],
) -> tuple[tuple[str, object], ...]:
    """(key, rows) of what the readers make these from."""
    return (
        ("requires", [_requirement_row(one) for one in requires]),
        ("prefers", [_requirement_row(one) | {"weight": weight} for one, weight in prefers]),
        ("tolerations", [_toleration_row(one) for one in tolerations]),
    )


def checked(row: Section, make: Callable[[], T], keys: Mapping[str, str] | None = None) -> T:
    """The model's own checks, their errors with the document's keys and the place.

    keys: the document's by the model's fields, where they differ.
    """
    try:
        return make()
    except InvalidField as error:
        key = error.field.rpartition(".")[2]
        raise row.error((keys or {}).get(key, key), error.problem, error.fix) from None


def _requirement(row: Section) -> Requirement:
    key, operator = row.string("key"), cast("Operator", row.string("operator", "In"))
    values = row.strings("values", ())
    return checked(row, lambda: Requirement(key, operator, values))


def _requirement_row(one: Requirement) -> Row:
    row: Row = {"key": one.key, "operator": one.operator}
    return row | ({"values": list(one.values)} if one.values else {})


def _toleration(row: Section) -> Toleration:
    key = row.string("key", "")
    given, told = row.string("value", ""), row.string("effect", "")
    value = given if "value" in row else None
    effect = cast("Effect", told) if "effect" in row else None
    return checked(row, lambda: Toleration(key, value, effect))


def _toleration_row(one: Toleration) -> Row:
    fields = (("key", one.key or None), ("value", one.value), ("effect", one.effect))
    return {key: value for key, value in fields if value is not None}
