"""A daemon's gRPC server: mutual TLS or loopback with a token, reflection, health, orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tango.model.addresses import Address, parse_address
from tango.model.errors import InvalidField
from tango.wire.guard import Guard
from tango.wire.handshakes import HandshakeWatch
from tango.wire.options import MAX_MESSAGE_BYTES, server_options
from tango.wire.refusals import Refusals
from tango.wire.role_gate import RoleGate
from tango.wire.tls import Tls
from tango.wire.token_gate import TokenGate

MAX_CONCURRENT_RPCS = 50_000


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: its full name ("tango.v1.EdgeService") and what adds it to a server."""

    name: str
    register: Callable[[grpc.aio.Server], None]


class RpcServer:
    """Bound when it is made, serving after `start`, gone after `stop`.

    address: where it listens, with the port that was picked. closing: set when it begins to stop;
    handlers of streams that never end by themselves watch it.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        address: Address,
        services: Sequence[str],
        guard: Guard,
        watch: HandshakeWatch | None = None,
    ) -> None:
        self.address = address
        self._guard = guard
        self._watch = watch
        self.closing = asyncio.Event()
        self._server = server
        self._services = services
        self._health = _Health(self.closing)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)

    async def start(self) -> None:
        """Accept connections; health says SERVING for each service and for "" (the daemon)."""
        await self._server.start()
        for name in ("", *self._services):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def begin_stop(self) -> None:
        """Health NOT_SERVING, then `closing`; new RPCs are told so, those under way go on."""
        if not self.closing.is_set():
            await self._health.enter_graceful_shutdown()
            self._guard.close()
            self.closing.set()

    async def stop(self, grace_s: float) -> None:
        """As begin_stop, then no connections any more, and grace_s for RPCs under way.

        What still runs then is cancelled. The daemon closes its own channels after this.
        """
        await self.begin_stop()
        await self._server.stop(grace_s)
        if self._watch is not None:
            self._watch.close()


class _Health(health.aio.HealthServicer):  # type: ignore[misc]  # the package has no types
    """Health whose watchers are let go when the server stops: they would use up all the grace."""

    def __init__(self, closing: asyncio.Event) -> None:
        super().__init__()
        self._closing = closing

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Stream the status of a service until the client has gone or the server stops."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({watching, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watching, closing):
                task.cancel()
            await asyncio.gather(watching, closing, return_exceptions=True)


def make_server(
    listen: str,
    token: str,
    services: Sequence[Service],
    *,
    tls: Tls | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    max_concurrent_rpcs: int = MAX_CONCURRENT_RPCS,
    field: str = "listen",
    daemon: str = "daemon",
) -> RpcServer:
    """A server bound to `listen`: "127.0.0.1:0" (a free port), "[::1]:7000", "unix:/run/x.sock".

    tls: every client must have a certificate, whose role says what it may call, and no token;
    without it every call must carry the token. Call this in the running event loop. More than
    max_concurrent_rpcs at a time are answered RESOURCE_EXHAUSTED. daemon: in words for users.
    Raises InvalidField: no address, beyond loopback without TLS, in use, not ours to bind.
    """
    address = address_to_serve(listen, field, tls)
    # Before there is a server that would have to be taken down again.
    _try_bind(address, field)
    refusals = Refusals()
    watch = None if tls is None else HandshakeWatch(refusals)
    gate = TokenGate(token, refusals) if watch is None else RoleGate(refusals, watch.called)
    guard = Guard(refusals, daemon)
    server = grpc.aio.server(
        interceptors=(gate, guard),
        options=server_options(max_message_bytes),
        maximum_concurrent_rpcs=max_concurrent_rpcs,
    )
    for service in services:
        service.register(server)
    names = tuple(service.name for service in services)
    reflection.enable_server_reflection(
        (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    credentials = None
    if tls is not None and watch is not None:
        credentials = tls.server_credentials(watch.begun)
    bound = _bind(server, address, field, credentials)
    if watch is not None:
        watch.watch(bound.port)
    return RpcServer(server, bound, names, guard, watch)


def address_to_serve(listen: str, field: str, tls: Tls | None) -> Address:
    """Where to listen. Raises InvalidField: no address, or beyond loopback without TLS."""
    address = parse_address(listen, field)
    if not address.loopback and tls is None:
        raise InvalidField(
            field,
            f"{listen!r} is beyond loopback: that needs mutual TLS",
            "give it a [tls] table (docs/security.md), or use 127.0.0.1, [::1] or unix:/path",
        )
    return address


def _try_bind(address: Address, field: str) -> None:
    """Refuse what cannot be bound: gRPC does not tell why, and takes over sockets in use."""
    try:
        if address.path:
            _try_unix(address.path)
        elif address.port:
            host = address.numeric_host
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((host, address.port))
    except OSError as error:
        raise cannot_bind(field, address, error) from None


def _try_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect(path)
        except FileNotFoundError:
            directory = Path(path).parent
            if not directory.is_dir():
                raise OSError(errno.ENOENT, f"there is no directory {directory}") from None
            if not os.access(directory, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, f"no right to write to {directory}") from None
            return
        except ConnectionRefusedError:
            if not stat.S_ISSOCK(Path(path).stat().st_mode):
                raise OSError(errno.EEXIST, "a file that is no socket has that name") from None
            # Left behind by a daemon that was killed: gRPC replaces it.
            return
    raise OSError(errno.EADDRINUSE, "in use")


def _bind(
    server: grpc.aio.Server,
    address: Address,
    field: str,
    credentials: grpc.ServerCredentials | None,
) -> Address:
    def add(where: str) -> int:
        if credentials is None:
            return server.add_insecure_port(where)
        return server.add_secure_port(where, credentials)

    try:
        if address.path:
            with _private_files():
                add(f"unix:{address.path}")
            return address
        numeric = Address(address.numeric_host, address.port)
        return address.with_port(add(str(numeric)))
    except RuntimeError as error:
        # Somebody took it since the check; gRPC's own text does not tell more.
        raise cannot_bind(field, address, OSError(0, str(error).partition(";")[0])) from None


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    # The socket must never be open to others, not even between bind and chmod.
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def cannot_bind(field: str, address: Address, error: OSError) -> InvalidField:
    """What to tell, and what to do."""
    if error.errno == errno.EADDRINUSE:
        fix = "stop what listens there, or use another port (0 picks a free one)"
        return InvalidField(field, f"{address} is in use", fix)
    if error.errno == errno.EACCES and not address.path:
        return InvalidField(
            field, f"{address}: no right to bind that port", "use a port from 1024 on"
        )
    return InvalidField(
        field, f"cannot listen on {address}: {error.strerror}", "use another address"
    )
