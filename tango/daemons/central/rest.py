"""The central master's REST face, where its configuration asks for one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tango.daemons.lifecycle import log_event
from tango.model.errors import InvalidField
from tango.model.settings import ServerSettings
from tango.wire.credentials import Credentials
from tango.wire.servers import Service


@contextlib.asynccontextmanager
async def rest_face(
    settings: ServerSettings, credentials: Credentials, service: Service
) -> AsyncIterator[None]:
    """The service's calls at `settings.rest`, by the same credentials. Raises InvalidField."""
    if not settings.rest:
        yield
        return
    try:
        from tango.wire.rest.listener import start_rest
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise InvalidField(
            "server.rest",
            "needs aiohttp",
            "install the extra `rest` (in a clone: pip install '.[rest]')",
        ) from None
    server = await start_rest(
        settings.rest, credentials.token, service, tls=credentials.tls, field="server.rest"
    )
    try:
        log_event("info", "serving rest", address=str(server.address))
        yield
    finally:
        await server.close()
