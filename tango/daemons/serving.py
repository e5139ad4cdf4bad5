"""What all three daemons do around their backend: serve, say ready, wait, stop in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from prometheus_client import CollectorRegistry

from tango.adapters.metrics import start_metrics
from tango.daemons.lifecycle import log_event, serve_until_stopped
from tango.model.settings import ServerSettings
from tango.wire.credentials import Credentials
from tango.wire.servers import RpcServer, Service, make_server

GRACE_S = 5.0


@contextlib.asynccontextmanager
async def served(
    settings: ServerSettings,
    credentials: Credentials,
    service: Service,
    registry: CollectorRegistry,
    *,
    daemon: str,
    max_message_bytes: int,
) -> AsyncIterator[RpcServer]:
    """gRPC and metrics up; both bound before anything is said to be ready."""
    server = make_server(
        settings.listen,
        credentials.token,
        (service,),
        tls=credentials.tls,
        max_message_bytes=max_message_bytes,
        field="server.listen",
    )
    async with contextlib.AsyncExitStack() as stack:
        if settings.metrics:
            metrics = await start_metrics(
                settings.metrics, credentials.token, registry, field="server.metrics"
            )
            stack.push_async_callback(metrics.close)
        await server.start()
        fields: dict[str, object] = {"daemon": daemon, "address": str(server.address)}
        if credentials.tls is not None:
            fields["identity"] = str(credentials.tls.identity)
        log_event("info", "serving", **fields)
        yield server


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
