"""JSON text of stored records: {"type": name, "record": {field: value}}, typed both ways."""

from __future__ import annotations

import json
import typing
from typing import Any

from tango.adapters.typed_json import RecordError, TypedJson
from tango.model.commands import Stored

_RECORDS: dict[str, Any] = {kind.__name__: kind for kind in typing.get_args(Stored)}
_TYPED = TypedJson()


def encode(record: Stored) -> str:
    """The record as JSON text. Raises RecordError for what is no Stored or not of its types."""
    name = type(record).__name__
    if _RECORDS.get(name) is not type(record):
        raise RecordError(f"{name} is not a kind of record that can be stored")
    try:
        tree = {"type": name, "record": _TYPED.encoder(_RECORDS[name])(record)}
        return json.dumps(tree, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{name} cannot be stored: {error}") from error


def decode(text: str) -> Stored:
    """The record that the text holds. Raises RecordError."""
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise RecordError(f"not JSON: {error}") from error
    if not isinstance(tree, dict) or tree.keys() != {"type", "record"}:
        raise RecordError("not a stored record")
    kind = _RECORDS.get(tree["type"]) if isinstance(tree["type"], str) else None
    if kind is None:
        raise RecordError(f"{tree['type']!r} is not a kind of record")
    record: Stored = _TYPED.decoder(kind)(tree["record"], tree["type"])
    return record
