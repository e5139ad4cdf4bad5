"""HTTP requests to image registries: TLS, size limits, redirects, retries, one deadline for all.

Needs the `aiohttp` package (extra `registry`), on masters that ask registries and nowhere else.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import random
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

from tango import __version__
from tango.adapters.registry_auth import Credentials
from tango.adapters.registry_errors import BadReply, RegistryBusy
from tango.model.errors import InvalidField, Refused, TangoError, Unavailable
from tango.model.image import DEFAULT_REGISTRY, parse_image

try:
    import aiohttp
    from multidict import CIMultiDictProxy
    from yarl import URL
except ImportError:
    raise TangoError(
        "asking registries needs the package aiohttp: install the extra `registry` "
        "(in a clone: pip install '.[registry]')"
    ) from None

Url: TypeAlias = URL

# The API of Docker Hub is not at the name that references have.
_API_HOSTS = {DEFAULT_REGISTRY: "registry-1.docker.io"}
_AGAIN = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PRINTABLE = re.compile(r"[!-~]+")
MAX_REDIRECTS = 3
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """How one registry is reached.

    registry: as in references ("docker.io", "host:5000"). ca_file: PEM certificates that are
    trusted for it in place of the system's. plain_http: without TLS; for registries on loopback
    and test sites, since anybody between reads the credentials and changes the answers.
    """

    registry: str
    credentials: Credentials | None = None
    ca_file: Path | None = None
    plain_http: bool = False

    def __post_init__(self) -> None:
        if parse_image(f"{self.registry}/any").registry != self.registry:
            fix = 'write a host, or host:port ("localhost:5000")'
            raise InvalidField("registry", f"{self.registry!r} is not a registry", fix)

    def url(self, path: str, query: str = "") -> Url:
        """Of a path below the root of its API, made of checked names."""
        scheme = "http" if self.plain_http else "https"
        host = _API_HOSTS.get(self.registry, self.registry)
        return URL(f"{scheme}://{host}/v2/{path}{query and '?'}{query}", encoded=True)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often to try, and how long to wait before the next try: doubled, with jitter.

    attempt_s: after which one try is given up.
    """

    attempts: int = 4
    first_s: float = 0.2
    max_s: float = 5.0
    attempt_s: float = 10.0

    def wait_s(self, failures: int, generator: random.Random) -> float:
        """Before the next try, after so many failures."""
        whole = min(self.first_s * 2.0 ** (failures - 1), self.max_s)
        return whole * generator.uniform(0.5, 1.0)


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    url: Url

    def follow(self, link: str) -> Url | None:
        """Where a link of this answer leads; None where it is no HTTP URL.

        It is kept as it is, since links to storage are signed, unless it could not be sent so.
        """
        if not _PRINTABLE.fullmatch(link):
            return None
        try:
            to = self.url.join(URL(link, encoded=True))
            return to if to.scheme in {"http", "https"} and to.host else None
        except ValueError:
            return None


