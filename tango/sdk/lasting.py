"""Streams that outlive a restart of the daemon they come from: opened again, with backoff."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from tango.model.errors import Unavailable

FIRST_S = 0.2
LONGEST_S = 1.0
GIVE_UP_S = 60.0
T = TypeVar("T")
Say = Callable[[str], None]


def unsaid(text: str) -> None:
    """A `say` for those who tell nobody."""


async def lasting(
    open_stream: Callable[[], AsyncGenerator[T, None]],
    whose: str,
    say: Say,
    *,
    again: Callable[[], None] | None = None,
    known: bool = False,
    give_up_s: float | None = None,
) -> AsyncGenerator[T, None]:
    """What the stream brings, and those opened after it where it breaks, until one ends.

    whose: who answers, for people. say: is told when it breaks and when it is there again. again:
    called before each further try, to find it where it is now. known: it has answered before, so
    that it is tried again from the start. Raises Unavailable where it never answered, or not for
    give_up_s (GIVE_UP_S by default) after it broke; any other error of the stream as it is.
    """
    give_up_s = GIVE_UP_S if give_up_s is None else give_up_s
    loop = asyncio.get_running_loop()
    answered, broke_at, delay_s = known, 0.0, FIRST_S  # broke_at: 0 while it answers
    while True:
        try:
            if broke_at and again is not None:
                again()
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
