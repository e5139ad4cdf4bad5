"""When an embedded cluster has started: masters listen, and all of them know all of its nodes."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

from tango.model.errors import TangoError, Unavailable
from tango.sdk.processes import Member, ended_early
from tango.sdk.sync_client import SyncClient

START_TIMEOUT_S = 30.0
POLL_S = 0.02


def wait_masters(state_dir: Path, members: Sequence[Member], addresses: Sequence[str]) -> None:
    """Until each master's port takes connections. Raises TangoError where one does not."""
    end = time.monotonic() + START_TIMEOUT_S
    while waiting := [address for address in addresses if not listens(address)]:
        _go_on(state_dir, members, end, ", ".join(waiting))


def wait_nodes(state_dir: Path, members: Sequence[Member], names: set[str]) -> None:
    """Until every node is ready by the word of its edge, and of the central master too.

    Central hears of a node from its edge, a report later, and jobs go only where it knows of room.
    Raises TangoError, with the nodes that are missing and where.
    """
    end = time.monotonic() + START_TIMEOUT_S
    with SyncClient(state_dir) as client:
        while missing := names - {node.node for node in client.nodes() if node.ready}:
            _go_on(state_dir, members, end, f"nodes {', '.join(sorted(missing))}")
        while missing := names - _told_to_central(client):
            what = f"nodes {', '.join(sorted(missing))}, of which central does not know yet"
            _go_on(state_dir, members, end, what)


def listens(address: str) -> bool:
    """Whether somebody takes connections at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.5):
            return True
    except OSError:
        return False


def _told_to_central(client: SyncClient) -> set[str]:
    sites = [site for site in client.edges() if site.connected]
    return {node.node for site in sites for node in site.nodes if node.ready}


def _go_on(state_dir: Path, members: Sequence[Member], end: float, missing: str) -> None:
    """Sleep a little, unless a daemon has ended or time is up."""
    for member in members:
        if not member.alive():
            raise TangoError(f"{member.name} ended at start: {ended_early(member)}")
    if time.monotonic() > end:
        waited = f"not ready after {START_TIMEOUT_S:.0f} s"
        raise Unavailable(f"{waited}: {missing}; see {state_dir / 'logs'}")
    time.sleep(POLL_S)
