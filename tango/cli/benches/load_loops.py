"""Two ways to load a service: closed loop for its most requests a second, open loop at a pace."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from tango.workload.latency import LatencyHistogram

Call = Callable[[], Awaitable[None]]


class Rate:
    """Requests a second of a closed loop, over as many rounds as are run."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.completed = 0
        self.seconds = 0.0

    async def run(self, clients: int, seconds: float) -> None:
        """Each client has one request under way; those that end within `seconds` count."""
        begun = time.perf_counter()
        end = begun + seconds
        completed = 0

        async def client() -> None:
            nonlocal completed
            while True:
                await self.call()
                if time.perf_counter() > end:
                    return
                completed += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
        self.completed += completed
        self.seconds += seconds

    @property
    def per_s(self) -> float:
        """Over all rounds so far."""
        return self.completed / self.seconds


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Arrival times in [0, seconds): one in each 1/rate, at a random place within it.

    So the rate is exact, and the times do not march in step with any timer of what is measured.
    """
    drawn = random.Random(seed)
    return [(index + drawn.random()) / rate for index in range(round(rate * seconds))]


async def open_loop(call: Call, times: list[float], latencies: LatencyHistogram) -> None:
    """Begin a call at each of `times`, whatever became of those before.

    A latency counts from when the call really began, not from when it was due: the loop's timers
    are exact to about 1 ms only, which is more than what is measured here.
    """
    begun = time.perf_counter()

    async def one() -> None:
        start = time.perf_counter()
        await call()
        latencies.add((time.perf_counter() - start) * 1000)

    async with asyncio.TaskGroup() as group:
        for at in times:
            await asyncio.sleep(begun + at - time.perf_counter())
            group.create_task(one())
