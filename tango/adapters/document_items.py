"""Values of a document with their places, as what reads a format makes them for a Section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tango.model.errors import InvalidField


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a document and where it stands.

    value: str, int, float, bool, None, a list of Items, or a dict of Items by their keys.
    line: from 1, of the key where there is one; 0 where it is not known.
    text: a plain scalar as it was written, where the format keeps that (YAML).
    """

    value: object
    line: int
    text: str | None = None


def changed_item(item: Item, steps: Sequence[str], value: Item, path: str) -> Item:
    """The item with another value where the steps lead."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(item.value, list):
        many = item.value
        every = step == "*"
        if not every and not (step.isdigit() and int(step) < len(many)):
            fix = f"it has {len(many)} entries: [0] is the first, [*] is each of them"
            raise InvalidField(path, f"leads to no entry of a list: {step!r}", fix)
        entries = [
            changed_item(each, rest, value, path) if every or int(step) == at else each
            for at, each in enumerate(many)
        ]
        return Item(entries, item.line)
    if not isinstance(item.value, dict):
        raise InvalidField(path, f"leads into {kind_of(item)}", "name a key of a section")
    found = item.value.get(step, Item({}, value.line))
    return Item({**item.value, step: changed_item(found, rest, value, path)}, item.line)


def kind_of(item: Item) -> str:
    """What a value is, in words for people."""
    match item.value:
        case None:
            return "empty"
        case bool():
            return str(item.value).lower()
        case int() | float():
            return f"the number {item.text or item.value}"
        case str():
            shown = item.value if len(item.value) <= 40 else item.value[:37] + "..."
            return f"the text {shown!r}"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return "a date or time"
