"""Load for a cluster under attack: calls at a modest rate, jobs without end, all accounted for."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from chaos_ledger import FAILS, Ledger
from cluster_at_work import job

from tango.model.errors import TangoError
from tango.sdk.client import Client

CALL_TIMEOUT_S = 3.0
# What the SDK adds before it gives up on an edge, and what a busy machine may.
GIVE_UP_S = CALL_TIMEOUT_S + 5.0 + 4.0
SUBMIT_AGAIN_S = 0.5
# Submissions that wait for their acknowledgement at once: a modest load, not a storm of retries.
MAX_WAITING = 20


@dataclass
class Calls:
    """Calls of one service at all sites. slowest_s: the longest wait for any answer.

    unanswered: calls that got none within GIVE_UP_S. cut_s: waits of calls that were in flight when
    their edge was killed, from that moment on.
    """

    client: Client
    service: str
    random: random.Random
    codes: Counter[str] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    cut_s: list[float] = field(default_factory=list)
    _flying: dict[str, dict[int, float | None]] = field(default_factory=dict)
    _sent: int = 0

    async def run(self, per_s: float) -> None:
        """Send at this rate to each site until cancelled; then wait for what is in flight."""
        flying: set[asyncio.Task[None]] = set()
        try:
            while True:
                for site in self.client.sites:
                    task = asyncio.create_task(self._one(site))
                    flying.add(task)
                    task.add_done_callback(flying.discard)
                await asyncio.sleep(self.random.expovariate(per_s))
        finally:
            if flying:
                await asyncio.shield(asyncio.gather(*flying))

    def edge_killed(self, site: str) -> None:
        """From now on the calls in flight there wait for bad news."""
        now = time.monotonic()
        for number in self._flying.get(site, {}):
            self._flying[site][number] = now

    async def _one(self, site: str) -> None:
        self._sent += 1
        number = self._sent
        flying = self._flying.setdefault(site, {})
        flying[number] = None
        begun = time.monotonic()
        ms = self.random.choice((0, 20, 20, 50, 400))
        request = self.client.request(
            self.service, path=f"/wait?ms={ms}", timeout_ms=CALL_TIMEOUT_S * 1000
        )
        try:
            async with asyncio.timeout(GIVE_UP_S):
                if number % 4:
                    reply = await self.client.send(request, site=site)
                else:
                    reply = await self.client.edge(site).call(request)
            self.codes[reply.code.value] += 1
        except TimeoutError:
            self.unanswered.append(f"{site} {request.request_id}")
        except TangoError as error:
            self.codes[type(error).__name__] += 1
        finally:
            ended = time.monotonic()
            self.slowest_s = max(self.slowest_s, ended - begun)
            cut = flying.pop(number)
            if cut is not None:
                self.cut_s.append(ended - cut)


@dataclass
class Jobs:
    """Jobs submitted again and again until acknowledged, as a careful client does.

    acknowledged: submission -> job id. fails: those that exit with FAILS and are not retried.
    """

    client: Client
    ledger: Ledger
    random: random.Random
    acknowledged: dict[str, str] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)
    changed: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    async def run(self, per_s: float, stopping: asyncio.Event) -> None:
        """Submit at this rate until told to stop, and until the last is acknowledged."""
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                await asyncio.sleep(self.random.expovariate(per_s))
                if len(self.tried) - len(self.acknowledged) >= MAX_WAITING:
                    continue
                name = f"s{len(self.tried):05d}"
                self.tried.append(name)
                group.create_task(self._submit(name))

    async def _submit(self, name: str) -> None:
        fails = self.random.random() < 0.1
        if fails:
            self.fails.add(name)
        seconds = self.random.choice((0.05, 0.5, 2.0, 4.0))
        spec = job(
            *self.ledger.argv(name, seconds, FAILS if fails else 0),
            name="chaos",
            cpu_millis=20,
            memory_bytes=16 * 2**20,
            retries=0 if fails else 30,
            backoff_s=0.1,
            backoff_max_s=1.0,
        )
        while True:
            try:
                record = await self.client.submit(spec, submission_id=name)
            except TangoError as error:
                self.refusals[type(error).__name__] += 1
                await asyncio.sleep(SUBMIT_AGAIN_S)
                continue
            known = self.acknowledged.setdefault(name, record.job_id)
            if known != record.job_id:
                self.changed.append(f"{name}: {known}, then {record.job_id}")
            # Some ask again though they were answered: the same job, not another one.
            if self.random.random() < 0.8:
                return
