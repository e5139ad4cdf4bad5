"""Numbering of session streams: in order, duplicates, gaps, earlier lives of the sender."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tango.controllers.session import SessionGate, SessionNumbers, Verdict


def test_in_order_is_accepted_once() -> None:
    gate, numbers = SessionGate(), SessionNumbers(3)
    drawn = [numbers.draw() for _ in range(3)]
    assert drawn == [(3, 1), (3, 2), (3, 3)]
    assert [gate.check(*number) for number in drawn] == [Verdict.ACCEPT] * 3
    assert [gate.check(*number) for number in drawn] == [Verdict.DUPLICATE] * 3
    assert (gate.incarnation, gate.expected) == (3, 4)


def test_a_gap_is_told_and_changes_nothing() -> None:
    gate = SessionGate()
    gate.check(1, 1)
    assert gate.check(1, 3) is Verdict.GAP
    assert gate.check(1, 2) is Verdict.ACCEPT


def test_an_earlier_incarnation_is_stale_and_a_later_one_starts_over() -> None:
    gate = SessionGate(floor=5)
    assert gate.check(4, 1) is Verdict.STALE
    assert gate.check(5, 1) is Verdict.ACCEPT
    assert gate.check(6, 2) is Verdict.GAP  # its beginning is missing
    assert gate.check(5, 2) is Verdict.ACCEPT
    assert gate.check(6, 1) is Verdict.ACCEPT
    assert gate.check(5, 3) is Verdict.STALE


def test_a_new_stream_numbers_from_the_beginning() -> None:
    gate = SessionGate()
    gate.check(1, 1)
    gate.open()
    assert gate.check(1, 1) is Verdict.ACCEPT


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=60))
def test_what_is_accepted_has_no_gap_no_repeat_and_no_way_back(
    messages: list[tuple[int, int]],
) -> None:
    gate = SessionGate()
    accepted = [message for message in messages if gate.check(*message) is Verdict.ACCEPT]
    assert accepted == sorted(set(accepted))
    last: dict[int, int] = {}
    for incarnation, sequence in accepted:
        assert sequence == last.get(incarnation, 0) + 1
        last[incarnation] = sequence
