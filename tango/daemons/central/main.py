"""`tango central -c FILE`: puts the central master together and runs it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from tango.adapters.bound_rules import bound_rule
from tango.adapters.delay_sources import delay_source
from tango.adapters.helper_solver import HelperSolver
from tango.adapters.master_settings import load_central
from tango.adapters.policies import batch_policy
from tango.adapters.sqlite_store import SqliteStore
from tango.controllers.central.begin import begin
from tango.controllers.central.bound_store import BOUND, RESERVATION
from tango.daemons import lifecycle
from tango.daemons.central.backend import CentralDaemon
from tango.daemons.central.delays import measuring
from tango.daemons.central.images import asking, registries
from tango.daemons.central.metrics import CentralMetrics
from tango.daemons.central.rest import rest_face
from tango.daemons.journal import journal, recording_to
from tango.daemons.serving import run_to_end, served
from tango.daemons.tallies import Scrape
from tango.model.access import Role
from tango.model.job import JobRecord
from tango.model.placements import BoundRecord, ReservationRecord
from tango.model.plan import marks_of
from tango.model.settings import DEFAULT_MAX_BODY_BYTES, CentralSettings
from tango.model.starts import CentralStart
from tango.wire.credentials import daemon_credentials
from tango.wire.options import message_bytes_for
from tango.wire.services import central_service


def run(config: Path, record: Path | None = None) -> int:
    """Read the configuration, run until a signal; the exit status. record: for record.dir."""
    settings = recording_to(load_central(config), record)
    return lifecycle.run(lambda: main(settings), "central", settings.server.log_level, config)


async def main(settings: CentralSettings) -> None:
    """The daemon's whole life."""
    credentials = daemon_credentials(settings.server, Role.CENTRAL)
    policy = batch_policy(settings.batch_policy, settings.placement)
    state = lifecycle.private_dir(settings.server.state_dir)
    incarnation = lifecycle.next_incarnation(state)
    solver = HelperSolver()
    store = await SqliteStore.open(state / "central.db")
    try:
        jobs = cast("dict[str, JobRecord]", await store.load("job"))
        bounds = cast("dict[str, BoundRecord]", await store.load(BOUND))
        reservations = cast("dict[str, ReservationRecord]", await store.load(RESERVATION))
        start = CentralStart(
            settings,
            incarnation,
            seed=incarnation,
            jobs=tuple(jobs.items()),
            bounds=tuple(bounds.items()),
            reservations=tuple(reservations.items()),
            **marks_of(policy),
        )
        rule = bound_rule(settings.placement)
        controller = begin(start, rule)
        registry = Scrape()
        metrics = CentralMetrics(registry)
        async with registries(settings.registry) as layers, asyncio.TaskGroup() as group:
            daemon = CentralDaemon(
                settings,
                controller,
                policy,
                store,
                group,
                incarnation,
                metrics,
                layers,
                solver=solver,
                bound_rule=rule,
            )
            metrics.watch(daemon.job_counts, daemon.edges)
            source = delay_source(settings.delays)
            service = central_service(daemon)
            async with (
                journal(controller.decisions, daemon.shell, group, "central", start),
                measuring(group, source, settings.delays.every_s, daemon.shell.post),
                asking(layers, group, controller, daemon.shell.post),
                rest_face(settings.server, credentials, service),
                served(
                    settings.server,
                    credentials,
                    service,
                    registry,
                    daemon="central",
                    max_message_bytes=message_bytes_for(DEFAULT_MAX_BODY_BYTES),
                ) as server,
            ):
                await run_to_end(group, daemon.shell.failed, server, daemon.stop)
            daemon.shell.close()
    finally:
        await solver.close()
        await store.close()
