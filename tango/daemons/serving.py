"""What all three daemons do around their backend: serve, say ready, wait, stop in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, cast

from tango.daemons.lifecycle import log_event, serve_until_stopped
from tango.daemons.tallies import Scrape
from tango.model.settings import ServerSettings
from tango.wire.credentials import Credentials
from tango.wire.servers import RpcServer, Service, make_server

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

GRACE_S = 5.0
LAST_S = 0.5
WORDS = {"central": "central master"}


@contextlib.asynccontextmanager
async def served(
    settings: ServerSettings,
    credentials: Credentials,
    service: Service,
    scrape: Scrape,
    *,
    daemon: str,
    max_message_bytes: int,
    beside: tuple[Service, ...] = (),
) -> AsyncIterator[RpcServer]:
    """gRPC and metrics up; both bound before anything is said to be ready.

    beside: services of the same daemon next to its main one.
    """
    server = make_server(
        settings.listen,
        credentials.token,
        (service, *beside),
        tls=credentials.tls,
        max_message_bytes=max_message_bytes,
        field="server.listen",
        daemon=WORDS.get(daemon, daemon),
    )
    async with contextlib.AsyncExitStack() as stack:
        if settings.metrics:
            close = await _serve_metrics(settings.metrics, credentials.token, scrape)
            stack.push_async_callback(close)
        await server.start()
        fields: dict[str, object] = {"daemon": daemon, "address": str(server.address)}
        if credentials.tls is not None:
            fields["identity"] = str(credentials.tls.identity)
        log_event("info", "serving", **fields)
        yield server


async def _serve_metrics(
    listen: str, token: str, scrape: Scrape
) -> Callable[[], Coroutine[None, None, None]]:
    """Serve them; what is returned ends that. Imports what only a daemon with an endpoint needs."""
    from prometheus_client import CollectorRegistry

    from tango.adapters.metrics import start_metrics

    registry = CollectorRegistry()
    registry.register(cast("Collector", scrape))
    return (await start_metrics(listen, token, registry, field="server.metrics")).close


async def run_to_end(
    group: asyncio.TaskGroup,
    failed: asyncio.Future[None],
    server: RpcServer,
    stop_sessions: Callable[[], None],
    drain: Callable[[float], Awaitable[None]] | None = None,
) -> None:
    """Until a stop signal or a failure; then health, what is under way, sessions, all RPCs.

    drain: lets what is under way end, and ends it itself after as many seconds: none after a
    failure. All together has GRACE_S, and LAST_S for what is said at the end of it.
    """
    grace_s = 0.0
    try:
        await serve_until_stopped(group, failed)
        grace_s = GRACE_S
    finally:
        clock = asyncio.get_running_loop().time
        ends = clock() + GRACE_S
        await server.begin_stop()
        if drain is not None:
            await drain(grace_s)
        stop_sessions()
        await server.stop(max(LAST_S, ends - clock()))
