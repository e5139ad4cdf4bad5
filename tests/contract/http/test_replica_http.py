"""The client to replicas against real servers, well-behaved and not, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tango.adapters.replica_http import HttpReply, ReplicaClient, ReplicaError
from tango.model.request import Code, Headers

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Trailer: y\r\n\r\n"
)


class Server:
    """Runs a handler for each connection on a port of its own; keeps what it was sent."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections = 0
        self.ended = asyncio.Event()
        self.port = 0

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.handler(reader, writer)
        finally:
            self.ended.set()
            writer.close()


Serve = Callable[[Handler], Awaitable[Server]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(handler: Handler) -> Server:
            server = Server(handler)
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            await stack.enter_async_context(contextlib.aclosing(Closing(listening)))
            server.port = listening.sockets[0].getsockname()[1]
            return server

        yield start


class Closing:
    def __init__(self, server: asyncio.Server) -> None:
        self.server = server

    async def aclose(self) -> None:
        self.server.close()
        await asyncio.sleep(0.01)


@pytest.fixture
async def client() -> AsyncIterator[ReplicaClient]:
    client = ReplicaClient(max_body_bytes=1_000_000)
    yield client
    await client.close()


async def read_request(reader: Reader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = 0
    for line in head.split("\r\n"):
        if line.lower().startswith("content-length:"):
            length = int(line.split(":")[1])
    return head, await reader.readexactly(length)


def answering(*answers: bytes) -> Handler:
    """Each request of a connection gets the next answer, the last one again and again."""

    async def handle(reader: Reader, writer: Writer) -> None:
        index = 0
        while True:
            await read_request(reader)
            writer.write(answers[min(index, len(answers) - 1)])
            await writer.drain()
            index += 1

    return handle


def closing(answer: bytes) -> Handler:
    """Answers one request and closes the connection."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    return handle


async def get(client: ReplicaClient, port: int, method: str = "GET") -> HttpReply:
    return await client.request(port, method, "/", timeout_s=5)


async def failure(waiting: Awaitable[object]) -> ReplicaError:
    with pytest.raises(ReplicaError) as caught:
        await waiting
    return caught.value


async def test_what_the_replica_gets(client: ReplicaClient, serve: Serve) -> None:
    seen: list[tuple[str, bytes]] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)

    server = await serve(handle)
    headers = (
        ("X-Work", "1.7"),
        ("Connection", "close, X-Hop"),
        ("x-hop", "secret"),
        ("Keep-Alive", "timeout=5"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "Basic x"),
        ("Expect", "100-continue"),
        ("Host", "evil"),
        ("Content-Length", "99"),
        ("X-Umlaut", "gr\xfcn"),
        ("X-Empty", ""),
    )
    await client.request(server.port, "POST", "/a?b=c%20d", headers, b"body", timeout_s=5)
    head, body = seen[0]
    assert body == b"body"
    assert head.split("\r\n") == [
        "POST /a?b=c%20d HTTP/1.1",
        f"host: 127.0.0.1:{server.port}",
        "X-Work: 1.7",
        "X-Umlaut: gr\xfcn",
        "X-Empty: ",
        "content-length: 4",
        "",
        "",
    ]


async def test_what_comes_back(client: ReplicaClient, serve: Serve) -> None:
    answer = (
        b"HTTP/1.1 418 Teapot\r\nX-A: 1\r\nset-cookie: a\r\nset-cookie: b\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: x\r\nKeep-Alive: timeout=9\r\nUpgrade: h2\r\n"
        b"Content-Length: 3\r\nX-Latin: \xfc\r\n\r\nabc"
    )
    reply = await get(client, (await serve(answering(answer))).port)
    expected: Headers = (
        ("X-A", "1"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("Content-Length", "3"),
        ("X-Latin", "\xfc"),
    )
    assert reply == HttpReply(418, expected, b"abc")


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
        (CHUNKED, 200, b"abc0123456789"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 \r\n\r\n" + OK, 200, b"ok"),
    ],
)
async def test_framing_that_keeps_the_connection(
    client: ReplicaClient, serve: Serve, answer: bytes, status: int, body: bytes
) -> None:
    server = await serve(answering(answer, OK, answer))
    for expected in ((status, body), (200, b"ok"), (status, body)):
        reply = await get(client, server.port)
        assert (reply.status, reply.body) == expected
        assert "x-trailer" not in {name.lower() for name, _ in reply.headers}
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 13\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nuntil the end",
    ],
)
async def test_framing_that_ends_with_the_connection(
    client: ReplicaClient, serve: Serve, answer: bytes
) -> None:
    server = await serve(closing(answer))
    for _ in range(3):
        assert (await get(client, server.port, "POST")).body == b"until the end"
    assert server.connections == 3


async def test_head_has_no_body_whatever_it_says(client: ReplicaClient, serve: Serve) -> None:
    promised = b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n"
    server = await serve(answering(promised, OK, promised))
    reply = await client.request(server.port, "HEAD", "/", timeout_s=5, max_body_bytes=10_000_000)
    assert reply == HttpReply(200, (("content-length", "5000000"),), b"")
    assert (await get(client, server.port)).body == b"ok"
    assert server.connections == 1


async def test_an_answer_byte_by_byte(client: ReplicaClient, serve: Serve) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nX-Long: abc\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        for index in range(len(answer)):
            writer.write(answer[index : index + 1])
            await writer.drain()
            await asyncio.sleep(0)

    reply = await get(client, (await serve(handle)).port)
    assert reply == HttpReply(200, (("X-Long", "abc"),), b"abcde")


async def test_answers_as_long_as_the_one_before_with_another_head(
    client: ReplicaClient, serve: Serve
) -> None:
    """As where a Date stands in each; the first of each kind is parsed, the others are known."""
    heads = [b"HTTP/1.1 200 OK\r\nx: %d\r\ncontent-length: 2\r\n\r\n" % n for n in (1, 2)]
    short = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    answers = [heads[0] + b"aa", heads[1] + b"bb", short, heads[1] + b"cc", heads[0] + b"dd"]
    server = await serve(answering(*answers * 3))
    for _ in range(3):
        replies = [await get(client, server.port) for _ in answers]
        assert [reply.body for reply in replies] == [b"aa", b"bb", b"", b"cc", b"dd"]
        found = [dict(reply.headers).get("x") for reply in replies]
        assert found == ["1", "2", None, "2", "1"]
    assert server.connections == 1


async def test_a_part_that_is_as_long_as_a_body_is_no_answer(
    client: ReplicaClient, serve: Serve
) -> None:
    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        for part in (OK[:2], OK[2:]):
            writer.write(part)
            await asyncio.sleep(0.02)
        await read_request(reader)
        writer.write(OK)

    server = await serve(handle)
    for _ in range(3):
        assert (await get(client, server.port)).body == b"ok"
    assert server.connections == 1


async def test_a_known_answer_that_is_too_large_for_its_request(
    client: ReplicaClient, serve: Serve
) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n" + b"x" * 20
    server = await serve(answering(answer))
    for most, fits in ((20, True), (20, True), (19, False), (20, True)):
        asked = client.request(server.port, "GET", "/", timeout_s=5, max_body_bytes=most)
        if fits:
            assert (await asked).body == b"x" * 20
        else:
            assert "body is above 19 bytes" in str(await failure(asked))


async def test_large_bodies_both_ways(client: ReplicaClient, serve: Serve) -> None:
    body = bytes(range(250)) * 4000

    async def handle(reader: Reader, writer: Writer) -> None:
        while True:
            _, got = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(got) + got)
            await writer.drain()

    server = await serve(handle)
    for _ in range(3):
        reply = await client.request(server.port, "PUT", "/", body=body, timeout_s=5)
        assert reply.body == body
    assert server.connections == 1


async def test_connections_are_reused_and_as_many_as_needed(
    client: ReplicaClient, serve: Serve
) -> None:
    async def handle(reader: Reader, writer: Writer) -> None:
        while True:
            await read_request(reader)
            await asyncio.sleep(0.01)
            writer.write(OK)

    server = await serve(handle)
    for _ in range(3):
        await asyncio.gather(*(get(client, server.port) for _ in range(8)))
    assert server.connections == 8


async def test_no_more_connections_than_allowed(serve: Serve) -> None:
    client = ReplicaClient(max_connections=2)

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        await asyncio.sleep(0.05)
        writer.write(OK)

    server = await serve(handle)
    found = await asyncio.gather(
        *(get(client, server.port) for _ in range(3)), return_exceptions=True
    )
    errors = [one for one in found if isinstance(one, ReplicaError)]
    assert [(one.code, one.ran) for one in errors] == [(Code.RESOURCE_EXHAUSTED, False)]
    assert str(errors[0]) == f"2 connections to port {server.port} are in use"
    assert (await get(client, server.port)).body == b"ok"
    await client.close()


async def test_idle_connections_are_closed(serve: Serve) -> None:
    client = ReplicaClient(max_idle_s=0.05)
    server = await serve(answering(OK))
    await get(client, server.port)
    await asyncio.wait_for(server.ended.wait(), 2)
    await get(client, server.port)
    assert server.connections == 2
    await client.close()


async def test_a_port_where_nothing_listens(client: ReplicaClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = await failure(get(client, port))
    assert (error.code, error.ran) == (Code.UNAVAILABLE, False)
    assert str(error) == f"nothing listens on 127.0.0.1:{port}"


async def test_closed_before_an_answer(client: ReplicaClient, serve: Serve) -> None:
    server = await serve(closing(b""))
    error = await failure(get(client, server.port))
    assert (error.code, error.ran) == (Code.UNAVAILABLE, True)
    assert "closed the connection before it answered" in str(error)
    assert server.connections == 1


async def test_reset_before_an_answer(client: ReplicaClient, serve: Serve) -> None:
    async def handle(reader: Reader, writer: Writer) -> None:
        await reader.readexactly(1)
        writer.transport.abort()  # unread data makes it a reset

    server = await serve(handle)
    error = await failure(
        client.request(server.port, "POST", "/", body=b"x" * 200_000, timeout_s=5)
    )
    assert (error.code, error.ran) == (Code.UNAVAILABLE, True)


def once_then_silent_close() -> Handler:
    """Answers the first request of a connection, closes at the second without a byte."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)

    return handle


async def test_a_reused_connection_that_closes_is_tried_again_only_where_that_is_safe(
    client: ReplicaClient, serve: Serve
) -> None:
    server = await serve(once_then_silent_close())
    await get(client, server.port)
    assert (await get(client, server.port)).body == b"ok"
    assert server.connections == 2
    error = await failure(get(client, server.port, "POST"))
    assert (error.code, error.ran) == (Code.UNAVAILABLE, True)
    assert server.connections == 2


async def test_a_second_try_that_fails_may_have_run(client: ReplicaClient, serve: Serve) -> None:
    server = await serve(once_then_silent_close())
    await get(client, server.port)
    server.handler = closing(b"")
    error = await failure(get(client, server.port))
    assert error.ran
    assert server.connections == 2


async def test_a_connection_closed_while_idle_is_not_used(
    client: ReplicaClient, serve: Serve
) -> None:
    server = await serve(closing(OK))
    for count in range(1, 4):
        # Straight on: the close may be in the kernel without the loop having seen it.
        assert (await get(client, server.port, "POST")).body == b"ok"
        assert server.connections == count
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal", "in the middle"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "in the middle of its answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "in the middle of its answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not valid HTTP/1.1"),
        (b"\x16\x03\x01" + bytes(50), "not valid HTTP/1.1"),
        (b"HTTP/1.1 200 OK\nx: y\n\nz", "not valid HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "not valid HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", "not valid HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "not valid"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "not valid HTTP/1.1",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "'gzip, chunked' is not"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "not valid HTTP/1.1"),
        (b"HTTP/1.1 101 S\r\nupgrade: h2\r\nconnection: upgrade\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000001\r\n\r\n", "body is above 1000000 bytes"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            + (b"80000\r\n" + bytes(0x80000) + b"\r\n") * 2,
            "body is above 1000000 bytes",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_000_001), "body is above 1000000 bytes"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, "is above 65536"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: yyyyyyy\r\n" * 7000 + b"\r\n", "is above 65536"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, "is above 65536"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: "
            + b"y" * 300_000,
            "is above 65536",
        ),
    ],
)
async def test_answers_that_are_none(
    client: ReplicaClient, serve: Serve, answer: bytes, expected: str
) -> None:
    server = await serve(closing(answer))
    error = await failure(get(client, server.port))
    assert expected in str(error)
    assert error.ran
    assert error.code in (Code.INTERNAL, Code.UNAVAILABLE)


