"""What all parts of a scenario file share: places of errors, paths of data, broken rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tango.adapters.documents import Section
from tango.adapters.trace_reader import TraceFile
from tango.model.errors import InvalidField
from tango.workload.trace_rows import RowError

Record = TypeVar("Record")
# Where data sets lie that nobody wants in every clone: below one of the folders above the file.
SHARED = Path("shared") / "data"
_HOUR_MS = 3_600_000.0


class BadRows:
    """What becomes of broken rows: skip leaves them out, and counts them by file."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self._found: dict[str, tuple[int, RowError]] = {}

    def note(self, file: TraceFile[Record]) -> None:
        """How many a file had; a file that several streams read counts once."""
        if file.skipped:
            known = self._found.get(str(file.path))
            if known is None or known[0] < file.skipped:
                self._found[str(file.path)] = file.skipped, file.problems[0]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows were left out, by file."""
        return {path: count for path, (count, _) in sorted(self._found.items())}

    def lines(self) -> tuple[str, ...]:
        """A line for each file, for people."""
        return tuple(
            f"{count:,} broken rows of {path} are left out, the first: {first}"
            for path, (count, first) in sorted(self._found.items())
        )


def rows(file: TraceFile[Record], bad: BadRows) -> Iterator[Record]:
    """The records of a file, closed at the end, its broken rows noted."""
    with file:
        try:
            yield from file
        finally:
            bad.note(file)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the parts of a file need to know of the whole. base: the file's own folder."""

    base: Path
    seed: int
    load: float
    duration_s: float
    bad: BadRows = field(default_factory=BadRows)


@contextlib.contextmanager
def placed(section: Section, **keys: str) -> Iterator[None]:
    """Gives an error of what a section was made into the key that it came from, and its place.

    keys: key of the file by field of the error, where they differ.
    """
    try:
        yield
    except InvalidField as error:
        if error.where:
            raise
        key = keys.get(error.field, error.field)
        where = section.where(key)
        raise InvalidField(section.field(key), error.problem, error.fix, where) from None


def milliseconds(
    section: Section, key: str, default_s: float | None, low: float = 0.0, high: float = _HOUR_MS
) -> float:
    """Seconds from a key in milliseconds; None makes it required."""
    if key not in section and default_s is not None:
        section.number(key, 0.0)
        return default_s
    return section.number(key, low=low, high=high) / 1000


def known_names(section: Section, key: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """A list of names that must all be there; empty where the key is absent."""
    names = section.strings(key, ())
    for index, name in enumerate(names):
        require_known(section, f"{key}[{index}]", name, known, what)
        if name in names[:index]:
            raise section.error(f"{key}[{index}]", f"{name!r} is given twice", "leave one out")
    return names


def require_known(section: Section, key: str, name: str, known: tuple[str, ...], what: str) -> None:
    """Raise InvalidField with those that there are, where there is none of that name."""
    if name not in known:
        shown = ", ".join(known[:8]) + (" ..." if len(known) > 8 else "")
        raise section.error(key, f"no {what} is named {name!r}", f"use one of: {shown or 'none'}")


def data_path(section: Section, key: str, base: Path) -> Path:
    """A file of data: relative to the scenario, or in a shared/data beside a folder above it.

    Raises InvalidField with all places where it is not.
    """
    text = section.string(key)
    path = Path(text).expanduser()
    if not text or "\0" in text:
        raise section.error(key, "is not a path", "write one, relative to this file or absolute")
    places = [base / path]
    if not path.is_absolute():
        places += [folder / SHARED / path for folder in base.parents]
    for place in places:
        if place.is_file():
            return place
    below = f", nor in a {SHARED} above it" if len(places) > 1 else ""
    fix = "docs/simulate.md says where public data sets are published"
    raise section.error(key, f"there is no file {places[0]}{below}", fix)
