"""A central master whose store has a slow disk, and which tells how long its event loop lags.

python -m tango.cli.benches.slow_central CONFIG.toml FSYNC_MS

Everything is what `tango central` is made of: the real controller, daemon, SQLite store and gRPC
server; only each commit takes FSYNC_MS longer, and a ticker of 1 ms runs beside. Each line on stdin
is answered by one of JSON: the lag (how much later than asked a tick came) since the line before.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from tango.adapters.master_settings import load_central
from tango.adapters.policies import batch_policy
from tango.adapters.sqlite_store import SqliteStore
from tango.controllers.central.controller import CentralController
from tango.daemons import lifecycle
from tango.daemons.central.backend import CentralDaemon
from tango.daemons.central.metrics import CentralMetrics
from tango.daemons.serving import run_to_end, served
from tango.daemons.tallies import Scrape
from tango.model.access import Role
from tango.model.plan import marks_of
from tango.model.settings import DEFAULT_MAX_BODY_BYTES, CentralSettings
from tango.wire.credentials import daemon_credentials
from tango.wire.options import message_bytes_for
from tango.wire.services import central_service
from tango.workload.latency import LatencyHistogram

TICK_S = 0.001


class LoopLag:
    """How much later than asked the loop comes back; uvloop's timers alone add up to 1 ms."""

    def __init__(self) -> None:
        self._lags = LatencyHistogram()

    async def tick(self) -> None:
        """Until cancelled."""
        while True:
            begun = time.monotonic()
            await asyncio.sleep(TICK_S)
            self._lags.add(max(0.0, time.monotonic() - begun - TICK_S) * 1000)

    def told(self) -> None:
        """A line on stdin: print the lags since the last one."""
        if not os.read(sys.stdin.fileno(), 64):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            return
        lags, self._lags = self._lags, LatencyHistogram()
        figures = {"n": lags.count, **lags.summary().to_dict()}
        print(json.dumps(figures), flush=True)


async def main(settings: CentralSettings, fsync_s: float) -> None:
    """As tango.daemons.central.main, with the delay and the ticker."""
    credentials = daemon_credentials(settings.server, Role.CENTRAL)
    state = lifecycle.private_dir(settings.server.state_dir)
    incarnation = lifecycle.next_incarnation(state)
    policy = batch_policy(settings.batch_policy, settings.placement)
    store = await SqliteStore.open(state / "central.db", commit_delay_s=fsync_s)
    try:
        controller = CentralController(
            settings, incarnation=incarnation, seed=incarnation, **marks_of(policy)
        )
        metrics = CentralMetrics(registry := Scrape())
        async with asyncio.TaskGroup() as group:
            daemon = CentralDaemon(settings, controller, policy, store, group, incarnation, metrics)
            lag = LoopLag()
            ticker = group.create_task(lag.tick(), name="ticker")
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lag.told)
            async with served(
                settings.server,
                credentials,
                central_service(daemon),
                registry,
                daemon="central",
                max_message_bytes=message_bytes_for(DEFAULT_MAX_BODY_BYTES),
            ) as server:
                await run_to_end(group, daemon.shell.failed, server, daemon.stop)
            ticker.cancel()
            daemon.shell.close()
    finally:
        await store.close()


def run(config: Path, fsync_ms: float) -> int:
    """Until a signal, with the settings that every daemon runs with."""
    settings = load_central(config)
    return lifecycle.run(lambda: main(settings, fsync_ms / 1000), "central", "warning")


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), float(sys.argv[2])))
