"""The client's end of a connection: a channel, and the token that calls without TLS carry.

The token goes into each call's metadata: `stub.Method(request, metadata=bearer(token), timeout=s)`.
An interceptor would make a task and a wrapper for every call; a constant tuple costs nothing.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

import grpc

from tango.model.addresses import parse_address
from tango.model.errors import InvalidField, Refused
from tango.wire.options import MAX_MESSAGE_BYTES, channel_options
from tango.wire.secret_files import read_secret
from tango.wire.tls import Tls

AUTHORIZATION = "authorization"
MIN_TOKEN_CHARS = 16
MAX_TOKEN_BYTES = 4096


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata to pass to every call."""
    return ((AUTHORIZATION, f"Bearer {token}"),)


def open_channel(
    address: str,
    *,
    tls: Tls | None = None,
    server: str = "",
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> grpc.aio.Channel:
    """A channel that connects when it is first used, and again with backoff of 0.2 to 2 s.

    tls: this side's certificate and whom it trusts, as its files are now; a channel keeps what it
    was opened with. server: the name that the other side's certificate must have, as
    tango.model.access.server_name makes it. Close it, or use it with `async with`. Raises
    InvalidField for what is no address or no certificate, and Refused beyond loopback without TLS,
    where the token would cross the network in the clear.
    """
    parsed = parse_address(address)
    if not parsed.path and parsed.port == 0:
        raise InvalidField("address", f"{address!r} has port 0", "write the port it listens on")
    options = channel_options(max_message_bytes)
    target = f"unix:{parsed.path}" if parsed.path else _tcp_target(parsed.numeric_host, parsed.port)
    if tls is None:
        if not parsed.loopback:
            raise Refused(
                f"{address} is beyond loopback: that needs mutual TLS, see docs/security.md"
            )
        return grpc.aio.insecure_channel(target, options=options)
    if not server:
        raise InvalidField("server", "is empty", "say whose certificate is wanted")
    named = (("grpc.ssl_target_name_override", server),)
    return grpc.aio.secure_channel(target, tls.channel_credentials(), options=(*options, *named))


def _tcp_target(host: str, port: int) -> str:
    # Naming the scheme keeps gRPC from asking DNS where there is nothing to ask.
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return f"dns:///{host}:{port}"
    return f"ipv6:[{host}]:{port}" if version == 6 else f"ipv4:{host}:{port}"


def read_token(path: str | Path, field: str = "token_file") -> str:
    """The token in a file that only its owner can read.

    Raises InvalidField: the file is missing, not a plain file, readable by others, owned by
    somebody else, empty, or holds something that is no token.
    """
    name = str(path)
    content = read_secret(name, field, "the token's file", MAX_TOKEN_BYTES)
    token = content.decode("latin-1").strip()
    if len(content) > MAX_TOKEN_BYTES or not (token.isascii() and token.isprintable()):
        raise InvalidField(field, f"{name} holds no token", "write one line of printable ASCII")
    if " " in token or len(token) < MIN_TOKEN_CHARS:
        problem = f"the token in {name} is empty, has spaces, or is too short"
        raise InvalidField(field, problem, f"use at least {MIN_TOKEN_CHARS} random characters")
    return token
