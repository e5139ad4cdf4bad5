"""A cluster of two sites whose first dials the second through a TCP relay; tests and tools."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cluster_at_work import SITE, ClusterAtWork, until
from tcp_relay import TcpRelay, distant

from tango.model.peers import PeerView
from tango.sdk.client import Client

OTHER = "site-b"


@dataclass
class Apart:
    """The cluster, and the relay from SITE to OTHER."""

    cluster: ClusterAtWork
    relay: TcpRelay
    client: Client

    async def peer(self) -> PeerView | None:
        """OTHER as SITE sees it; None while SITE does not answer."""
        with contextlib.suppress(Exception):
            for view in await self.client.edge(SITE).peers():
                if view.peer == OTHER:
                    return view
        return None

    async def nodes_ready(self, count: int) -> None:
        """So many nodes of both sites have dialled in."""

        async def are() -> bool:
            edges = await self.client.edges()
            return sum(node.ready for edge in edges for node in edge.nodes) == count

        await until(are, f"{count} nodes to be ready", 60)

    async def neighbours(self, low_ms: float = 0.0, high_ms: float = 1e9) -> PeerView:
        """SITE uses what OTHER offers, at a delay between these."""
        found: PeerView | None = None

        async def are() -> bool:
            nonlocal found
            found = await self.peer()
            return found is not None and found.fresh and low_ms <= (found.rtt_ms or 0.0) <= high_ms

        await until(are, f"{OTHER} to be a neighbour at {low_ms:g} to {high_ms:g} ms")
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def sites_apart(cluster: ClusterAtWork, delay_s: float) -> AsyncIterator[Apart]:
    """SITE dials OTHER over that delay each way until the end of the block."""
    config = cluster.state_dir / "configs" / f"{SITE}.toml"
    before = config.read_text()
    head, table, rest = before.partition(f'[[edge.peers]]\nname = "{OTHER}"\naddress = "')
    assert table, "an embedded cluster's sites know each other"
    address, _, tail = rest.partition('"')
    async with distant(address, delay_s) as relay:
        cluster.kill(SITE)
        config.write_text(f'{head}{table}{relay.address}"{tail}')
        cluster.start_again(SITE)
        try:
            async with Client(cluster.state_dir) as client:
                apart = Apart(cluster, relay, client)
                await apart.neighbours()
                yield apart
        finally:
            cluster.kill(SITE)
            config.write_text(before)
            cluster.start_again(SITE)
