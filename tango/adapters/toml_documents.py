"""TOML documents with the line of every key that a plain scan of the text can find."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tango.adapters.document_items import Item
from tango.adapters.documents import Section, decode_document, read_document
from tango.model.errors import InvalidField

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]\]?")
_PAIR = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")
_KEY_PART = re.compile(_PART)
# What can hide brackets and quotes, and the brackets themselves.
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*|[\[\]{}\n]",
    re.DOTALL,
)

# How TOML's errors begin for what is there already; they name no key, or no line of the first one.
_DOUBLES = ("Cannot overwrite a value", "Cannot declare ")

KeyPath = tuple[str | int, ...]


def load_toml(path: Path) -> Section:
    """The file as a Section; InvalidField with file, line and column where it is not TOML."""
    return parse_toml(read_document(path), str(path))


def parse_toml(data: bytes | str, file: str) -> Section:
    """As load_toml, from text. A key given twice is an error of TOML itself, named here."""
    text = decode_document(data, file)
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise InvalidField("document", "is nested too deeply", "", file) from None
    except ValueError as error:  # TOMLDecodeError, and int() of thousands of digits
        message = str(error)
        place = _PLACE.search(message)
        where = file
        if place is not None:
            message = message[: place.start()]
            last = text.count("\n") + 1
            where = f"{file}:{place[1]}:{place[2]}" if place[1] else f"{file}:{last}"
            if message.startswith(_DOUBLES):
                _refuse_doubled(text, int(place[1] or last), file)
        raise InvalidField("document", f"is not TOML: {message}", "", where) from None
    lines = key_lines(text)
    items = {key: _item(value, (key,), 0, lines) for key, value in values.items()}
    return Section(file, "", 0, items)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line of each key by its path, list indices included; best effort, for valid TOML.

    Keys inside inline tables and values inside arrays are not found: they count as standing where
    the key around them stands.
    """
    lines: dict[KeyPath, int] = {}
    for table, key, number in _statements(text):
        for length in range(len(key) + 1):
            if path := (*table, *key[:length]):
                lines.setdefault(path, number)
    return lines


def _refuse_doubled(text: str, line: int, file: str) -> None:
    """Raises InvalidField if the last key up to this line, where TOML ends, was there before."""
    first: dict[KeyPath, int] = {}
    path: KeyPath = ()
    number, before = 0, None
    # What follows may be no TOML.
    for table, key, number in _statements("\n".join(text.split("\n")[:line])):
        path = (*table, *key)
        before = first.get(path)
        first.setdefault(path, number)
    if before is not None:
        field = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)
        problem = f"is given twice, first in line {before}"
        raise InvalidField(field[1:], problem, "keep one", f"{file}:{number}")


def _statements(text: str) -> Iterator[tuple[KeyPath, tuple[str, ...], int]]:
    """Each (table, key in it, line) in the order of the text; headers have no key."""
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    position, number = 0, 1
    while position < len(text):
        header = _HEADER.match(text, position)
        pair = None if header else _PAIR.match(text, position)
        if header:
            table = _resolve(_parts(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                yield table, (), number
                table = (*table, counts[table])
            yield table, (), number
        elif pair:
            yield table, _parts(pair[1]), number
        start = header.end() if header else pair.end() if pair else position
        end = _statement_end(text, start)
        number += text.count("\n", position, end)
        position = end


def _resolve(parts: tuple[str, ...], counts: dict[KeyPath, int]) -> KeyPath:
    """The path of a header: a name on the way that is an array of tables means its last one."""
    path: KeyPath = ()
    for index, part in enumerate(parts):
        path = (*path, part)
        if path in counts and index < len(parts) - 1:
            path = (*path, counts[path])
    return path


def _parts(dotted: str) -> tuple[str, ...]:
    found: list[str] = []
    for part in _KEY_PART.findall(dotted):
        if part.startswith('"'):
            found.append(next(iter(tomllib.loads(f"{part} = 0"))))
        else:
            found.append(part.strip("'"))
    return tuple(found)


def _statement_end(text: str, start: int) -> int:
    """Position after the newline that ends the statement: outside of strings and brackets."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token[0]
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        elif mark == "\n" and depth <= 0:
            return token.end()
    return len(text)


def _item(value: object, path: KeyPath, line: int, lines: dict[KeyPath, int]) -> Item:
    line = lines.get(path, line)
    if isinstance(value, dict):
        return Item({k: _item(v, (*path, k), line, lines) for k, v in value.items()}, line)
    if isinstance(value, list):
        return Item([_item(v, (*path, i), line, lines) for i, v in enumerate(value)], line)
    return Item(value, line)
