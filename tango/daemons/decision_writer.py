"""Hands a controller's decision records to its log file, a few times a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tango.adapters.decision_log import DecisionLog
from tango.controllers.decisions import Decisions
from tango.model.settings import DecisionSettings

EVERY_S = 0.05


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
            log.add(records, last - written - len(records))
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
