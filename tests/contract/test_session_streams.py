"""Sessions over both transports: numbering, order, ends, and what a newer peer may say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from tango.model.cluster import NodeReport, SideUsage
from tango.model.messages import AckEnds, CloseLog, FromWorker, LogPart, ReportUsage, ToWorker
from tango.v1 import edge_service_pb2 as pb
from tango.wire.mailbox import Mailbox
from tango.wire.sessions import (
    decode_from_worker,
    decode_to_worker,
    encode_from_worker,
    encode_to_worker,
)
from tango.wire.stream_session import SessionBroken, StreamSession
from tango.wire.transports import MemoryTransport


@dataclass
class Ends:
    """Both ends of one stream, and the raw transport of the worker's."""

    edge: StreamSession[FromWorker, ToWorker]
    worker: StreamSession[ToWorker, FromWorker]
    raw: MemoryTransport


def _ends(mailbox: Mailbox | None = None) -> Ends:
    top, bottom = MemoryTransport.pair()
    edge: StreamSession[FromWorker, ToWorker] = StreamSession(
        top,
        incarnation=7,
        encode=encode_to_worker,
        decode=decode_from_worker,
        mailbox=Mailbox() if mailbox is None else mailbox,
    )
    worker: StreamSession[ToWorker, FromWorker] = StreamSession(
        bottom,
        incarnation=9,
        encode=encode_from_worker,
        decode=decode_to_worker,
        mailbox=Mailbox(),
    )
    return Ends(edge, worker, bottom)


async def test_messages_arrive_in_order_both_ways() -> None:
    ends = _ends()
    at_edge: list[FromWorker] = []
    at_worker: list[ToWorker] = []
    running = asyncio.gather(ends.edge.run(at_edge.append), ends.worker.run(at_worker.append))
    for number in range(50):
        assert ends.worker.send(LogPart(str(number), b"x"))
        assert ends.edge.send(CloseLog(str(number)))
    while len(at_edge) < 50 or len(at_worker) < 50:
        await asyncio.sleep(0)
    assert at_edge == [LogPart(str(number), b"x") for number in range(50)]
    assert at_worker == [CloseLog(str(number)) for number in range(50)]
    ends.edge.close("done")
    ends.worker.close("done too")
    assert await running == ["done", "done too"]
    assert not ends.edge.send(CloseLog("late"))


@pytest.mark.parametrize(
    ("numbers", "broken"),
    [
        (((9, 1), (9, 3)), "gap"),
        (((9, 1), (8, 2)), "stale incarnation"),
        (((9, 2),), "gap"),
    ],
)
async def test_a_stream_whose_numbers_do_not_fit_ends(
    numbers: tuple[tuple[int, int], ...], broken: str
) -> None:
    ends = _ends()
    for incarnation, sequence in numbers:
        await ends.raw.write(encode_from_worker(LogPart("a"), incarnation, sequence))
    for _ in numbers[:-1]:
        await ends.edge.receive(1)
    with pytest.raises(SessionBroken, match=broken):
        await ends.edge.receive(1)


async def test_duplicates_are_dropped() -> None:
    ends = _ends()
    for sequence in (1, 1, 2, 1, 2, 3):
        await ends.raw.write(encode_from_worker(LogPart(str(sequence)), 9, sequence))
    received = [await ends.edge.receive(1) for _ in range(3)]
    assert received == [LogPart("1"), LogPart("2"), LogPart("3")]


async def test_what_a_newer_version_says_is_passed_over() -> None:
    ends = _ends()
    await ends.raw.write(encode_from_worker(LogPart("1"), 9, 1))
    await ends.raw.write(pb.ConnectWorkerRequest(incarnation=9, sequence=2))
    await ends.raw.write(encode_from_worker(LogPart("3"), 9, 3))
    assert await ends.edge.receive(1) == LogPart("1")
    assert await ends.edge.receive(1) == LogPart("3")


async def test_the_end_of_the_stream_ends_the_session() -> None:
    ends = _ends()
    running = asyncio.ensure_future(ends.edge.run(lambda _: None))
    await ends.raw.write(None)
    assert await running == "the other side closed the stream"


async def test_a_peer_that_does_not_read_is_let_go() -> None:
    ends = _ends(Mailbox(limit=3))
    assert all(ends.edge.send(CloseLog(str(number))) for number in range(3))
    assert not ends.edge.send(AckEnds(("one", "too many")))
    assert "too slowly" in await ends.edge.run(lambda _: None)


async def test_only_the_latest_report_travels() -> None:
    ends = _ends()
    for second in range(5):
        report = NodeReport("n", float(second), SideUsage(), SideUsage())
        assert ends.worker.send(ReportUsage(report))
    seen: list[FromWorker] = []
    running = asyncio.gather(ends.edge.run(seen.append), ends.worker.run(lambda _: None))
    while not seen:
        await asyncio.sleep(0)
    assert [message.report.at_s for message in seen if isinstance(message, ReportUsage)] == [4.0]
    ends.edge.close("")
    ends.worker.close("")
    await running


async def test_a_bug_in_the_receiver_is_not_taken_for_the_end_of_a_stream() -> None:
    ends = _ends()

    def buggy(message: FromWorker) -> None:
        raise KeyError("bug")

    await ends.raw.write(encode_from_worker(LogPart("1"), 9, 1))
    with pytest.raises(KeyError):
        await ends.edge.run(buggy)


async def test_a_session_that_finishes_says_first_all_that_waits() -> None:
    ends = _ends()
    at_worker: list[ToWorker] = []
    running = asyncio.gather(ends.edge.run(lambda _: None), ends.worker.run(at_worker.append))
    for number in range(200):
        assert ends.edge.send(CloseLog(str(number)))
    ends.edge.finish("the edge is stopping")
    assert not ends.edge.send(CloseLog("late"))
    while len(at_worker) < 200:
        await asyncio.sleep(0)
    ends.worker.close("seen")
    async with asyncio.timeout(5):
        assert await running == ["the edge is stopping", "seen"]
    assert at_worker == [CloseLog(str(number)) for number in range(200)]
