"""Whole numbers dealt by room and by wants: sums, bounds, fairness."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tango.algorithms.traffic.shares import fair, split

NUMBERS = st.lists(st.integers(0, 1000), max_size=12)


@given(st.integers(-5, 20_000), NUMBERS)
def test_split_gives_all_that_there_is_room_for_and_no_more(total: int, room: list[int]) -> None:
    parts = split(total, room)
    assert sum(parts) == max(0, min(total, sum(room)))
    assert all(0 <= part <= one for part, one in zip(parts, room, strict=True))
    whole = sum(room)
    if 0 < total <= whole:
        # Nobody is a whole one away from his exact part.
        exact = [total * one / whole for one in room]
        assert all(abs(part - due) < 1 for part, due in zip(parts, exact, strict=True))


@given(st.integers(-5, 20_000), NUMBERS)
def test_fair_leaves_nobody_behind_one_who_got_more(total: int, wants: list[int]) -> None:
    parts = fair(total, wants)
    assert sum(parts) == max(0, min(total, sum(wants)))
    assert all(0 <= part <= want for part, want in zip(parts, wants, strict=True))
    for part, want in zip(parts, wants, strict=True):
        if part < want:
            assert part >= max(parts) - 1


def test_split_by_example() -> None:
    assert split(5, [4, 4]) == [3, 2]
    assert split(1, [1, 9]) == [0, 1]
    assert split(3, []) == []
    assert fair(10, [2, 9, 4]) == [2, 4, 4]