async def test_what_follows_an_answer_never_answers_the_next_request(
    client: ReplicaClient, serve: Serve
) -> None:
    smuggled = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    for answer in (OK + smuggled, OK + b"garbage", OK + b"HTTP/1.1 2"):
        server = await serve(answering(answer, OK))
        assert (await get(client, server.port)).body == b"ok"
        assert (await get(client, server.port)).body == b"ok"
        assert server.connections == 2


async def test_unasked_data_on_an_idle_connection_closes_it(
    client: ReplicaClient, serve: Serve
) -> None:
    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await reader.read()

    server = await serve(handle)
    assert (await get(client, server.port)).status == 200
    await asyncio.wait_for(server.ended.wait(), 2)
    assert (await get(client, server.port)).status == 200
    assert server.connections == 2


async def test_a_slow_replica_is_left_at_the_timeout(client: ReplicaClient, serve: Serve) -> None:
    gone = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await reader.read()
        gone.set()

    server = await serve(handle)
    error = await failure(client.request(server.port, "GET", "/", timeout_s=0.05))
    assert (error.code, error.ran) == (Code.DEADLINE_EXCEEDED, True)
    assert str(error) == "no whole answer within 50 ms"
    await asyncio.wait_for(gone.wait(), 2)


async def test_deadlines_of_many_at_once(client: ReplicaClient, serve: Serve) -> None:
    """Each at its own, in whatever order they were begun; an error says which."""
    server = await serve(lambda reader, writer: reader.read())  # type: ignore[arg-type,return-value]
    timeouts = [0.4, 0.05, 0.3, 0.051, 0.052, 0.2, 0.1] * 3

    async def one(timeout_s: float) -> float:
        begun = time.monotonic()
        error = await failure(client.request(server.port, "GET", "/", timeout_s=timeout_s))
        assert error.code is Code.DEADLINE_EXCEEDED
        assert str(error) == f"no whole answer within {timeout_s * 1000:.0f} ms"
        return time.monotonic() - begun - timeout_s

    late = await asyncio.gather(*(one(timeout_s) for timeout_s in timeouts))
    assert min(late) >= 0
    assert sorted(late)[len(late) // 2] <= 0.01


async def test_a_deadline_ends_with_its_request(client: ReplicaClient, serve: Serve) -> None:
    """The next one on the same connection has a deadline of its own."""

    async def handle(reader: Reader, writer: Writer) -> None:
        for wait_s in (0.0, 0.15, 0.0):
            await read_request(reader)
            await asyncio.sleep(wait_s)
            writer.write(OK)
        await reader.read()

    server = await serve(handle)
    for timeout_s in (0.05, 2.0, 0.05):
        reply = await client.request(server.port, "GET", "/", timeout_s=timeout_s)
        assert reply.body == b"ok"
    await asyncio.sleep(0.1)
    assert server.connections == 1


async def test_what_came_while_the_loop_was_held_up_answers_nothing(
    client: ReplicaClient,
) -> None:
    """A GET may be repeated, but what a server says as it closes must not be taken for its answer.

    The loop has not seen it yet, and the connection was in use when it last looked.
    """
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        first = asyncio.ensure_future(get(client, port))
        accepted, _ = await loop.sock_accept(listening)
        with accepted:
            await loop.sock_recv(accepted, 1000)
            await loop.sock_sendall(accepted, OK)
            assert (await first).body == b"ok"
            accepted.sendall(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
            time.sleep(0.06)
            pool = client.pool(port)
            assert pool is not None
            assert len(pool.idle) == 1
            assert pool.begin("GET", "/", (), b"", 5.0, time.monotonic()) is None


async def test_a_request_that_is_cancelled_as_its_answer_comes(
    client: ReplicaClient, serve: Serve
) -> None:
    """Its connection may carry the next one by then, which is nobody else's to end."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(OK)
        await reader.read()

    server = await serve(handle)
    await get(client, server.port)
    (connection,) = client._connections
    first = asyncio.ensure_future(get(client, server.port))
    while connection.future is None:
        await asyncio.sleep(0)
    first.cancel()
    connection.data_received(OK)
    pool = client.pool(server.port)
    assert pool is not None
    second = pool.begin("GET", "/", (), b"", 5.0, time.monotonic())
    assert second is not None
    assert second is connection.future
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    pool.give_up(second)
    error = await failure(second)
    assert (error.code, error.ran) == (Code.CANCELLED, True)


async def test_a_full_backlog_ends_at_the_timeout(client: ReplicaClient) -> None:
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        error = await failure(client.request(port, "GET", "/", timeout_s=0.05))
        assert (error.code, error.ran) == (Code.DEADLINE_EXCEEDED, False)
        waiting = asyncio.ensure_future(
            client.request(port, "GET", "/", timeout_s=5, request_id="a")
        )
        await asyncio.sleep(0.02)
        assert client.abort("a")
        error = await failure(waiting)
        assert (error.code, error.ran) == (Code.CANCELLED, False)


async def test_abort_closes_the_connection(client: ReplicaClient, serve: Serve) -> None:
    gone = asyncio.Event()
    began = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        began.set()
        await reader.read()
        gone.set()

    server = await serve(handle)
    waiting = asyncio.ensure_future(
        client.request(server.port, "GET", "/", timeout_s=5, request_id="a")
    )
    await began.wait()
    clash = await failure(client.request(server.port, "GET", "/", timeout_s=5, request_id="a"))
    assert (clash.code, clash.ran) == (Code.INVALID, False)
    assert client.abort("a")
    error = await failure(waiting)
    assert (error.code, error.ran) == (Code.CANCELLED, True)
    await asyncio.wait_for(gone.wait(), 2)
    assert not client.abort("a")


async def test_cancelling_the_caller_closes_the_connection(
    client: ReplicaClient, serve: Serve
) -> None:
    gone = asyncio.Event()
    began = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        began.set()
        await reader.read()
        gone.set()

    server = await serve(handle)
    waiting = asyncio.ensure_future(get(client, server.port))
    await began.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(gone.wait(), 2)


async def test_streamed_parts_come_as_they_are_made(client: ReplicaClient, serve: Serve) -> None:
    step = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 201 C\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await step.wait()
        writer.write(b"1\r\nb\r\n0\r\n\r\n")
        await reader.read()

    server = await serve(handle)
    parts: list[tuple[int, Headers, bytes]] = []

    def on_part(status: int, headers: Headers, data: bytes) -> None:
        parts.append((status, headers, data))
        step.set()

    reply = await client.request(server.port, "GET", "/", timeout_s=5, on_part=on_part)
    assert parts == [(201, (("x", "y"),), b"a"), (201, (("x", "y"),), b"b")]
    assert reply == HttpReply(201, (("x", "y"),), b"")


async def test_a_taker_that_fails_ends_its_request_only(
    client: ReplicaClient, serve: Serve
) -> None:
    def on_part(status: int, headers: Headers, data: bytes) -> None:
        raise LookupError("no room")

    server = await serve(answering(OK))
    with pytest.raises(LookupError, match="no room"):
        await client.request(server.port, "GET", "/", timeout_s=5, on_part=on_part)
    assert (await get(client, server.port)).body == b"ok"


async def test_a_taker_that_aborts_its_request_gets_no_more_of_it(
    client: ReplicaClient, serve: Serve
) -> None:
    """Although the rest of the answer came with the part that it was aborted at."""
    server = await serve(answering(CHUNKED))
    parts: list[bytes] = []

    def on_part(status: int, headers: Headers, data: bytes) -> None:
        parts.append(data)
        client.abort("a")

    error = await failure(
        client.request(server.port, "GET", "/", timeout_s=5, request_id="a", on_part=on_part)
    )
    assert (error.code, error.ran) == (Code.CANCELLED, True)
    assert parts == [b"abc"]
    server.handler = answering(OK)
    assert (await get(client, server.port)).body == b"ok"
    assert server.connections == 2


async def test_a_paused_stream_holds_the_replica_back(client: ReplicaClient, serve: Serve) -> None:
    total, sent = 64_000_000, 0
    stuck = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        block = bytes(500_000)
        while sent < total:
            writer.write(block)
            try:
                await asyncio.wait_for(
                    asyncio.shield(drain := asyncio.ensure_future(writer.drain())), 0.2
                )
            except TimeoutError:
                stuck.set()
                await drain
            sent += len(block)
        await reader.read()

    server = await serve(handle)
    got = 0

    def on_part(status: int, headers: Headers, data: bytes) -> None:
        nonlocal got
        if not got:
            client.pause("s")
        got += len(data)

    waiting = asyncio.ensure_future(
        client.request(server.port, "GET", "/", timeout_s=5, request_id="s", on_part=on_part)
    )
    await asyncio.wait_for(stuck.wait(), 3)
    assert got < 1_000_000
    assert sent < total
    client.resume("s")
    assert (await waiting).status == 200
    assert got == total


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/", (("x", "a\r\nevil: 1"),), "headers: the value of x holds a line break"),
        ("GET", "/", (("x", "a\nb"),), "headers: the value of x"),
        ("GET", "/", (("x", "a\0"),), "headers: the value of x"),
        ("GET", "/", (("x", "\u20ac"),), "no Latin-1 character"),
        ("GET", "/", (("x: y\r\nz", "1"),), "is not a field name"),
        ("GET", "/", (("", "1"),), "is not a field name"),
        ("GET", "/", (("x y", "1"),), "is not a field name"),
        ("GET", "/ HTTP/1.1\r\nevil: 1", (), "is not a path"),
        ("GET", "/a b", (), "is not a path"),
        ("GET", "http://other/", (), "is not a path"),
        ("GET", "", (), "is not a path"),
        ("GET", "/\xfc", (), "percent-encode"),
        ("GET /x HTTP/1.1\r\n", "/", (), "is not a method"),
        ("", "/", (), "is not a method"),
        ("CONNECT", "/", (), "is not a method"),
        ("GET", "/", (("x", "y" * 70_000),), "at most 65536"),
    ],
)
async def test_requests_that_could_smuggle_are_refused(
    client: ReplicaClient, method: str, path: str, headers: Headers, expected: str
) -> None:
    error = await failure(client.request(1, method, path, headers, timeout_s=1))
    assert expected in str(error)
    assert (error.code, error.ran) == (Code.INVALID, False)


async def test_a_request_body_that_is_too_large(client: ReplicaClient) -> None:
    error = await failure(client.request(1, "POST", "/", body=bytes(1_000_001), timeout_s=1))
    assert (error.code, error.ran) == (Code.INVALID, False)
    assert str(error) == "body: 1000001 bytes are too many; at most 1000000"


async def test_health(client: ReplicaClient, serve: Serve) -> None:
    await client.health((await serve(answering(OK))).port, "/healthz", 1)
    sick = await serve(answering(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"))
    assert str(await failure(client.health(sick.port, "/h", 1))) == "GET /h answered 503"
    silent = await serve(lambda reader, writer: reader.read())  # type: ignore[arg-type,return-value]
    error = await failure(client.health(silent.port, "/h", 0.05))
    assert str(error) == "no whole answer within 50 ms"


async def test_close_ends_what_is_under_way(serve: Serve) -> None:
    client = ReplicaClient()

    async def handle(reader: Reader, writer: Writer) -> None:
        await reader.read()

    server = await serve(handle)
    waiting = asyncio.ensure_future(get(client, server.port))
    await asyncio.sleep(0.02)
    await client.close()
    assert (await failure(waiting)).code is Code.UNAVAILABLE
    error = await failure(get(client, server.port))
    assert (str(error), error.ran) == ("the client is closed", False)
    await client.close()


async def test_nothing_is_left_over(serve: Serve) -> None:
    """Whatever way requests end, no connection, exchange or count stays behind."""
    client = ReplicaClient()
    good = await serve(answering(OK))
    bad = await serve(closing(b"nonsense"))
    slow = await serve(lambda reader, writer: reader.read())  # type: ignore[arg-type,return-value]
    requests = [
        client.request(port, "GET", "/", timeout_s=0.3, request_id=f"{port}-{index}")
        for port in (good.port, bad.port, slow.port, 1)
        for index in range(5)
    ]
    await asyncio.gather(*requests, return_exceptions=True)
    assert client._named == {}
    async with asyncio.timeout(5):  # a connection that was given up closes a moment later
        while not set(client._pools) <= {good.port}:
            await asyncio.sleep(0.001)
    await client.close()
    assert (client._pools, client._connections) == ({}, set())
