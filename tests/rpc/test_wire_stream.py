"""A mailbox over a real session stream: backpressure merges what waits, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from wire_probe import AUTH, probed, stub_of

from tango.model.cluster import NodeReport, SideUsage
from tango.model.messages import (
    CancelDispatches,
    Dispatches,
    EdgeWelcome,
    ReportUsage,
    RequestsDone,
    WorkerState,
)
from tango.model.request import Code, Dispatch, RequestDone
from tango.wire import sessions
from tango.wire.mailbox import Mailbox


async def test_dispatches_and_answers_over_one_stream() -> None:
    outgoing: Mailbox = Mailbox(batch_items=64)
    done: list[RequestDone] = []

    async def serve(context: Any) -> None:
        async def write() -> None:
            sequence = 0
            while (message := await outgoing.get()) is not None:
                sequence += 1
                await context.write(sessions.encode_to_worker(message, 5, sequence))

        async def read() -> None:
            while (envelope := await context.read()) is not grpc.aio.EOF:
                _, _, message = sessions.decode_from_worker(envelope)
                if isinstance(message, RequestsDone):
                    done.extend(message.done)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(read())

    count = 500
    async with probed() as (probe, server), stub_of(server) as stub:
        probe.session = serve
        call = stub.ConnectWorker(metadata=AUTH)
        await call.write(sessions.encode_from_worker(WorkerState((), (), ()), 1, 1))
        assert outgoing.put(EdgeWelcome("edge", 5))
        for number in range(count):
            request = Dispatch(str(number), "s", "GET", "/", (), b"x" * 100, 1.0, False)
            assert outgoing.put(Dispatches((request,)))
        assert outgoing.put(CancelDispatches(("7",)))
        outgoing.close()
        envelopes = 0
        incoming: list[str] = []
        answers: Mailbox = Mailbox()
        while (envelope := await call.read()) is not grpc.aio.EOF:
            incarnation, sequence, message = sessions.decode_to_worker(envelope)
            envelopes += 1
            assert (incarnation, sequence) == (5, envelopes)
            if isinstance(message, Dispatches):
                incoming.extend(request.request_id for request in message.requests)
                answers.put(
                    RequestsDone(
                        tuple(RequestDone(r.request_id, Code.OK) for r in message.requests)
                    )
                )
                answers.put(ReportUsage(NodeReport("n", envelopes, SideUsage(), SideUsage())))
            if isinstance(message, CancelDispatches):
                break
        assert incoming == [str(number) for number in range(count)]
        assert envelopes < 15, "what waited together travelled together"
        answers.close()
        sequence = 1
        while (answer := await answers.get()) is not None:
            sequence += 1
            await call.write(sessions.encode_from_worker(answer, 1, sequence))
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        assert [item.request_id for item in done] == incoming
        assert sequence <= 4, "one batch and one report"
