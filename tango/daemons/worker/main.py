"""`tango worker -c FILE`: puts the worker of a node together and runs it."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

from prometheus_client import CollectorRegistry

from tango.adapters.cgroup_detect import detect
from tango.adapters.process_runtime import ProcessRuntime
from tango.adapters.replica_http import ReplicaClient
from tango.adapters.settings import load_worker
from tango.adapters.supervisor_client import ensure_supervisor
from tango.controllers.worker.controller import WorkerController
from tango.daemons import lifecycle
from tango.daemons.lifecycle import log_event
from tango.daemons.redial import redial
from tango.daemons.serving import run_to_end, served
from tango.daemons.worker.backend import WorkerDaemon
from tango.daemons.worker.kept_targets import KeptTargets
from tango.daemons.worker.metrics import WorkerMetrics
from tango.daemons.worker.supervisor import SupervisorWatch
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.settings import WorkerSettings
from tango.wire.channels import bearer, open_channel, read_token
from tango.wire.edge_client import EdgeClient
from tango.wire.options import message_bytes_for
from tango.wire.services import worker_service


def run(config: Path) -> int:
    """Read the configuration, run until a signal; the exit status."""
    settings = load_worker(config)
    return lifecycle.run(lambda: main(settings), "worker", settings.server.log_level, config)


async def main(settings: WorkerSettings) -> None:
    """The daemon's whole life; payload runs on after it."""
    token = read_token(settings.server.token_file, "server.token_file")
    state = lifecycle.private_dir(settings.server.state_dir)
    incarnation = lifecycle.next_incarnation(state)
    # Both start processes of their own, which must not happen once gRPC runs.
    socket_path = ensure_supervisor(state / "supervisor")
    found = detect(settings.cgroup_root) if settings.cgroup_root else None
    cgroups = found.cgroups if found is not None else None
    enforcement = Enforcement.NONE if cgroups is None else Enforcement.CGROUP
    log_event(
        "info" if cgroups is not None else "warning",
        "enforcement",
        enforcement=enforcement.value,
        reason=found.reason if found is not None else "cgroup_root is empty",
    )
    capacity = NodeCapacity(
        settings.cpu_millis or len(os.sched_getaffinity(0)) * 1000,
        settings.memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )
    controller = WorkerController(
        settings,
        incarnation=incarnation,
        key=lifecycle.node_key(state),
        capacity=capacity,
        enforcement=enforcement,
        features=cgroups.features() if cgroups is not None else None,
        seed=incarnation,
    )
    supervisor = SupervisorWatch(state / "supervisor")
    runtime = await ProcessRuntime.connect(
        socket_path,
        cgroups,
        settings,
        on_down=supervisor.down,
        on_up=supervisor.up,
        revive=supervisor.revive,
    )
    http = ReplicaClient(max_body_bytes=settings.max_body_bytes)
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    try:
        async with asyncio.TaskGroup() as group:
            daemon = WorkerDaemon(
                controller,
                runtime,
                cgroups,
                http,
                group,
                metrics,
                KeptTargets(state),
                node=settings.node,
                capacity=capacity,
                enforcement=enforcement,
            )
            metrics.watch(daemon.report)
            supervisor.tell(daemon.shell.post)
            await _serve(settings, daemon, group, token, registry, incarnation)
    finally:
        await http.close()
        await runtime.close()
        if cgroups is not None:
            cgroups.close()


async def _serve(
    settings: WorkerSettings,
    daemon: WorkerDaemon,
    group: asyncio.TaskGroup,
    token: str,
    registry: CollectorRegistry,
    incarnation: int,
) -> None:
    async with served(
        settings.server,
        token,
        worker_service(daemon),
        registry,
        daemon="worker",
        max_message_bytes=message_bytes_for(settings.max_body_bytes),
    ) as server:
        listed = asyncio.Event()
        stopping = asyncio.Event()
        tasks = [group.create_task(daemon.watch_processes(listed), name="processes")]
        # The edge must not hear of a node that does not know yet what runs on it.
        await listed.wait()

        async def connect() -> str:
            # A channel for each dial: a lasting one has a backoff of its own, and the two add up.
            async with open_channel(settings.edge) as channel:
                client = EdgeClient(channel, bearer(token))
                return await client.connect_worker(incarnation, daemon.serve_upstream)

        peer = f"edge at {settings.edge}"
        dial = redial(peer, connect, stopping, random.Random(incarnation))
        tasks.append(group.create_task(dial, name="edge"))

        def stop() -> None:
            stopping.set()
            daemon.shell.close()
            for task in tasks:
                task.cancel()

        await run_to_end(group, daemon.shell.failed, server, stop)
