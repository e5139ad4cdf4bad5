"""What every Clock promises; the real one and the manual one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tango.adapters.clocks import LoopClock, ManualClock
from tango.ports import Clock

Passing = Callable[[float], Awaitable[None]]


@pytest.fixture(params=["loop", "manual"])
async def clock(request: pytest.FixtureRequest) -> tuple[Clock, Passing]:
    if request.param == "loop":
        return LoopClock(), asyncio.sleep
    manual = ManualClock(50.0)

    async def advance(seconds: float) -> None:
        manual.advance(seconds)

    return manual, advance


async def test_now_never_goes_back(clock: tuple[Clock, Passing]) -> None:
    real, pass_time = clock
    before = real.now()
    await pass_time(0.01)
    assert real.now() >= before + 0.01


async def test_a_timer_fires_once_and_never_early(clock: tuple[Clock, Passing]) -> None:
    real, pass_time = clock
    fired: list[float] = []
    begun = real.now()
    real.call_later(0.02, lambda: fired.append(real.now()))
    assert not fired
    await pass_time(0.1)
    assert len(fired) == 1
    assert fired[0] >= begun + 0.02


async def test_timers_fire_in_the_order_of_their_times(clock: tuple[Clock, Passing]) -> None:
    real, pass_time = clock
    fired: list[str] = []
    real.call_later(0.03, lambda: fired.append("late"))
    real.call_later(-1.0, lambda: fired.append("at once"))
    real.call_later(0.01, lambda: fired.append("early"))
    assert not fired
    await pass_time(0.1)
    assert fired == ["at once", "early", "late"]


async def test_a_cancelled_timer_does_not_fire(clock: tuple[Clock, Passing]) -> None:
    real, pass_time = clock
    fired: list[int] = []
    timer = real.call_later(0.01, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    await pass_time(0.05)
    assert not fired
