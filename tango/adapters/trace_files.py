"""Reads trace files line by line, whatever their size, and says where a broken one is broken."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from tango.model.errors import InvalidField
from tango.workload.arrival import Arrival
from tango.workload.azure_llm import (
    AzureReplay,
    Columns,
    RowError,
    WorkModel,
    parse_header,
    parse_row,
)
from tango.workload.bounds import require_number

MAX_LINE_BYTES = 64 * 1024
KEPT_PROBLEMS = 5


class AzureLlmFile(Iterator[Arrival]):
    """The arrivals of one Azure LLM trace file; opened and its header checked when made.

    Iterating reads on, in memory that does not grow. It closes itself at its end and at an error;
    close it, or use it in a `with` statement, where you stop earlier.

    skipped: broken rows left out so far. problems: the first few of them.
    """

    def __init__(
        self,
        path: Path,
        *,
        speed_up: float = 1.0,
        model: WorkModel | None = None,
        duration_s: float | None = None,
        skip_bad_rows: bool = False,
    ) -> None:
        if duration_s is not None:
            require_number("duration_s", duration_s, 0, float(2**53), above=True)
        self.path = path
        self.skipped = 0
        self.problems: list[RowError] = []
        self._replay = AzureReplay(speed_up, model)
        self._duration_s = duration_s
        self._skip_bad_rows = skip_bad_rows
        self._line = 0
        self._rows = 0
        self._file: IO[bytes] = _open(path)
        try:
            self._columns = self._header()
        except BaseException:
            self.close()
            raise

    def __next__(self) -> Arrival:
        """The next arrival.

        Raises RowError ("file:line: column: problem") for a broken row, unless bad rows are
        skipped, and for a file without any good row.
        """
        try:
            arrival = self._next_good()
        except BaseException:
            self.close()
            raise
        if arrival is None or (self._duration_s is not None and arrival.at_s >= self._duration_s):
            self.close()
            raise StopIteration
        self._rows += 1
        return arrival

    def __enter__(self) -> AzureLlmFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no arrival comes after that."""
        self._file.close()

    def _header(self) -> Columns:
        try:
            fields = self._fields()
            if fields is None:
                fix = "the first line is the header TIMESTAMP,ContextTokens,GeneratedTokens"
                raise RowError(1, "", "the file is empty", fix)
            return parse_header(fields, self._line)
        except RowError as error:
            raise error.at_file(str(self.path)) from None

    def _next_good(self) -> Arrival | None:
        while not self._file.closed:
            try:
                fields = self._fields()
                if fields is None:
                    break
                return self._replay.arrival(parse_row(fields, self._columns, self._line))
            except RowError as error:
                placed = error.at_file(str(self.path))
                if not self._skip_bad_rows:
                    raise placed from None
                self.skipped += 1
                if len(self.problems) < KEPT_PROBLEMS:
                    self.problems.append(placed)
        if self._rows == 0 and not self._file.closed:
            problem = f"no usable row ({self.skipped} broken)" if self.skipped else "no rows at all"
            raise RowError(self._line, "", problem, "give a trace with requests", str(self.path))
        return None

    def _fields(self) -> list[str] | None:
        """The next line that is not blank, split; None at the end of the file."""
        while True:
            raw = self._readline()
            if raw is None:
                return None
            if self._line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of Windows' editors
            try:
                text = raw.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 text (byte 0x{raw[error.start]:02x} at {error.start + 1})"
                raise RowError(self._line, "", problem, "save it as UTF-8") from None
            if not text.strip():
                continue
            try:
                return next(csv.reader([text], strict=True))
            except csv.Error as error:
                raise RowError(self._line, "", f"not a CSV row: {error}") from None

    def _readline(self) -> bytes | None:
        self._line += 1
        try:
            raw = self._file.readline(MAX_LINE_BYTES + 1)
            if len(raw) > MAX_LINE_BYTES:
                while raw and not raw.endswith(b"\n"):
                    raw = self._file.readline(MAX_LINE_BYTES)
                raise RowError(self._line, "", f"the line is longer than {MAX_LINE_BYTES} bytes")
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return raw or None


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """What one pass over a trace found. rows: arrivals; span_s: time of the last one, after
    speed-up; skipped, problems: broken rows left out, and the first few of them."""

    rows: int
    span_s: float
    mean_rate_per_s: float
    mean_work: float
    skipped: int
    problems: tuple[RowError, ...]


def read_azure_llm(
    path: Path,
    *,
    speed_up: float = 1.0,
    model: WorkModel | None = None,
    duration_s: float | None = None,
    skip_bad_rows: bool = False,
) -> AzureLlmFile:
    """Arrivals of an Azure LLM inference trace, from 0 s on, in order of time.

    speed_up: 2 replays it in half the time. model: work from token counts. duration_s: stop there
    (after speed-up). skip_bad_rows: count broken rows and go on, instead of raising.

    Raises InvalidField for a file that cannot be opened and for arguments out of range, RowError
    (an InvalidField too) for an empty file, a missing column and broken rows.
    """
    return AzureLlmFile(
        path, speed_up=speed_up, model=model, duration_s=duration_s, skip_bad_rows=skip_bad_rows
    )


def check_azure_llm(
    path: Path,
    *,
    speed_up: float = 1.0,
    model: WorkModel | None = None,
    duration_s: float | None = None,
    skip_bad_rows: bool = False,
) -> TraceSummary:
    """Read the part that would be replayed once, to refuse a broken trace before any load is sent.

    Raises as `read_azure_llm` and its iteration do.
    """
    rows, span_s, work = 0, 0.0, 0.0
    with read_azure_llm(
        path, speed_up=speed_up, model=model, duration_s=duration_s, skip_bad_rows=skip_bad_rows
    ) as trace:
        for arrival in trace:
            rows, span_s, work = rows + 1, arrival.at_s, work + arrival.work
        return TraceSummary(
            rows,
            span_s,
            rows / span_s if span_s > 0 else 0.0,
            work / rows,
            trace.skipped,
            tuple(trace.problems),
        )


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InvalidField:
    problem = f"cannot be read: {error.strerror}"
    return InvalidField("trace", problem, "give a file that is there and readable", str(path))
