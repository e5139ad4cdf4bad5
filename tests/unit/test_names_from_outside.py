"""Names of attempts and replicas as daemons of other versions, or of ill will, may send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tango.controllers.edge.service_book import generation_of, ordinal_of, replica_id
from tango.model.job import attempt_id, parse_attempt_id


@given(st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True), st.integers(0, 999), st.integers(0))
def test_an_attempts_name_comes_apart_as_it_was_made(job: str, index: int, number: int) -> None:
    number %= 10**9
    assert parse_attempt_id(attempt_id(job, index, number)) == (job, index, number)


@pytest.mark.parametrize(
    "text", ["", "x", "x.1", ".1.1", "x.1.", "x..1", "x.a.1", "x.-1.1", "x.².1"]
)
def test_what_is_no_attempts_name(text: str) -> None:
    assert parse_attempt_id(text) is None


@given(st.text(max_size=40))
def test_any_text_at_all(text: str) -> None:
    parse_attempt_id(text)
    assert generation_of(text) >= 0
    assert ordinal_of(text) >= 0


def test_a_replicas_name_comes_apart_as_it_was_made() -> None:
    name = replica_id("my-g1-2", 3, 14)
    assert (generation_of(name), ordinal_of(name)) == (3, 14)
    assert generation_of("hello") == generation_of("hello-g-1") == ordinal_of("-") == 0
