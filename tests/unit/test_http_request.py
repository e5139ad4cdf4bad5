"""Requests to replicas: plain ones are made once, all others each time."""

from __future__ import annotations

import pytest

from tango.adapters.http_answer import ReplicaError
from tango.adapters.http_request import MAX_KEPT, MAX_KEPT_PATH, HttpRequests
from tango.model.request import Code


def test_a_plain_one_is_made_once_for_each_port_method_and_path() -> None:
    requests = HttpRequests("h", 1000)
    made = requests.plain(1, "GET", "/x")
    assert made.start == b"GET /x HTTP/1.1\r\nhost: h:1\r\n\r\n"
    assert requests.plain(1, "GET", "/x") is made is requests.kept[1, "GET", "/x"]
    others = [requests.plain(*of) for of in ((2, "GET", "/x"), (1, "HEAD", "/x"), (1, "GET", "/"))]
    assert len({each.start for each in (made, *others)}) == 4
    assert requests.make(1, "GET", "/x", (("a", "b"),), b"").start != made.start


def test_not_without_end_and_not_what_is_long_or_wrong() -> None:
    requests = HttpRequests("h", 1000)
    for number in range(3 * MAX_KEPT):
        requests.plain(1, "GET", f"/{number}")
        assert len(requests.kept) <= MAX_KEPT
    before = dict(requests.kept)
    requests.plain(1, "GET", "/" + "x" * MAX_KEPT_PATH)
    with pytest.raises(ReplicaError) as caught:
        requests.plain(1, "GET", "/a b")
    assert (caught.value.code, caught.value.ran) == (Code.INVALID, False)
    assert requests.kept == before


@pytest.mark.parametrize(
    ("method", "to_head", "repeatable", "by_head"),
    [
        ("GET", False, True, True),
        ("HEAD", True, True, False),
        ("POST", False, False, True),
        ("DELETE", False, False, True),
    ],
)
def test_what_a_method_means(method: str, to_head: bool, repeatable: bool, by_head: bool) -> None:
    made = HttpRequests("h", 1000).plain(1, method, "/")
    assert (made.to_head, made.repeatable, made.by_head) == (to_head, repeatable, by_head)


def test_an_answer_in_parts_is_not_told_by_its_head() -> None:
    made = HttpRequests("h", 1000).make(1, "GET", "/", (), b"", None, lambda *_: None)
    assert not made.by_head


def test_a_small_body_goes_with_its_head_and_a_large_one_after_it() -> None:
    requests = HttpRequests("h", 1_000_000)
    small, large = (requests.make(1, "POST", "/", (), b"x" * size) for size in (100, 100_000))
    assert (small.start[-102:], small.rest) == (b"\r\n" + b"x" * 100, b"")
    assert large.start.endswith(b"content-length: 100000\r\n\r\n")
    assert large.rest == b"x" * 100_000
