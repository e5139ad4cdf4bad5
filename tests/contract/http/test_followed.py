"""Followed calls against real replicas, well-behaved and not, with an edge that is played."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tango.adapters.http_answer import ReplicaError
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.model.routes import FollowReport, ReplicaRoute, RouteTable
from tango.sdk.call_failed import CallFailed
from tango.sdk.follow import Followed

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
# What a replica does with one connection.
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Edge:
    """One stream: a table, then its reports are taken. What it carries, it answers itself."""

    def __init__(self) -> None:
        self.table: RouteTable | None = None
        self.reports: list[FollowReport] = []
        self.carried: list[CallRequest] = []
        self._news: asyncio.Queue[tuple[int, RouteTable | None]] = asyncio.Queue()
        self.reply = CallReply("carried", Outcome.COMPLETED, Code.OK, 200, (), b"carried")

    async def open(self) -> None:
        self._news.put_nowait((0, self.table))

    async def read(self) -> tuple[int, RouteTable | None]:
        return await self._news.get()

    async def report(self, report: FollowReport) -> None:
        self.reports.append(report)
        self._news.put_nowait((report.number, None))

    async def finish(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def carry(self, request: CallRequest) -> CallReply:
        self.carried.append(request)
        return self.reply


def request(service: str, **of: object) -> CallRequest:
    return CallRequest(
        "by-edge",
        service,
        str(of["method"]),
        str(of["path"]),
        (),
        b"",
        deadline_s=float(str(of["deadline_ms"])) / 1000,
        timeout_s=float(str(of["timeout_ms"])) / 1000,
    )


Follow = Callable[..., Awaitable[tuple[Followed, Edge]]]


@pytest.fixture
async def follow() -> AsyncIterator[Follow]:
    """Follow a service that has a replica for each handler given, with two slots each."""
    serving: set[asyncio.Task[None]] = set()
    async with contextlib.AsyncExitStack() as stack:

        async def begin(*handlers: Handler, idempotent: bool = False) -> tuple[Followed, Edge]:
            routes = []
            for index, handler in enumerate(handlers):
                server = await asyncio.start_server(_closing(handler, serving), "127.0.0.1", 0)
                stack.callback(server.close)
                port = server.sockets[0].getsockname()[1]
                routes.append(ReplicaRoute(f"r{index}", "n", "127.0.0.1", port, 1, 2))
            edge = Edge()
            edge.table = RouteTable("s", "e", 1, 1, tuple(routes), 0.5, 1.0, idempotent, 2.0)
            followed = Followed(
                "s",
                open_stream=lambda: edge,  # type: ignore[arg-type,return-value]
                request=request,
                carry=edge.carry,
            )
            return await stack.enter_async_context(followed), edge

        yield begin
    for task in tuple(serving):
        task.cancel()
    await asyncio.sleep(0.01)


def _closing(handler: Handler, serving: set[asyncio.Task[None]]) -> Handler:
    """The handler; the task of each connection is noted, and its connection closed at the end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            with contextlib.suppress(
                ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
            ):
                await handler(reader, writer)
        finally:
            writer.close()
            serving.discard(task)

    return handle