class RegistryTransport:
    """One connection pool for all registries. For one event loop; close it before the loop ends."""

    def __init__(self, retry: Retry, generator: random.Random, max_connections: int) -> None:
        self._retry = retry
        self._random = generator
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[Path | None, ssl.SSLContext] = {}
        self._reading = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        access: RegistryAccess,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        *,
        ends: float,
        max_bytes: int,
    ) -> Reply:
        """A GET or HEAD, again where that may help, until `ends` (the loop's clock).

        Raises Unavailable (RegistryBusy where it says for how long), BadReply for what is too
        large, Refused for a redirect that would give up TLS.
        """
        loop = asyncio.get_running_loop()
        context = await self._context(access)
        failures = 0
        while True:
            reply: Reply | None = None
            try:
                reply = await self._attempt(access, context, method, url, headers, ends, max_bytes)
                if reply.status not in _AGAIN:
                    return reply
                problem = f"{method} {url.path} answered {reply.status}"
            except (aiohttp.ClientSSLError, ssl.SSLError) as error:
                raise Unavailable(f"{access.registry}: TLS failed: {error}") from None
            except TimeoutError:
                problem = "no answer in time"
            except (aiohttp.ClientError, OSError) as error:
                problem = _problem(error, access)
            failures += 1
            asked_s = 0.0 if reply is None else _retry_after_s(reply.headers)
            wait_s = max(asked_s, self._retry.wait_s(failures, self._random))
            tried = f"{access.registry}: {problem} ({failures} tries)"
            if loop.time() + wait_s >= ends:
                if asked_s:
                    raise RegistryBusy(f"{tried}; it asks to wait {asked_s:.0f} s", asked_s)
                raise Unavailable(tried)
            if failures >= self._retry.attempts:
                if asked_s:
                    raise RegistryBusy(tried, asked_s)
                raise Unavailable(tried)
            await asyncio.sleep(wait_s)

    async def _attempt(
        self,
        access: RegistryAccess,
        context: ssl.SSLContext | bool,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        ends: float,
        max_bytes: int,
    ) -> Reply:
        left_s = ends - asyncio.get_running_loop().time()
        async with asyncio.timeout(min(left_s, self._retry.attempt_s)):
            for _ in range(MAX_REDIRECTS + 1):
                session = self._open_session()
                async with session.request(
                    method, url, headers=headers, ssl=context, allow_redirects=False
                ) as response:
                    target = response.headers.get("Location")
                    if response.status not in _REDIRECTS or not target:
                        body = await _read(response, access, max_bytes)
                        return Reply(response.status, response.headers, body, url)
                    reply = Reply(response.status, response.headers, b"", url)
                headers, url = _redirected(access, headers, reply, target)
        raise BadReply(f"{access.registry}: more than {MAX_REDIRECTS} redirects from {url.path}")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Unavailable("the registry client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit_per_host=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"tango-edge/{__version__}", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None),  # ours, around each try
                auto_decompress=False,
            )
        return self._session

    async def _context(self, access: RegistryAccess) -> ssl.SSLContext | bool:
        """What to trust; True, the system's certificates, for what plain HTTP may redirect to."""
        if access.plain_http:
            return True
        # They take tens of milliseconds to read: once, however many ask at first.
        async with self._reading:
            context = self._contexts.get(access.ca_file)
            if context is None:
                try:
                    context = await asyncio.to_thread(
                        ssl.create_default_context, cafile=access.ca_file
                    )
                except (OSError, ssl.SSLError) as error:
                    problem = f"cannot read certificates of {access.ca_file}: {error}"
                    fix = "give a file with PEM certificates"
                    raise InvalidField("ca_file", problem, fix) from None
                self._contexts[access.ca_file] = context
            return context


def _problem(error: Exception, access: RegistryAccess) -> str:
    """aiohttp's own words name TLS also where there is none."""
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    address = f"{error.host}:{error.port}"
    if isinstance(error.os_error, ConnectionRefusedError):
        # The registry's name stands before it.
        return f"{'' if address == access.registry else address + ' '}refused the connection"
    return f"cannot connect to {address}: {error.os_error.strerror or error.os_error}"


async def _read(response: aiohttp.ClientResponse, access: RegistryAccess, max_bytes: int) -> bytes:
    """The body, however it is framed, but never more than max_bytes of it."""
    if response.method == "HEAD":
        return b""
    coding = response.headers.get("Content-Encoding", "identity").lower()
    if coding != "identity":
        raise BadReply(f"{access.registry}: sent {coding[:20]!r} content, which was not asked for")
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            response.close()
            path = response.url.path
            raise BadReply(f"{access.registry}: {path} is larger than {max_bytes} bytes")
    return bytes(body)


def _redirected(
    access: RegistryAccess, headers: Mapping[str, str], reply: Reply, target: str
) -> tuple[Mapping[str, str], URL]:
    """Where to go on; what lets us in at one origin is not told to another."""
    url, to = reply.url, reply.follow(target)
    if to is None:
        raise BadReply(f"{access.registry}: a redirect to {target[:200]!r}")
    if url.scheme == "https" and to.scheme != "https":
        raise Refused(f"{access.registry}: a redirect from TLS to plain {to.origin()}")
    if to.origin() != url.origin():
        headers = {name: value for name, value in headers.items() if name != "Authorization"}
    return headers, to


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds or a date (RFC 9110, 10.2.3); 0 where it is absent or cannot be read."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
