"""Dialling again: backoff, its reset, bugs that pass through, and an end that is prompt."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from tango.daemons import redial as module
from tango.daemons.redial import redial
from tango.model.errors import Unavailable


async def test_backoff_grows_and_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.04)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def connect() -> str:
        times.append(loop.time())
        if len(times) == 7:
            stopping.set()
        raise Unavailable("nobody there")

    await redial("peer", connect, stopping, random.Random(1))
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] >= 0.005
    assert all(gap >= 0.02 for gap in gaps[2:])
    assert len(times) == 7


async def test_a_session_that_ended_is_dialled_again() -> None:
    stopping = asyncio.Event()
    calls = 0

    async def connect() -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            stopping.set()
        return "the other side closed"

    await redial("peer", connect, stopping, random.Random(1))
    assert calls == 2


async def test_a_bug_is_no_lost_connection() -> None:
    async def connect() -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await redial("peer", connect, asyncio.Event(), random.Random(1))


async def test_stopping_does_not_wait_for_the_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 60.0)
    stopping = asyncio.Event()

    async def connect() -> str:
        raise ConnectionError("refused")

    dialling = asyncio.ensure_future(redial("peer", connect, stopping, random.Random(1)))
    await asyncio.sleep(0.01)
    stopping.set()
    await asyncio.wait_for(dialling, 1)
