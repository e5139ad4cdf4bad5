"""`tango worker -c FILE`: puts the worker of a node together and runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

from tango.adapters.cgroup_detect import Detection, detect
from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_observe import ObservingFiles
from tango.adapters.cgroup_shared_be import SharedBe
from tango.adapters.loopback import loopback_identity
from tango.adapters.priority_check import PRIORITY_SHARE, best_effort_share
from tango.adapters.process_runtime import ProcessRuntime
from tango.adapters.replica_http import ReplicaClient
from tango.adapters.supervisor_start import (
    answering_pid,
    ensure_supervisor,
    wait_for_supervisor,
)
from tango.adapters.worker_settings import load_worker
from tango.controllers.worker.begin import begin
from tango.daemons import lifecycle
from tango.daemons.journal import journal, recording_to
from tango.daemons.lifecycle import log_event
from tango.daemons.redial import redial
from tango.daemons.serving import run_to_end, served
from tango.daemons.tallies import Scrape
from tango.daemons.worker.backend import WorkerDaemon
from tango.daemons.worker.checkpoints import DialEdge, WorkerCheckpoints
from tango.daemons.worker.cores import task_cores
from tango.daemons.worker.kept_targets import KeptTargets
from tango.daemons.worker.metrics import WorkerMetrics
from tango.daemons.worker.supervisor import SupervisorWatch
from tango.model.access import Role
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.cores import format_cores
from tango.model.settings import WorkerSettings
from tango.model.starts import WorkerStart
from tango.wire.credentials import Credentials, daemon_credentials
from tango.wire.edge_client import EdgeClient
from tango.wire.options import message_bytes_for
from tango.wire.services import worker_service


def run(config: Path, record: Path | None = None) -> int:
    """Read the configuration, run until a signal; the exit status. record: for record.dir."""
    settings = recording_to(load_worker(config), record)
    return lifecycle.run(lambda: main(settings), "worker", settings.server.log_level, config)


async def main(settings: WorkerSettings) -> None:
    """The daemon's whole life; payload runs on after it."""
    credentials = daemon_credentials(settings.server, Role.WORKER, settings.node)
    state = lifecycle.private_dir(settings.server.state_dir)
    incarnation = lifecycle.next_incarnation(state)
    # Both start processes of their own, which must not happen once gRPC runs.
    if settings.supervisor_socket:
        socket_path = wait_for_supervisor(settings.supervisor_socket)
    else:
        socket_path = ensure_supervisor(state / "supervisor")
    # Payload's groups are beside the supervisor, in what was delegated to its unit, not to ours.
    beside = answering_pid(socket_path)
    found = _detected(settings, settings.cgroup_root, beside)
    cgroups = _sided(settings, found.cgroups, beside)
    supervisor = SupervisorWatch(None if settings.supervisor_socket else state / "supervisor")
    runtime = await ProcessRuntime.connect(
        socket_path,
        cgroups,
        settings,
        on_down=supervisor.down,
        on_up=supervisor.up,
        revive=supervisor.revive,
    )
    enforcement, reason = await _claimed(settings, found, runtime)
    log_event(
        "warning" if enforcement is Enforcement.NONE else "info",
        "enforcement",
        enforcement=enforcement.value,
        reason=reason,
    )
    checkpoints, checkpoint_note = await runtime.can_checkpoint()
    log_event("info", "checkpoints", available=checkpoints, note=checkpoint_note)
    capacity = NodeCapacity(
        settings.cpu_millis or len(os.sched_getaffinity(0)) * 1000,
        settings.memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )
    cores, cores_note = task_cores(settings, cgroups, found.reason)
    log_event("info", "task cores", cores=format_cores(cores), reason=cores_note)
    start = WorkerStart(
        settings,
        incarnation,
        seed=incarnation,
        key=lifecycle.node_key(state),
        capacity=capacity,
        enforcement=enforcement,
        features=cgroups.features() if cgroups is not None else None,
        cores=cores,
        cores_note=cores_note,
        checkpoints=checkpoints,
        checkpoint_note=checkpoint_note,
        loopback=loopback_identity(),
    )
    controller = begin(start)
    http = ReplicaClient(max_body_bytes=settings.max_body_bytes)
    registry = Scrape()
    metrics = WorkerMetrics(registry)
    try:
        async with asyncio.TaskGroup() as group:
            sent = WorkerCheckpoints(settings, group, _bulk_to_edge(settings, credentials))
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
                checkpoints=sent,
            )
            metrics.watch(daemon.report)
            if cgroups is not None:
                metrics.watch_pressure(cgroups.pressure)
            name = f"worker {settings.node}"
            async with journal(controller.decisions, daemon.shell, group, name, start):
                supervisor.tell(daemon.shell.post)
                await _serve(settings, daemon, group, credentials, registry, incarnation)
    finally:
        await http.close()
        await runtime.close()
        if cgroups is not None:
            cgroups.close()


