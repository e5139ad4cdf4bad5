"""Rows of the Azure LLM trace: parsing, errors, work, replay."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from tango.model.errors import InvalidField
from tango.workload.azure_llm import (
    MEAN_CONTEXT_TOKENS,
    MEAN_GENERATED_TOKENS,
    AzureReplay,
    Columns,
    RowError,
    TraceRow,
    WorkModel,
    parse_header,
    parse_row,
    parse_timestamp,
)

COLUMNS = parse_header(["TIMESTAMP", "ContextTokens", "GeneratedTokens"])


def test_timestamp_keeps_all_seven_digits() -> None:
    at_ns = parse_timestamp("2023-11-16 18:15:46.6805901")
    assert at_ns == 1_700_158_546_680_590_100


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-16 18:15:46.6805900+00:00",
        "2023-11-16T18:15:46.68059Z",
        " 2023-11-16 18:15:46.680590 ",
    ],
)
def test_equal_forms_of_one_time(text: str) -> None:
    assert parse_timestamp(text) == parse_timestamp("2023-11-16 18:15:46.6805900")


def test_timestamps_agree_with_the_standard_library() -> None:
    rng = random.Random(3)
    for _ in range(500):
        moment = dt.datetime.fromtimestamp(rng.randrange(0, 4_102_444_800), dt.UTC)
        text = moment.strftime("%Y-%m-%d %H:%M:%S")
        assert parse_timestamp(text) == int(moment.timestamp()) * 10**9


@pytest.mark.parametrize("day", ["2024-02-29", "2000-02-29", "1970-01-01", "2100-02-28"])
def test_days_at_the_edges(day: str) -> None:
    expected = dt.datetime.fromisoformat(day + "T00:00:00+00:00").timestamp()
    assert parse_timestamp(f"{day} 00:00:00") == int(expected) * 10**9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2023-11-16",
        "2023-11-16 18:15",
        "2023-13-01 00:00:00",
        "2023-00-01 00:00:00",
        "2023-02-29 00:00:00",
        "2100-02-29 00:00:00",
        "2023-11-31 00:00:00",
        "1969-12-31 00:00:00",
        "2023-11-16 24:00:00",
        "2023-11-16 18:60:00",
        "2023-11-16 18:15:60",
        "2023-11-16 18:15:46.",
        "2023-11-16 18:15:46+01:00",
        "٢٠٢٣-11-16 18:15:46",
    ],
)
def test_bad_timestamp(text: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_timestamp(text, 17)
    assert (caught.value.line, caught.value.column) == (17, "TIMESTAMP")
    assert str(caught.value).startswith("line 17: TIMESTAMP: ")


def test_header_in_another_order_with_more_columns() -> None:
    columns = parse_header(["id", " GeneratedTokens", "TIMESTAMP ", "ContextTokens"])
    assert columns == Columns(timestamp=2, context=3, generated=1, width=4)
    row = parse_row(["x", "5", "1970-01-01 00:00:01", "9"], columns, 2)
    assert row == TraceRow(2, 1_000_000_000, 9, 5)


@pytest.mark.parametrize(
    ("header", "column"),
    [
        (["TIMESTAMP", "ContextTokens"], "GeneratedTokens"),
        (["timestamp", "ContextTokens", "GeneratedTokens"], "TIMESTAMP"),
        (["TIMESTAMP", "ContextTokens", "ContextTokens", "GeneratedTokens"], "ContextTokens"),
        (["2023-11-16 18:15:46", "1", "2"], "TIMESTAMP"),
    ],
)
def test_bad_header_names_the_column(header: list[str], column: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_header(header)
    assert (caught.value.line, caught.value.column) == (1, column)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.5", "1_0", "x", "٣", "99999999999", "9" * 5000]
)
@pytest.mark.parametrize("column", ["ContextTokens", "GeneratedTokens"])
def test_bad_tokens_name_line_and_column(text: str, column: str) -> None:
    fields = ["1970-01-01 00:00:00", "1", "1"]
    fields[1 if column == "ContextTokens" else 2] = text
    with pytest.raises(RowError) as caught:
        parse_row(fields, COLUMNS, 8)
    assert (caught.value.line, caught.value.column) == (8, column)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_wrong_number_of_fields(count: int) -> None:
    with pytest.raises(RowError, match=f"line 3: row: {count} fields, the header has 3"):
        parse_row(["1"] * count, COLUMNS, 3)


def test_row_error_in_a_file_reads_as_file_line_column() -> None:
    error = RowError(4, "ContextTokens", "bad", "do this").at_file("a/b.csv")
    assert str(error) == "a/b.csv:4: ContextTokens: bad; do this"
    assert isinstance(error, InvalidField)


def test_default_work_of_the_mean_request_is_one() -> None:
    model = WorkModel()
    work = (
        model.base
        + model.per_context * MEAN_CONTEXT_TOKENS
        + model.per_generated * MEAN_GENERATED_TOKENS
    )
    assert work == pytest.approx(1)
    assert model.work(0, 0) == pytest.approx(0.1)
    assert "modelled" in model.describe()


def test_work_model_refuses_negative_cost() -> None:
    with pytest.raises(InvalidField, match="per_context"):
        WorkModel(per_context=-1)


def test_replay_starts_at_zero_and_speeds_up() -> None:
    replay = AzureReplay(4, WorkModel(1, 2, 3))
    rows = [TraceRow(2, 10**18, 1, 1), TraceRow(3, 10**18 + 100, 0, 0)]
    assert [replay.arrival(row).at_s for row in rows] == [0, 2.5e-8]
    assert replay.arrival(TraceRow(4, 10**18 + 4 * 10**9, 10, 100)).work == 321


def test_replay_refuses_time_going_back_and_can_go_on() -> None:
    replay = AzureReplay()
    replay.arrival(TraceRow(2, 3 * 10**9, 1, 1))
    with pytest.raises(RowError, match=r"line 3: TIMESTAMP: time goes back by 2\.0000000 s"):
        replay.arrival(TraceRow(3, 10**9, 1, 1))
    assert replay.arrival(TraceRow(4, 3 * 10**9, 1, 1)).at_s == 0


@pytest.mark.parametrize("speed_up", [0, -1, float("nan"), 1e7])
def test_bad_speed_up(speed_up: float) -> None:
    with pytest.raises(InvalidField, match="speed_up"):
        AzureReplay(speed_up)
