"""What lets the registry client in: basic credentials, and the tokens of each scope."""

from __future__ import annotations

import asyncio

from tango.adapters.registry_auth import (
    MAX_TOKEN_BYTES,
    Challenge,
    Token,
    parse_token,
    token_url,
)
from tango.adapters.registry_errors import reason
from tango.adapters.registry_transport import RegistryAccess, RegistryTransport, Url
from tango.model.errors import Refused

MAX_TOKENS = 4096


class RegistryLogin:
    """Of all registries of one client."""

    def __init__(self, transport: RegistryTransport) -> None:
        self._transport = transport
        self._basic: set[str] = set()
        self._tokens: dict[tuple[str, str], Token] = {}
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}

    def known(self, access: RegistryAccess, scope: str) -> str:
        """The Authorization field that let us in before; "" for none."""
        token = self._tokens.get((access.registry, scope))
        if token is not None and token.expires_at > asyncio.get_running_loop().time():
            return token.bearer
        if access.registry in self._basic and access.credentials is not None:
            return access.credentials.basic
        return ""

    async def answer(
        self,
        access: RegistryAccess,
        challenges: tuple[Challenge, ...],
        scope: str,
        refused: str,
        ends: float,
    ) -> str | None:
        """The Authorization field that a challenge asks for; None: there is no other to give."""
        ways = {challenge.scheme: challenge for challenge in reversed(challenges)}
        if "bearer" in ways:
            key = (access.registry, scope)
            # Many requests of one scope at once ask for one token.
            async with self._asking.setdefault(key, asyncio.Lock()):
                known = self.known(access, scope)
                if known and known != refused and known.startswith("Bearer"):
                    return known
                token = await self._token(access, ways["bearer"], scope, ends)
                self._keep(key, token)
                return token.bearer
        if "basic" in ways and access.credentials is not None:
            if refused == access.credentials.basic:
                return None
            self._basic.add(access.registry)
            return access.credentials.basic
        return None

    async def _token(
        self, access: RegistryAccess, challenge: Challenge, scope: str, ends: float
    ) -> Token:
        credentials = access.credentials
        username = credentials.username if credentials is not None else ""
        url = token_url(challenge, scope, username, plain_http=access.plain_http)
        headers = {"Authorization": credentials.basic} if credentials is not None else {}
        reply = await self._transport.send(
            access, "GET", Url(url, encoded=True), headers, ends=ends, max_bytes=MAX_TOKEN_BYTES
        )
        if reply.status != 200:
            who = f"as {username!r}" if username else "without credentials"
            raise Refused(
                f"{access.registry}: its token service answered {reply.status} {who}"
                f"{reason(reply.body)}"
            )
        return parse_token(reply.body, asyncio.get_running_loop().time())

    def _keep(self, key: tuple[str, str], token: Token) -> None:
        if len(self._tokens) >= MAX_TOKENS:
            self._tokens.clear()
            self._asking = {k: lock for k, lock in self._asking.items() if lock.locked()}
        self._tokens[key] = token