def answering(times: int, wait_s: float = 0.0, answer: bytes = OK) -> Handler:
    """Answers so many requests of a connection; the next one is read, and it closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(wait_s)
            writer.write(answer)
            await writer.drain()
        await reader.readuntil(b"\r\n\r\n")

    return handle


async def failure(call: Awaitable[CallReply]) -> CallReply:
    with pytest.raises(CallFailed) as caught:
        await call
    return caught.value.reply


async def test_an_answer_is_told_whole_and_counted(follow: Follow) -> None:
    followed, edge = await follow(answering(9, wait_s=0.02))
    replies = [await followed.call(path="/x") for _ in range(3)]
    for reply in replies:
        assert (reply.outcome, reply.code, reply.http_status) == (Outcome.COMPLETED, Code.OK, 200)
        assert (reply.body, reply.headers) == (b"ok", (("content-length", "2"),))
        assert (reply.node, reply.replica, reply.may_have_run) == ("n", "r0", True)
        assert 20 <= reply.service_ms == reply.total_ms < 500
    assert len({reply.request_id for reply in replies}) == 3
    assert (followed.direct, followed.carried, edge.carried) == (3, 0, [])
    await asyncio.sleep(0.15)
    tallies = [tally for report in edge.reports for tally in report.replicas]
    assert sum(tally.completed for tally in tallies) == 3
    assert sum(tally.latency_s for tally in tallies) == pytest.approx(
        sum(reply.total_ms for reply in replies) / 1000
    )


async def test_ids_are_unlike_those_of_failed_and_of_other_calls(follow: Follow) -> None:
    followed, _ = await follow(answering(2))
    other, _ = await follow(answering(2))
    replies = [await each.call() for each in (followed, other) * 2]
    replies += [await failure(each.call(method="POST")) for each in (followed, other)]
    assert [reply.code for reply in replies] == [Code.OK] * 4 + [Code.UNAVAILABLE] * 2
    assert len({reply.request_id for reply in replies}) == 6
    assert all(reply.request_id for reply in replies)


async def test_its_time_ends_as_the_answer_comes_not_as_the_caller_gets_its_turn(
    follow: Follow,
) -> None:
    followed, _ = await follow(answering(9, wait_s=5))
    replica = followed._routes.choices.pick(0.0)
    assert replica is not None
    first = asyncio.ensure_future(followed.call())

    async def answer() -> None:
        """To the one call that is under way."""
        while replica.client is None or not any(
            each.future for each in replica.client._connections
        ):
            await asyncio.sleep(0.001)
        (connection,) = replica.client._connections
        connection.data_received(OK)

    await answer()
    await first
    begun = time.monotonic()
    waiting = asyncio.ensure_future(followed.call(deadline_ms=150))
    await answer()
    time.sleep(0.2)
    reply = await waiting
    assert time.monotonic() - begun >= 0.2
    assert reply.total_ms < 150
    assert reply.outcome is Outcome.COMPLETED


async def test_a_replica_whose_connections_all_ended_is_called_anew(follow: Follow) -> None:
    """And on a connection that stays, one call after the other."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(2)(reader, writer)

    followed, _ = await follow(handle)
    replica = followed._routes.choices.pick(0.0)
    assert replica is not None
    assert replica.pool is None
    pools = []
    for number in range(1, 4):
        for _ in range(2):
            assert (await followed.call(method="DELETE")).body == b"ok"
        assert connections == number
        assert replica.pool is not None
        pools.append(replica.pool)
        (connection,) = replica.pool.connections
        connection.abort()
        while replica.pool.connections:
            await asyncio.sleep(0.001)
    assert len(set(pools)) == 3
    assert followed.direct == 6


@pytest.mark.parametrize("called", [0, 1])
async def test_what_cannot_be_sent_is_rejected(follow: Follow, called: int) -> None:
    """Whether there is an idle connection or not; and that one stays."""
    followed, edge = await follow(answering(9))
    for _ in range(called):
        await followed.call()
    reply = await failure(followed.call(path="/a b"))
    assert (reply.outcome, reply.code) == (Outcome.REJECTED, Code.INVALID)
    assert not reply.may_have_run
    assert "is not a path" in reply.error
    assert (await followed.call()).body == b"ok"
    assert edge.carried == []


async def test_a_failed_call_leaves_nothing_for_the_collector(follow: Follow) -> None:
    """An error keeps what was running when it was raised, which is not to keep the error."""
    followed, _ = await follow(answering(1))
    await followed.call(method="POST")
    gc.collect()
    gc.disable()
    try:
        error = ReplicaError(Code.INTERNAL, "", ran=True)
        replica = followed._routes.choices.pick(0.0)
        assert replica is not None
        assert replica.pool is not None
        (connection,) = replica.pool.connections
        waiting = asyncio.ensure_future(followed.call(method="POST"))
        while connection.future is None:
            await asyncio.sleep(0)
        connection.fail(error)
        with contextlib.suppress(CallFailed):
            await waiting
        gone = weakref.ref(error)
        del error, waiting, connection
        await asyncio.sleep(0.01)
        assert gone() is None
    finally:
        gc.enable()


