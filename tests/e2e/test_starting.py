"""What is there when an embedded cluster has started: the central master knows every node."""

from __future__ import annotations

import time

import pytest
from cluster_at_work import ClusterAtWork

from tango.model.errors import Unavailable
from tango.sdk import embedded_ready
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

# By then an edge that dials in vain waits up to 2 s between two tries.
LONG_AWAY_S = 3.0


async def told_to_central(client: Client) -> set[str]:
    sites = [site for site in await client.edges() if site.connected]
    return {node.node for site in sites for node in site.nodes if node.ready}


async def test_central_knows_every_node_at_once_also_where_edges_dial_late(
    cluster: ClusterAtWork, client: Client
) -> None:
    assert await told_to_central(client) == {"a1", "b1"}, "once `start` has returned"
    cluster.kill("central")
    time.sleep(LONG_AWAY_S)
    assert cluster.revive() == ("central",)
    cluster.wait_ready()
    assert await told_to_central(client) == {"a1", "b1"}


async def test_an_edge_that_does_not_reach_central_is_told_by_its_nodes(
    cluster: ClusterAtWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_ready, "START_TIMEOUT_S", 5.0)
    central = next(daemon.listen for daemon in cluster.daemons() if daemon.name == "central")
    config = next(daemon.config for daemon in cluster.daemons() if daemon.name == "site-b")
    text = config.read_text()
    assert text.count(f'central = "{central}"') == 1
    cluster.kill("site-b")
    config.write_text(text.replace(f'central = "{central}"', 'central = "127.0.0.1:1"'))
    cluster.revive()
    with pytest.raises(Unavailable) as missed:
        cluster.wait_ready()
    short = "not ready after 5 s: nodes b1, of which central does not know yet; see "
    assert str(missed.value) == f"{short}{cluster.state_dir / 'logs'}"
    cluster.kill("site-b")
    config.write_text(text)
    cluster.revive()
    cluster.wait_ready()
