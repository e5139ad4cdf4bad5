"""One reader for trace files of every format: records one by one, broken rows told or skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from tango.adapters.trace_lines import TraceLines
from tango.workload.trace_rows import RowError, RowFormat

KEPT_PROBLEMS = 5
Record = TypeVar("Record")


class TraceFile(Iterator[Record], Generic[Record]):
    """The records of one trace file; opened and its header checked when made.

    Iterating reads on, in memory that does not grow. It closes itself at its end and at an error;
    close it, or use it in a `with` statement, where you stop earlier.

    skipped: broken rows left out so far. problems: the first few of them.

    Raises InvalidField for a file that cannot be opened, RowError (an InvalidField too) for an
    empty file and for a header that does not fit.
    """

    def __init__(self, path: Path, rows: RowFormat[Record], *, skip_bad_rows: bool = False) -> None:
        self.path = path
        self.skipped = 0
        self.problems: list[RowError] = []
        self._format = rows
        self._skip_bad_rows = skip_bad_rows
        self._good = 0
        self._held: str | None = None
        self._lines = TraceLines(path)
        try:
            self._header()
        except BaseException:
            self.close()
            raise

    def __next__(self) -> Record:
        """The next record.

        Raises RowError ("file:line: column: problem") for a broken row, unless bad rows are
        skipped, and for a file without any good row.
        """
        try:
            record = self._next_good()
        except BaseException:
            self.close()
            raise
        if record is None or self._ends_before(record):
            self.close()
            raise StopIteration
        self._good += 1
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no record comes after that."""
        self._lines.close()

    def _ends_before(self, record: Record) -> bool:
        """Whether reading stops before this record; for a reader with an end of its own."""
        del record
        return False

    def _header(self) -> None:
        if not self._format.first_line:
            return
        try:
            text = self._lines.next_line()
            if text is None:
                fix = f"the first line is {self._format.first_line}"
                raise RowError(1, "", "the file is empty", fix)
            if not self._format.header(text, self._lines.line):
                self._held = text
        except RowError as error:
            raise error.at_file(str(self.path)) from None

    def _next_good(self) -> Record | None:
        while not self._lines.closed:
            try:
                text, self._held = self._held or self._lines.next_line(), None
                if text is None:
                    break
                return self._format.record(text, self._lines.line)
            except RowError as error:
                placed = error.at_file(str(self.path))
                if not self._skip_bad_rows:
                    raise placed from None
                self.skipped += 1
                if len(self.problems) < KEPT_PROBLEMS:
                    self.problems.append(placed)
        if self._good == 0 and not self._lines.closed:
            problem = f"no usable row ({self.skipped} broken)" if self.skipped else "no rows at all"
            raise RowError(self._lines.line, "", problem, "give a trace with rows", str(self.path))
        return None
