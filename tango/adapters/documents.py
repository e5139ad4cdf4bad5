"""Typed reading of configuration files and manifests, where every error knows its line."""

from __future__ import annotations

import difflib
import enum
import json
import math
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tango.adapters.document_items import Item, changed_item, kind_of
from tango.model.cores import MAX_CORES, check_core_ids, parse_cores
from tango.model.errors import InvalidField
from tango.model.units import format_number, parse_cpu, parse_memory

MAX_DOCUMENT_BYTES = 2**20
# Characters of a text that a hint repeats.
MAX_SHOWN = 60

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_CHANGE_STEP = re.compile(r"\[(\d+|\*)\]|([^.\[\]]+)")
_E = TypeVar("_E", bound=enum.Enum)
_P = TypeVar("_P")


class Section:
    """A mapping of a document, read key by key with the type that each must have.

    Each accessor raises InvalidField with the field's path, the problem, a fix and "file:line". A
    default of None makes the key required. finish() refuses every key that nobody read, here and in
    the sections that were opened below; what it tells instead are all keys that somebody read or
    looked for, so that a reader need not list its keys.
    """

    def __init__(self, file: str, path: str, line: int, items: dict[str, Item]) -> None:
        self.file = file
        self.path = path
        self.line = line
        self._items = items
        self._known: dict[str, None] = {}
        self._sought: dict[str, None] = {}
        self._opened: list[Section] = []

    def __contains__(self, key: str) -> bool:
        """Whether a key that may be there is; one that may not is asked for by `has`."""
        self._sought[key] = None
        return key in self._items

    def field(self, key: str) -> str:
        """The path of a key from the top of the document."""
        return f"{self.path}.{key}" if self.path else key

    def where(self, field: str = "") -> str:
        """ "file:line" of a field below here ("tasks[0].argv"), or of the nearest that exists."""
        line, value = self.line, Item(self._items, self.line)
        for index, key in _STEP.findall(field):
            found: Item | None = None
            if key and isinstance(value.value, dict):
                found = value.value.get(key)
            elif index and isinstance(value.value, list) and int(index) < len(value.value):
                found = value.value[int(index)]
            if found is None:
                break
            line, value = found.line or line, found
        return self._place(line)

    def error(self, key: str, problem: str, fix: str = "") -> InvalidField:
        """An InvalidField about this key, with its place."""
        return InvalidField(self.field(key), problem, fix, self.where(key))

    def has(self, key: str) -> bool:
        """Whether the key is given, whatever its value; that it may be is not said by that."""
        return key in self._items

    def string(self, key: str, default: str | None = None) -> str:
        """A text; a number or a boolean is refused rather than guessed at."""
        item = self._take(key, default is not None)
        if item is None:
            return default or ""
        if not isinstance(item.value, str):
            raise self._wrong(key, item, "a text", "write it in quotes")
        return item.value

    def integer(
        self, key: str, default: int | None = None, *, low: int | None = None, high: int = 2**63 - 1
    ) -> int:
        """A whole number in [low, high]."""
        item = self._take(key, default is not None)
        if item is None:
            return default or 0
        if not isinstance(item.value, int) or isinstance(item.value, bool):
            raise self._wrong(key, item, "a whole number", "write it without quotes and unit")
        if (low is not None and item.value < low) or item.value > high:
            fix = f"at most {high}" if low is None else f"use {low} to {high}"
            raise self.error(key, f"{item.value} is out of range", fix)
        return item.value

    def number(
        self, key: str, default: float | None = None, *, low: float = -1e300, high: float = 1e300
    ) -> float:
        """A finite number in [low, high]."""
        item = self._take(key, default is not None)
        if item is None:
            return default or 0.0
        if not isinstance(item.value, int | float) or isinstance(item.value, bool):
            raise self._wrong(key, item, "a number", "write it without quotes and unit")
        if not math.isfinite(item.value) or not low <= item.value <= high:
            fix = f"use {format_number(low)} to {format_number(high)}" if low > -1e300 else ""
            raise self.error(key, f"{format_number(item.value)} is out of range", fix)
        return float(item.value)

    def boolean(self, key: str, default: bool | None = None) -> bool:
        """true or false, nothing else."""
        item = self._take(key, default is not None)
        if item is None:
            return bool(default)
        if not isinstance(item.value, bool):
            raise self._wrong(key, item, "true or false", "write true or false, without quotes")
        return item.value

    def strings(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts. A YAML number in it stands for its text as written: [sleep, 0.50]."""
        item = self._take(key, default is not None)
        if item is None:
            return default or ()
        if not isinstance(item.value, list):
            raise self._wrong(key, item, "a list", f"write a list: {_listed(key, item)}")
        return tuple(self._text(f"{key}[{i}]", part) for i, part in enumerate(item.value))

    def integers(self, key: str, *, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers in [low, high], empty where absent."""
        item = self._take(key, True)
        if item is None:
            return ()
        if not isinstance(item.value, list):
            raise self._wrong(key, item, "a list", "write a list: [1, 2]")
        for index, part in enumerate(item.value):
            if not isinstance(part.value, int) or isinstance(part.value, bool):
                raise self._wrong(f"{key}[{index}]", part, "a whole number", "write it plainly")
            if not low <= part.value <= high:
                fix = f"use {low} to {high}"
                raise self.error(f"{key}[{index}]", f"{part.value} is out of range", fix)
        return tuple(part.value for part in item.value)

    def core_ids(self, key: str) -> tuple[int, ...]:
        """Ids of cores from "0-1,3", 0 or [0, 1]; empty where absent."""
        item = self._take(key, True)
        if item is None:
            return ()
        if isinstance(item.value, list):
            ids = self.integers(key, low=0, high=MAX_CORES - 1)
            self._placed(key, lambda: check_core_ids(ids, self.field(key)))
            return ids
        # A single id is a number to YAML: the text as written counts.
        text = item.text if item.text is not None else item.value
        if isinstance(text, bool) or not isinstance(text, str | int):
            raise self._wrong(key, item, "a list of core ids", "write '0-1,3' or [0, 1, 3]")
        return self._placed(key, lambda: parse_cores(str(text), self.field(key)))

    def string_map(self, key: str) -> tuple[tuple[str, str], ...]:
        """A mapping of texts in the order of the file, empty where absent; numbers as written."""
        item = self._take(key, True)
        if item is None:
            return ()
        if not isinstance(item.value, dict):
            raise self._wrong(key, item, "a mapping", "write one 'NAME: value' a line")
        return tuple((name, self._text(f"{key}.{name}", part)) for name, part in item.value.items())

    def cpu(self, key: str, default: int | None = None) -> int:
        """Millicores from "250m", "2", 0.5 or 1."""
        item = self._take(key, default is not None)
        if item is None:
            return default or 0
        value = item.value
        if not isinstance(value, str | int | float):
            raise self._wrong(key, item, "a CPU quantity", 'write "500m" or 0.5')
        return self._placed(key, lambda: parse_cpu(value, self.field(key)))

    def memory(self, key: str, default: int | None = None) -> int:
        """Bytes from "64Mi", "1G" or a whole number."""
        item = self._take(key, default is not None)
        if item is None:
            return default or 0
        value = item.value
        if not isinstance(value, str | int):
            raise self._wrong(key, item, "a memory quantity", 'write "64Mi" or "1G"')
        return self._placed(key, lambda: parse_memory(value, self.field(key)))

    def choice(self, key: str, kind: type[_E], default: _E | None = None) -> _E:
        """A member of an enum by its value."""
        item = self._take(key, default is not None)
        if item is None and default is not None:
            return default
        assert item is not None
        for member in kind:
            if member.value == item.value:
                return member
        values = [str(member.value) for member in kind]
        shown = item.text if item.text is not None else item.value
        near = difflib.get_close_matches(str(shown), values, 1)
        fix = f"did you mean {near[0]!r}?" if near else ""
        if isinstance(item.value, list | dict):
            raise self._wrong(key, item, f"one of {', '.join(values)}", "")
        raise self.error(key, f"{shown!r} is not one of {', '.join(values)}", fix)

    def section(self, key: str, *, required: bool = False) -> Section:
        """The section under a key, an empty one where it is absent."""
        item = self._take(key, not required)
        if item is None:
            return Section(self.file, self.field(key), self.line, {})
        if not isinstance(item.value, dict):
            raise self._wrong(key, item, "a mapping", "write its keys below it, indented")
        return self._open(self.field(key), item)

    def sections(self, key: str, *, required: bool = True) -> tuple[Section, ...]:
        """The mappings of a list, e.g. the tasks of a job; empty where it is absent and may be."""
        item = self._take(key, not required)
        if item is None:
            return ()
        if not isinstance(item.value, list):
            raise self._wrong(key, item, "a list", "begin each entry with '- '")
        found = []
        for index, part in enumerate(item.value):
            name = f"{key}[{index}]"
            if not isinstance(part.value, dict):
                raise self._wrong(name, part, "a mapping", "write 'key: value' pairs in it")
            found.append(self._open(self.field(name), part))
        return tuple(found)

    def items(self, key: str) -> tuple[tuple[str, Item], ...]:
        """The keys and values of a mapping as they are, empty where it is absent."""
        item = self._take(key, True)
        if item is None:
            return ()
        if not isinstance(item.value, dict):
            raise self._wrong(key, item, "a mapping", "write its keys below it, indented")
        return tuple(item.value.items())

    def unread(self) -> Section:
        """The same, as if nothing had been asked for yet."""
        return Section(self.file, self.path, self.line, self._items)

    def with_value(self, path: str, value: Item) -> Section:
        """This section with another value at a path: "a.b", "list[0].key", "list[*].key" for each
        entry. Mappings on the way that are not there are made; nothing has been asked for yet.

        Raises InvalidField for a path that leads into a value, or beyond a list.
        """
        steps = [index or key for index, key in _CHANGE_STEP.findall(path)]
        if not steps or _CHANGE_STEP.sub("", path).strip("."):
            raise InvalidField(
                path, "is not a path of keys", 'write "section.key" or "list[0].key"'
            )
        changed = changed_item(Item(self._items, self.line), steps, value, path)
        assert isinstance(changed.value, dict)
        return Section(self.file, self.path, self.line, changed.value)

    def finish(self) -> None:
        """Refuse keys that no accessor asked for, with the known one that looks most like it."""
        for key in self._items:
            if key in self._known:
                continue
            hints = [one for one in self._sought if one != key]
            near = difflib.get_close_matches(key, hints, 1)
            known = "known here: " + ", ".join(hints)
            fix = f"did you mean {near[0]!r}?" if near else known
            raise InvalidField(
                self.field(key), "is not a known key", fix, self._place(self._items[key].line)
            )
        for section in self._opened:
            section.finish()

    def _open(self, path: str, item: Item) -> Section:
        assert isinstance(item.value, dict)
        section = Section(self.file, path, item.line, item.value)
        self._opened.append(section)
        return section

    def _take(self, key: str, optional: bool) -> Item | None:
        self._known[key] = self._sought[key] = None
        item = self._items.get(key)
        if item is None:
            if optional:
                return None
            unread = [name for name in self._items if name not in self._known]
            near = difflib.get_close_matches(key, unread, 1, cutoff=0.7)
            fix = f"did you mean it by {near[0]!r}?" if near else ""
            raise InvalidField(
                self.field(key), "is missing", fix, self.where(near[0] if near else "")
            )
        if item.value is None:
            raise self.error(key, "has no value", "give it one or remove the line")
        return item

    def _text(self, key: str, item: Item) -> str:
        if isinstance(item.value, str):
            return item.value
        if item.text is not None and item.value is not None:
            return item.text
        raise InvalidField(
            self.field(key),
            f"is {kind_of(item)}, not a text",
            "write it in quotes",
            self._place(item.line),
        )

    def _wrong(self, key: str, item: Item, wanted: str, fix: str) -> InvalidField:
        problem = f"is {kind_of(item)}, not {wanted}"
        return InvalidField(self.field(key), problem, fix, self._place(item.line))

    def _placed(self, key: str, parse: Callable[[], _P]) -> _P:
        try:
            return parse()
        except InvalidField as error:
            raise error.at(self.where(key)) from None

    def _place(self, line: int) -> str:
        return f"{self.file}:{line}" if line else self.file


def _listed(key: str, item: Item) -> str:
    """What could be there in place of a text that is no list."""
    if key == "argv":
        return '["program", "argument"]'
    text = item.value if isinstance(item.value, str) else item.text
    if text is None or len(text) > MAX_SHOWN:
        return '["one", "another"]'
    return json.dumps([text], ensure_ascii=False)


def decode_document(data: bytes | str, file: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> str:
    """The text of a document of at most 1 MiB of UTF-8; InvalidField with line and column."""
    size = len(data)
    if size > max_bytes:
        raise InvalidField("document", f"has {size} bytes", f"at most {max_bytes >> 20} MiB", file)
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        where = f"{file}:{line}:{column}"
        raise InvalidField("document", "is not UTF-8 text", "save it as UTF-8", where) from None


def read_document(path: Path, max_bytes: int = MAX_DOCUMENT_BYTES) -> str:
    """The text of a regular file of at most 1 MiB; InvalidField where it cannot be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InvalidField("document", "is not a regular file", "name a file", str(path))
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InvalidField("document", f"cannot be read: {error.strerror}", "", str(path)) from None
    if len(data) > max_bytes:
        problem = f"has {max(status.st_size, len(data))} bytes"
        raise InvalidField("document", problem, f"at most {max_bytes >> 20} MiB", str(path))
    return decode_document(data, str(path), max_bytes)
