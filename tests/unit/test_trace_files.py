"""Reading Azure LLM trace files: the real one, and every way in which one can be broken."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from shared_data import AZURE, needs

from tango.adapters.trace_files import check_azure_llm, read_azure_llm
from tango.adapters.trace_lines import MAX_LINE_BYTES
from tango.model.errors import InvalidField
from tango.workload.arrival import Arrival
from tango.workload.azure_llm import RowError, WorkModel

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = "2023-11-16 18:15:46.0000000,374,44\n"
LATER = "2023-11-16 18:15:48.5000000,10,20\n"


def trace(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "trace.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@needs(AZURE)
def test_the_real_trace() -> None:
    found = check_azure_llm(AZURE)
    assert found.rows == 19_366
    assert found.skipped == 0
    assert found.span_s / 60 == pytest.approx(58.4, abs=0.1)
    assert found.mean_rate_per_s == pytest.approx(5.53, abs=0.01)
    assert found.mean_work == pytest.approx(1, abs=1e-4)


@needs(AZURE)
def test_the_real_trace_ten_times_as_fast_for_a_minute() -> None:
    found = list(read_azure_llm(AZURE, speed_up=10, duration_s=60))
    # Its first ten minutes are calmer than its mean of 5.5/s.
    assert found[-1].at_s == pytest.approx(60, abs=0.2)
    assert 30 < len(found) / 60 < 60
    assert found == sorted(found, key=lambda arrival: arrival.at_s)


def test_windows_line_ends_blank_lines_byte_order_mark_and_no_end_of_line(tmp_path: Path) -> None:
    content = "\ufeff\r\n" + HEADER.replace("\n", "\r\n") + "\r\n" + GOOD + "\n\n" + LATER.strip()
    found = list(read_azure_llm(trace(tmp_path, content), model=WorkModel(0, 1, 0)))
    assert found == [Arrival(0.0, 374), Arrival(2.5, 10)]


def test_quoted_fields(tmp_path: Path) -> None:
    content = HEADER + '"2023-11-16 18:15:46","1","2"\n'
    assert len(list(read_azure_llm(trace(tmp_path, content)))) == 1


def test_duration_cuts_after_speed_up(tmp_path: Path) -> None:
    path = trace(tmp_path, HEADER + GOOD + LATER)
    assert len(list(read_azure_llm(path, duration_s=2.5))) == 1
    assert len(list(read_azure_llm(path, duration_s=2.5, speed_up=2))) == 2


@pytest.mark.parametrize(
    ("content", "line", "column", "problem"),
    [
        ("", 1, "", "the file is empty"),
        ("\n \n", 1, "", "the file is empty"),
        ("TIMESTAMP,ContextTokens\n" + GOOD, 1, "GeneratedTokens", "missing"),
        (GOOD, 1, "TIMESTAMP", "missing"),
        (HEADER, 2, "", "no rows at all"),
        (HEADER + GOOD + "x,1,2\n", 3, "TIMESTAMP", "not a time"),
        (HEADER + "\n" + GOOD + "2023-11-16 18:15:47,,2\n", 4, "ContextTokens", "tokens"),
        (HEADER + GOOD + "2023-11-16 18:15:47,1,-2\n", 3, "GeneratedTokens", "tokens"),
        (HEADER + GOOD + "2023-11-16 18:15:47,1\n", 3, "", "2 fields"),
        (HEADER + LATER + GOOD, 3, "TIMESTAMP", "time goes back by 2.5"),
        (HEADER + GOOD + '"2023-11-16 18:15:47,1,2\n' + LATER, 3, "", "not a CSV row"),
        (HEADER.encode() + b"2023-11-16 18:15:47,1,\xff\n", 2, "", "not UTF-8 text (byte 0xff"),
        (b"\x1f\x8b\x08\x00" + b"\0" * 20, 1, "", "not UTF-8"),
        (HEADER + GOOD + "9" * (MAX_LINE_BYTES + 1) + "\n" + LATER, 3, "", "longer than"),
        (HEADER + "2" * 3 * MAX_LINE_BYTES, 2, "", "longer than"),
    ],
)
def test_broken_file_is_told_by_line_and_column(
    tmp_path: Path, content: str | bytes, line: int, column: str, problem: str
) -> None:
    path = trace(tmp_path, content)
    with pytest.raises(RowError) as caught:
        list(read_azure_llm(path))
    assert (caught.value.line, caught.value.column) == (line, column)
    assert problem in caught.value.problem
    assert str(caught.value).startswith(f"{path}:{line}: {column or 'row'}: ")


def test_header_is_checked_before_the_first_arrival_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RowError):
        read_azure_llm(trace(tmp_path, "a,b,c\n"))


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_file_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidField, match="trace: cannot be read"):
        list(read_azure_llm(tmp_path / name))


def test_bad_arguments_open_nothing(tmp_path: Path) -> None:
    path = trace(tmp_path, HEADER + GOOD)
    with pytest.raises(InvalidField, match="speed_up"):
        read_azure_llm(path, speed_up=0)
    with pytest.raises(InvalidField, match="duration_s"):
        read_azure_llm(path, duration_s=-1)


def test_skipping_counts_and_keeps_the_first_problems(tmp_path: Path) -> None:
    bad = "".join(f"x,{number},1\n" for number in range(8))
    long = "1" * (MAX_LINE_BYTES + 9) + "\n"
    path = trace(tmp_path, HEADER + GOOD + bad + long + LATER + GOOD + LATER)
    with read_azure_llm(path, skip_bad_rows=True) as reader:
        assert [arrival.at_s for arrival in reader] == [0, 2.5, 2.5]
        assert reader.skipped == 10
        assert [problem.line for problem in reader.problems] == [3, 4, 5, 6, 7]
    found = check_azure_llm(path, skip_bad_rows=True)
    assert (found.rows, found.skipped, len(found.problems)) == (3, 10, 5)


def test_skipping_everything_is_an_error(tmp_path: Path) -> None:
    path = trace(tmp_path, HEADER + "x,1,2\ny,1,2\n")
    with pytest.raises(RowError, match=r"no usable row \(2 broken\)"):
        list(read_azure_llm(path, skip_bad_rows=True))


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    with read_azure_llm(trace(tmp_path, HEADER + GOOD + LATER)) as reader:
        assert next(reader).at_s == 0
    assert list(reader) == []


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = trace(tmp_path, HEADER + GOOD * 4_000)  # 140 kB
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_azure_llm(path)) == 4_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60_000
