"""The outbound mailbox: order, latest reports, batches, bounds, close."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.model.cluster import GroupReport, NodeReport, SideUsage
from tango.model.messages import (
    AckEnds,
    CancelDispatches,
    Dispatches,
    LogPart,
    NodesChanged,
    ReplyPart,
    ReportUsage,
    RequestsDone,
    StopAttempt,
)
from tango.model.request import Code, Dispatch, RequestDone
from tango.wire.mailbox import Mailbox


def dispatch(number: int, body: bytes = b"") -> Dispatch:
    return Dispatch(str(number), "hello", "GET", "/", (("a", "b"),), body, 1.0, False)


def done(number: int) -> RequestDone:
    return RequestDone(str(number), Code.OK, headers=(("a", "b"),))


def usage(at_s: float, *groups: str) -> ReportUsage:
    reports = tuple(GroupReport(group, 0.0, 0, 0, 0, 0.0, 0) for group in groups)
    return ReportUsage(NodeReport("n", at_s, SideUsage(), SideUsage(), groups=reports))


async def drained(mailbox: Mailbox) -> list[Any]:
    mailbox.close()
    found = []
    while (message := await mailbox.get()) is not None:
        found.append(message)
    return found


async def test_order_is_kept_and_neighbours_are_merged() -> None:
    mailbox = Mailbox()
    part = ReplyPart("2", b"x")
    for message in (
        RequestsDone((done(1),)),
        RequestsDone((done(2), done(3))),
        part,
        RequestsDone((done(4),)),
        AckEnds(("a",)),
        AckEnds(("b",)),
        StopAttempt("s"),
    ):
        assert mailbox.put(message)
    assert len(mailbox) == 8
    assert await drained(mailbox) == [
        RequestsDone((done(1), done(2), done(3))),
        part,
        RequestsDone((done(4),)),
        AckEnds(("a", "b")),
        StopAttempt("s"),
    ]
    assert len(mailbox) == 0


async def test_a_cancel_stays_behind_its_dispatch() -> None:
    mailbox = Mailbox()
    for message in (
        Dispatches((dispatch(1),)),
        CancelDispatches(("1",)),
        Dispatches((dispatch(2),)),
    ):
        mailbox.put(message)
    assert [type(message) for message in await drained(mailbox)] == [
        Dispatches,
        CancelDispatches,
        Dispatches,
    ]


async def test_the_latest_report_takes_the_place_of_the_one_that_waits() -> None:
    mailbox = Mailbox()
    mailbox.put(usage(1.0))
    mailbox.put(Dispatches((dispatch(1),)))
    mailbox.put(usage(2.0))
    mailbox.put(NodesChanged(()))
    mailbox.put(Dispatches((dispatch(2),)))
    mailbox.put(usage(3.0))
    assert await drained(mailbox) == [
        usage(3.0),
        Dispatches((dispatch(1), dispatch(2))),
        NodesChanged(()),
    ]


async def test_a_listing_report_is_not_lost_to_a_newer_control_report() -> None:
    mailbox = Mailbox()
    mailbox.put(usage(1.0, "lc/a"))
    mailbox.put(usage(2.0))
    assert await mailbox.get() == usage(2.0, "lc/a")
    mailbox.put(usage(3.0))
    assert await mailbox.get() == usage(3.0)


async def test_batches_are_bounded_in_items_and_bytes() -> None:
    mailbox = Mailbox(batch_items=3, batch_bytes=10_000)
    mailbox.put(Dispatches(tuple(dispatch(n) for n in range(7))))
    assert [len(batch.requests) for batch in await drained(mailbox)] == [3, 3, 1]
    mailbox = Mailbox(batch_items=100, batch_bytes=10_000)
    mailbox.put(Dispatches(tuple(dispatch(n, b"x" * 4000) for n in range(5))))
    mailbox.put(Dispatches((dispatch(5, b"x" * 20_000),)))
    assert [len(batch.requests) for batch in await drained(mailbox)] == [2, 2, 1, 1]


async def test_a_full_mailbox_takes_a_message_whole_or_not_at_all() -> None:
    mailbox = Mailbox(limit=3)
    assert mailbox.put(Dispatches((dispatch(1), dispatch(2))))
    assert not mailbox.put(Dispatches((dispatch(3), dispatch(4))))
    assert mailbox.put(StopAttempt("s"))
    assert not mailbox.put(StopAttempt("t"))
    assert mailbox.put(usage(1.0)), "a report always has room"
    await mailbox.get()
    assert mailbox.put(Dispatches((dispatch(3), dispatch(4))))
    by_bytes = Mailbox(limit_bytes=5000)
    assert by_bytes.put(LogPart("l", b"x" * 3000))
    assert not by_bytes.put(ReplyPart("r", b"x" * 3000))
    assert len(by_bytes) == 1


async def test_get_waits_and_close_wakes_it() -> None:
    mailbox = Mailbox()
    getting = asyncio.ensure_future(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put(RequestsDone((done(1),)))
    mailbox.put(RequestsDone((done(2),)))
    assert await getting == RequestsDone((done(1), done(2))), "merged before the reader woke"
    getting = asyncio.ensure_future(mailbox.get())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one reader"):
        await mailbox.get()
    mailbox.close()
    assert await getting is None
    assert mailbox.closed
    assert not mailbox.put(StopAttempt("s"))


async def test_a_cancelled_get_loses_nothing() -> None:
    mailbox = Mailbox()
    getting = asyncio.ensure_future(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put(StopAttempt("s"))
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    assert await mailbox.get() == StopAttempt("s")


MESSAGES = st.one_of(
    st.integers(0, 99).map(lambda n: StopAttempt(str(n))),
    st.lists(st.integers(0, 99), max_size=5).map(lambda ns: AckEnds(tuple(map(str, ns)))),
    st.lists(st.integers(0, 99), max_size=5).map(lambda ns: Dispatches(tuple(map(dispatch, ns)))),
    st.just(usage(1.0)),
    st.none(),
)


def flat(messages: list[Any]) -> list[Any]:
    found: list[Any] = []
    for message in messages:
        match message:
            case AckEnds(attempt_ids=ids):
                found.extend(ids)
            case Dispatches(requests=requests):
                found.extend(requests)
            case StopAttempt():
                found.append(message)
    return found


@given(st.lists(MESSAGES, max_size=40))
@settings(deadline=None, max_examples=60)
def test_what_was_taken_comes_out_once_in_order(script: list[Any]) -> None:
    async def play() -> None:
        mailbox = Mailbox(limit=12, batch_items=4)
        taken: list[Any] = []
        got: list[Any] = []
        for message in script:
            if message is None:
                if len(mailbox):
                    got.append(await mailbox.get())
            elif mailbox.put(message):
                taken.append(message)
            assert len(mailbox) <= 12
        got.extend(await drained(mailbox))
        assert flat(got) == flat(taken)
        assert all(len(m.requests) <= 4 for m in got if isinstance(m, Dispatches))

    asyncio.run(play())
