"""Callers of an edge: each call is answered once, also when the edge stops or has stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tango.daemons.edge.callers import Callers
from tango.daemons.edge.metrics import EdgeMetrics
from tango.daemons.tallies import Scrape
from tango.model.events import CallArrived, CallCancelled
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.wire.errors import stopping


@dataclass
class Desk:
    """Callers over a controller that only listens, and the replies that came, in order."""

    events: list[CallArrived | CallCancelled] = field(default_factory=list)
    replies: list[CallReply] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.callers = Callers(self.events.append, EdgeMetrics(Scrape()))

    def submit(self, request_id: str) -> CallRequest:
        request = CallRequest(request_id, "hello")
        self.callers.submit(request, self.replies.append)
        return request


def test_a_second_call_of_an_id_that_is_pending_does_not_replace_the_first() -> None:
    desk = Desk()
    first = desk.submit("r1")
    desk.submit("r1")
    (refused,) = desk.replies
    assert (refused.outcome, refused.code) == (Outcome.REJECTED, Code.INVALID)
    assert desk.events == [CallArrived(first)]
    assert desk.callers.is_pending("r1")


def test_a_closed_one_refuses_what_comes_and_keeps_what_is_under_way() -> None:
    desk = Desk()
    first = desk.submit("r1")
    desk.callers.close()
    desk.submit("r2")
    (refused,) = desk.replies
    assert (refused.request_id, refused.outcome, refused.code, refused.may_have_run) == (
        "r2", Outcome.REJECTED, Code.UNAVAILABLE, False,
    )  # fmt: skip
    assert refused.error == stopping("edge")
    assert desk.events == [CallArrived(first)]
    assert list(desk.callers.waiting) == ["r1"]


def test_all_that_wait_are_failed_and_nothing_works_for_them_any_more() -> None:
    desk = Desk()
    arrived: list[CallArrived | CallCancelled] = [CallArrived(desk.submit(f"r{n}")) for n in (1, 2)]
    desk.callers.fail_all("enough", lambda request_id: request_id == "r1")
    assert [(reply.request_id, reply.may_have_run) for reply in desk.replies] == [
        ("r1", True),
        ("r2", False),
    ]
    assert {(r.outcome, r.code, r.error) for r in desk.replies} == {
        (Outcome.FAILED, Code.UNAVAILABLE, "enough")
    }
    assert desk.events == [*arrived, CallCancelled("r1"), CallCancelled("r2")]
    assert not desk.callers.waiting


async def test_a_streamed_call_that_is_failed_ends() -> None:
    desk = Desk()
    items = desk.callers.streamed(CallRequest("r1", "hello", stream=True))
    step = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    assert "r1" in desk.callers.parts
    desk.callers.fail_all("enough", lambda _: True)
    reply = await step
    assert isinstance(reply, CallReply)
    assert (reply.outcome, reply.error, reply.may_have_run) == (Outcome.FAILED, "enough", True)
    assert [item async for item in items] == []
    assert not desk.callers.parts
