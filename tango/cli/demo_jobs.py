"""The demo's stream of batch jobs: keeps the nodes' spare CPU filled and a few jobs queued."""

from __future__ import annotations

import asyncio
import random

from tango.cli.demo_plan import DemoPlan, demo_job
from tango.model.errors import TangoError
from tango.model.views import JobCounts
from tango.sdk.client import Client

LOOK_EVERY_S = 0.25
MOST_AT_ONCE = 8
DRAIN_S = 30.0


class JobStream:
    """Submits jobs until told to stop. problem: why it could not, the last time it could not."""

    def __init__(self, client: Client, plan: DemoPlan, rng: random.Random) -> None:
        self.problem = ""
        self._client = client
        self._plan = plan
        self._rng = rng
        self._number = 0
        self._ids: list[str] = []

    async def feed(self) -> None:
        """Keep jobs_open jobs running or queued; until cancelled."""
        while True:
            try:
                missing = self._plan.jobs_open - _open(await self.counts())
                for _ in range(min(missing, MOST_AT_ONCE)):
                    self._number += 1
                    spec = demo_job(self._number, self._plan.task_cpu_millis, self._rng)
                    self._ids.append((await self._client.submit(spec)).job_id)
            except TangoError as error:
                # The demo goes on and says it at its end: being cut off is not the end of a run.
                self.problem = str(error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def counts(self) -> JobCounts:
        """All jobs by state."""
        return (await self._client.jobs(limit=1))[1]

    async def drain(self, patience_s: float = DRAIN_S) -> JobCounts:
        """Let what runs and waits come to its end; cancel what has not after a while, three times
        as long where nothing has succeeded yet (a busy machine).

        Raises TangoError where the central master does not answer.
        """
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        counts = await self.counts()
        while _open(counts) and loop.time() - begun_s < patience_s * (1 if counts.succeeded else 3):
            await asyncio.sleep(0.1)
            counts = await self.counts()
        if not _open(counts):
            return counts
        for job_id in self._ids:
            if not (await self._client.job(job_id)).state.ended:
                await self._client.cancel(job_id)
        return await self.counts()


def _open(counts: JobCounts) -> int:
    return counts.pending + counts.scheduled + counts.running
