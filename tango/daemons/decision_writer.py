"""Hands a controller's decision records to its log file, a few times a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tango.adapters.decision_log import DecisionLog
from tango.controllers.decisions import Decisions
from tango.model.decision import END, FORWARD, ROUTE, Decision
from tango.model.request import Outcome
from tango.model.settings import DecisionSettings, LoggedRequests

EVERY_S = 0.05


def logged(record: Decision, which: LoggedRequests) -> bool:
    """Whether the record goes to a log of this kind."""
    form = record[2]
    if "request" not in form.index or which is LoggedRequests.ALL:
        return True
    if which is LoggedRequests.NONE or form is ROUTE or form is FORWARD:
        return False
    return form is not END or record[END.index["outcome"]] is not Outcome.COMPLETED


@asynccontextmanager
async def decisions_written(
    settings: DecisionSettings,
    decisions: Decisions,
    group: asyncio.TaskGroup,
    now: Callable[[], float],
    *,
    daemon: str,
    incarnation: int,
) -> AsyncIterator[None]:
    """Write records while the body runs, and the last of them at its end; nothing without a log.

    Raises InvalidField("decisions.log") where it cannot be written.
    """
    if not settings.log:
        yield
        return
    log = DecisionLog(
        settings.log,
        max_bytes=settings.log_max_bytes,
        files=settings.log_files,
        daemon=daemon,
        incarnation=incarnation,
        now=now(),
    )
    written = 0

    def hand_over() -> None:
        nonlocal written
        last = decisions.last
        if last > written:
            records = decisions.since(written)
            lost = last - written - len(records)
            if settings.log_requests is not LoggedRequests.ALL:
                records = [record for record in records if logged(record, settings.log_requests)]
            log.add(records, lost)
            written = last

    async def each_while() -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            hand_over()

    task = group.create_task(each_while(), name="decision log")
    try:
        yield
    finally:
        task.cancel()
        hand_over()
        await asyncio.to_thread(log.close)
