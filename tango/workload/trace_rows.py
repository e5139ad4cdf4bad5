"""One line of a trace file to checked fields: what all formats share, and the error that names it.

Pure: text in, values out. Files are read in tango.adapters.trace_reader.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from tango.model.errors import InvalidField
from tango.model.units import format_number

MAX_INT64 = 2**63 - 1
_Record = TypeVar("_Record", covariant=True)


class RowError(InvalidField):
    """A trace file is wrong at one line and column.

    line: 1-based, the header is line 1. column: the column's name, "" where the whole line is
    meant. `at_file` gives the same error with the file's name in front.
    """

    def __init__(self, line: int, column: str, problem: str, fix: str = "", path: str = "") -> None:
        self.line = line
        self.column = column
        place = f"{path}:{line}" if path else f"line {line}"
        super().__init__(column or "row", problem, fix, place)

    def at_file(self, path: str) -> RowError:
        """The same error as "path:line: column: problem"."""
        return RowError(self.line, self.column, self.problem, self.fix, path)


class RowFormat(Protocol[_Record]):
    """How the lines of one file become records; it may remember what earlier lines said.

    Both methods raise RowError; after one from `record` it can go on with a later line.
    """

    @property
    def first_line(self) -> str:
        """What the first line must hold, in words; "" where a file begins with its rows."""

    def header(self, text: str, line: int) -> bool:
        """Take the first line. False: it is the first row already, and comes again as one."""

    def record(self, text: str, line: int) -> _Record:
        """One row."""


class InOrder:
    """Refuses times that go back. per_s: units of the times in one second."""

    def __init__(self, per_s: int = 1) -> None:
        self._per_s = per_s
        self._last: float | None = None

    def check(self, at: float, line: int, column: str) -> None:
        """Raise RowError where `at` is before the latest good time."""
        if self._last is not None and at < self._last:
            back_s = (self._last - at) / self._per_s
            fix = "sort the rows by time"
            raise RowError(line, column, f"time goes back by {back_s:.7f} s", fix)
        self._last = at


def split_csv(text: str, line: int) -> list[str]:
    """The fields of one CSV line (RFC 4180; a quoted field ends on its own line)."""
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise RowError(line, "", f"not a CSV row: {error}") from None


def find_columns(fields: Sequence[str], names: Sequence[str], line: int) -> tuple[int, ...]:
    """Where the named columns stand in a header. Raises RowError: one is missing, or doubled."""
    found = [field.strip() for field in fields]
    for name in names:
        if (times := found.count(name)) != 1:
            problem = "the column is missing" if times == 0 else f"the column is there {times}x"
            wanted = ",".join(names)
            fix = f"the header reads {','.join(found)[:80]!r}, not {wanted}"
            raise RowError(line, name, problem, fix)
    return tuple(found.index(name) for name in names)


def check_width(fields: Sequence[str], width: int, line: int, whose: str = "the header") -> None:
    """Refuse a row that has more or fewer fields than `whose` says."""
    if len(fields) != width:
        raise RowError(line, "", f"{len(fields)} fields, {whose} has {width}")


def parse_whole(text: str, line: int, column: str, high: int = MAX_INT64, low: int = 0) -> int:
    """A whole number in [low, high]; "-" only where `low` is negative."""
    text = text.strip()
    digits = text.removeprefix("-") if low < 0 else text
    # int() alone would take "1_0", "+1" and digits of other scripts.
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        problem = f"{text[:40]!r} is not a whole number"
        raise RowError(line, column, problem, f"write {low} to {high}")
    if not low <= (value := int(text)) <= high:
        raise RowError(line, column, f"{value} is out of range", f"write {low} to {high}")
    return value


def parse_decimal(text: str, line: int, column: str, high: float, low: float = 0.0) -> float:
    """A finite decimal number in [low, high], exponents allowed."""
    try:
        value = math.nan if "_" in text or not text.isascii() else float(text)
    except ValueError:
        value = math.nan
    fix = f"write {format_number(low)} to {format_number(high)}"
    if math.isnan(value):
        raise RowError(line, column, f"{text.strip()[:40]!r} is not a number", fix)
    if not low <= value <= high:
        raise RowError(line, column, f"{format_number(value)} is out of range", fix)
    return value


def parse_maybe_whole(text: str, line: int, column: str, high: int = MAX_INT64) -> int | None:
    """As parse_whole, None for an empty field."""
    return parse_whole(text, line, column, high) if text.strip() else None


def parse_maybe_decimal(text: str, line: int, column: str, high: float) -> float | None:
    """As parse_decimal, None for an empty field."""
    return parse_decimal(text, line, column, high) if text.strip() else None
