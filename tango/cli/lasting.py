"""Streams that outlive a restart of the daemon they come from: opened again, with backoff."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from tango.model.errors import Unavailable

FIRST_S = 0.2
LONGEST_S = 5.0
GIVE_UP_S = 60.0
T = TypeVar("T")


async def lasting(
    open_stream: Callable[[], AsyncGenerator[T, None]],
    whose: str,
    say: Callable[[str], None],
    *,
    give_up_s: float = GIVE_UP_S,
) -> AsyncGenerator[T, None]:
    """What the stream brings, and those opened after it where it breaks, until one ends.

    whose: who answers, for people. say: is told when it breaks and when it is there again. Raises
    Unavailable where it never answered, or not for give_up_s after it broke; any other error of
    the stream as it is.
    """
    loop = asyncio.get_running_loop()
    answered, broke_at, delay_s = False, 0.0, FIRST_S  # broke_at: 0 while it answers
    while True:
        try:
            async with contextlib.aclosing(open_stream()) as items:
                while True:
                    # One that takes the call and says nothing is away too.
                    until = broke_at + give_up_s if broke_at else None
                    try:
                        async with asyncio.timeout_at(until):
                            item = await anext(items)
                    except StopAsyncIteration:
                        return
                    if broke_at:
                        say(f"{whose} answers again")
                    answered, broke_at, delay_s = True, 0.0, FIRST_S
                    yield item
        except (Unavailable, TimeoutError) as error:
            if not answered:
                raise
            now = loop.time()
            if not broke_at:
                broke_at = now
                say(f"{whose} does not answer ({error}); trying again for {give_up_s:g} s")
            if now >= broke_at + give_up_s:
                why = str(error) or "no answer in time"
                raise Unavailable(f"{whose} did not answer for {give_up_s:g} s: {why}") from error
        left_s = broke_at + give_up_s - loop.time()
        await asyncio.sleep(max(0.0, min(left_s, delay_s * random.uniform(0.5, 1.0))))
        delay_s = min(LONGEST_S, 2 * delay_s)