def _bulk_to_edge(settings: WorkerSettings, credentials: Credentials) -> DialEdge:
    """Connections for checkpoints, beside the session's."""

    @contextlib.asynccontextmanager
    async def dial() -> AsyncIterator[EdgeClient]:
        async with credentials.channel(settings.edge, Role.EDGE, settings.edge_name) as channel:
            yield EdgeClient(channel, credentials.metadata)

    return dial


def _sided(
    settings: WorkerSettings, own: CgroupDriver | None, beside: int
) -> CgroupDriver | SharedBe | None:
    """The node's groups, with its BE among that of other nodes where it is to be."""
    if own is None or not settings.be_root:
        return own
    common = _detected(settings, settings.be_root, beside).cgroups
    be = _detected(settings, f"{settings.be_root}/{settings.node}", beside)
    if common is None or be.cgroups is None:
        log_event("error", "be_root cannot be used", root=settings.be_root, reason=be.reason)
        return own
    return SharedBe(own, be.cgroups, common)


def _detected(settings: WorkerSettings, root: str, beside: int) -> Detection:
    if not root:
        return Detection(None, "cgroup_root is empty")
    if settings.enforce:
        return detect(root, beside=beside)
    return detect(root, beside=beside, make_files=ObservingFiles, enforce=False)


async def _claimed(
    settings: WorkerSettings, found: Detection, runtime: ProcessRuntime
) -> tuple[Enforcement, str]:
    """How BE is held down here, and why it is said so: never without having been tried."""
    if not settings.enforce:
        return Enforcement.NONE, f"enforce = false: only observed ({found.reason})"
    if found.cgroups is not None:
        return Enforcement.CGROUP, found.reason
    share = await best_effort_share(runtime)
    text = f"no cgroups ({found.reason}); of a contended core BE got {share:.0%} by priority"
    return (Enforcement.PRIORITY if share <= PRIORITY_SHARE else Enforcement.NONE), text


async def _serve(
    settings: WorkerSettings,
    daemon: WorkerDaemon,
    group: asyncio.TaskGroup,
    credentials: Credentials,
    registry: Scrape,
    incarnation: int,
) -> None:
    async with served(
        settings.server,
        credentials,
        worker_service(daemon),
        registry,
        daemon="worker",
        max_message_bytes=message_bytes_for(settings.max_body_bytes),
    ) as server:
        listed = asyncio.Event()
        stopping = asyncio.Event()
        tasks = [group.create_task(daemon.watch_processes(listed), name="processes")]
        if settings.checkpoint_transfer:
            tasks.append(group.create_task(daemon.checkpoints.sweep(), name="checkpoints"))
        # The edge must not hear of a node that does not know yet what runs on it.
        await listed.wait()

        async def connect() -> str:
            # A channel for each try: it takes the certificate as it is then, and a lasting one
            # has a backoff of its own, which would add to ours.
            async with credentials.channel(settings.edge, Role.EDGE, settings.edge_name) as channel:
                client = EdgeClient(channel, credentials.metadata)
                return await client.connect_worker(incarnation, daemon.serve_upstream)

        peer = f"edge at {settings.edge}"
        dial = redial(peer, connect, stopping, random.Random(incarnation))
        tasks.append(group.create_task(dial, name="edge"))
        if settings.engine.socket:
            # Off by default: a node without an engine does not pay for it.
            from tango.adapters.engine_images import EngineImages
            from tango.daemons.worker.images import report_images

            source = EngineImages(settings.engine.socket)
            asked = report_images(source, settings.node, settings.engine, daemon.shell.post)
            tasks.append(group.create_task(asked, name="images"))

        def stop() -> None:
            stopping.set()
            daemon.shell.close()
            daemon.checkpoints.stop()
            for task in tasks:
                task.cancel()

        await run_to_end(group, daemon.shell.failed, server, stop)
