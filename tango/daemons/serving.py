"""What all three daemons do around their backend: serve, say ready, wait, stop in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, cast

from tango.daemons.lifecycle import log_event, serve_until_stopped
from tango.daemons.tallies import Scrape
from tango.model.settings import ServerSettings
from tango.wire.credentials import Credentials
from tango.wire.servers import RpcServer, Service, make_server

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

GRACE_S = 5.0


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
) -> None:
    """Until a stop signal or a failure; then health, sessions, RPCs within the grace."""
    try:
        await serve_until_stopped(group, failed)
    finally:
        stop_sessions()
        await server.stop(GRACE_S)
