"""The REST face against clients that are slow, too many, too large, or speak no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest
from rest_probe import JOB, TOKEN, Face, central, faced, parsed

from tango.model.errors import InvalidField, Unavailable
from tango.model.job import JobRecord
from tango.wire.rest import bodies, doors, face, listener, streamed
from tango.wire.rest.bodies import MAX_BODY_BYTES
from tango.wire.rest.listener import RestServer, start_rest
from tango.wire.services import central_service

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def opened(at: Face) -> AsyncIterator[Opened]:
    reader, writer = await at.connect()
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def head(at: Face, line: str, *headers: str) -> bytes:
    lines = [line, f"Host: {at.address}", f"Authorization: Bearer {TOKEN}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One answer with its length on a connection that goes on."""
    async with asyncio.timeout(10):
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(text.lower().partition("content-length:")[2].split("\r\n")[0])
        return int(text.split(" ")[1]), await reader.readexactly(length)


async def still_serves(at: Face) -> None:
    assert (await at.call("GET", "/v1/jobs")).status == 200


async def empty(server: RestServer) -> None:
    """Until no connection is left."""
    async with asyncio.timeout(10):
        while server.connections:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
async def test_addresses(listen: str) -> None:
    async with faced(listen) as at:
        await still_serves(at)
        assert at.address.port


async def test_addresses_that_are_refused() -> None:
    async with faced() as at, central() as daemon:
        service = central_service(daemon)
        for listen, words in (
            (str(at.address), "is in use"),
            ("0.0.0.0:0", "beyond loopback: that needs mutual TLS"),
            ("[::]:0", "beyond loopback"),
            ("unix:/tmp/rest.sock", "no host:port"),
            ("127.0.0.1", "not host:port"),
        ):
            with pytest.raises(InvalidField, match=words) as caught:
                await start_rest(listen, TOKEN, service, field="server.rest")
            assert caught.value.field == "server.rest"
        await still_serves(at)


async def test_many_requests_on_one_connection() -> None:
    async with faced() as at, opened(at) as (reader, writer):
        for _ in range(3):
            writer.write(head(at, "GET /v1/jobs HTTP/1.1"))
            assert (await answer(reader))[0] == 200
        # Pipelined, and a failure between two others.
        body = json.dumps(JOB).encode()
        writer.write(
            head(at, "GET /v1/jobs/nope HTTP/1.1")
            + head(
                at,
                "POST /v1/jobs HTTP/1.1",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
            )
            + body
            + head(at, "GET /v1/edges HTTP/1.1")
        )
        assert [(await answer(reader))[0] for _ in range(3)] == [404, 200, 200]


async def test_a_body_in_chunks() -> None:
    body = json.dumps(JOB).encode()
    async with faced() as at, opened(at) as (reader, writer):
        writer.write(
            head(
                at,
                "POST /v1/jobs HTTP/1.1",
                "Content-Type: application/json",
                "Transfer-Encoding: chunked",
            )
        )
        for at_byte in range(len(body)):
            writer.write(b"1\r\n" + body[at_byte : at_byte + 1] + b"\r\n")
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        assert (await answer(reader))[0] == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large(chunked: bool) -> None:
    async with faced() as at, opened(at) as (reader, writer):
        size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {MAX_BODY_BYTES + 1}"
        writer.write(head(at, "POST /v1/jobs HTTP/1.1", "Content-Type: application/json", size))
        if chunked:
            piece = b"10000\r\n" + b" " * 2**16 + b"\r\n"
            with contextlib.suppress(OSError):
                for _ in range(MAX_BODY_BYTES // 2**16 + 1):
                    writer.write(piece)
                    await writer.drain()
        status, body = await answer(reader)
        assert (status, json.loads(body)["error"]["status"]) == (413, "RESOURCE_EXHAUSTED")
        await still_serves(at)


async def test_the_largest_body_is_taken() -> None:
    task = JOB["tasks"][0]  # type: ignore[index]
    spare = MAX_BODY_BYTES - len(json.dumps({**JOB, "tasks": [{**task, "env": {"A": ""}}]}))
    job = {**JOB, "tasks": [{**task, "env": {"A": "x" * spare}}]}
    assert len(json.dumps(job)) == MAX_BODY_BYTES
    async with faced() as at:
        found = await at.call("POST", "/v1/jobs", job)
        assert found.status == 200
        assert found.json["job"]["spec"]["tasks"][0]["env"]["A"] == "x" * spare
        assert (await at.call("POST", "/v1/jobs", json.dumps(job).encode() + b" ")).status == 413


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.2)
    async with faced() as at, opened(at) as (reader, writer):
        lines = ("Content-Type: application/json", "Content-Length: 100")
        writer.write(head(at, "POST /v1/jobs HTTP/1.1", *lines) + b'{"name"')
        status, body = await answer(reader)
        assert (status, json.loads(body)["error"]["status"]) == (408, "DEADLINE_EXCEEDED")
        async with asyncio.timeout(10):
            assert await reader.read() == b"", "and the connection ends"
        assert at.daemon.jobs((), 10) == ()


