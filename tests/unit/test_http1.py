"""The samples' request reader: bytes in any pieces give the same requests, bad ones are refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.cli.samples.http1 import (
    MAX_HEAD_BYTES,
    HttpError,
    Reply,
    Request,
    RequestReader,
    reply_head,
)

PIPELINE = (
    b"\r\nGET /a?x=1&y=%C3%A9 HTTP/1.1\r\nHost: h\r\nX-Work:  1.7 \r\n\r\n"
    b"POST /b HTTP/1.1\r\nhost: h\r\nContent-Length: 11\r\nConnection: close\r\n\r\nhello\r\n\r\nyo"
    b"GET http://h/c HTTP/1.0\r\nA: 1\r\na: 2\r\n\r\n"
    b"PUT / HTTP/1.0\r\nconnection: Keep-Alive, x\r\ncontent-length: 0\r\n\r\n"
)


def read(*pieces: bytes, most: int = 1000) -> list[Request]:
    reader = RequestReader(most)
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next()) is not None:
            found.append(request)
    return found


def test_pipelined_requests() -> None:
    first, second, third, fourth = read(PIPELINE)
    assert (first.method, first.path, first.query) == ("GET", "/a", {"x": "1", "y": "é"})
    assert first.headers["x-work"] == "1.7"
    assert first.keep_alive
    assert (second.body, second.keep_alive) == (b"hello\r\n\r\nyo", False)
    assert (third.path, third.headers["a"], third.keep_alive) == ("/c", "1, 2", False)
    assert not third.chunks_allowed
    assert fourth.keep_alive


@given(st.lists(st.integers(0, len(PIPELINE)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_cutting_of_the_bytes_does_not_matter(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(PIPELINE)]
    pieces = [PIPELINE[start:end] for start, end in itertools.pairwise(places)]
    assert read(*pieces) == read(PIPELINE)


def test_byte_by_byte() -> None:
    assert read(*(bytes([byte]) for byte in PIPELINE)) == read(PIPELINE)


def test_nothing_until_the_body_is_whole() -> None:
    reader = RequestReader(100)
    reader.feed(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert reader.next() is None
    assert reader.take_continue()
    assert not reader.take_continue()
    reader.feed(b"ab")
    assert reader.next() is None
    reader.feed(b"c")
    request = reader.next()
    assert request is not None
    assert request.body == b"abc"


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"GET /\r\n\r\n"),
        (400, b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (400, b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00 tls\r\n\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET file:///etc HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET http://[x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /?" + b"a=1&" * 40 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\nHost: h\n\n"),
        (400, b"GET / HTTP/1.1\r\nHost: h\nX: 1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost : h\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        (
            400,
            b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n",
        ),
        (501, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (413, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n"),
        (413, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: h\r\n" + b"x: y\r\n" * 101 + b"\r\n"),
        (431, b"GET /" + b"a" * MAX_HEAD_BYTES),
        (431, b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: h\r\n\r\n"),
    ],
)
def test_bad_requests_are_refused(status: int, data: bytes) -> None:
    with pytest.raises(HttpError) as caught:
        read(data)
    assert caught.value.status == status


def test_equal_lengths_twice_are_one() -> None:
    data = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"
    assert read(data)[0].body == b"ab"


def test_reply_heads() -> None:
    head = reply_head(Reply(body=b"abc"), keep_alive=True, chunked=False)
    assert head.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
    assert b" GMT\r\n" in head
    assert b"\r\nContent-Length: 3\r\n" in head
    assert head.endswith(b"Connection: keep-alive\r\n\r\n")
    assert b"Content-" not in reply_head(Reply(204), keep_alive=False, chunked=False)
    assert reply_head(Reply(599), keep_alive=False, chunked=False).startswith(b"HTTP/1.1 599 ")
