"""Mutual TLS for the REST face: the same files, as new, and what the caller's certificate says."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from typing import Any

from tango.wire.handshakes import OnHandshake
from tango.wire.rest.inside import AuthContext
from tango.wire.tls import Pems, Tls


def server_context(tls: Tls, on_handshake: OnHandshake) -> ssl.SSLContext:
    """For a server that asks every client for a certificate; TLS 1.3.

    A connection gets the files as they are when it begins, authorities included: OpenSSL asks which
    server is wanted at each, and takes another context then. on_handshake: called at each.
    """
    given = tls.latest()
    current = first = _context(given)

    def begins(connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        nonlocal given, current
        on_handshake()
        latest = tls.latest()
        if latest is not given:
            given, current = latest, _context(latest)
        connection.context = current

    first.sni_callback = begins
    return first


def _context(pems: Pems) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Without tickets every connection shows its certificate anew; older versions of TLS would take
    # up a session that was made under authorities of before.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["http/1.1"])
    # What was checked, and not what the files may hold by now; ssl reads from paths alone.
    with _in_memory(pems.ca) as ca, _in_memory(pems.cert) as cert, _in_memory(pems.key) as key:
        context.load_verify_locations(ca)
        context.load_cert_chain(cert, key)
    return context


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    handle = os.memfd_create("tango")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{handle}"


def auth_context(connection: ssl.SSLObject | None) -> AuthContext:
    """The caller's certificate as gRPC's auth_context has it; empty without TLS."""
    if connection is None:
        return {}
    der = connection.getpeercert(binary_form=True)
    if der is None:
        return {}
    names: Any = (connection.getpeercert() or {}).get("subjectAltName", ())
    return {
        "peer_uri": tuple(value.encode() for kind, value in names if kind == "URI"),
        "x509_pem_cert": (ssl.DER_cert_to_PEM_cert(der).encode("ascii"),),
    }
