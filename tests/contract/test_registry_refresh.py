"""An index refreshed from registries that are down, busy, or have lost an image."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
from hostile_image import (
    BODY,
    FAST,
    IMAGE,
    OK,
    TAG,
    client,
    reference,
)
from hostile_registry import HostileRegistry, answer, silence

from tango.adapters.registry import RegistryClient
from tango.adapters.registry_refresh import refresh
from tango.adapters.registry_transport import RegistryAccess
from tango.algorithms.placement.layer_index import LayerIndex
from tango.model.errors import InvalidField, Refused, Unavailable
from tango.model.image import ImageReference, parse_image


@pytest.fixture(name="there")
async def _there() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry() as running:
        yield running


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
        patient = replace(FAST, attempt_s=0.5)
        async with RegistryClient(both, retry=patient, timeout_s=1.0) as asks:
            changes = await refresh(index, asks, lambda: 0.0)
        assert time.monotonic() - begun < 6
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
