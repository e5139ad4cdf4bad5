"""Bearer tokens: the real registry with a token service of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from real_registry import (
    PASSWORD,
    USER,
    RealRegistry,
    basic,
    blob,
    needs_registry,
    real_registry,
)
from token_service import TokenService

from tango.adapters import registry_auth
from tango.adapters.registry import RegistryClient
from tango.adapters.registry_auth import Credentials
from tango.model.errors import Refused
from tango.model.layers import ImageLayers

pytestmark = needs_registry


@pytest.fixture(name="service")
async def _service(tmp_path: Path) -> AsyncIterator[TokenService]:
    async with TokenService(tmp_path / "issuer", basic(USER, PASSWORD)) as service:
        yield service


@pytest.fixture(name="there")
def _there(tmp_path: Path, service: TokenService) -> Iterator[RealRegistry]:
    with real_registry(tmp_path, token=service.settings) as there:
        yield there


async def push(there: RealRegistry, service: TokenService, repository: str) -> ImageLayers:
    token = service.token([f"repository:{repository}:pull,push"])
    there.headers["Authorization"] = f"Bearer {token}"
    return await there.push(repository, (blob(1, 500),))


def client(there: RealRegistry, password: str = PASSWORD) -> RegistryClient:
    return RegistryClient([replace(there.access, credentials=Credentials(USER, password))])


async def test_one_token_for_each_scope(there: RealRegistry, service: TokenService) -> None:
    a, b = await push(there, service, "a"), await push(there, service, "b")
    service.delay_s = 0.2
    async with client(there) as asks:
        many = await asyncio.gather(*(asks.resolve(there.reference("a")) for _ in range(10)))
        assert many == [a] * 10
        assert service.asked == [["repository:a:pull"]], "ten at once, and one token"
        assert await asks.resolve(there.reference("b")) == b
        assert await asks.tags(there.host, "b") == ("v1",)
        assert await asks.digest(there.reference("a")) == a.digest
        assert service.asked[1:] == [["repository:b:pull"]]
        assert await asks.catalogue(there.host) == ("a", "b")
        assert service.asked[2:] == [["registry:catalog:*"]]


async def test_a_token_is_replaced_before_it_expires(
    there: RealRegistry, service: TokenService
) -> None:
    pushed = await push(there, service, "a")
    service.expires_in = 1
    async with client(there) as asks:
        for _ in range(2):
            assert await asks.resolve(there.reference("a")) == pushed
        assert len(service.asked) == 1
        await asyncio.sleep(0.6)  # half of a short life is its margin
        assert await asks.resolve(there.reference("a")) == pushed
        assert len(service.asked) == 2


async def test_a_token_that_the_registry_refuses_is_replaced_once(
    there: RealRegistry, service: TokenService
) -> None:
    pushed = await push(there, service, "a")
    service.life_s = -120  # the registry allows for 60 s of skew
    async with client(there) as asks:
        with pytest.raises(Refused, match="401, as 'ada'"):
            await asks.resolve(there.reference("a"))
        assert len(service.asked) == 1
        service.life_s = 300
        assert await asks.resolve(there.reference("a")) == pushed
        assert len(service.asked) == 2


async def test_wrong_and_no_credentials(there: RealRegistry, service: TokenService) -> None:
    await push(there, service, "a")
    async with client(there, "wrong") as asks:
        with pytest.raises(Refused, match="token service answered 401 as 'ada': UNAUTHORIZED"):
            await asks.resolve(there.reference("a"))
    async with RegistryClient([there.access]) as asks:
        with pytest.raises(Refused, match="401 without credentials"):
            await asks.resolve(there.reference("a"))


async def test_a_token_without_a_lifetime_holds_for_a_minute(
    there: RealRegistry, service: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_auth, "DEFAULT_LIFE_S", 0.5)
    pushed = await push(there, service, "a")
    service.expires_in = None
    async with client(there) as asks:
        assert await asks.resolve(there.reference("a")) == pushed
        assert await asks.resolve(there.reference("a")) == pushed
        assert len(service.asked) == 1
        await asyncio.sleep(0.3)
        assert await asks.resolve(there.reference("a")) == pushed
        assert len(service.asked) == 2
