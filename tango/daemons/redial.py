"""Dials the upper side again and again: jittered exponential backoff from 0.2 s to 2 s."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from tango.daemons.lifecycle import log_event
from tango.model.errors import TangoError
from tango.wire.stream_session import SessionBroken

FIRST_S = 0.2
LONGEST_S = 2.0
STEADY_S = 5.0


async def redial(
    peer: str,
    connect: Callable[[], Awaitable[str]],
    stopping: asyncio.Event,
    rng: random.Random,
) -> None:
    """Call `connect` until told to stop; it returns why the session ended, or raises.

    A session that lasted resets the backoff. Errors that are not the transport's nor a refusal are
    bugs and pass through.
    """
    backoff = FIRST_S
    loop = asyncio.get_running_loop()
    last_reason = ""
    while not stopping.is_set():
        begun = loop.time()
        try:
            reason = await connect()
        except (TangoError, SessionBroken, OSError) as error:
            reason = str(error) or type(error).__name__
        if stopping.is_set():
            return
        if loop.time() - begun > STEADY_S:
            backoff = FIRST_S
        # The same failure again and again is one fact, not a line each time.
        level = "debug" if reason == last_reason else "warning"
        last_reason = reason
        log_event(level, "session ended", peer=peer, reason=reason, retry_in_s=round(backoff, 2))
        try:
            async with asyncio.timeout(backoff * rng.uniform(0.5, 1.0)):
                await stopping.wait()
        except TimeoutError:
            backoff = min(backoff * 2, LONGEST_S)
