"""JSON documents as Sections: strict, and larger than YAML may be; errors know no lines."""

from __future__ import annotations

import json
from pathlib import Path

from tango.adapters.document_items import Item
from tango.adapters.documents import Section, decode_document, read_document
from tango.model.errors import InvalidField

MAX_JSON_BYTES = 64 * 2**20


def load_json(path: Path) -> Section:
    """The file's one object. Raises InvalidField, with line and column where it is not JSON."""
    return parse_json(read_document(path, MAX_JSON_BYTES), str(path))


def parse_json(data: bytes | str, file: str) -> Section:
    """As load_json, from text. A key that is empty or given twice, NaN and Infinity are refused."""
    text = decode_document(data, file, MAX_JSON_BYTES)
    try:
        value = _item(json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)).value
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}:{error.colno}"
        raise InvalidField("document", f"is not JSON: {error.msg}", "", where) from None
    except RecursionError:
        raise InvalidField("document", "is nested too deeply", "", file) from None
    except ValueError as error:  # of the hooks, and int() of thousands of digits
        raise InvalidField("document", f"is wrong: {error}", "", file) from None
    if not isinstance(value, dict):
        raise InvalidField("document", "is no object", 'begin with "{"', file)
    return Section(file, "", 0, value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if "" in found:
        raise ValueError("a key is empty")
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


def _item(value: object) -> Item:
    if isinstance(value, dict):
        return Item({key: _item(one) for key, one in value.items()}, 0)
    if isinstance(value, list):
        return Item([_item(one) for one in value], 0)
    return Item(value, 0)
