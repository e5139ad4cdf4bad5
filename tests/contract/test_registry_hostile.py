"""The registry client against one that is down, slow, busy, broken, or lies."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import json
import random
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from hostile_registry import HostileRegistry, answer, flood, silence, trickle
from real_registry import digest_of

from tango.adapters.registry import RegistryClient
from tango.adapters.registry_auth import Credentials
from tango.adapters.registry_errors import BadManifest, BadReply, DigestMismatch, RegistryBusy
from tango.adapters.registry_manifests import (
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
)
from tango.adapters.registry_refresh import refresh
from tango.adapters.registry_transport import RegistryAccess, Retry
from tango.algorithms.placement.layer_index import LayerIndex
from tango.model.errors import InvalidField, NotFound, Refused, Unavailable
from tango.model.image import ImageReference, parse_image
from tango.model.layers import ImageLayers, Layer

Json = dict[str, Any]
LAYER = Layer("sha256:" + "1" * 64, 1000)
ENTRY = {"mediaType": "x", "digest": LAYER.digest, "size": LAYER.size_bytes}
GOOD: Json = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": ENTRY, "layers": [ENTRY]}
BODY = json.dumps(GOOD).encode()
OK = answer(200, BODY, Content_Type=OCI_MANIFEST)
IMAGE = ImageLayers(digest_of(BODY), (LAYER,), digest_of(BODY))
TAG, TAGS = "/v2/app/manifests/v1", "/v2/app/tags/list"
FAST = Retry(attempts=3, first_s=0.01, max_s=0.02, attempt_s=0.3)


@pytest.fixture(name="there")
async def _there() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry() as running:
        yield running


def client(there: HostileRegistry, timeout_s: float = 5.0, **access: Any) -> RegistryClient:
    one = RegistryAccess(there.host, plain_http=True, **access)
    return RegistryClient([one], timeout_s=timeout_s, retry=FAST, generator=random.Random(1))


def reference(there: HostileRegistry, tag: str = "v1") -> ImageReference:
    return ImageReference(there.host, "app", tag)


async def resolve(there: HostileRegistry, **options: Any) -> ImageLayers:
    async with client(there, **options) as asks:
        return await asks.resolve(reference(there))


# Digests.


async def test_it_lies_about_the_digest_of_a_tag(there: HostileRegistry) -> None:
    lie = digest_of(b"something else")
    there.answers[TAG] = [answer(200, BODY, Content_Type=OCI_MANIFEST, Docker_Content_Digest=lie)]
    with pytest.raises(DigestMismatch, match=f"lies about a digest: it sent {IMAGE.digest}.*{lie}"):
        await resolve(there)


async def test_it_sends_other_content_for_a_digest(there: HostileRegistry) -> None:
    wanted = digest_of(b"what was asked for")
    there.answers[f"/v2/app/manifests/{wanted}"] = [OK]
    async with client(there) as asks:
        with pytest.raises(DigestMismatch, match="lies about a digest"):
            await asks.resolve(reference(there).at(wanted))


async def test_an_index_points_to_other_content(there: HostileRegistry) -> None:
    about = {"os": "linux", "architecture": "amd64"}
    entry = {"digest": IMAGE.digest, "size": len(BODY) + 1, "platform": about}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    there.answers[TAG] = [answer(200, index, Content_Type=OCI_INDEX)]
    path = f"/v2/app/manifests/{IMAGE.digest}"
    there.answers[path] = [OK]
    with pytest.raises(BadManifest, match=rf"index says {len(BODY) + 1} bytes, it has {len(BODY)}"):
        await resolve(there)
    there.answers[path] = [answer(200, {**GOOD, "layers": []}, Content_Type=OCI_MANIFEST)]
    with pytest.raises(DigestMismatch, match="linux/amd64"):
        await resolve(there)


async def test_a_digest_of_sha512_is_verified_too(there: HostileRegistry) -> None:
    import hashlib

    digest = f"sha512:{hashlib.sha512(BODY).hexdigest()}"
    there.answers[f"/v2/app/manifests/{digest}"] = [OK]
    async with client(there) as asks:
        image = await asks.resolve(reference(there).at(digest))
    assert image == ImageLayers(digest, (LAYER,), digest)


async def test_indexes_without_an_end(there: HostileRegistry) -> None:
    entry: Json = {"digest": IMAGE.digest, "size": len(BODY)}
    for _ in range(4):
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        body = json.dumps(index).encode()
        entry = {"digest": digest_of(body), "size": len(body)}
        there.answers[f"/v2/app/manifests/{digest_of(body)}"] = [
            answer(200, body, Content_Type=OCI_INDEX)
        ]
    there.answers[TAG] = there.answers[f"/v2/app/manifests/{entry['digest']}"]
    with pytest.raises(BadManifest, match="more than 3 indexes, one within the other"):
        await resolve(there)


# Manifests.


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "no JSON object"),
        ({}, "schemaVersion is None"),
        ({**GOOD, "schemaVersion": 1}, "schemaVersion is 1"),
        ({**GOOD, "mediaType": DOCKER_MANIFEST}, "but calls itself"),
        ({**GOOD, "layers": None}, "layers is no list"),
        ({**GOOD, "layers": [5]}, r"layers\[0\]: is no object"),
        ({**GOOD, "layers": [ENTRY, {}]}, r"layers\[1\]: has no digest"),
        ({**GOOD, "layers": [{**ENTRY, "digest": "sha256:../../etc"}]}, "is not a digest"),
        ({**GOOD, "layers": [{**ENTRY, "size": -1}]}, "'-1' is no size"),
        ({**GOOD, "layers": [{**ENTRY, "size": 1.5}]}, "'1.5' is no size"),
        ({**GOOD, "layers": [{**ENTRY, "size": True}]}, "'True' is no size"),
        ({**GOOD, "layers": [{**ENTRY, "size": 10**30}]}, "is no size"),
        ({**GOOD, "layers": [{**ENTRY, "size": "9"}]}, "is no size"),
        ({**GOOD, "layers": [ENTRY, {**ENTRY, "size": 2}]}, "has 2 bytes here, 1000 before"),
        ({**GOOD, "manifests": []}, "both layers and manifests"),
    ],
)
async def test_malformed_manifests(there: HostileRegistry, body: object, says: str) -> None:
    there.answers[TAG] = [answer(200, body, Content_Type=OCI_MANIFEST)]
    with pytest.raises(BadManifest, match=says) as raised:
        await resolve(there)
    assert str(reference(there)) in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "manifests is no list"),
        ({"manifests": [{**ENTRY, "platform": 5}]}, r"manifests\[0\]: platform is no object"),
        ({"manifests": [{**ENTRY, "platform": {"os": 5}}]}, "something that is no text"),
        ({"manifests": [], "layers": []}, "both layers and manifests"),
    ],
)
async def test_malformed_indexes(there: HostileRegistry, fields: Json, says: str) -> None:
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, **fields}
    there.answers[TAG] = [answer(200, body, Content_Type=OCI_INDEX)]
    with pytest.raises(BadManifest, match=says):
        await resolve(there)


async def test_an_empty_index_has_no_platform(there: HostileRegistry) -> None:
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    there.answers[TAG] = [answer(200, body, Content_Type=OCI_INDEX)]
    with pytest.raises(NotFound, match="not for linux/amd64; there is none"):
        await resolve(there)


async def test_media_types(there: HostileRegistry) -> None:
    there.answers[TAG] = [
        answer(200, BODY, Content_Type=f"{OCI_MANIFEST}; charset=utf-8"),
        answer(200, BODY, Content_Type="application/json"),
        answer(200, {**GOOD, "mediaType": ""}, Content_Type="text/html"),
        answer(200, BODY, Content_Type="application/vnd.docker.distribution.manifest.v1+prettyjws"),
    ]
    assert await resolve(there) == IMAGE
    assert await resolve(there) == IMAGE
    with pytest.raises(BadManifest, match="'text/html' is neither a manifest nor an index"):
        await resolve(there)
    with pytest.raises(BadManifest, match="Docker schema 1, which is retired"):
        await resolve(there)


# Sizes.


async def test_a_manifest_that_is_too_large(there: HostileRegistry) -> None:
    there.answers[TAG] = [answer(200, b" " * (MAX_MANIFEST_BYTES + 1)), flood]
    for _ in range(2):
        with pytest.raises(BadReply, match=f"is larger than {MAX_MANIFEST_BYTES} bytes"):
            await resolve(there)
    assert there.sent < 8 * MAX_MANIFEST_BYTES, "the rest was not waited for"


async def test_compressed_content_is_not_taken(there: HostileRegistry) -> None:
    there.answers[TAG] = [answer(200, gzip.compress(b" " * 10**6), Content_Encoding="gzip")]
    with pytest.raises(BadReply, match="sent 'gzip' content"):
        await resolve(there)


# Down, slow, busy.


async def test_nothing_listens() -> None:
    async with HostileRegistry() as gone:
        pass
    with pytest.raises(Unavailable, match=r"3 tries"):
        await resolve(gone)


async def test_slow_ones_have_an_end(there: HostileRegistry) -> None:
    for kind in (silence, trickle):
        there.answers[TAG] = [kind]
        there.seen.clear()
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            await resolve(there, timeout_s=0.5)
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


# Who is asked at all, and how an index lives with all this.


async def test_registries_that_are_not_declared_are_not_asked(there: HostileRegistry) -> None:
    other = parse_image("registry.example/app")
    async with client(there) as asks:
        with pytest.raises(Refused, match=r"registry registry\.example is not declared"):
            await asks.resolve(other)
    with pytest.raises(InvalidField, match="is not a registry"):
        RegistryAccess("Registry.example/x")
    assert not there.seen
    undeclared = ImageReference(there.host, "app", "v1")
    async with RegistryClient(others=True, retry=FAST, timeout_s=0.5) as asks:
        with pytest.raises(Unavailable):
            await asks.resolve(undeclared)
    assert not there.seen, "never without TLS"


async def test_a_closed_client_says_so(there: HostileRegistry) -> None:
    asks = client(there)
    await asks.close()
    with pytest.raises(Unavailable, match="closed"):
        await asks.resolve(reference(there))


async def test_a_head_without_a_digest_leads_to_a_get(there: HostileRegistry) -> None:
    index = LayerIndex(refresh_s=60)
    index.want(reference(there), 0.0)
    stated = answer(200, BODY, Docker_Content_Digest=IMAGE.digest)
    there.answers[TAG] = [OK, stated, OK, OK, answer(405), OK]
    async with client(there) as asks:
        for now in (0.0, 60.0, 120.0, 180.0):
            await refresh(index, asks, partial(float, now))
    assert index.layers(reference(there)) == IMAGE
    assert [one.method for one in there.seen] == ["GET", "HEAD", "HEAD", "GET", "HEAD", "GET"]


async def test_one_registry_that_is_down_does_not_hold_up_another(there: HostileRegistry) -> None:
    index = LayerIndex()
    async with HostileRegistry() as slow:
        for number in range(40):
            path = f"/v2/app/manifests/t{number}"
            slow.answers[path], there.answers[path] = [silence], [OK]
            index.want(reference(slow, f"t{number}"), 0.0)
            index.want(reference(there, f"t{number}"), 0.0)
        both = [RegistryAccess(one.host, plain_http=True) for one in (slow, there)]
        begun = time.monotonic()
        async with RegistryClient(both, retry=FAST, timeout_s=0.5) as asks:
            changes = await refresh(index, asks, lambda: 0.0)
        assert time.monotonic() - begun < 3
        assert len(changes) == 40
        # Four at once, two begun before the third has failed, each tried twice at most.
        assert len(slow.seen) <= 12, "after a few it is left alone for this time"
        problems = [entry.problem for entry in index.entries(0.0) if entry.image is None]
        assert len(problems) == 40
        assert all("no answer in time" in problem for problem in problems)


async def test_a_busy_registry_is_left_alone_for_as_long_as_it_asks(there: HostileRegistry) -> None:
    index = LayerIndex()
    for number in range(40):
        there.answers[f"/v2/app/manifests/t{number}"] = [answer(429, Retry_After="1000")]
        index.want(reference(there, f"t{number}"), 0.0)
    async with client(there) as asks:
        assert await refresh(index, asks, lambda: 0.0) == ()
    assert len(there.seen) <= 4
    assert index.next_due() == 1000.0


async def test_an_image_that_is_gone_is_seen(there: HostileRegistry) -> None:
    index = LayerIndex(refresh_s=60)
    index.want(reference(there), 0.0)
    there.answers[TAG] = [OK, answer(404)]
    now = 0.0
    async with client(there) as asks:
        await refresh(index, asks, lambda: now)
        now = 60.0
        [change] = await refresh(index, asks, lambda: now)
    assert (change.before, change.after) == (IMAGE.digest, "")
    assert index.layers(reference(there)) is None


async def test_cancelled_calls_end_at_once(there: HostileRegistry) -> None:
    there.answers[TAG] = [silence]
    async with client(there) as asks:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asks.resolve(reference(there))
