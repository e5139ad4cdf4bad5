"""Fields of a trace's rows: what is taken as a number, a column, a time in order."""

from __future__ import annotations

import pytest

from tango.workload.trace_rows import (
    InOrder,
    RowError,
    check_width,
    find_columns,
    parse_decimal,
    parse_maybe_decimal,
    parse_maybe_whole,
    parse_whole,
    split_csv,
)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), (" 7 ", 7), ("9223372036854775807", 2**63 - 1)]
)
def test_whole_numbers(text: str, value: int) -> None:
    assert parse_whole(text, 1, "n") == value


@pytest.mark.parametrize("text", ["", " ", "-1", "+1", "1_0", "1.0", "1e3", "٣", "x", "9" * 20])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(
        RowError, match=r"line 3: n: .* is not a whole number; write 0 to"
    ) as caught:
        parse_whole(text, 3, "n")
    assert (caught.value.line, caught.value.column) == (3, "n")


def test_bounds_of_whole_numbers() -> None:
    assert parse_whole("-1", 1, "n", low=-1) == -1
    with pytest.raises(RowError, match="-2 is out of range; write -1 to"):
        parse_whole("-2", 1, "n", low=-1)
    with pytest.raises(RowError, match="4 is out of range; write 0 to 3"):
        parse_whole("4", 1, "n", 3)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("2.861e-06", 2.861e-06), (" .5 ", 0.5)])
def test_decimals(text: str, value: float) -> None:
    assert parse_decimal(text, 1, "share", 1) == value


@pytest.mark.parametrize("text", ["", "x", "nan", "1_0", "٣", "0x1", "{}"])
def test_what_is_no_decimal(text: str) -> None:
    with pytest.raises(RowError, match=r"share: .* is not a number; write 0 to 1"):
        parse_decimal(text, 1, "share", 1)


@pytest.mark.parametrize("text", ["inf", "-inf", "1.5", "-0.1", "1e999"])
def test_decimals_out_of_range(text: str) -> None:
    with pytest.raises(RowError, match="out of range; write 0 to 1"):
        parse_decimal(text, 1, "share", 1)


def test_empty_fields_that_may_be() -> None:
    assert parse_maybe_whole(" ", 1, "n") is None
    assert parse_maybe_decimal("", 1, "n", 1) is None
    assert parse_maybe_whole("0", 1, "n") == 0
    assert parse_maybe_decimal("0.5", 1, "n", 1) == 0.5
    with pytest.raises(RowError):
        parse_maybe_whole("x", 1, "n")


def test_columns_are_found_by_name() -> None:
    assert find_columns([" b ", "x", "a"], ("a", "b"), 1) == (2, 0)
    with pytest.raises(RowError, match="b: the column is missing; the header reads 'a,x', not a,b"):
        find_columns(["a", "x"], ("a", "b"), 1)
    with pytest.raises(RowError, match="a: the column is there 2x"):
        find_columns(["a", "a"], ("a",), 1)


def test_times_in_order() -> None:
    order = InOrder(1_000_000)
    for at in (5, 5, 2_000_000):
        order.check(at, 1, "time")
    with pytest.raises(RowError, match=r"time: time goes back by 0\.5000000 s; sort the rows"):
        order.check(1_500_000, 9, "time")
    order.check(2_000_000, 10, "time")  # a row that was refused has moved nothing


def test_csv_lines() -> None:
    assert split_csv('a,"b,c",', 1) == ["a", "b,c", ""]
    with pytest.raises(RowError, match="row: not a CSV row"):
        split_csv('"a', 1)
    with pytest.raises(RowError, match="1 fields, the header has 2"):
        check_width(["a"], 2, 1)
