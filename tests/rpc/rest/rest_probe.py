"""A central master in this process, its REST face on a real socket, a client that says anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tango.adapters.bound_rules import bound_rule
from tango.adapters.memory_store import MemoryStore
from tango.adapters.policies import batch_policy
from tango.controllers.central.begin import begin
from tango.daemons.central.backend import CentralDaemon
from tango.daemons.central.metrics import CentralMetrics
from tango.daemons.tallies import Scrape
from tango.model.addresses import Address
from tango.model.placement_profile import DEFAULT
from tango.model.settings import CentralSettings, ServerSettings
from tango.model.starts import CentralStart
from tango.wire.rest.listener import RestServer, start_rest
from tango.wire.services import central_service
from tango.wire.tls import Tls

TOKEN = "a-token-that-nobody-guesses"
JSON = "application/json"
JOB = {"name": "job", "tasks": [{"name": "main", "argv": ["/bin/true"]}]}


@dataclass(frozen=True)
class Answer:
    """status: of HTTP, 0 where the connection ended without an answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def violation(self) -> tuple[str, str]:
        """(field, description) of an error on one field."""
        ((found,),) = [detail["fieldViolations"] for detail in self.error["details"]]
        return found["field"], found["description"]


class Face:
    """The REST face at work, and its central master."""

    def __init__(self, address: Address, daemon: CentralDaemon, context: ssl.SSLContext | None):
        self.address = address
        self.daemon = daemon
        self.context = context
        self.server: RestServer | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            self.address.numeric_host,
            self.address.port,
            ssl=self.context,
            server_hostname="central.tango.internal" if self.context else None,
        )

    async def raw(self, data: bytes, *, patience_s: float = 10.0) -> bytes:
        """All that comes back until the other side closes."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            async with asyncio.timeout(patience_s):
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def call(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = TOKEN,
        **headers: str | None,
    ) -> Answer:
        """One request on a connection of its own. body: bytes as they are, else sent as JSON.

        headers: with _ for -, in place of the usual ones; None leaves one out.
        """
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        lines: dict[str, str | None] = {"host": str(self.address), "connection": "close"}
        if token is not None:
            lines["authorization"] = f"Bearer {token}"
        if body is not None:
            lines |= {"content-type": JSON, "content-length": str(len(data))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = [f"{verb} {path} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in lines.items() if value is not None]
        return parsed(await self.raw("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + data))


def parsed(data: bytes) -> Answer:
    """The one answer in what came back."""
    head, gap, body = data.partition(b"\r\n\r\n")
    if not gap:
        return Answer(0)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return Answer(int(first.split(" ")[1]), headers, body)


def unchunked(data: bytes) -> bytes:
    """The body of RFC 9112, section 7.1; EOFError where it broke off."""
    found = []
    while True:
        size, gap, data = data.partition(b"\r\n")
        if not gap:
            raise EOFError("broken off")
        length = int(size, 16)
        if not length:
            return b"".join(found)
        found.append(data[:length])
        data = data[length + 2 :]


@contextlib.asynccontextmanager
async def central(*, bounds: bool = False) -> AsyncIterator[CentralDaemon]:
    """A whole central master with its store in memory, and no edge. bounds: with their rule."""
    rule = bound_rule(DEFAULT) if bounds else None
    settings = CentralSettings(ServerSettings("127.0.0.1:0", "token", "state"))
    controller = begin(CentralStart(settings, 1, seed=1), rule)
    async with asyncio.TaskGroup() as group:
        daemon = CentralDaemon(
            settings,
            controller,
            batch_policy(settings.batch_policy),
            MemoryStore(),
            group,
            1,
            CentralMetrics(Scrape()),
            bound_rule=rule,
        )
        try:
            yield daemon
        finally:
            daemon.stop()
            daemon.shell.close()


@contextlib.asynccontextmanager
async def faced(
    listen: str = "127.0.0.1:0",
    tls: Tls | None = None,
    context: ssl.SSLContext | None = None,
    *,
    bounds: bool = False,
) -> AsyncIterator[Face]:
    """context: of a client, where tls is given."""
    async with central(bounds=bounds) as daemon:
        server = await start_rest(listen, TOKEN, central_service(daemon), tls=tls)
        try:
            face = Face(server.address, daemon, context)
            face.server = server
            yield face
        finally:
            daemon.stop()
            await server.close()