async def test_a_client_that_goes_in_the_midst_of_its_body(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with faced() as at:
        async with opened(at) as (_, writer):
            lines = ("Content-Type: application/json", "Content-Length: 1000")
            writer.write(head(at, "POST /v1/jobs HTTP/1.1", *lines) + json.dumps(JOB).encode())
            await writer.drain()
            await asyncio.sleep(0.05)
        await still_serves(at)
        assert at.daemon.jobs((), 10) == ()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v1/jobs HTT", b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n"]
)
async def test_a_head_that_does_not_come(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(listener, "HEAD_TIMEOUT_S", 0.3)
    async with faced() as at, opened(at) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        # After an answer too, and byte by byte.
        async with opened(at) as (reader, writer):
            writer.write(head(at, "GET /v1/jobs HTTP/1.1"))
            assert (await answer(reader))[0] == 200
            dripping = asyncio.ensure_future(reader.read())
            async with asyncio.timeout(10):
                for byte in b"GET /v1/jobs HTTP/1.1\r\nX: " + b"a" * 10_000:
                    with contextlib.suppress(OSError):
                        writer.write(bytes((byte,)))
                    done, _ = await asyncio.wait({dripping}, timeout=0.02)
                    if done:
                        break
            assert dripping.done()
            dripping.exception()


async def test_one_connection_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 5)
    async with faced() as at:
        async with contextlib.AsyncExitStack() as stack:
            held = [await stack.enter_async_context(opened(at)) for _ in range(5)]
            for reader, writer in held:
                writer.write(head(at, "GET /v1/edges HTTP/1.1"))
                assert (await answer(reader))[0] == 200
            async with opened(at) as (reader, writer):
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.wait_for(reader.read(), 10) == b""
            # The others are as they were.
            reader, writer = held[0]
            writer.write(head(at, "GET /v1/edges HTTP/1.1"))
            assert (await answer(reader))[0] == 200
        assert at.server is not None
        await empty(at.server)
        await still_serves(at)


async def test_one_watch_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "MAX_STREAMS", 2)
    async with faced() as at:
        job_id = (await at.call("POST", "/v1/jobs", JOB)).json["job"]["jobId"]
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                reader, writer = await stack.enter_async_context(opened(at))
                writer.write(head(at, f"GET /v1/jobs/{job_id}:watch HTTP/1.1"))
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            full = await at.call("GET", f"/v1/jobs/{job_id}:watch")
            assert (full.status, full.error["status"]) == (429, "RESOURCE_EXHAUSTED")
            assert full.headers["retry-after"] == "5"
        # Those who went gave their places back, although nothing was written to them since.
        async with asyncio.timeout(10):
            while True:
                async with opened(at) as (reader, writer):
                    writer.write(head(at, f"GET /v1/jobs/{job_id}:watch HTTP/1.1"))
                    if b" 200 " in await reader.readline():
                        break
                await asyncio.sleep(0.02)


async def test_a_reader_that_stops_reading_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """6 MB for it, which it never takes: nobody waits for it, and its connection ends."""
    monkeypatch.setattr(doors, "WRITE_TIMEOUT_S", 0.3)
    big = {**JOB, "tasks": [{"name": "main", "argv": ["/bin/true"], "env": {"A": "x" * 100_000}}]}
    async with faced() as at:
        for _ in range(60):
            assert (await at.call("POST", "/v1/jobs", big)).status == 200
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((at.address.host, at.address.port))
            sock.sendall(head(at, "GET /v1/jobs HTTP/1.1"))
            sock.settimeout(0)
            assert at.server is not None
            async with asyncio.timeout(10):
                while not at.server.connections:
                    await asyncio.sleep(0.01)
            await empty(at.server)
            await still_serves(at)


