"""The registry client against content that lies, is malformed, or too large."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator

import pytest
from hostile_image import (
    BODY,
    ENTRY,
    GOOD,
    IMAGE,
    LAYER,
    OK,
    TAG,
    Json,
    client,
    reference,
    resolve,
)
from hostile_registry import HostileRegistry, answer, flood
from real_registry import digest_of

from tango.adapters.registry_errors import BadManifest, BadReply, DigestMismatch
from tango.adapters.registry_manifests import (
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
)
from tango.model.errors import NotFound
from tango.model.layers import ImageLayers


@pytest.fixture(name="there")
async def _there() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry() as running:
        yield running


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
