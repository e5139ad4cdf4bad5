"""Two real sites with a distance between them: overload spills only while that is in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cluster_at_work import PATIENCE_S, SITE, ClusterAtWork, service, until
from sites_apart import OTHER, Apart, sites_apart

from tango.model.request import CallReply, Code, Outcome
from tango.sdk.client import Client

# One loop for the module: the relay, and the edge that dials through it, serve all its tests.
pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

NAME = "spill"
WORK = "/wait?ms=60"
NEAR_S, FAR_S = 0.020, 0.200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apart(cluster: ClusterAtWork) -> AsyncIterator[Apart]:
    """20 ms each way, and a service of two slots at each site with 250 ms for each request."""
    async with sites_apart(cluster, NEAR_S) as apart:
        spec = service(NAME, replicas=1, concurrency=2, deadline_s=0.25, timeout_s=5.0)
        await apart.client.apply(spec, sites=[SITE, OTHER], wait_s=PATIENCE_S)
        for site in (SITE, OTHER):
            for _ in range(5):
                await apart.client.edge(site).call(apart.client.request(NAME, path=WORK))
        yield apart


async def burst(client: Client, count: int = 6, path: str = WORK) -> list[CallReply]:
    """So many calls at once at SITE."""
    edge = client.edge(SITE)
    calls = (edge.call(client.request(NAME, path=path)) for _ in range(count))
    return list(await asyncio.gather(*calls))


async def spilled(apart: Apart) -> list[CallReply]:
    """The first burst of which the other site serves some."""
    found: list[CallReply] = []

    async def some() -> bool:
        nonlocal found
        found = [reply for reply in await burst(apart.client) if reply.site == OTHER]
        return bool(found)

    await until(some, "an overload to spill")
    return found


async def test_overload_spills_while_the_neighbour_is_near_enough(apart: Apart) -> None:
    """At 40 ms there and back, not at 400 ms with 250 ms to answer in, and again at 40 ms."""
    await apart.neighbours(2000 * NEAR_S)
    reply = (await spilled(apart))[0]
    assert (reply.code, reply.node) == (Code.OK, "b1")
    assert reply.network_ms >= 2000 * NEAR_S
    apart.relay.delay_s = FAR_S
    await apart.neighbours(2000 * FAR_S)
    for _ in range(5):
        replies = await burst(apart.client)
        assert {reply.site for reply in replies} == {""}
        assert {reply.outcome for reply in replies} <= {
            Outcome.COMPLETED, Outcome.LATE, Outcome.REJECTED, Outcome.FAILED,
        }  # fmt: skip
    apart.relay.delay_s = NEAR_S
    # A delay that falls shows within a window of pings, well below the one before.
    await apart.neighbours(0.0, 1000 * FAR_S)
    await spilled(apart)


async def test_what_listings_show_of_the_other_site(apart: Apart) -> None:
    view = await apart.neighbours(2000 * NEAR_S)
    assert (view.edge, view.peer, view.connected, view.nodes) == (SITE, OTHER, True, 1)
    assert view.age_ms is not None
    shown = await asyncio.to_thread(apart.cluster.json, "get", "peers")
    assert {(peer["edge"], peer["peer"]) for peer in shown} == {(SITE, OTHER), (OTHER, SITE)}
    table = await asyncio.to_thread(apart.cluster.cli, "get", "edges")
    assert OTHER in table.stdout.partition("\n")[2].partition("\n")[0], "of the first site"


async def test_a_lost_connection_tells_what_may_have_run_and_is_made_again(apart: Apart) -> None:
    """Three calls that never end fill this site and one slot of the other."""
    await apart.neighbours()
    edge = apart.client.edge(SITE)

    async def forwarded() -> bool:
        view = await apart.peer()
        return view is not None and view.pending > 0

    calls: list[asyncio.Task[CallReply]] = []

    async def one_is_away() -> bool:
        request = apart.client.request(NAME, path="/hold", timeout_ms=60_000)
        calls.append(asyncio.create_task(edge.call(request)))
        await asyncio.sleep(0.1)
        return await forwarded()

    await until(one_is_away, "a call that never ends to be forwarded")
    apart.relay.away = True
    apart.relay.cut()

    def lost() -> list[CallReply]:
        return [task.result() for task in calls if task.done() and task.result().site == OTHER]

    await until(lost, "an end of the call that was away")
    assert {(reply.code, reply.may_have_run) for reply in lost()} == {(Code.UNAVAILABLE, True)}
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    async def alone() -> bool:
        replies = await burst(apart.client, 1)
        return replies[0].code is Code.OK and replies[0].site == ""

    await until(alone, "the site to work alone")
    apart.relay.away = False
    await apart.neighbours()
    await spilled(apart)


async def test_a_neighbour_that_is_killed_and_comes_back(apart: Apart) -> None:
    apart.cluster.kill(OTHER)

    async def gone() -> bool:
        view = await apart.peer()
        return view is not None and not view.connected

    await until(gone, "the loss to show")
    replies = await burst(apart.client, 1)
    assert (replies[0].code, replies[0].site) == (Code.OK, "")
    apart.cluster.start_again(OTHER)
    await apart.neighbours()
    await spilled(apart)