async def test_a_watcher_that_stops_reading_is_let_go(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the midst of a stream there is nothing to answer any more: the connection ends."""
    monkeypatch.setattr(streamed, "WRITE_TIMEOUT_S", 0.3)
    ended = asyncio.Event()
    async with faced() as at:
        job_id = (await at.call("POST", "/v1/jobs", JOB)).json["job"]["jobId"]
        record = at.daemon.job(job_id)

        async def without_end(_job_id: str) -> AsyncIterator[JobRecord]:
            try:
                while True:
                    yield record
                    await asyncio.sleep(0)
            finally:
                ended.set()

        monkeypatch.setattr(at.daemon, "watch_job", without_end)
        async with opened(at) as (reader, writer):
            writer.write(head(at, f"GET /v1/jobs/{job_id}:watch HTTP/1.1"))
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            async with asyncio.timeout(20):
                await ended.wait()
            assert at.server is not None
            await empty(at.server)
        await still_serves(at)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_log_that_breaks_off_is_not_taken_for_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def torn(*_: object, **__: object) -> AsyncIterator[bytes]:
        yield b"first half, "
        raise Unavailable("site site-a was cut off")

    async with faced() as at:
        monkeypatch.setattr(at.daemon, "read_job_log", torn)
        with pytest.raises((EOFError, ConnectionResetError)):
            await at.call("GET", "/v1/jobs/x/log")
        lines = await at.call("GET", "/v1/jobs/x/log", accept="application/x-ndjson")
        first, last = map(json.loads, lines.body.splitlines())
        assert first == {"data": "Zmlyc3QgaGFsZiwg"}
        assert last["error"]["message"] == "site site-a was cut off"


async def test_a_client_may_wait_to_be_asked_for_its_body() -> None:
    body = json.dumps(JOB).encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    async with faced() as at, opened(at) as (reader, writer):
        writer.write(head(at, "POST /v1/jobs HTTP/1.1", *lines, "Expect: 100-continue"))
        async with asyncio.timeout(10):
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        assert (await answer(reader))[0] == 200


async def test_http_of_before() -> None:
    async with faced() as at:
        job_id = (await at.call("POST", "/v1/jobs", JOB)).json["job"]["jobId"]
        await at.call("POST", f"/v1/jobs/{job_id}:cancel")
        for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}:watch"):
            found = parsed(await at.raw(head(at, f"GET {path} HTTP/1.0")))
            assert found.status == 200
            assert "transfer-encoding" not in found.headers
            assert found.json["job"]["jobId"] == job_id


async def test_the_kernel_drops_who_is_gone_without_a_word() -> None:
    async with faced() as at, opened(at) as (reader, writer):
        writer.write(head(at, "GET /v1/edges HTTP/1.1"))
        await answer(reader)
        assert at.server is not None
        (connection,) = at.server.connections
        assert connection.transport is not None
        sock = connection.transport.get_extra_info("socket")
        stuck = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert stuck == listener.STUCK_MS
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_http(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with faced() as at:
        with contextlib.suppress(ConnectionResetError):
            found = parsed(await at.raw(sent))
            assert found.status in (400, 403)
            assert found.error["code"] == found.status
            assert found.error["status"] in ("INVALID_ARGUMENT", "PERMISSION_DENIED")
            assert found.headers["content-type"] == "application/json"
            assert found.headers["server"] == "tango"
            assert len(found.error["message"]) < 200
            assert "b'" not in found.error["message"]
        await still_serves(at)
        assert not [record for record in caplog.records if record.exc_info], "nobody fills the log"


async def test_garbage_after_a_request() -> None:
    async with faced() as at:
        body = json.dumps(JOB).encode()
        lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
        request = head(at, "POST /v1/jobs HTTP/1.1", *lines) + body
        garbage = b"\x00\x01garbage\r\n\r\n"
        async with opened(at) as (reader, writer):
            writer.write(request)
            assert (await answer(reader))[0] == 200
            writer.write(garbage)
            assert (await answer(reader))[0] == 400
            assert await asyncio.wait_for(reader.read(), 10) == b""
        assert len(at.daemon.jobs((), 10)) == 1
        # In one piece with it the request is refused as well, and nothing comes of it.
        assert parsed(await at.raw(request + garbage)).status == 400
        assert len(at.daemon.jobs((), 10)) == 1


async def test_a_call_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "CALL_TIMEOUT_S", 0.1)
    ended = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with faced() as at:
        monkeypatch.setattr(at.daemon, "submit_job", never)
        found = await at.call("POST", "/v1/jobs", JOB)
        assert (found.status, found.error["status"]) == (504, "DEADLINE_EXCEEDED")
        assert ended.is_set()


async def test_closing_ends_watches_and_what_is_under_way() -> None:
    async with faced() as at:
        job_id = (await at.call("POST", "/v1/jobs", JOB)).json["job"]["jobId"]
        async with opened(at) as (idle, _), opened(at) as (reader, writer):
            writer.write(head(at, f"GET /v1/jobs/{job_id}:watch HTTP/1.1"))
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert at.server is not None
            at.daemon.stop()
            async with asyncio.timeout(5):
                await at.server.close()
                assert b"stopping" in await reader.read()
                assert await idle.read() == b""
        with pytest.raises(OSError):
            await at.connect()
