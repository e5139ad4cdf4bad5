"""The registry client against one that is down, slow, busy, or sends it elsewhere."""

from __future__ import annotations

import email.utils
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hostile_image import (
    FAST,
    IMAGE,
    OK,
    TAG,
    TAGS,
    client,
    resolve,
)
from hostile_registry import HostileRegistry, answer, silence, trickle

from tango.adapters.registry_auth import Credentials
from tango.adapters.registry_errors import BadReply, RegistryBusy
from tango.model.errors import NotFound, Refused, Unavailable


@pytest.fixture(name="there")
async def _there() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry() as running:
        yield running


# Down, slow, busy.


async def test_nothing_listens() -> None:
    async with HostileRegistry() as gone:
        pass
    with pytest.raises(Unavailable) as caught:
        await resolve(gone)
    assert str(caught.value) == f"{gone.host}: refused the connection (3 tries)"


async def test_slow_ones_have_an_end(there: HostileRegistry) -> None:
    for kind in (silence, trickle):
        there.answers[TAG] = [kind]
        there.seen.clear()
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            await resolve(there, timeout_s=0.5, retry=replace(FAST, attempt_s=0.3))
        assert time.monotonic() - begun < 2
        assert len(there.seen) == 2, "0.3 s for a try, 0.5 s for all"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_passing_faults_are_tried_again(there: HostileRegistry, status: int) -> None:
    there.answers[TAG] = [answer(status), b"HTTP/1.1 2", OK]
    assert await resolve(there) == IMAGE
    assert len(there.seen) == 3
    there.answers[TAG] = [answer(status)]
    with pytest.raises(Unavailable, match=rf"answered {status} \(3 tries\)"):
        await resolve(there)
    assert len(there.seen) == 6


@pytest.mark.parametrize("status", [400, 404, 403, 418, 501])
async def test_lasting_faults_are_not(there: HostileRegistry, status: int) -> None:
    errors = {"errors": [{"code": "NO", "message": "no\x1b[31m way\n"}]}
    there.answers[TAG] = [answer(status, errors)]
    with pytest.raises((Unavailable, NotFound, Refused), match=r"NO: no \[31m way "):
        await resolve(there)
    assert len(there.seen) == 1


async def test_retry_after_is_kept_to(there: HostileRegistry) -> None:
    there.answers[TAG] = [answer(429, Retry_After="0.3"), OK]
    begun = time.monotonic()
    assert await resolve(there) == IMAGE
    assert time.monotonic() - begun >= 0.3
    later = email.utils.formatdate(time.time() + 90, usegmt=True)
    for wait in ("90", later):
        there.answers[TAG] = [answer(503, Retry_After=wait)]
        there.seen.clear()
        with pytest.raises(RegistryBusy, match="it asks to wait") as raised:
            await resolve(there)
        assert 80 < raised.value.retry_after_s <= 90
        assert len(there.seen) == 1, "there was no time for another try"
    there.answers[TAG] = [answer(503, Retry_After="soon"), answer(503, Retry_After="inf"), OK]
    assert await resolve(there) == IMAGE


async def test_answers_that_are_no_http(there: HostileRegistry) -> None:
    for nonsense in (b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"):
        there.answers[TAG] = [nonsense]
        with pytest.raises(Unavailable, match="3 tries"):
            await resolve(there)


# Going elsewhere.


async def test_redirects(there: HostileRegistry) -> None:
    there.answers[TAG] = [answer(307, Location="/elsewhere?a=b%2Fc")]
    there.answers["/elsewhere"] = [OK]
    assert await resolve(there) == IMAGE
    assert there.paths() == [f"GET {TAG}", "GET /elsewhere?a=b%2Fc"]
    for target in ("ftp://x/y", "http://[::1", "/a b", "/ä", "file:///etc/passwd"):
        there.answers[TAG] = [answer(302, Location=target)]
        with pytest.raises(BadReply, match="a redirect to"):
            await resolve(there)
    there.answers[TAG] = [answer(302, Location=TAG)]
    with pytest.raises(BadReply, match="more than 3 redirects"):
        await resolve(there)


async def test_credentials_are_not_told_elsewhere(there: HostileRegistry) -> None:
    async with HostileRegistry() as other:
        other.answers["/blob"] = [OK]
        there.answers[TAG] = [
            answer(401, WWW_Authenticate='Basic realm="x"'),
            answer(307, Location=f"http://{other.host}/blob"),
        ]
        assert await resolve(there, credentials=Credentials("ada", "secret")) == IMAGE
        assert "authorization" in there.seen[1].headers
        assert "authorization" not in other.seen[0].headers
        there.answers[TAGS] = [
            answer(200, {"tags": ["a"]}, Link=f'<http://{other.host}/more>; rel="next"')
        ]
        async with client(there) as asks:
            with pytest.raises(BadReply, match="its next page is elsewhere"):
                await asks.tags(there.host, "app")
        assert len(other.seen) == 1


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "nonsense",
        "ftp://x/token",
        "https://user@x/token",
        "https://[::1/",
        "https:///t",
        "https://x/a b",
    ],
)
async def test_token_services_that_are_none(there: HostileRegistry, realm: str) -> None:
    there.answers[TAG] = [answer(401, WWW_Authenticate=f'Bearer realm="{realm}",service="s"')]
    with pytest.raises(Refused, match="as its token service: not an https URL"):
        await resolve(there, credentials=Credentials("ada", "secret"))


