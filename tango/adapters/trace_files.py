"""Azure LLM trace files: their arrivals, and a first pass that finds what is broken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tango.adapters.trace_reader import TraceFile
from tango.workload.arrival import Arrival
from tango.workload.azure_llm import AzureRows, WorkModel
from tango.workload.bounds import require_number
from tango.workload.trace_rows import RowError


class AzureLlmFile(TraceFile[Arrival]):
    """The arrivals of one Azure LLM trace file, up to `duration_s`; see TraceFile."""

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
        self._duration_s = duration_s
        super().__init__(path, AzureRows(speed_up, model), skip_bad_rows=skip_bad_rows)

    def _ends_before(self, record: Arrival) -> bool:
        return self._duration_s is not None and record.at_s >= self._duration_s


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
