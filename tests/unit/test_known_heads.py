"""Answers whose head was seen before: taken without the parser only where they are the same."""

from __future__ import annotations

import pytest

from tango.adapters import known_heads
from tango.adapters.known_heads import KnownHead, learn, recognise

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: %d\r\n\r\n"
FIELDS = (("Content-Length", "3"), ("X", "1"))


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "_heads", {})


def test_a_known_head_with_a_whole_body() -> None:
    head = HEAD % 1
    assert recognise(head + b"abc") is None
    learn(head + b"abc", 200, FIELDS, 3)
    assert recognise(head + b"xyz") == KnownHead(head, len(head) + 3, 3, 200, FIELDS)
    # Too little, too much, another head.
    assert recognise(head + b"xy") is None
    assert recognise(head + b"xyz!") is None
    assert recognise(HEAD % 2 + b"xyz") is None
    assert recognise(b"") is None
    assert recognise(head[:-1]) is None


@pytest.mark.parametrize(
    ("data", "body_bytes"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 3),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD % 1 + b"abc", 3),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2000 + b"\r\n\r\n", 0),
        (b"HTTP/1.1 204 No Content\n\n", 22),
        (b"", 0),
    ],
)
def test_what_is_not_a_head_and_its_body_is_not_kept(data: bytes, body_bytes: int) -> None:
    learn(data, 200, (), body_bytes)
    assert recognise(data) is None


def test_not_without_end() -> None:
    for number in range(1000):
        learn(HEAD % number + b"abc", 200, (), 3)
    assert len(known_heads._heads) <= 256
