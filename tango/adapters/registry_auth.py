"""How a registry lets one in: challenges (RFC 9110, 11.6.1), basic credentials, bearer tokens."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit, urlunsplit

from tango.model.errors import Refused

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"\s*(?P<scheme>{_WORD})(?=\s|,|$)(?!\s*=)\s*")
_PARAMETER = re.compile(
    rf'\s*(?P<name>{_WORD})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>{_WORD}))\s*'
)
_PRINTABLE = re.compile(r"[!-~]+")
_BARE_68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")
# What a token is worth where its issuer does not say (Docker token specification).
DEFAULT_LIFE_S = 60.0
MAX_LIFE_S = 24 * 3600.0
# Not used in its last moments: it has to last until the registry has read it.
MARGIN_S = 10.0
MAX_TOKEN_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a registry offers. scheme and names of parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password (or an access token in its place); never shown."""

    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The Authorization field (RFC 7617, UTF-8)."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. expires_at: on the event loop's clock."""

    value: str = field(repr=False)
    expires_at: float

    @property
    def bearer(self) -> str:
        """The Authorization field (RFC 6750)."""
        return f"Bearer {self.value}"


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Every challenge of all WWW-Authenticate fields; what cannot be read is left out."""
    found: list[Challenge] = []
    for value in values:
        at = 0
        while at < len(value):
            scheme = _SCHEME.match(value, at)
            if scheme is None:
                break
            at = scheme.end()
            parameters: dict[str, str] = {}
            bare = _BARE_68.match(value, at)
            if bare is not None:
                at = bare.end()
            while (parameter := _PARAMETER.match(value, at)) is not None:
                text = parameter["plain"]
                if text is None:
                    text = re.sub(r"\\(.)", r"\1", parameter["quoted"])
                parameters.setdefault(parameter["name"].lower(), text)
                at = parameter.end()
                if value[at : at + 1] != ",":
                    break
                at += 1
                if _SCHEME.match(value, at) is not None:
                    break
            found.append(Challenge(scheme["scheme"].lower(), parameters))
            while value[at : at + 1] in {",", " "}:
                at += 1
    return tuple(found)


def token_url(challenge: Challenge, scope: str, username: str, *, plain_http: bool) -> str:
    """Where to ask for a token (GET). scope: ours, where the challenge names none.

    Raises Refused for a realm that is no https URL: it is to get the credentials. Where the
    registry itself is declared as plain http, the realm may be, too.
    """
    realm = challenge.parameters.get("realm", "")
    try:
        parts = urlsplit(realm)
        usable = (
            bool(_PRINTABLE.fullmatch(realm))
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        usable = False
    allowed = {"https", "http"} if plain_http else {"https"}
    if not usable or parts.scheme not in allowed or parts.username is not None:
        raise Refused(f"the registry names {realm[:200]!r} as its token service: not an https URL")
    query = []
    if service := challenge.parameters.get("service"):
        query.append(("service", service))
    scopes = challenge.parameters.get("scope") or scope
    query += [("scope", one) for one in scopes.split()]
    if username:
        query.append(("account", username))
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, joined, ""))


def parse_token(body: bytes, now: float) -> Token:
    """The token of a token service's answer. Raises Refused where there is none."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refused("the token service's answer is no JSON object")
    value = fields.get("token") or fields.get("access_token")
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise Refused("the token service's answer holds no token")
    life = fields.get("expires_in", DEFAULT_LIFE_S)
    if isinstance(life, bool) or not isinstance(life, int | float) or not life > 0:
        life = DEFAULT_LIFE_S
    life = min(float(life), MAX_LIFE_S)
    return Token(value, now + max(life - MARGIN_S, life / 2))
