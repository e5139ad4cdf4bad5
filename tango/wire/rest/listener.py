"""The REST face's listener: its socket, TLS, bounds on connections, start and orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import socket
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from google.protobuf import descriptor_pool

from tango.model.addresses import Address
from tango.model.errors import InvalidField
from tango.wire.guard import Guard
from tango.wire.handshakes import HandshakeWatch
from tango.wire.refusals import Refusals
from tango.wire.rest.bindings import bindings_of
from tango.wire.rest.connection import Connection
from tango.wire.rest.doors import Doors
from tango.wire.rest.face import Face
from tango.wire.rest.inside import Inside
from tango.wire.rest.openapi import Document
from tango.wire.rest.page import POLICY, page_of
from tango.wire.rest.tls import server_context
from tango.wire.role_gate import RoleGate
from tango.wire.servers import Service, address_to_serve, cannot_bind
from tango.wire.tls import Tls
from tango.wire.token_gate import TokenGate

MAX_CONNECTIONS = 256
# To send the whole head of a request, the first one and each after; and of idle connections.
HEAD_TIMEOUT_S = 15.0
HANDSHAKE_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
# For a body that was answered without being read: closing at once would take the answer with it.
LINGER_S = 2.0
# A peer that takes nothing for so long, or is gone without a word, is dropped by the kernel.
STUCK_MS = 30_000


class RestServer:
    """Serving when it is made by `start_rest`, gone after `close`."""

    def __init__(
        self,
        address: Address,
        server: asyncio.Server,
        runner: web.AppRunner,
        watch: HandshakeWatch | None,
    ) -> None:
        self.address = address
        self._server = server
        self._runner = runner
        self._watch = watch

    @property
    def connections(self) -> list[web.RequestHandler]:
        """Those that are open."""
        return [] if self._runner.server is None else self._runner.server.connections

    async def close(self) -> None:
        """No new connections; what is under way has the runner's grace, then it is cancelled."""
        self._server.close()
        await self._runner.cleanup()
        # Handshakes that do not end are no connections of the runner's.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._server.wait_closed()
        if self._watch is not None:
            self._watch.close()


class _Full(asyncio.Protocol):
    """For one connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it go at once."""
        # uvloop's transports are no subclass of asyncio's.
        cast("asyncio.WriteTransport", transport).abort()


async def start_rest(
    listen: str,
    token: str,
    service: Service,
    *,
    tls: Tls | None = None,
    field: str = "rest",
    grace_s: float = 2.0,
) -> RestServer:
    """Serve a gRPC service's calls as REST at "127.0.0.1:0" (a free port) or "[::1]:7000".

    The same rules as for gRPC: beyond loopback only with tls, where the certificate's role says
    what it may call; without, every call carries the token. Raises InvalidField.
    """
    address = address_to_serve(listen, field, tls)
    if address.path:
        raise InvalidField(field, f"{listen!r} is no host:port", "use 127.0.0.1:PORT")
    sock = _bound(address, field)
    try:
        return await _serve(address, sock, token, service, tls, grace_s)
    except BaseException:
        sock.close()
        raise


async def _serve(
    address: Address,
    sock: socket.socket,
    token: str,
    service: Service,
    tls: Tls | None,
    grace_s: float,
) -> RestServer:
    refusals = Refusals()
    watch = None if tls is None else HandshakeWatch(refusals)
    gate = TokenGate(token, refusals) if watch is None else RoleGate(refusals, watch.called)
    bindings = bindings_of(descriptor_pool.Default().FindServiceByName(service.name))
    page = functools.cache(page_of)
    document = Document(bindings, secure=tls is not None)
    doors = Doors(refusals, secure=tls is not None, called=None if watch is None else watch.called)
    face = Face(
        bindings,
        Inside(service, (gate, Guard(refusals))),
        doors,
        {
            "/openapi.json": lambda: ("application/json", document.content, {}),
            "/": lambda: ("text/html", page(document), {"Content-Security-Policy": POLICY}),
        },
    )
    doors.address = address.with_port(sock.getsockname()[1])
    runner = web.AppRunner(face.app, handler_cancellation=True, shutdown_timeout=grace_s)
    await runner.setup()
    made = runner.server
    assert made is not None
    loop, log = asyncio.get_running_loop(), _log()

    def connection() -> asyncio.Protocol:
        if len(made.connections) >= MAX_CONNECTIONS:
            return _Full()
        return Connection(
            made,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # for none, as AppRunner has it
            logger=log,
            auto_decompress=False,
            keepalive_timeout=HEAD_TIMEOUT_S,
            lingering_time=LINGER_S,
        )

    context = None
    if tls is not None and watch is not None:
        context = server_context(tls, watch.begun)
    server = await loop.create_server(
        connection,
        sock=sock,
        ssl=context,
        ssl_handshake_timeout=None if context is None else HANDSHAKE_TIMEOUT_S,
    )
    if watch is not None:
        watch.watch(doors.address.port)
    return RestServer(doors.address, server, runner, watch)


def _log() -> logging.Logger:
    """For aiohttp: what is no HTTP has been answered 400, and whoever sends it fills no log."""
    log = logging.getLogger("tango.wire.http")

    def of_ours(record: logging.LogRecord) -> bool:
        return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)

    if not log.filters:
        log.addFilter(of_ours)
    return log


def _bound(address: Address, field: str) -> socket.socket:
    host = address.numeric_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit this from the listener (tcp(7)).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK_MS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, STUCK_MS // 1000)
        sock.bind((host, address.port))
    except (OSError, UnicodeError) as error:
        sock.close()
        if isinstance(error, OSError):
            raise cannot_bind(field, address, error) from None
        reason = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        raise cannot_bind(field, address, reason) from None
    return sock
