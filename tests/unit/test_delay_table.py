"""Round trips as they count: smoothed against jitter, forgotten with age, from several sources."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tango.controllers.central.delay_table import DelayTable
from tango.model.round_trips import RoundTrip


def counted(*rtts_ms: float, updates: int = 3) -> list[float]:
    """What counts after each measurement of one pair, in ms."""
    table = DelayTable(updates, 60.0, 0.0)
    found = []
    for now, rtt_ms in enumerate(rtts_ms):
        table.told("e", [RoundTrip("e", "e/n", rtt_ms / 1000)], float(now))
        (trip,) = table.trips()
        found.append(round(trip.rtt_s * 1000, 6))
    return found


def test_the_first_counts_at_once_and_a_change_after_three_in_a_row() -> None:
    assert counted(10, 30, 30, 30, 10, 10, 10) == [10, 10, 10, 30, 30, 30, 10]


def test_one_that_is_late_or_early_changes_nothing() -> None:
    assert counted(10, 90, 10, 10, 1, 10, 90, 10) == [10] * 8


def test_what_all_agree_on_counts_and_no_more() -> None:
    assert counted(10, 40, 30, 50) == [10, 10, 10, 30]
    assert counted(50, 10, 20, 15) == [50, 50, 50, 20]
    assert counted(10, 30, updates=1) == [10, 30]


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30), st.floats(0, 1000))
def test_a_bound_is_broken_only_by_three_in_a_row(rtts_ms: list[float], bound_ms: float) -> None:
    counts = counted(*rtts_ms)
    bound_ms = round(bound_ms, 6)
    for at in range(1, len(counts)):
        if counts[at - 1] <= bound_ms < counts[at]:
            assert all(round(rtt, 6) > bound_ms for rtt in rtts_ms[max(0, at - 2) : at + 1])
            assert at >= 2
        if counts[at] <= bound_ms < counts[at - 1]:
            assert all(round(rtt, 6) <= bound_ms for rtt in rtts_ms[at - 2 : at + 1])


def test_a_pair_that_nobody_measures_any_more_is_forgotten() -> None:
    table = DelayTable(3, 60.0, 1.0)
    both = [RoundTrip("e", "e/n", 0.001), RoundTrip("e", "e/m", 0.001)]
    assert table.told("e", both, 0.0)
    assert not table.told("e", both[:1], 60.0)
    assert table.told("e", both[:1], 61.0)
    assert [trip.target for trip in table.trips()] == ["e/n"]
    assert table.size == 1


def test_what_a_source_says_is_old_is_as_old_as_it_says() -> None:
    table = DelayTable(3, 60.0, 0.0)
    table.told("", [RoundTrip("a", "b", 0.001, 50.0), RoundTrip("a", "c", 0.001, 61.0)], 100.0)
    assert [trip.target for trip in table.trips()] == ["b"]
    table.told("", [], 111.0)
    assert not table.trips()


def test_updates_that_come_too_soon_are_left_out() -> None:
    table = DelayTable(2, 60.0, 1.0)
    for now in (0.0, 1.0, 1.2, 1.4, 1.6):
        table.told("e", [RoundTrip("e", "e/n", 0.001 if now == 0 else 0.050)], now)
    assert table.trips()[0].rtt_s == 0.001
    table.told("e", [RoundTrip("e", "e/n", 0.050)], 2.0)
    assert table.trips()[0].rtt_s == 0.050
