"""Streams that are half-open, duplicated, reordered or copied: nothing runs twice, nothing stops.

A relay stands between worker and edge, and between edge and central.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    job,
    pids,
    ready,
    service,
    service_when,
    until,
)
from stream_relay import Relay, Stream, relaying

from tango.model.job import JobState
from tango.model.request import Code
from tango.sdk.client import Client

# One loop for the module: a relay, and the daemon that dials it, serve all its tests.
pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

APPEND = 'echo "$TANGO_ATTEMPT" >> "$0"; sleep "$1"'
NODE = "node-a1"


@dataclass
class Link:
    """A daemon that dials through a relay now. field: of its configuration."""

    cluster: ClusterAtWork
    relay: Relay
    name: str

    @property
    def latest(self) -> Stream:
        return self.relay.streams[-1]

    async def renewed(self, count: int) -> None:
        """More streams than that have been opened, and the last one is welcomed."""
        await until(
            lambda: len(self.relay.streams) > count and self.latest.down.seen,
            f"{self.name} to dial again",
        )


@contextlib.asynccontextmanager
async def through_a_relay(cluster: ClusterAtWork, name: str, field: str) -> AsyncIterator[Link]:
    """The daemon dials a relay until the end of the block."""
    config = cluster.state_dir / "configs" / f"{name}.toml"
    before = config.read_text()
    (line,) = [line for line in before.splitlines() if line.startswith(f"{field} = ")]
    target = line.split('"')[1]
    async with relaying(target) as relay:
        link = Link(cluster, relay, name)
        cluster.kill(name)
        config.write_text(before.replace(line, f'{field} = "{relay.address}"'))
        cluster.start_again(name)
        await link.renewed(0)
        try:
            yield link
        finally:
            cluster.kill(name)
            config.write_text(before)
            cluster.start_again(name)


@pytest_asyncio.fixture(loop_scope="module")
async def client(cluster: ClusterAtWork) -> AsyncIterator[Client]:
    async with Client(cluster.state_dir) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["worker", "edge"])
async def link(request: pytest.FixtureRequest, cluster: ClusterAtWork) -> AsyncIterator[Link]:
    """The stream from worker to edge, then the one from edge to central."""
    name, field = {"worker": (NODE, "edge"), "edge": (SITE, "central")}[request.param]
    async with through_a_relay(cluster, name, field) as link:
        yield link


of_worker = pytest.mark.parametrize("link", ["worker"], indirect=True, scope="module")
of_edge = pytest.mark.parametrize("link", ["edge"], indirect=True, scope="module")


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def at_rest(link: Link, client: Client) -> AsyncIterator[None]:
    """Before each test all is well, after it the relay passes on as a wire does."""
    await node_ready(client, True)
    yield
    link.relay.duplicate, link.relay.swap = False, 0
    link.latest.release()


async def node_ready(client: Client, wanted: bool) -> None:
    async def as_wanted() -> bool:
        # A killed edge does not answer for a moment.
        with contextlib.suppress(Exception):
            (node,) = await client.edge(SITE).nodes()
            return node.ready is wanted
        return False

    await until(as_wanted, f"node a1 to be {'ready' if wanted else 'not ready'}")


async def runs_once(client: Client, path: Path, count: int, seconds: float = 0.05) -> None:
    """Jobs through the stream, each exactly once."""
    submitted = [
        await client.submit(job("/bin/sh", "-c", APPEND, str(path), str(seconds)))
        for _ in range(count)
    ]
    await ended_once(client, path, [each.job_id for each in submitted])


async def ended_once(client: Client, path: Path, job_ids: list[str]) -> None:
    async with asyncio.timeout(30):
        records = [await client.wait(job_id) for job_id in job_ids]
    assert [record.state for record in records] == [JobState.SUCCEEDED] * len(records)
    # A start that finds the stream broken is refused, and comes again as the next attempt.
    ran = [attempt_id.rpartition(".0.")[0] for attempt_id in path.read_text().split()]
    assert sorted(ran) == sorted(job_ids)


@of_worker
async def test_a_half_open_stream_of_a_worker_that_was_restarted(
    link: Link, client: Client
) -> None:
    """What the old stream delivers late changes nothing: a newer incarnation is there."""
    before = await ready(client, service("steady", replicas=1))
    old, count = link.latest, len(link.relay.streams)
    old.stall()
    await node_ready(client, False)  # 3 s of silence
    assert all(map(psutil.pid_exists, pids(before))), "nothing is killed because of a silence"
    link.cluster.kill(NODE)
    link.cluster.start_again(NODE)
    await link.renewed(count)
    after = await service_when(client, SITE, "steady", lambda view: view.ready == 1)
    assert pids(after) == pids(before)
    old.release()
    for _ in range(20):
        assert (await client.edge(SITE).call(client.request("steady"))).code is Code.OK
    view = await client.edge(SITE).service("steady")
    assert (pids(view), view.ready) == (pids(before), 1)
    assert view.replicas[0].status.restarts == 0
    await client.delete("steady")


@of_worker
async def test_a_half_open_stream_that_comes_back(link: Link, client: Client) -> None:
    """The edge gave it up, and says so as soon as it can: the worker dials again, all lives on."""
    before = await ready(client, service("patient", replicas=1))
    count = len(link.relay.streams)
    link.latest.stall()
    await node_ready(client, False)
    link.latest.release()
    await link.renewed(count)
    after = await service_when(client, SITE, "patient", lambda view: view.ready == 1)
    assert pids(after) == pids(before)
    await client.delete("patient")


async def test_every_message_twice(link: Link, client: Client, tmp_path: Path) -> None:
    count = len(link.relay.streams)
    link.relay.duplicate = True
    before = await ready(client, service("twice", replicas=1))
    for _ in range(20):
        assert (await client.edge(SITE).call(client.request("twice"))).code is Code.OK
    await runs_once(client, tmp_path / "ran", 6)
    after = await client.edge(SITE).service("twice")
    assert pids(after) == pids(before)
    assert after.counts.completed == after.counts.sent == 20
    assert len(link.relay.streams) == count, "duplicates are passed over, not taken for an error"
    await client.delete("twice")


async def test_messages_that_trade_places(link: Link, client: Client, tmp_path: Path) -> None:
    """A gap ends the stream; the next one begins with all there is."""
    before = await ready(client, service("swapped", replicas=1))
    for round_ in range(3):
        count = len(link.relay.streams)
        link.relay.swap = 1
        await runs_once(client, tmp_path / f"ran-{round_}", 3)
        await link.renewed(count)
    assert link.relay.swapped >= 3
    after = await service_when(client, SITE, "swapped", lambda view: view.ready == 1)
    assert pids(after) == pids(before)
    await client.delete("swapped")


async def test_a_copy_of_a_stream_is_refused(link: Link, client: Client, tmp_path: Path) -> None:
    """The same hello and state again, of the stream that is up or of one before it."""
    await runs_once(client, tmp_path / "ran", 2)
    current = link.latest
    for stream in link.relay.streams[-2:]:
        async with asyncio.timeout(10):
            await link.relay.replay(stream, 2)
    above, event = (SITE, "worker_refused") if link.name == NODE else ("central", "edge_refused")
    assert link.cluster.events(above, event)[-1]["reason"].startswith("stale: ")
    await runs_once(client, tmp_path / "ran-2", 2)
    assert link.latest is current
    assert not current.ended


@of_edge
async def test_a_half_open_stream_of_an_edge_that_was_restarted(
    link: Link, client: Client, tmp_path: Path
) -> None:
    """Jobs assigned on the old stream run once, whichever stream the order arrives on."""
    ran = tmp_path / "ran"
    old, count = link.latest, len(link.relay.streams)
    old.stall()
    submitted = [
        await client.submit(job("/bin/sh", "-c", APPEND, str(ran), "0.3")) for _ in range(8)
    ]
    link.cluster.kill(SITE)
    link.cluster.start_again(SITE)
    await link.renewed(count)
    old.release()
    await ended_once(client, ran, [each.job_id for each in submitted])
