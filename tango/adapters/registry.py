"""A client of image registries: what an image consists of, which tags and repositories there are.

The API is the OCI distribution specification's (v2): Docker Hub, Distribution, Harbor and others.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Self

from tango.adapters.registry_auth import parse_challenges
from tango.adapters.registry_errors import BadManifest, BadReply, reason
from tango.adapters.registry_login import RegistryLogin
from tango.adapters.registry_manifests import (
    ACCEPT,
    MAX_MANIFEST_BYTES,
    Index,
    Manifest,
    parse_manifest,
    sha256,
    verify,
)
from tango.adapters.registry_transport import (
    RegistryAccess,
    RegistryTransport,
    Reply,
    Retry,
    Url,
)
from tango.model.errors import InvalidField, NotFound, Refused, Unavailable
from tango.model.image import ImageReference, check_digest
from tango.model.layers import ImageLayers, Platform

AMD64, RETRY = Platform(), Retry()
PAGE = 100
MAX_PAGE_BYTES = 4 * 2**20
MAX_LISTED = 100_000
# An index may point to indexes; more than this is a loop or a joke.
MAX_INDEXES = 3
_NEXT = re.compile(r'<([^<>]*)>\s*;(?:[^,<]*;)?\s*rel="?next"?')
_CATALOGUE = "registry:catalog:*"


class RegistryClient:
    """Asks registries, each as its access says. Everything is verified against its digest.

    others: also ask registries without an access, over TLS and without credentials. Off by
    default: references come from users, and a master connects to where they say.
    timeout_s: of each call, its retries included.
    For one event loop. Close it before the loop ends.
    """

    def __init__(
        self,
        access: Iterable[RegistryAccess] = (),
        *,
        others: bool = False,
        platform: Platform = AMD64,
        timeout_s: float = 30.0,
        retry: Retry = RETRY,
        generator: random.Random | None = None,
        max_connections: int = 8,
    ) -> None:
        self._access = {one.registry: one for one in access}
        self._others = others
        self._platform = platform
        self._timeout_s = timeout_s
        self._transport = RegistryTransport(retry, generator or random.Random(), max_connections)
        self._login = RegistryLogin(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def resolve(self, reference: ImageReference) -> ImageLayers:
        """The layers of an image for the client's platform.

        Raises NotFound (no such image, or not for the platform), DigestMismatch, BadManifest and
        BadReply, Refused, Unavailable.
        """
        access, ends = self._reach(reference.registry), self._ends()
        what = str(reference)
        body, kind, digest = await self._manifest(access, reference, reference.version, what, ends)
        tag_digest = digest
        for _ in range(MAX_INDEXES):
            found = parse_manifest(body, kind, what)
            if isinstance(found, Manifest):
                return ImageLayers(digest, found.layers, tag_digest)
            digest, size = self._choose(found, what)
            what = f"{reference} ({self._platform})"
            body, kind, _ = await self._manifest(access, reference, digest, what, ends)
            if len(body) != size:
                raise BadManifest(f"{what}: the index says {size} bytes, it has {len(body)}")
        raise BadManifest(f"{reference}: more than {MAX_INDEXES} indexes, one within the other")

    async def digest(self, reference: ImageReference) -> str | None:
        """What a tag points to now, without its manifest; None where the registry does not say.

        Docker Hub does not count it as a pull. Raises as `resolve`.
        """
        access = self._reach(reference.registry)
        path = f"{reference.repository}/manifests/{reference.version}"
        reply = await self._ask(access, "HEAD", path, _pull(reference), self._ends())
        if reply.status == 405:
            return None
        self._check(access, reply, str(reference))
        return _stated_digest(reply, str(reference))

    async def tags(self, registry: str, repository: str) -> tuple[str, ...]:
        """Every tag of a repository. Raises as `resolve`."""
        scope = f"repository:{repository}:pull"
        path = f"{repository}/tags/list"
        return await self._listed(registry, path, scope, "tags")

    async def catalogue(self, registry: str) -> tuple[str, ...]:
        """Every repository, where the registry has such a list (Docker Hub has none)."""
        return await self._listed(registry, "_catalog", _CATALOGUE, "repositories")

    def _reach(self, registry: str) -> RegistryAccess:
        access = self._access.get(registry)
        if access is None:
            if not self._others:
                raise Refused(f"registry {registry} is not declared: it is not asked")
            access = self._access[registry] = RegistryAccess(registry)
        return access

    def _ends(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s

    def _choose(self, index: Index, what: str) -> tuple[str, int]:
        chosen = index.choose(self._platform)
        if chosen is None:
            there = sorted({str(e.platform) for e in index.entries if e.platform is not None})
            named = ", ".join(there[:10]) or "none"
            raise NotFound(f"{what}: not for {self._platform}; there is {named}")
        return chosen.digest, chosen.size_bytes

    async def _manifest(
        self,
        access: RegistryAccess,
        reference: ImageReference,
        version: str,
        what: str,
        ends: float,
    ) -> tuple[bytes, str, str]:
        """A manifest or index, its media type, and the digest that it is known by."""
        path = f"{reference.repository}/manifests/{version}"
        reply = await self._ask(access, "GET", path, _pull(reference), ends)
        self._check(access, reply, what)
        stated = _stated_digest(reply, what)
        if stated is not None:
            verify(reply.body, stated, what)
        if ":" in version:
            verify(reply.body, version, what)
            stated = version
        kind = reply.headers.get("Content-Type", "")
        return reply.body, kind, stated or sha256(reply.body)

    async def _listed(self, registry: str, path: str, scope: str, key: str) -> tuple[str, ...]:
        access, ends = self._reach(registry), self._ends()
        found: dict[str, None] = {}
        async for page in self._pages(access, path, scope, ends):
            values = _object(page.body, f"{registry}/{path}").get(key)
            # Distribution says null for a repository that has lost its last tag.
            if values is None:
                values = []
            if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
                raise BadReply(f"{registry}/{path}: {key} is no list of names")
            found.update(dict.fromkeys(values))
            if len(found) > MAX_LISTED:
                raise BadReply(f"{registry}/{path}: more than {MAX_LISTED} {key}")
        return tuple(found)

    async def _pages(
        self, access: RegistryAccess, path: str, scope: str, ends: float
    ) -> AsyncIterator[Reply]:
        url = first = access.url(path, f"n={PAGE}")
        seen: set[Url] = set()
        while True:
            seen.add(url)
            reply = await self._send(access, "GET", url, scope, ends, MAX_PAGE_BYTES)
            self._check(access, reply, f"{access.registry}/{path}")
            yield reply
            link = _NEXT.search(", ".join(reply.headers.getall("Link", [])))
            if link is None:
                return
            following = reply.follow(link[1])
            if following is None or following.origin() != first.origin():
                # It would be asked with our credentials.
                raise BadReply(f"{access.registry}: its next page is elsewhere: {link[1][:200]!r}")
            if following in seen:
                raise BadReply(f"{access.registry}/{path}: the pages go round in a circle")
            url = following

    async def _ask(
        self, access: RegistryAccess, method: str, path: str, scope: str, ends: float
    ) -> Reply:
        return await self._send(access, method, access.url(path), scope, ends, MAX_MANIFEST_BYTES)

    async def _send(
        self,
        access: RegistryAccess,
        method: str,
        url: Url,
        scope: str,
        ends: float,
        max_bytes: int,
    ) -> Reply:
        """With what let us in before; where that is not enough, as the challenge says, once."""
        tried = self._login.known(access, scope)
        reply = await self._send_as(access, method, url, tried, ends, max_bytes)
        if reply.status != 401:
            return reply
        challenges = parse_challenges(reply.headers.getall("WWW-Authenticate", []))
        answer = await self._login.answer(access, challenges, scope, tried, ends)
        if answer is None:
            return reply
        return await self._send_as(access, method, url, answer, ends, max_bytes)

    async def _send_as(
        self,
        access: RegistryAccess,
        method: str,
        url: Url,
        authorization: str,
        ends: float,
        max_bytes: int,
    ) -> Reply:
        headers = {"Accept": ACCEPT}
        if authorization:
            headers["Authorization"] = authorization
        return await self._transport.send(
            access, method, url, headers, ends=ends, max_bytes=max_bytes
        )

    def _check(self, access: RegistryAccess, reply: Reply, what: str) -> None:
        status = reply.status
        if status == 200:
            return
        why = reason(reply.body)
        if status in {401, 403}:
            who = "no credentials are declared for it"
            if access.credentials is not None:
                who = f"as {access.credentials.username!r}"
            raise Refused(f"{what}: {access.registry} refuses ({status}, {who}){why}")
        if status == 404:
            raise NotFound(f"{what}: {access.registry} does not have it{why}")
        raise Unavailable(f"{what}: {access.registry} answered {status}{why}")


def _pull(reference: ImageReference) -> str:
    return f"repository:{reference.repository}:pull"


def _stated_digest(reply: Reply, what: str) -> str | None:
    stated = reply.headers.get("Docker-Content-Digest")
    if stated is None:
        return None
    try:
        return check_digest(stated)
    except InvalidField as error:
        raise BadManifest(f"{what}: Docker-Content-Digest: {error.problem}") from None


def _object(body: bytes, what: str) -> Mapping[str, object]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"{what}: the answer is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadReply(f"{what}: the answer is no JSON object")
    return fields
