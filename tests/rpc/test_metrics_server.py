"""The Prometheus endpoint over real sockets: token, Host, method, path, bounds, a port in use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from tango.adapters import metrics
from tango.adapters.metrics import MetricsServer, start_metrics
from tango.model.errors import InvalidField

TOKEN = "a-token-that-nobody-guesses"


@contextlib.asynccontextmanager
async def serving(listen: str = "127.0.0.1:0") -> AsyncIterator[MetricsServer]:
    registry = CollectorRegistry()
    Counter("tango_calls", "Calls", registry=registry).inc(3)
    server = await start_metrics(listen, TOKEN, registry)
    try:
        yield server
    finally:
        await server.close()


async def exchange(server: MetricsServer, request: str) -> tuple[int, str, str]:
    address = server.address
    reader, writer = await asyncio.open_connection(address.numeric_host, address.port)
    try:
        writer.write(request.replace("\n", "\r\n").encode("latin-1"))
        answer = await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split(" ")[1]), head, body


def request(
    *headers: str, line: str = "GET /metrics HTTP/1.1", host: str = "127.0.0.1", token: str = TOKEN
) -> str:
    lines = [line, f"Host: {host}", f"Authorization: Bearer {token}", *headers]
    return "\n".join(lines) + "\n\n"


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
async def test_a_scrape(listen: str) -> None:
    async with serving(listen) as server:
        status, head, body = await exchange(server, request())
        assert status == 200
        assert "Content-Type: text/plain" in head
        (family,) = [f for f in text_string_to_metric_families(body) if f.name == "tango_calls"]
        assert [s.value for s in family.samples if s.name == "tango_calls_total"] == [3.0]
        for host in ("localhost", f"localhost:{server.address.port}", "[::1]"):
            assert (await exchange(server, request(host=host)))[0] == 200
        _, head, body = await exchange(
            server, request("Accept: application/openmetrics-text; version=1.0.0")
        )
        assert "openmetrics" in head
        assert body.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (request(token="another-token-than-that"), 401),
        ("GET /metrics HTTP/1.1\nHost: localhost\n\n", 401),
        (request(host="evil.example"), 403),
        (request(host="127.0.0.1:1"), 403),
        (request(host=""), 403),
        (request("Origin: http://evil.example"), 403),
        (request(line="GET / HTTP/1.1"), 404),
        (request(line="GET /metrics/../etc HTTP/1.1"), 404),
        (request(line="POST /metrics HTTP/1.1"), 405),
        (request(line="HEAD /metrics HTTP/1.1"), 405),
        (request(line="GET /metrics"), 400),
        (request("X: " + "a" * 20_000), 431),
    ],
)
async def test_everything_else_is_refused(text: str, status: int) -> None:
    async with serving() as server:
        found, _, body = await exchange(server, text)
        assert found == status
        assert "tango_calls" not in body
        assert (await exchange(server, request()))[0] == 200


async def test_dawdlers_are_dropped_and_connections_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "TIMEOUT_S", 0.2)
    async with serving() as server:
        idle = [
            await asyncio.open_connection("127.0.0.1", server.address.port)
            for _ in range(metrics.MAX_CONNECTIONS)
        ]
        await asyncio.sleep(0.02)
        with pytest.raises((ConnectionResetError, IndexError)):
            await exchange(server, request())
        for reader, writer in idle:
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            await writer.wait_closed()
        assert (await exchange(server, request()))[0] == 200


async def test_close_drops_connections() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        await asyncio.sleep(0.02)
        await server.close()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await writer.wait_closed()


async def test_addresses() -> None:
    async with serving() as server:
        with pytest.raises(InvalidField, match=r"^metrics: cannot listen on .*: it is in use"):
            await start_metrics(str(server.address), TOKEN, CollectorRegistry())
    for listen in ("0.0.0.0:0", "unix:/tmp/x.sock", "example.org:9090"):
        with pytest.raises(InvalidField, match="no loopback host:port"):
            await start_metrics(listen, TOKEN, CollectorRegistry())
