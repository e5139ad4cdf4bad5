"""Services and jobs that cannot run, and broken load, on a real cluster: refused or told why."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_at_work import (
    SITE,
    ClusterAtWork,
    burner,
    idle,
    port_of,
    ready,
    service,
)

from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.model.service import HealthCheck
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0,374,44\n"


async def test_a_program_that_is_not_there(cluster: ClusterAtWork, client: Client) -> None:
    text = "kind: Service\nname: ghost\nargv: [/no/such/program]\n"
    done = cluster.cli("apply", "-f", "-", "--site", SITE, stdin=text)
    assert done.returncode == 1
    assert "ghost at site-a: 0 of 1 replicas ready: ghost-g1-0 is backoff" in done.stderr
    assert "argv[0]: '/no/such/program' does not exist" in done.stderr
    assert "it stays declared until `tango delete ghost`" in done.stderr
    # Told long before the minute that `apply` would wait for a slow start.
    assert "after 5 s" in done.stderr or "after 6 s" in done.stderr
    assert "Traceback" not in done.stderr
    reply = await client.edge(SITE).call(client.request("ghost"))
    assert (reply.outcome, reply.code) == (Outcome.REJECTED, Code.UNAVAILABLE)
    assert "no replica of 'ghost' is ready" in reply.error
    assert "/no/such/program" in reply.error
    await client.delete("ghost")

    done = cluster.cli("submit", "--wait", "--", "/no/such/program")
    assert done.returncode == 1
    assert ": failed (argv[0]: '/no/such/program' does not exist" in done.stdout
    (job,) = cluster.json("get", "jobs")["jobs"]
    assert (job["state"], job["tasks"][0]["exit_code"]) == ("failed", None)


async def test_a_service_that_never_turns_healthy(cluster: ClusterAtWork, client: Client) -> None:
    health = HealthCheck(path="/healthz", interval_s=0.1, start_timeout_s=0.5)
    sick = burner("sick", "--fail-health", health=health)
    with pytest.raises(Exception, match=r"did not become healthy within 0\.5 s: .*503"):
        await client.apply(sick, sites=[SITE], wait_s=10)
    (view,) = await client.services()
    assert view.ready == 0
    assert "did not become healthy" in view.reason
    (row,) = [line for line in cluster.cli("get", "services").stdout.splitlines() if "sick" in line]
    assert "0/1" in row
    await client.delete("sick")


async def test_a_fixed_port_in_use(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Exception, match=rf"port {port} is in use"):
            await client.apply(service("second", port=port), sites=[SITE], wait_s=2)
    # Once it is free the replica gets it, without another word from anybody.
    async for view in client.edge(SITE).watch_service("second"):
        if view.ready:
            assert port_of(view) == port
            break
    await client.delete("second")


async def test_a_payload_beyond_the_limit(client: Client) -> None:
    before = await ready(client, service("small"))
    limit = 4 * 2**20
    edge = client.edge(SITE)
    at_limit = await edge.call(CallRequest("at", "small", "POST", body=bytes(limit)))
    assert at_limit.outcome is Outcome.COMPLETED
    # Past the client's own check, as another program might send it.
    beyond = await edge.call(CallRequest("beyond", "small", "POST", body=bytes(limit + 1)))
    assert (beyond.outcome, beyond.code) == (Outcome.REJECTED, Code.INVALID)
    assert f"body: {limit + 1} bytes is too large; at most {limit}" in beyond.error
    async with client.calls(SITE) as calls:
        reply = await calls.call(CallRequest("stream", "small", "POST", body=bytes(limit + 1)))
        assert (reply.outcome, reply.code) == (Outcome.REJECTED, Code.INVALID)
        assert (await calls.call(client.request("small"))).outcome is Outcome.COMPLETED
    huge = await edge.call(CallRequest("huge", "small", "POST", body=bytes(20 * 2**20)))
    assert (huge.outcome, huge.code) == (Outcome.REJECTED, Code.INVALID)
    assert not huge.may_have_run
    async with client.calls(SITE) as calls:
        other = calls.start(client.request("small", path="/wait?ms=50"))
        huge = await calls.call(CallRequest("huge", "small", "POST", body=bytes(20 * 2**20)))
        assert (huge.outcome, huge.code) == (Outcome.REJECTED, Code.INVALID)
        assert (await other).outcome is Outcome.COMPLETED, "others on the stream go on"
    assert (await client.call("small")).outcome is Outcome.COMPLETED
    counts = (await idle(client, "small")).counts
    assert (counts.sent, counts.completed, counts.rejected) == (6, 4, 2)
    assert (await client.edge(SITE).service("small")).replicas == before.replicas
    await client.delete("small")


async def test_calls_that_no_replica_could_serve(client: Client) -> None:
    await ready(client, service("plain"))
    edge = client.edge(SITE)
    request = client.request("plain")
    for wrong, expected in [
        (replace(request, method="GET /x HTTP/1.1\r\nX: y"), "method"),
        (replace(request, path="no-slash"), "path"),
        (replace(request, path="/a b"), "path"),
        (replace(request, headers=(("a\r\nb", "c"),)), "header"),
        (replace(request, headers=(("a", "b\r\nc: d"),)), "header"),
        (replace(request, deadline_s=-1), "deadline"),
        (replace(request, deadline_s=2, timeout_s=1), "timeout"),
        (replace(request, timeout_s=float("nan")), "timeout"),
    ]:
        async with client.calls(SITE) as calls:
            replies = [await edge.call(wrong), await calls.call(wrong)]
        replies += [item async for item in edge.call_streamed(wrong)]
        for reply in replies:
            assert isinstance(reply, CallReply)
            assert (reply.outcome, reply.code) == (Outcome.REJECTED, Code.INVALID), wrong
            assert expected in reply.error
            assert not reply.may_have_run
    assert (await edge.call(request)).outcome is Outcome.COMPLETED
    await client.delete("plain")


async def test_a_trace_with_broken_rows(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    await ready(client, service("traced"))
    trace = tmp_path / "trace.csv"
    report = tmp_path / "report.json"
    words = ("load", "traced", "--trace", str(trace), "--report", str(report))
    for rows, expected in [
        ("not-a-time,1,2\n", f"{trace}:3: TIMESTAMP: "),
        ("2023-11-16 18:15:47.0,1\n", f"{trace}:3: "),
        ("2023-11-16 18:15:47.0,1,-5\n", f"{trace}:3: GeneratedTokens: "),
    ]:
        trace.write_text(TRACE + rows)
        done = cluster.cli(*words)
        assert done.returncode == 1
        assert done.stderr.startswith(f"tango: {expected}"), done.stderr
        assert "Traceback" not in done.stderr
    trace.write_text("when,what\n1,2\n")
    assert f"tango: {trace}:1: " in cluster.cli(*words).stderr
    assert not report.exists()
    view = await client.edge(SITE).service("traced")
    assert view.counts.sent == 0, "nothing is sent of a broken trace"

    trace.write_text(TRACE + "broken\n2023-11-16 18:15:46.1,1,2\n")
    done = cluster.cli(*words, "--skip-bad-rows")
    assert done.returncode == 0, done.stderr
    assert f"1 broken rows are left out, the first: {trace}:3: " in done.stdout + done.stderr
    assert (await idle(client, "traced")).counts.sent == 2
    assert report.exists()
    await client.delete("traced")
