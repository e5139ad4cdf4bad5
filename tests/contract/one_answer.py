"""The one answer that a Solver promises to each question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Plan = TypeVar("Plan")


async def one_answer(
    begin: Callable[[Callable[[Plan | Exception, float], None]], None],
) -> tuple[Plan | Exception, float]:
    """The answer, once there; fails if a second one comes. begin: asks, given what takes it."""
    answers: list[tuple[Plan | Exception, float]] = []
    came = asyncio.Event()

    def done(plan: Plan | Exception, cost_s: float) -> None:
        answers.append((plan, cost_s))
        came.set()

    begin(done)
    async with asyncio.timeout(30):
        await came.wait()
    await asyncio.sleep(0)
    (answer,) = answers
    return answer
