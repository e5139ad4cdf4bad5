"""A token service for the real registry: signed tokens, as its specification has them."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tango.adapters.authority import CA_CERT, CA_KEY, make_authority

ISSUER, SERVICE = "tango-test", "tango-registry"


class TokenService:
    """allowed: the Authorization field that gets tokens; None gets one for everybody.

    asked: the scopes of each request. expires_in: what it says, None for nothing; the tokens
    themselves hold for `life_s`.
    """

    def __init__(self, directory: Path, allowed: str | None = None) -> None:
        make_authority(directory)
        self._directory = directory
        pem = (directory / CA_KEY).read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        certificate = x509.load_pem_x509_certificate((directory / CA_CERT).read_bytes())
        self._chain = [
            base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        ]
        self._allowed = allowed
        self.expires_in: int | None = 300
        self.life_s = 300
        self.asked: list[list[str]] = []
        self.delay_s = 0.0
        self._port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/token", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def settings(self) -> dict[str, Any]:
        """For the registry's configuration."""
        return {
            "realm": f"http://127.0.0.1:{self._port}/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self._directory / CA_CERT),
        }

    def token(self, scopes: list[str]) -> str:
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {
            "iss": ISSUER, "sub": "", "aud": SERVICE, "iat": now, "nbf": now - 60,
            "exp": now + self.life_s, "jti": secrets.token_hex(8), "access": access,
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        signed = b".".join(_url64(json.dumps(part).encode()) for part in (head, claims))
        r, s = decode_dss_signature(self._key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = _url64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return (signed + b"." + signature).decode()

    async def _answer(self, request: web.Request) -> web.Response:
        scopes = request.query.getall("scope", [])
        self.asked.append(scopes)
        assert request.query["service"] == SERVICE
        await asyncio.sleep(self.delay_s)
        if self._allowed is not None and request.headers.get("Authorization") != self._allowed:
            errors = {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}
            return web.json_response(errors, status=401)
        answer: dict[str, object] = {"token": self.token(scopes)}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return web.json_response(answer)


def _url64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
