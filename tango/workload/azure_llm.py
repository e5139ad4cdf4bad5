"""Rows of the Azure LLM inference traces turned into arrivals of LC requests.

Format (Azure/AzurePublicDataset, AzureLLMInferenceDataset2023, CC-BY 4.0; the 2024 files differ
only in the suffix "+00:00"): a header and rows `TIMESTAMP,ContextTokens,GeneratedTokens`, with
TIMESTAMP in UTC to 100 ns: "2023-11-16 18:15:46.6805900". The trace says when requests came and how
long their texts were; what each cost is not in it and is modelled (see WorkModel).

Pure: fields in, arrivals out. Files are read in tango.adapters.trace_files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tango.model.fast_init import fast_init
from tango.workload.arrival import Arrival
from tango.workload.bounds import require_number
from tango.workload.trace_rows import InOrder, RowError, check_width, find_columns, split_csv

TIMESTAMP, CONTEXT, GENERATED = "TIMESTAMP", "ContextTokens", "GeneratedTokens"
# Means of the published 2023 conversation trace, 19,366 rows; they normalise the work.
MEAN_CONTEXT_TOKENS = 1154.697
MEAN_GENERATED_TOKENS = 211.126
MAX_TOKENS = 10_000_000
MAX_SPEED_UP = 1_000_000.0

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:\+00:00|Z)?", re.ASCII
)
_DAYS_BEFORE_MONTH = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)


@dataclass(frozen=True, slots=True)
class WorkModel:
    """Work of a request = base + per_context * ContextTokens + per_generated * GeneratedTokens.

    The defaults give the published 2023 trace a mean of 1.0, of which 10 % are fixed, 30 % come
    from reading the context and 60 % from writing the answer. A generated token thus costs as much
    as 11 tokens read, since answers are written token by token and contexts are read in parallel.
    Multiplied by a service's CPU time per ordinary request it is CPU time.
    """

    base: float = 0.1
    per_context: float = 0.3 / MEAN_CONTEXT_TOKENS
    per_generated: float = 0.6 / MEAN_GENERATED_TOKENS

    def __post_init__(self) -> None:
        for field in ("base", "per_context", "per_generated"):
            require_number(field, getattr(self, field), 0, 1_000_000)

    def work(self, context_tokens: int, generated_tokens: int) -> float:
        """Relative work of one request, 1.0 = the published trace's mean."""
        return self.base + self.per_context * context_tokens + self.per_generated * generated_tokens

    def describe(self) -> str:
        """The formula in words for a report, which must say that work is modelled."""
        return (
            f"modelled: {self.base:g} + {self.per_context:.4g} x ContextTokens"
            f" + {self.per_generated:.4g} x GeneratedTokens"
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the three columns stand, found by name; others are ignored."""

    timestamp: int
    context: int
    generated: int
    width: int


@fast_init
@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request of the trace. at_ns: nanoseconds since 1970-01-01 UTC (a float would round)."""

    line: int
    at_ns: int
    context_tokens: int
    generated_tokens: int


def parse_header(fields: Sequence[str], line: int = 1) -> Columns:
    """The columns' places. Raises RowError where one is missing or stands there twice."""
    timestamp, context, generated = find_columns(fields, (TIMESTAMP, CONTEXT, GENERATED), line)
    return Columns(timestamp, context, generated, len(fields))


def parse_row(fields: Sequence[str], columns: Columns, line: int) -> TraceRow:
    """One row from its text fields. Raises RowError."""
    check_width(fields, columns.width, line)
    return TraceRow(
        line,
        parse_timestamp(fields[columns.timestamp], line),
        _tokens(fields[columns.context], line, CONTEXT),
        _tokens(fields[columns.generated], line, GENERATED),
    )


def parse_timestamp(text: str, line: int = 1) -> int:
    """Nanoseconds since 1970-01-01 UTC of "2023-11-16 18:15:46.6805900" (up to 9 digits).

    Days are counted in the Gregorian calendar. Raises RowError for any other form, for dates that
    do not exist, years before 1970 and leap seconds.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        fix = 'write UTC as "2023-11-16 18:15:46.6805900"'
        raise RowError(line, TIMESTAMP, f"{text[:40]!r} is not a time", fix)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (1 <= month <= 12 and year >= 1970):
        raise RowError(line, TIMESTAMP, f"there is no such date: {text[:10]!r}")
    length = _DAYS_BEFORE_MONTH[month] - _DAYS_BEFORE_MONTH[month - 1] + (leap and month == 2)
    if not 1 <= day <= length:
        raise RowError(line, TIMESTAMP, f"there is no such date: {text[:10]!r}")
    if hour > 23 or minute > 59 or second > 59:
        raise RowError(line, TIMESTAMP, f"there is no such time of day: {text[11:19]!r}")
    past = year - 1  # whole years before this one, for counting their leap days
    leap_days = (past // 4 - past // 100 + past // 400) - (1969 // 4 - 1969 // 100 + 1969 // 400)
    days = (year - 1970) * 365 + leap_days
    days += _DAYS_BEFORE_MONTH[month - 1] + (leap and month > 2) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 1_000_000_000 + int((match[7] or "").ljust(9, "0"))


def _tokens(text: str, line: int, column: str) -> int:
    text = text.strip()
    # int() alone would take "1_0", "+1" and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > MAX_TOKENS:
        fix = f"write 0 to {MAX_TOKENS}"
        raise RowError(line, column, f"{text[:40]!r} is not a number of tokens", fix)
    return int(text)


class AzureReplay:
    """Turns rows, one after the other, into arrivals that start at 0.

    speed_up: 2 replays in half the time, so at twice the rate; (0, 1,000,000].
    """

    def __init__(self, speed_up: float = 1.0, model: WorkModel | None = None) -> None:
        require_number("speed_up", speed_up, 0, MAX_SPEED_UP, above=True)
        self._speed_up = speed_up
        self._model = model or WorkModel()
        self._first_ns: int | None = None
        self._order = InOrder(1_000_000_000)

    def arrival(self, row: TraceRow) -> Arrival:
        """The row as an arrival.

        Raises RowError where its time is before the previous row's; the replay can go on with a
        later row.
        """
        self._order.check(row.at_ns, row.line, TIMESTAMP)
        if self._first_ns is None:
            self._first_ns = row.at_ns
        at_s = (row.at_ns - self._first_ns) / 1e9 / self._speed_up
        return Arrival(at_s, self._model.work(row.context_tokens, row.generated_tokens))


class AzureRows:
    """The file's format: a header, then one request a row, replayed. Parameters as AzureReplay."""

    first_line = f"the header {TIMESTAMP},{CONTEXT},{GENERATED}"

    def __init__(self, speed_up: float = 1.0, model: WorkModel | None = None) -> None:
        self._replay = AzureReplay(speed_up, model)
        self._columns = Columns(0, 1, 2, 3)

    def header(self, text: str, line: int) -> bool:
        """Find the columns."""
        self._columns = parse_header(split_csv(text, line), line)
        return True

    def record(self, text: str, line: int) -> Arrival:
        """The row as an arrival."""
        return self._replay.arrival(parse_row(split_csv(text, line), self._columns, line))