@pytest.mark.parametrize(
    "body", [b"", b"[]", {}, {"token": 5}, {"token": "a\nb"}, {"token": ""}, b"[" * 60_000]
)
async def test_tokens_that_are_none(there: HostileRegistry, body: object) -> None:
    there.answers[TAG] = [answer(401, WWW_Authenticate=f'Bearer realm="http://{there.host}/t"')]
    there.answers["/t"] = [answer(200, body)]
    with pytest.raises(Refused, match="the token service's answer"):
        await resolve(there)


async def test_oauth_names_and_absurd_lifetimes(there: HostileRegistry) -> None:
    there.answers[TAG] = [
        answer(401, WWW_Authenticate=f'Bearer realm="http://{there.host}/t?x=1"'), OK
    ]  # fmt: skip
    there.answers["/t"] = [answer(200, {"access_token": "abc", "expires_in": -5})]
    assert await resolve(there, credentials=Credentials("a b", "secret")) == IMAGE
    assert there.paths()[1] == "GET /t?x=1&scope=repository%3Aapp%3Apull&account=a+b"
    assert there.seen[2].headers["authorization"] == "Bearer abc"


# Lists.


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "not JSON"),
        (b"5", "no JSON object"),
        ({"tags": "abc"}, "tags is no list of names"),
        ({"tags": [1]}, "tags is no list of names"),
    ],
)
async def test_malformed_lists(there: HostileRegistry, body: object, says: str) -> None:
    there.answers[TAGS] = [answer(200, body)]
    async with client(there) as asks:
        with pytest.raises(BadReply, match=says):
            await asks.tags(there.host, "app")


async def test_pages_of_tags(there: HostileRegistry) -> None:
    there.answers[TAGS] = [
        answer(200, {"tags": ["a", "b"]}, Link='</v2/app/tags/list?last=b&n=2>; rel="next"'),
        answer(200, {"tags": ["c"]}, Link='<list?last=c&n=2>; foo=bar; rel="next"'),
        answer(200, {"tags": None}, Link='<list?last=a>; rel="prev"'),
    ]
    async with client(there) as asks:
        assert await asks.tags(there.host, "app") == ("a", "b", "c")
    assert [one.target for one in there.seen] == [
        f"{TAGS}?n=100", f"{TAGS}?last=b&n=2", f"{TAGS}?last=c&n=2",
    ]  # fmt: skip


async def test_pages_without_an_end(there: HostileRegistry) -> None:
    there.answers[TAGS] = [answer(200, {"tags": ["a"]}, Link=f'<{TAGS}?last=a>; rel="next"')]
    async with client(there) as asks:
        with pytest.raises(BadReply, match="go round in a circle"):
            await asks.tags(there.host, "app")

    number = 0

    async def another(write: Any) -> None:
        nonlocal number
        number += 1
        names = [f"{number}-{n}" for n in range(30_000)]
        await write(answer(200, {"tags": names}, Link=f'<{TAGS}?n={number}>; rel="next"'))

    there.answers[TAGS] = [another]
    async with client(there) as asks:
        with pytest.raises(BadReply, match="more than 100000 tags"):
            await asks.tags(there.host, "app")
