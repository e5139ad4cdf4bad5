"""The client's end of a connection: a channel, and the token that every call carries.

The token goes into each call's metadata: `stub.Method(request, metadata=bearer(token), timeout=s)`.
An interceptor would make a task and a wrapper for every call; a constant tuple costs nothing.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import grpc

from tango.model.addresses import parse_address
from tango.model.errors import InvalidField, Refused
from tango.wire.options import MAX_MESSAGE_BYTES, channel_options

AUTHORIZATION = "authorization"
MIN_TOKEN_CHARS = 16
MAX_TOKEN_BYTES = 4096


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata to pass to every call."""
    return ((AUTHORIZATION, f"Bearer {token}"),)


def open_channel(address: str, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> grpc.aio.Channel:
    """A channel that connects when it is first used, and again with backoff of 0.2 to 2 s.

    Close it, or use it with `async with`. Raises InvalidField for what is no address, and Refused
    beyond loopback, where the token would cross the network in the clear.
    """
    parsed = parse_address(address)
    if not parsed.loopback:
        raise Refused(
            f"{address} is beyond loopback: that needs mutual TLS, which is not there yet"
        )
    if not parsed.path and parsed.port == 0:
        raise InvalidField("address", f"{address!r} has port 0", "write the port it listens on")
    target = f"unix:{parsed.path}" if parsed.path else _tcp_target(parsed.numeric_host, parsed.port)
    return grpc.aio.insecure_channel(target, options=channel_options(max_message_bytes))


def _tcp_target(host: str, port: int) -> str:
    # Naming the scheme keeps gRPC from asking DNS.
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


def read_token(path: str | Path, field: str = "token_file") -> str:
    """The token in a file that only its owner can read.

    Raises InvalidField: the file is missing, not a plain file, readable by others, owned by
    somebody else, empty, or holds something that is no token.
    """
    name = str(path)
    try:
        # Without NONBLOCK, opening a FIFO would wait for a writer.
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidField(
            field, f"cannot read {name}: {reason}", "name the token's file"
        ) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidField(field, f"{name} is not a plain file", "name the token's file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            problem = f"{name} can be read or written by others (mode {mode:04o})"
            raise InvalidField(field, problem, f"chmod 600 {name}")
        if status.st_uid not in (0, os.geteuid()):
            problem = f"{name} belongs to uid {status.st_uid}"
            raise InvalidField(field, problem, "own it yourself")
        content = os.read(handle, MAX_TOKEN_BYTES + 1)
    finally:
        os.close(handle)
    token = content.decode("latin-1").strip()
    if len(content) > MAX_TOKEN_BYTES or not (token.isascii() and token.isprintable()):
        raise InvalidField(field, f"{name} holds no token", "write one line of printable ASCII")
    if " " in token or len(token) < MIN_TOKEN_CHARS:
        problem = f"the token in {name} is empty, has spaces, or is too short"
        raise InvalidField(field, problem, f"use at least {MIN_TOKEN_CHARS} random characters")
    return token
