"""Mutual TLS from three PEM files; when they change, new connections get the new ones."""

from __future__ import annotations

import logging
import os
import ssl
import time
from dataclasses import dataclass
from typing import Any

import grpc

from tango.model.access import Identity, Role
from tango.model.errors import InvalidField
from tango.model.settings import TlsSettings
from tango.wire.certificate import stated_identity
from tango.wire.handshakes import OnHandshake
from tango.wire.secret_files import read_secret, read_trusted

MAX_PEM_BYTES = 256 * 1024
log = logging.getLogger("tango.wire")

Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Pems:
    """The contents of the three files, which belong together. expires: Unix time."""

    ca: bytes
    cert: bytes
    key: bytes
    identity: Identity
    expires: float


class Tls:
    """One side's certificate, key and authorities; raises InvalidField where they do not fit.

    field: the table that the files were named in. What replaces a file later is checked in the
    same way, and refused with a line in the log where it is wrong: the last that fitted stays.
    """

    def __init__(self, settings: TlsSettings, field: str = "tls") -> None:
        self._settings = settings
        self._field = field
        self._signature = self._look()
        self._pems = _load(settings, field)

    @property
    def identity(self) -> Identity:
        """Who the own certificate is for."""
        return self._pems.identity

    def require(self, role: Role, name: str = "") -> None:
        """Raise InvalidField unless the own certificate is for this role, and for this name."""
        own = self.identity
        if own.role is role and (not name or own.name == name):
            return
        wanted = f"{role.value} {name}".strip()
        raise InvalidField(
            f"{self._field}.cert_file",
            f"{self._settings.cert_file} is for {own}, this is {wanted}",
            f"`tango certs issue --role {role.value} --name {name or 'NAME'}` makes one",
        )

    def latest(self) -> Pems:
        """The files as they are now, or as they were when they last fitted together."""
        signature = self._look()
        if signature == self._signature:
            return self._pems
        # Taken first: a file that is wrong is looked at once, not at every connection.
        self._signature = signature
        try:
            pems = _load(self._settings, self._field)
            if pems.identity != self._pems.identity:
                raise InvalidField(
                    f"{self._field}.cert_file",
                    f"is now for {pems.identity}, this is {self._pems.identity}",
                    "restart, to be somebody else",
                )
        except InvalidField as error:
            fields = {"reason": str(error), "kept_until": _date(self._pems.expires)}
            log.error("certificate not reloaded", extra={"fields": fields})
            return self._pems
        self._pems = pems
        fields = {"identity": str(pems.identity), "expires": _date(pems.expires)}
        log.info("certificate reloaded", extra={"fields": fields})
        return pems

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a new channel. Raises InvalidField where the own certificate has expired."""
        pems = self.latest()
        if pems.expires <= time.time():
            raise _expired(self._settings, self._field)
        return grpc.ssl_channel_credentials(pems.ca, pems.key, pems.cert)

    def server_credentials(self, on_handshake: OnHandshake) -> grpc.ServerCredentials:
        """For a server that asks every client for a certificate, TLS 1.2 or newer.

        on_handshake: called at each new connection, from a thread of gRPC's.
        """
        given = self._pems

        def fetch() -> Any:  # None says that nothing has changed; the type stubs do not know
            nonlocal given
            on_handshake()
            latest = self.latest()
            if latest is given:
                return None
            given = latest
            return _server_configuration(latest)

        return grpc.dynamic_ssl_server_credentials(
            _server_configuration(given), fetch, require_client_authentication=True
        )

    def _look(self) -> Signature:
        found = []
        for path in (self._settings.ca_file, self._settings.cert_file, self._settings.key_file):
            try:
                status = os.stat(path)  # noqa: PTH116 - once a connection, three times
            except (OSError, ValueError):
                found.append((0, 0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)


def _server_configuration(pems: Pems) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pems.key, pems.cert)], pems.ca)


def _load(settings: TlsSettings, field: str) -> Pems:
    """Read the files and see that they belong together. Raises InvalidField."""
    ca_field, cert_field, key_field = (f"{field}.{n}_file" for n in ("ca", "cert", "key"))
    ca = read_trusted(settings.ca_file, ca_field, "the authority's certificate", MAX_PEM_BYTES)
    cert = read_trusted(settings.cert_file, cert_field, "this side's certificate", MAX_PEM_BYTES)
    key = read_secret(settings.key_file, key_field, "this side's key", MAX_PEM_BYTES)
    for name, content, mark, path in (
        (ca_field, ca, b"-----BEGIN CERTIFICATE-----", settings.ca_file),
        (cert_field, cert, b"-----BEGIN CERTIFICATE-----", settings.cert_file),
        (key_field, key, b"PRIVATE KEY-----", settings.key_file),
    ):
        if len(content) > MAX_PEM_BYTES or mark not in content:
            raise InvalidField(name, f"{path} holds none in PEM form", "`tango certs` makes them")
    if b"ENCRYPTED" in key:
        raise InvalidField(
            key_field,
            f"{settings.key_file} asks for a passphrase",
            "keep it without one, mode 0600",
        )
    found = _rehearse(settings, field)
    identity = stated_identity([uri for kind, uri in found["subjectAltName"] if kind == "URI"])
    if identity is None:
        raise InvalidField(
            cert_field,
            f"{settings.cert_file} states no role, or more than one",
            "it needs one URI like tango://worker/node-1 among its alternative names",
        )
    return Pems(ca, cert, key, identity, ssl.cert_time_to_seconds(found["notAfter"]))


def _rehearse(settings: TlsSettings, field: str) -> dict[str, Any]:
    """Shake hands with ourselves in memory, as a client whose certificate is verified.

    So key, certificate, chain and dates are judged as the other side will. Returns what
    ssl.SSLSocket.getpeercert says. Raises InvalidField.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    server.verify_mode = ssl.CERT_REQUIRED
    try:
        server.load_verify_locations(settings.ca_file)
    except (ssl.SSLError, OSError) as error:
        problem = f"{settings.ca_file} cannot be used: {_reason(error)}"
        raise InvalidField(f"{field}.ca_file", problem, "name a PEM file") from None
    for context in (server, client):
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            problem = f"{settings.key_file} and {settings.cert_file} do not fit: {_reason(error)}"
            raise InvalidField(
                f"{field}.key_file", problem, "name the key that the certificate was issued for"
            ) from None
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    try:
        while waiting:
            for end in tuple(waiting):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                waiting.remove(end)
    except ssl.SSLCertVerificationError as error:
        if "expired" in error.verify_message:
            raise _expired(settings, field) from None
        problem = f"{settings.cert_file} is not valid under {settings.ca_file}"
        raise InvalidField(
            f"{field}.cert_file", f"{problem}: {error.verify_message}", "name its own authority"
        ) from None
    except ssl.SSLError as error:
        problem = f"{settings.cert_file} cannot be used: {_reason(error)}"
        raise InvalidField(f"{field}.cert_file", problem, "issue a new one") from None
    found = dict(ends[1].getpeercert() or {})
    return {"subjectAltName": (), "notAfter": "Jan  1 00:00:00 1970 GMT"} | found


def _expired(settings: TlsSettings, field: str) -> InvalidField:
    problem = f"{settings.cert_file} has expired"
    return InvalidField(f"{field}.cert_file", problem, "`tango certs issue` makes a new one")


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return str(reason).lower().replace("_", " ")


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
