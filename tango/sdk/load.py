"""Open-loop load on services: who sends, who watches, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Protocol

from tango.sdk.load_record import RunRecord
from tango.sdk.load_sender import MAX_OUTSTANDING, Sender, ServiceLoad, SiteLink, Stream
from tango.sdk.observe import ClusterView, observe
from tango.wire.call_client import RequestIds

__all__ = ["LoadRunner", "RunRecord", "ServiceLoad"]

# Connections are made, and the first look at the cluster is taken, before the first request.
LEAD_S = 0.1
# After the last request, beyond the service's own timeout; and after `stop`.
DRAIN_MARGIN_S = 2.0
STOPPED_DRAIN_S = 2.0
_POLL_S = 0.005


class LoadedCluster(ClusterView, Protocol):
    """What a load needs of a cluster; Client is one."""

    def calls(self, site: str = "") -> contextlib.AbstractAsyncContextManager[Stream]:
        """Many calls multiplexed on one stream."""
        ...


class LoadRunner:
    """Sends the loads of one or several services at the same time and records what happens.

    One multiplexed stream per site, no task per request. `run` once; `stop` ends it early, and the
    record stays complete: every request that was sent has ended when `run` returns.

    duration_s: how long the load lasts, a quiet end included; None ends it with the last arrival.
    on_second: called with the record once a second, after its row is closed.
    """

    def __init__(
        self,
        cluster: LoadedCluster,
        loads: Sequence[ServiceLoad],
        *,
        duration_s: float | None = None,
        on_second: Callable[[RunRecord, float], None] | None = None,
        max_outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self.record = RunRecord({load.service: load.deadline_s * 1000 for load in loads})
        self.duration_s = 0.0
        self.stopped = False
        self._cluster = cluster
        self._loads = tuple(loads)
        self._planned_s = duration_s
        self._on_second = on_second
        self._max_outstanding = max_outstanding
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Send nothing more; what is under way gets a moment to be answered."""
        self.stopped = True
        self._stop.set()

    async def run(self) -> RunRecord:
        """The whole load. Raises what its arrivals raised, after all that was sent has ended."""
        loop = asyncio.get_running_loop()
        new_id = RequestIds()
        links = {
            site: SiteLink(site, self._cluster.calls) for load in self._loads for site in load.sites
        }
        senders = [
            Sender(
                load,
                [links[site] for site in load.sites],
                self.record.services[load.service],
                new_id,
                max_outstanding=self._max_outstanding,
            )
            for load in self._loads
        ]
        self.record.see(await observe(self._cluster))
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(link.keep()) for link in links.values()]
            for link in links.values():
                await link.opened()
            start_at_s = loop.time() + LEAD_S
            watchers = [
                group.create_task(self._watch()),
                group.create_task(self._tick(start_at_s)),
            ]
            await self._send_all(senders, start_at_s)
            self.duration_s = max(0.0, loop.time() - start_at_s)
            await self._drain()
            for task in (*keepers, *watchers):
                task.cancel()
        # The streams are closed, and what they had not answered has failed, by a callback each,
        # which runs during this look.
        self.record.see(await observe(self._cluster))
        self._last_row()
        problems = [sender.problem for sender in senders if sender.problem is not None]
        if problems:
            raise problems[0]
        return self.record

    async def _send_all(self, senders: Sequence[Sender], start_at_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            sending = [group.create_task(sender.run(start_at_s)) for sender in senders]
            sending.append(group.create_task(self._last(start_at_s)))
            stopping = group.create_task(self._stop.wait())
            waiting: set[asyncio.Task[None]] = set(sending)
            while waiting and not stopping.done():
                await asyncio.wait({*waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                waiting = {task for task in waiting if not task.done()}
                if any(sender.problem is not None for sender in senders):
                    break
            for task in (*sending, stopping):
                task.cancel()

    async def _last(self, start_at_s: float) -> None:
        """Until the planned end, also where no request comes any more."""
        if self._planned_s is not None:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, start_at_s + self._planned_s - loop.time()))

    async def _drain(self) -> None:
        """Wait for the answers that may still come; not for long once stopped."""
        loop = asyncio.get_running_loop()
        longest_s = max((load.timeout_s for load in self._loads), default=0.0)
        end_s = loop.time() + longest_s + DRAIN_MARGIN_S
        cut_s = math.inf
        while self.record.in_flight and loop.time() < min(end_s, cut_s):
            if self.stopped and cut_s == math.inf:
                cut_s = loop.time() + STOPPED_DRAIN_S
            await asyncio.sleep(_POLL_S)

    async def _watch(self) -> None:
        """Look at the cluster once a second."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            self.record.see(await observe(self._cluster))
            await asyncio.sleep(max(0.0, begun + 1.0 - loop.time()))

    async def _tick(self, start_at_s: float) -> None:
        """Close a row at each full second after the start; late ones, as after a suspend, are
        closed together as one."""
        loop = asyncio.get_running_loop()
        second = 1
        while True:
            await asyncio.sleep(max(0.0, start_at_s + second - loop.time()))
            second = max(second, math.floor(loop.time() - start_at_s))
            self.record.close_second(float(second))
            if self._on_second is not None:
                self._on_second(self.record, float(second))
            second += 1

    def _last_row(self) -> None:
        """What ended after the last full second belongs into the timeline too."""
        last_s = self.record.rows[-1].t_s if self.record.rows else 0.0
        if self.record.second_has_requests:
            self.record.close_second(last_s + 1.0)
