"""The registry client against the registry of Debian's package docker-registry."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from real_registry import (
    DOCKER,
    DOCKER_MANIFEST,
    OCI,
    OCI_MANIFEST,
    PASSWORD,
    USER,
    RealRegistry,
    basic,
    blob,
    free_port,
    needs_registry,
    real_registry,
)

from tango.adapters import registry as registry_module
from tango.adapters.authority import issue, make_authority
from tango.adapters.registry import RegistryClient
from tango.adapters.registry_auth import Credentials
from tango.adapters.registry_refresh import refresh
from tango.adapters.registry_transport import Retry
from tango.algorithms.placement.layer_index import LayerIndex
from tango.algorithms.placement.layers import required_layers, score_node
from tango.model.access import Identity, Role
from tango.model.errors import InvalidField, NotFound, Refused, Unavailable
from tango.model.layers import Platform

pytestmark = needs_registry
BASE, APP_1, APP_2 = blob(1, 30_000), blob(2, 20_000), blob(3, 21_000)
ARM = Platform("linux", "arm64", "v8")
FAST = Retry(attempts=2, first_s=0.01, max_s=0.02)


@pytest.fixture(name="there")
def _there(tmp_path: Path) -> Iterator[RealRegistry]:
    with real_registry(tmp_path) as running:
        yield running


@pytest.mark.parametrize("kind", [DOCKER_MANIFEST, OCI_MANIFEST])
async def test_an_image_by_tag_and_by_digest(there: RealRegistry, kind: str) -> None:
    pushed = await there.push("team/app", (BASE, APP_1, BASE), kind=kind)
    reference = there.reference("team/app")
    async with RegistryClient([there.access]) as client:
        assert await client.resolve(reference) == pushed
        assert await client.resolve(reference.at(pushed.digest)) == pushed
        assert await client.digest(reference) == pushed.tag_digest
    assert [layer.size_bytes for layer in pushed.layers] == [30_000, 20_000]


@pytest.mark.parametrize("kinds", [DOCKER, OCI])
async def test_an_index_of_platforms(there: RealRegistry, kinds: tuple[str, str]) -> None:
    images = {Platform(): (BASE, APP_1), ARM: (BASE, APP_2)}
    pushed = await there.push_index("app", images, kinds=kinds)
    reference = there.reference("app")
    for platform, image in pushed.items():
        async with RegistryClient([there.access], platform=platform) as client:
            assert await client.resolve(reference) == image
            assert await client.resolve(reference.at(image.tag_digest)) == image
            assert await client.digest(reference) == image.tag_digest != image.digest
    async with RegistryClient([there.access], platform=Platform("linux", "arm64")) as client:
        assert await client.resolve(reference) == pushed[ARM], "any variant, where none is asked"
    async with RegistryClient([there.access], platform=Platform("linux", "s390x")) as client:
        with pytest.raises(NotFound, match=r"not for linux/s390x; there is linux/amd64, linux/arm"):
            await client.resolve(reference)


async def test_what_is_not_there(there: RealRegistry) -> None:
    await there.push("app", (BASE,))
    absent = there.reference("app").at("sha256:" + "0" * 64)
    async with RegistryClient([there.access]) as client:
        for reference in (there.reference("app", "v2"), there.reference("none"), absent):
            with pytest.raises(NotFound, match="MANIFEST_UNKNOWN"):
                await client.resolve(reference)
            with pytest.raises(NotFound):
                await client.digest(reference)
        with pytest.raises(NotFound, match="NAME_UNKNOWN"):
            await client.tags(there.host, "none")


async def test_catalogue_and_tags_page_by_page(
    there: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "PAGE", 2)
    async with RegistryClient([there.access]) as client:
        assert await client.catalogue(there.host) == ()
        for repository in "edcba":
            await there.push(f"team/{repository}", (BASE,))
        for tag in ("v2", "v3", "v4"):
            await there.push("team/a", (BASE, APP_1), tag=tag)
        assert await client.catalogue(there.host) == tuple(f"team/{name}" for name in "abcde")
        assert sorted(await client.tags(there.host, "team/a")) == ["v1", "v2", "v3", "v4"]


async def test_basic_credentials(tmp_path: Path) -> None:
    with real_registry(tmp_path, htpasswd=True) as there:
        there.headers["Authorization"] = basic(USER, PASSWORD)
        pushed = await there.push("app", (BASE,))
        reference = there.reference("app")
        access = replace(there.access, credentials=Credentials(USER, PASSWORD))
        assert PASSWORD not in repr(access)
        async with RegistryClient([access]) as client:
            assert await client.resolve(reference) == pushed
            assert await client.catalogue(there.host) == ("app",)
        async with RegistryClient([there.access]) as client:
            with pytest.raises(Refused, match="401, no credentials are declared for it"):
                await client.resolve(reference)
        wrong = replace(access, credentials=Credentials(USER, "no"))
        async with RegistryClient([wrong]) as client:
            with pytest.raises(Refused, match="401, as 'ada'"):
                await client.resolve(reference)


async def test_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    make_authority(tmp_path / "ca")
    issued = issue(tmp_path / "ca", Identity(Role.EDGE, "registry"), hosts=["127.0.0.1"])
    with real_registry(tmp_path, tls=issued) as there:
        pushed = await there.push("app", (BASE,))
        reference = there.reference("app")
        async with RegistryClient([there.access], retry=FAST) as client:
            assert await client.resolve(reference) == pushed
        untrusting = replace(there.access, ca_file=None)
        async with RegistryClient([untrusting], retry=FAST) as client:
            with pytest.raises(Unavailable, match=r"TLS failed.*certificate verify failed"):
                await client.resolve(reference)
        async with RegistryClient([replace(there.access, ca_file=tmp_path / "log")]) as client:
            with pytest.raises(InvalidField, match="ca_file: cannot read certificates of"):
                await client.resolve(reference)
        plain = replace(untrusting, plain_http=True)
        async with RegistryClient([plain], retry=FAST) as client:
            with pytest.raises(Unavailable, match="answered 400"):
                await client.resolve(reference)


async def test_a_change_in_the_registry_is_seen_without_a_restart(tmp_path: Path) -> None:
    now = 0.0
    port = free_port()
    index = LayerIndex(refresh_s=60)
    with real_registry(tmp_path, port=port) as there:
        first = await there.push("app", (BASE, APP_1))
        reference, absent = there.reference("app"), there.reference("app", "v9")
        client = RegistryClient([there.access], retry=FAST, generator=random.Random(1))
        index.want(reference, now)
        index.want(absent, now)
        [new] = await refresh(index, client, lambda: now)
        assert (new.before, new.after) == ("", first.digest)
        held = {layer.digest for layer in first.layers}
        assert score_node(required_layers([index.layers(reference)]), held, 0.1, 0.1).raw == 50
        second = await there.push("app", (BASE, APP_2))
        assert await refresh(index, client, lambda: now) == (), "nothing is due yet"
        now = 60.0
        [moved] = await refresh(index, client, lambda: now)
        assert (moved.before, moved.after) == (first.digest, second.digest)
        assert [layer.size_bytes for layer in moved.added] == [len(APP_2)]
        raw = score_node(required_layers([index.layers(reference)]), held, 0.1, 0.1).raw
        assert raw == 50 * 30_000 // 51_000
    now = 120.0
    assert await refresh(index, client, lambda: now) == ()
    assert index.layers(reference) == second, "the registry is down: what was known stays known"
    problems = {entry.reference: entry.problem for entry in index.entries(now)}
    assert "refused" in problems[reference] or "Connect" in problems[reference]
    with real_registry(tmp_path, port=port) as there:
        now = 200.0
        assert await refresh(index, client, lambda: now) == ()
        entry = next(e for e in index.entries(now) if e.reference == reference)
        assert (entry.problem, entry.age_s) == ("", 0.0)
        [missing] = [e for e in index.entries(now) if e.reference == absent]
        assert missing.image is None
        assert "MANIFEST_UNKNOWN" in missing.problem
    await client.close()


async def test_many_at_once(there: RealRegistry) -> None:
    pushed = [await there.push(f"app{n}", (BASE, blob(n, 100 + n))) for n in range(20)]
    index = LayerIndex()
    for number in range(20):
        index.want(there.reference(f"app{number}"), 0.0)
    async with RegistryClient([there.access]) as client:
        changes = await refresh(index, client, lambda: 0.0)
        assert len(changes) == 20
        again = await asyncio.gather(
            *(client.resolve(there.reference(f"app{number}")) for number in range(20))
        )
    assert again == pushed == [index.layers(there.reference(f"app{n}")) for n in range(20)]