async def test_late_and_failed_answers_are_told_apart(follow: Follow) -> None:
    followed, edge = await follow(answering(9, wait_s=0.03))
    assert (await followed.call(deadline_ms=10)).outcome is Outcome.LATE
    error = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    failing, failing_edge = await follow(answering(9, answer=error))
    reply = await failing.call()
    assert (reply.outcome, reply.code, reply.http_status) == (Outcome.FAILED, Code.OK, 500)
    await asyncio.sleep(0.15)
    for each, counts in ((edge, (0, 1, 0)), (failing_edge, (0, 0, 1))):
        tallies = [tally for report in each.reports for tally in report.replicas]
        found = [(t.completed, t.late, t.failed) for t in tallies if not t.in_flight]
        assert counts in found


async def test_a_timeout_is_kept_and_the_slot_comes_back(follow: Follow) -> None:
    followed, _ = await follow(answering(9, wait_s=5))
    for _ in range(4):
        begun = time.monotonic()
        reply = await failure(followed.call(timeout_ms=40))
        assert 0.04 <= time.monotonic() - begun < 0.3
        assert (reply.outcome, reply.code) == (Outcome.FAILED, Code.DEADLINE_EXCEEDED)
        assert reply.may_have_run
        assert "within 40 ms" in reply.error
    assert followed.direct == followed.carried == 0


async def test_never_more_under_way_than_slots(follow: Follow) -> None:
    followed, edge = await follow(answering(9, wait_s=0.05), answering(9, wait_s=0.05))
    replies = await asyncio.gather(*(followed.call() for _ in range(7)))
    assert sorted(reply.replica for reply in replies) == ["", "", "", "r0", "r0", "r1", "r1"]
    assert (followed.direct, followed.carried, len(edge.carried)) == (4, 3, 3)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_get_that_meets_a_closing_connection_is_sent_again(
    follow: Follow, replicas: int
) -> None:
    """At a replica itself, also where there is but one: nothing has to go through the edge."""
    followed, edge = await follow(*[answering(1)] * replicas)
    for _ in range(6):
        assert (await followed.call()).body == b"ok"
    assert (followed.direct, edge.carried) == (6, [])


async def test_a_post_that_meets_a_closing_connection_is_not(follow: Follow) -> None:
    followed, edge = await follow(answering(1))
    await followed.call(method="POST")
    reply = await failure(followed.call(method="POST"))
    assert (reply.code, reply.may_have_run, edge.carried) == (Code.UNAVAILABLE, True, [])
    both, edge = await follow(answering(1), answering(1), idempotent=True)
    replies = [await both.call(method="POST") for _ in range(4)]
    # Each replica answers once, and is then left alone for a second.
    assert [reply.replica for reply in replies] == ["r0", "r1", "", ""]
    assert len(edge.carried) == 2


async def test_what_a_first_try_may_have_done_is_not_forgotten(follow: Follow) -> None:
    """A GET that is sent again, and is then refused by everyone, may have run all the same."""
    served = 0

    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served == 1:
            await answering(1)(reader, writer)

    followed, edge = await follow(dying)
    edge.reply = CallReply(
        "carried", Outcome.REJECTED, Code.UNAVAILABLE, error="none", may_have_run=False
    )
    await followed.call()
    reply = await failure(followed.call())
    assert reply.code is Code.UNAVAILABLE
    assert reply.may_have_run


async def test_a_cancelled_call_ends_its_connection_and_counts_as_failed(follow: Follow) -> None:
    gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        gone.set()

    followed, edge = await follow(handle)
    await followed.call()
    waiting = asyncio.ensure_future(followed.call())
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(gone.wait(), 2)
    await asyncio.sleep(0.15)
    last = [tally for report in edge.reports for tally in report.replicas][-1]
    assert (last.in_flight, last.failed) == (0, 1)


async def test_send_keeps_the_request_and_raises_nothing(follow: Follow) -> None:
    followed, edge = await follow(answering(1))
    asked = CallRequest("mine", "s", "POST", "/", (), b"x", 0.2, 0.4)
    reply = await followed.send(asked)
    assert (reply.request_id, reply.body) == ("mine", b"ok")
    reply = await followed.send(asked)
    assert (reply.request_id, reply.code) == ("mine", Code.UNAVAILABLE)
    streamed = CallRequest("parts", "s", "GET", "/", (), b"", 0.2, 0.4, stream=True)
    assert (await followed.send(streamed)).body == b"carried"
    assert edge.carried == [streamed]
