"""One timer for all deadlines: none passes early, none is missed by more than milliseconds."""

from __future__ import annotations

import asyncio
import math
import random
import time

import pytest

from tango.adapters.answer_deadlines import SPACING_S, AnswerDeadlines

# Of the loop's timers (1 ms each) and of the spacing.
LATE_S = 0.005
# The process may lose the CPU between a timer of the test's own and the one that it is held to.
LATE_AT_WORST_S = LATE_S + 0.045


class One:
    """Waits once."""

    def __init__(self) -> None:
        self.ends = math.inf
        self.wanted = math.inf
        self.expired_at = math.inf
        self.told_at = 0.0

    def wait(self, deadlines: AnswerDeadlines, timeout_s: float) -> None:
        """With a timer of the loop beside it, which tells how late the loop itself is."""
        asyncio.get_running_loop().call_later(timeout_s, self._told)
        self.ends = self.wanted = time.monotonic() + timeout_s
        if self.ends < deadlines.due:
            deadlines.arm(self.ends)

    def expire(self) -> None:
        self.ends = math.inf
        self.expired_at = time.monotonic()

    def _told(self) -> None:
        self.told_at = time.monotonic()

    @property
    def late_s(self) -> float:
        """After its deadline and after the timer of its own."""
        return self.expired_at - max(self.wanted, self.told_at)


class Counted(AnswerDeadlines):
    """Counts how often it looks at all that wait."""

    looks = 0

    def _look(self) -> None:
        self.looks += 1
        super()._look()


async def test_each_expires_at_its_own_deadline() -> None:
    drawn = random.Random(5)
    every = [One() for _ in range(300)]
    deadlines = Counted(every)
    for one in every:
        one.wait(deadlines, drawn.uniform(0.0, 0.4))
        if drawn.random() < 0.1:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.5)
    assert all(one.expired_at >= one.wanted for one in every)
    late = sorted(one.late_s for one in every)
    assert late[len(late) * 9 // 10] <= LATE_S
    assert late[-1] <= LATE_AT_WORST_S
    assert deadlines.looks <= 0.5 / SPACING_S
    assert deadlines.due == math.inf


async def test_a_short_one_after_a_long_one_and_an_answer_in_time() -> None:
    long, short, answered = One(), One(), One()
    deadlines = AnswerDeadlines([long, short, answered])
    long.wait(deadlines, 0.2)
    answered.wait(deadlines, 0.03)
    short.wait(deadlines, 0.06)
    answered.ends = math.inf
    await asyncio.sleep(0.15)
    assert short.expired_at >= short.wanted
    assert short.late_s <= LATE_AT_WORST_S
    assert math.inf == answered.expired_at == long.expired_at
    await asyncio.sleep(0.15)
    assert long.expired_at >= long.wanted
    assert long.late_s <= LATE_AT_WORST_S


@pytest.mark.parametrize("timeout_s", [0.1, 10.0])
async def test_one_look_in_each_timeout_however_many_are_answered(timeout_s: float) -> None:
    one = One()
    deadlines = Counted([one])
    end = time.monotonic() + 0.35
    while time.monotonic() < end:
        one.ends = time.monotonic() + timeout_s
        if one.ends < deadlines.due:
            deadlines.arm(one.ends)
        await asyncio.sleep(0)
        one.ends = math.inf
    assert deadlines.looks <= 0.35 / timeout_s + 1
    assert one.expired_at == math.inf
    deadlines.close()


async def test_closed_nothing_expires() -> None:
    one = One()
    deadlines = AnswerDeadlines([one])
    one.wait(deadlines, 0.01)
    deadlines.close()
    await asyncio.sleep(0.05)
    assert one.expired_at == math.inf
