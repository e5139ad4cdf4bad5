"""`tango edge -c FILE`: puts the edge master together and runs it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

from tango.adapters.helper_solver import HelperSolver
from tango.adapters.loopback import loopback_identity
from tango.adapters.master_settings import load_edge
from tango.adapters.policies import traffic_policy
from tango.adapters.replica_http import ReplicaClient
from tango.adapters.replica_rules import installed, replica_rule
from tango.adapters.sqlite_store import SqliteStore
from tango.controllers.edge.begin import begin
from tango.daemons import lifecycle
from tango.daemons.edge.backend import EdgeDaemon
from tango.daemons.edge.checkpoints import DialCentral
from tango.daemons.edge.metrics import EdgeMetrics
from tango.daemons.edge.peer_streams import PeerSession
from tango.daemons.journal import journal, recording_to
from tango.daemons.redial import redial
from tango.daemons.serving import run_to_end, served
from tango.daemons.tallies import Scrape
from tango.model import messages as msg
from tango.model.access import Role
from tango.model.commands import NodeRecord, PlacementRecord, ServiceRecord
from tango.model.peers import PeerHello
from tango.model.settings import EdgeSettings, PeerSettings
from tango.model.starts import EdgeStart
from tango.wire.central_client import CentralClient
from tango.wire.credentials import Credentials, daemon_credentials
from tango.wire.options import message_bytes_for
from tango.wire.peer_client import PeerClient
from tango.wire.services import edge_service, peer_service
from tango.wire.stream_session import StreamSession

WELCOME_TIMEOUT_S = 5.0
DISTRIBUTION = "tango-edge"


def run(config: Path, record: Path | None = None) -> int:
    """Read the configuration, run until a signal; the exit status. record: for record.dir."""
    settings = recording_to(load_edge(config), record)
    return lifecycle.run(lambda: main(settings), "edge", settings.server.log_level, config)


async def main(settings: EdgeSettings) -> None:
    """The daemon's whole life."""
    server_settings = settings.server
    credentials = daemon_credentials(server_settings, Role.EDGE, settings.name)
    policy = traffic_policy(settings.traffic_policy)
    asked = settings.placement.name
    settings = replace(settings, placement=installed(settings.placement))
    rule = replica_rule(settings.placement)
    if rule.name != asked:
        why = "numpy, which profiles need, is not installed"
        lifecycle.log_event("info", "replicas are placed", by=rule.name, why=why)
    state = lifecycle.private_dir(server_settings.state_dir)
    incarnation = lifecycle.next_incarnation(state)
    store = await SqliteStore.open(state / "edge.db")
    solver = HelperSolver()
    http = ReplicaClient(max_body_bytes=settings.max_body_bytes)
    try:
        await solver.start(policy)
        services = cast("dict[str, ServiceRecord]", await store.load("service"))
        placements = cast("dict[str, PlacementRecord]", await store.load("placement"))
        nodes = cast("dict[str, NodeRecord]", await store.load("node"))
        start = EdgeStart(
            settings,
            incarnation,
            seed=incarnation,
            services=tuple(services.items()),
            placements=tuple(placements.items()),
            nodes=tuple(nodes.items()),
            loopback=loopback_identity(),
        )
        controller = begin(start, rule)
        registry = Scrape()
        metrics = EdgeMetrics(registry)
        async with asyncio.TaskGroup() as group:
            daemon = EdgeDaemon(
                settings,
                controller,
                policy,
                solver,
                store,
                group,
                incarnation,
                metrics,
                http,
                _bulk_to_central(settings, credentials) if settings.central else None,
            )
            metrics.watch(daemon.services, daemon.nodes)
            metrics.watch_peers(daemon.peers)
            name = f"edge {settings.name}"
            async with (
                journal(controller.decisions, daemon.shell, group, name, start),
                served(
                    server_settings,
                    credentials,
                    edge_service(daemon),
                    registry,
                    daemon="edge",
                    max_message_bytes=message_bytes_for(settings.max_body_bytes),
                    beside=(peer_service(daemon),),
                ) as server,
            ):
                stopping = asyncio.Event()
                links = []
                for peer in settings.peers:
                    dial = _dial_peer(peer, settings, daemon, credentials, stopping)
                    links.append(group.create_task(dial, name=f"site {peer.name}"))
                central: asyncio.Task[None] | None = None
                if settings.central:
                    dial = _dial_central(
                        settings, daemon, credentials, str(server.address), stopping
                    )
                    central = group.create_task(dial, name="central")

                async def drain(grace_s: float) -> None:
                    stopping.set()
                    daemon.begin_stop()
                    if central is not None:
                        central.cancel()
                    await daemon.drain(grace_s)

                def stop() -> None:
                    daemon.stop()
                    for link in links:
                        link.cancel()

                await run_to_end(group, daemon.shell.failed, server, stop, drain)
            # Nobody waits any more for what replicas still work on.
            await http.close()
            daemon.shell.close()
    finally:
        await http.close()
        await solver.close()
        await store.close()


def _bulk_to_central(settings: EdgeSettings, credentials: Credentials) -> DialCentral:
    """Connections for checkpoints, beside the session's."""

    @contextlib.asynccontextmanager
    async def dial() -> AsyncIterator[CentralClient]:
        async with credentials.channel(settings.central, Role.CENTRAL) as channel:
            yield CentralClient(channel, credentials.metadata)

    return dial


async def _dial_central(
    settings: EdgeSettings,
    daemon: EdgeDaemon,
    credentials: Credentials,
    address: str,
    stopping: asyncio.Event,
) -> None:
    """Keep a session with the central master; the site works on without one."""
    sessions = itertools.count(1)
    hello = msg.EdgeHello(settings.name, daemon.incarnation, address, version(DISTRIBUTION))

    async def serve(session: StreamSession[msg.ToEdge, msg.FromEdge]) -> str:
        number = next(sessions)
        session.send(replace(hello, dial=number))
        # What the controller says from here on is the full state, then changes to it.
        daemon.central_up(number, session.send)
        try:
            return await session.run(lambda message: daemon.central_said(number, message))
        finally:
            daemon.central_down(number, "the stream ended")

    async def connect() -> str:
        # A channel for each try: it takes the certificate as it is then, and a lasting one has a
        # backoff of its own, which would add to ours.
        async with credentials.channel(settings.central, Role.CENTRAL) as channel:
            client = CentralClient(channel, credentials.metadata)
            return await client.connect_edge(daemon.incarnation, serve)

    peer = f"central at {settings.central}"
    await redial(peer, connect, stopping, random.Random(daemon.incarnation))


async def _dial_peer(
    peer: PeerSettings,
    settings: EdgeSettings,
    daemon: EdgeDaemon,
    credentials: Credentials,
    stopping: asyncio.Event,
) -> None:
    """Keep a session with another site; this one works on without it."""
    hello = PeerHello(settings.name, daemon.incarnation, version(DISTRIBUTION))
    dials = itertools.count(1)

    async def serve(session: PeerSession) -> str:
        return await daemon.sites.serve_peer(session, peer.name, replace(hello, dial=next(dials)))

    async def connect() -> str:
        async with credentials.channel(peer.address, Role.EDGE, peer.name) as channel:
            client = PeerClient(channel, credentials.metadata)
            return await client.connect_peer(daemon.incarnation, serve)

    rng = random.Random(f"{daemon.incarnation} {peer.name}")
    await redial(f"site {peer.name} at {peer.address}", connect, stopping, rng)
