"""What a peer's certificate says: who it is, from gRPC's words, and until when, from its DER.

The standard library reads no certificate but its own connection's, and a node shall not need a
cryptographic package for two dates. Signatures, chains and dates at the handshake are gRPC's.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from tango.model.access import SCHEME, Identity, parse_identity

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
# As the C core names them (GRPC_PEER_URI_PROPERTY_NAME, GRPC_X509_PEM_CERT_PROPERTY_NAME).
_URI, _PEM = "peer_uri", "x509_pem_cert"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a certificate is for. identity: None where it states no role, or more than one.

    expires: Unix time after which it is not valid; 0.0 where that could not be read.
    """

    identity: Identity | None
    expires: float


def holder_of(context: Context) -> Holder | None:
    """The other side's certificate; None on a connection without TLS."""
    found = context.auth_context()
    pem = next(iter(found.get(_PEM, ())), None)
    if pem is None:
        return None
    return Holder(stated_identity(found.get(_URI, ())), expiry(pem))


def stated_identity(uris: Any) -> Identity | None:
    """The one identity among the URIs of a certificate; others than ours may stand beside it."""
    texts = [uri.decode("utf-8", "replace") if isinstance(uri, bytes) else uri for uri in uris]
    ours = [text for text in texts if text.startswith(SCHEME)]
    return parse_identity(ours[0]) if len(ours) == 1 else None


@functools.lru_cache(maxsize=1024)
def expiry(pem: bytes) -> float:
    """notAfter of the first certificate (RFC 5280, section 4.1), Unix time; 0.0 if unreadable."""
    start, end = pem.find(_BEGIN), pem.find(_END)
    if start < 0 or end < start:
        return 0.0
    try:
        return _not_after(base64.b64decode(pem[start + len(_BEGIN) : end]))
    except (binascii.Error, ValueError, IndexError):
        return 0.0


def _not_after(der: bytes) -> float:
    certificate, _ = _value(der, 0, _SEQUENCE)
    position, _ = _value(der, certificate, _SEQUENCE)
    if der[position] == _VERSION:
        position = _after(der, position)
    for _ in ("serialNumber", "signature", "issuer"):
        position = _after(der, position)
    not_before, _ = _value(der, position, _SEQUENCE)
    position = _after(der, not_before)
    kind = der[position]
    if kind not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no time")
    begin, end = _value(der, position, kind)
    text = der[begin:end].decode("ascii")
    if kind == _UTC_TIME:
        # RFC 5280, section 4.1.2.5.1: two digits from 50 on are of the last century.
        text = ("19" if text >= "5" else "20") + text
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()


def _value(der: bytes, position: int, kind: int) -> tuple[int, int]:
    """(begin, end) of the value of the element at `position`, which must be of this kind."""
    if der[position] != kind:
        raise ValueError("another element")
    length = der[position + 1]
    begin = position + 2
    if length & 0x80:
        digits = length & 0x7F
        length = int.from_bytes(der[begin : begin + digits])
        begin += digits
    if begin + length > len(der):
        raise ValueError("cut short")
    return begin, begin + length


def _after(der: bytes, position: int) -> int:
    return _value(der, position, der[position])[1]
