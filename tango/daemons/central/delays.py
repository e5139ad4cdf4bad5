"""Reads the round trips of a file or Goldpinger at intervals, for tasks with delay bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tango.daemons.lifecycle import log_event
from tango.model.errors import TangoError
from tango.model.events import DelaysMeasured
from tango.ports import RoundTripSource


@asynccontextmanager
async def measuring(
    group: asyncio.TaskGroup,
    source: RoundTripSource | None,
    every_s: float,
    post: Callable[[DelaysMeasured], None],
) -> AsyncIterator[None]:
    """Ask the source again and again meanwhile; None: there is none to ask."""
    if source is None:
        yield
        return
    asked = group.create_task(measure(source, every_s, post), name="delays")
    try:
        yield
    finally:
        asked.cancel()


async def measure(
    source: RoundTripSource, every_s: float, post: Callable[[DelaysMeasured], None]
) -> None:
    """For ever. A failure is logged once; what was known before it stays until it is too old."""
    failing = ""
    while True:
        try:
            found = await source.measure()
        except TangoError as error:
            if str(error) != failing:
                failing = str(error)
                log_event("warning", "delays not measured", error=failing)
        else:
            failing = ""
            post(DelaysMeasured(found.trips, time.time()))
        await asyncio.sleep(every_s)
