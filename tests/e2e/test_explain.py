"""`explain` on a real cluster: requests, jobs, services and nodes, by SDK, command line and log."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    get,
    job,
    port_of,
    ready,
    service,
    tango,
    until,
    wait_for,
)

from tango.model.errors import InvalidField, NotFound
from tango.model.explanation import Explanation, Subject
from tango.model.job import JobState
from tango.model.request import Outcome
from tango.model.service import QuotaMode
from tango.sdk.client import Client
from tango.sdk.sync_client import SyncClient

pytestmark = pytest.mark.e2e


def kinds(*explanations: Explanation) -> dict[str, set[str]]:
    """Kinds of the records, by who decided."""
    found: dict[str, set[str]] = {}
    for one in explanations:
        for reason in one.decisions:
            record = json.loads(reason.record)
            assert record["v"] == 1
            found.setdefault(reason.daemon, set()).add(record["kind"])
    return found


async def test_a_routed_and_a_rejected_request(cluster: ClusterAtWork, client: Client) -> None:
    port = port_of(await ready(client, service("why", concurrency=1, max_queue=0)))
    reply = await client.call("why", site=SITE, path="/wait?ms=5")
    (found,) = await client.explain(reply.request_id)
    assert (found.subject, found.daemon) == (Subject.REQUEST, f"edge {SITE}")
    assert f"Request {reply.request_id} of why ended on a1 as completed" in found.summary
    assert "It was routed to a1 after" in found.summary
    assert "least-loaded scored it" in found.summary
    assert "no other node could take it" in found.summary
    assert kinds(found) == {f"edge {SITE}": {"route", "end"}}

    held = asyncio.create_task(client.call("why", site=SITE, path="/gate"))
    await until(lambda: _in_flight(client), "a request to be served")
    refused = await client.send(client.request("why"), site=SITE)
    assert refused.outcome is Outcome.REJECTED
    (found,) = await client.explain(refused.request_id)
    assert "was rejected on arrival: the queue of 'why' is full (0)" in found.summary
    assert "1 being served, 0 free slots" in found.summary
    listed = cluster.json("explain", refused.request_id)
    (record,) = [reason["record"] for reason in listed[0]["decisions"]]
    assert (record["kind"], record["code"]) == ("reject", "resource_exhausted")
    assert record["grounds"]["busy"] == 1
    assert not held.done()
    get(port, "/open")
    await held
    with pytest.raises(NotFound) as raised:
        await client.explain("nobody-knows-me")
    for daemon in ("central", "site-a", "site-b"):
        assert f"{daemon}: no record of" in str(raised.value)


async def _in_flight(client: Client) -> bool:
    return bool((await client.edge(SITE).service("why")).in_flight)


async def test_a_placed_and_a_waiting_job(cluster: ClusterAtWork, client: Client) -> None:
    placed = await client.submit(job("/bin/sleep", "600", name="placed"))
    async for record in client.watch(placed.job_id):
        if record.state is JobState.RUNNING:
            break
    node, site = record.tasks[0].node, record.tasks[0].edge
    central, edge = await client.explain(placed.job_id)
    assert (central.daemon, edge.daemon) == ("central", f"edge {site}")
    assert f"is running on {node} of {site} for " in central.summary
    assert " s, attempt 1, 0 of 0 retries used" in central.summary
    assert "most-free scored it" in central.decisions[0].text
    assert kinds(central, edge) == {
        "central": {"job-place"},
        f"edge {site}": {"attempt-admit"},
        f"worker {node}": {"attempt-start"},
    }
    waiting = await client.submit(job("/bin/true", cpu_millis=900_000, name="waits"))
    await until(lambda: _waits(client, waiting.job_id), "the job to be looked at")
    (found,) = await client.explain(waiting.job_id, Subject.JOB)
    assert "NeverFits: task main needs 900 CPU" in found.summary
    assert [reason.text.partition(":")[0] for reason in found.decisions] == [
        f"job {waiting.job_id} waits"
    ]
    for one in (placed, waiting):
        await client.cancel(one.job_id)
    await client.wait(placed.job_id)
    central, edge = await client.explain(placed.job_id)
    assert kinds(central)["central"] == {"job-place", "job-cancel", "job-end"}
    assert kinds(edge)[f"worker {node}"] == {"attempt-start", "attempt-stop", "attempt-end"}


async def _waits(client: Client, job_id: str) -> bool:
    return "NeverFits" in (await client.job(job_id)).reason


async def test_a_service_and_a_node(cluster: ClusterAtWork, client: Client) -> None:
    await ready(client, service("what", quota=QuotaMode.FOLLOW, cpu_per_request_millis=200))
    await client.call("what", site=SITE)
    (found,) = await client.explain("what", site=SITE)
    assert found.subject is Subject.SERVICE
    assert "has 1 of 1 replicas ready (1 on a1)" in found.summary
    assert "1 routed to a1, 1 completed" in found.summary
    of_edge = kinds(found)[f"edge {SITE}"]
    assert of_edge == {"replica-place", "route"}
    if cluster.groups("a1"):
        assert kinds(found)["worker a1"] == {"resize"}
        assert "went from 50m CPU to 250m CPU" in " ".join(one.text for one in found.decisions)

    done = await asyncio.to_thread(cluster.cli, "explain", "a1", "--kind", "node", "--limit", "500")
    assert done.returncode == 0, done.stderr
    head, *others = done.stdout.splitlines()
    assert head.startswith("central: Node a1 of site-a offers ")
    assert any(text.startswith("edge site-a: Node a1 is ready: of ") for text in others)
    assert any("edge site-a: node a1 is up: its worker dialled in" in text for text in others)
    assert any("edge site-a: replica what-g1-0 of what was placed on a1" in text for text in others)

    with pytest.raises(NotFound, match="no record of service 'a1'"):
        await client.explain("a1", Subject.SERVICE)
    with pytest.raises(InvalidField, match="limit"):
        await client.explain("a1", limit=10**6)
    with pytest.raises(InvalidField, match="name: is empty"):
        await client.explain("")


def test_scripts_and_mistakes(cluster: ClusterAtWork) -> None:
    with SyncClient(cluster.state_dir) as client:
        one, *_ = client.explain("b1", Subject.NODE, limit=1)
        assert one.daemon == "central"
    done = cluster.cli("explain", "b1", "--site", "site-c")
    assert (done.returncode, done.stdout) == (1, "")
    assert "site 'site-c' is unknown" in done.stderr
    assert tango("explain", state=cluster.state_dir).returncode == 2


def test_a_decision_log_and_a_small_ring(cluster: ClusterAtWork) -> None:
    """The edge of site-b with another configuration, for good: this test is the last one."""
    config = cluster.state_dir / "configs" / "site-b.toml"
    log = cluster.state_dir / "site-b" / "decisions.jsonl"
    with config.open("a") as file:
        file.write(f'\n[decisions]\nring = 3\nlog = "{log}"\n')
    serving = len(cluster.events("site-b", "serving"))
    cluster.kill("site-b")
    cluster.start_again("site-b")
    wait_for(lambda: len(cluster.events("site-b", "serving")) > serving, "site-b to serve again")
    with SyncClient(cluster.state_dir) as client:
        client.apply(service("logged"), sites=["site-b"], wait_s=30)
        replies = [client.call("logged", site="site-b") for _ in range(4)]
        with pytest.raises(NotFound, match="the 3 that are kept go back"):
            client.explain(replies[0].request_id, Subject.REQUEST, site="site-b")
    _wait_until_logged(log, replies[-1].request_id)
    lines = [json.loads(text) for text in log.read_text().splitlines()]
    assert (lines[0]["kind"], lines[0]["daemon"]) == ("log", "edge site-b")
    numbers = [one["n"] for one in lines if "n" in one]
    assert numbers == sorted(set(numbers))
    # So small a ring may be overwritten before it is handed over: that is counted.
    lost = sum(one["records"] for one in lines if one["kind"] == "lost")
    assert len(numbers) + lost == numbers[-1]
    assert log.stat().st_mode & 0o777 == 0o600


def _wait_until_logged(log: Path, request_id: str) -> None:
    wait_for(lambda: f'"end","request":"{request_id}"' in log.read_text(), "the last record")
