"""Every daemon's doors: reflection, health and metrics with the token, nothing without it."""

from __future__ import annotations

import stat
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cluster_at_work import SITE, ClusterAtWork, Daemon, idle, job, ready, service
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

SERVICE_OF = {
    "central": "tango.v1.CentralService",
    "edge": "tango.v1.EdgeService",
    "worker": "tango.v1.WorkerService",
}
EVERYWHERE = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
NAMES = ("central", "site-a", "site-b", "node-a1", "node-b1")


@pytest.fixture(params=NAMES)
def daemon(request: pytest.FixtureRequest, cluster: ClusterAtWork) -> Daemon:
    (found,) = [daemon for daemon in cluster.daemons() if daemon.name == request.param]
    return found


@pytest.fixture
async def channel(daemon: Daemon) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(daemon.listen) as channel:
        yield channel


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def reflect(channel: grpc.aio.Channel, metadata: Any, **what: str) -> Any:
    """One question, one answer, as grpcurl asks."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    questions = iter([reflection_pb2.ServerReflectionRequest(**what)])
    async for answer in stub.ServerReflectionInfo(questions, metadata=metadata, timeout=10):
        return answer
    raise AssertionError("no answer")


async def test_reflection_tells_what_there_is(
    cluster: ClusterAtWork, daemon: Daemon, channel: grpc.aio.Channel
) -> None:
    auth = bearer(cluster.token)
    answer = await reflect(channel, auth, list_services="")
    names = {service.name for service in answer.list_services_response.service}
    own = SERVICE_OF[daemon.kind]
    peers = {"tango.v1.PeerService"} if daemon.kind == "edge" else set()
    assert names == {own, *EVERYWHERE, *peers}
    found = await reflect(channel, auth, file_containing_symbol=own)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in found.file_descriptor_response.file_descriptor_proto
    ]
    methods = {
        method.name
        for file in files
        for each in file.service
        if f"{file.package}.{each.name}" == own
        for method in each.method
    }
    assert methods, "grpcurl can describe and call them"


async def test_health_is_serving(
    cluster: ClusterAtWork, daemon: Daemon, channel: grpc.aio.Channel
) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE_OF[daemon.kind]):
        answer = await stub.Check(
            health_pb2.HealthCheckRequest(service=name), metadata=bearer(cluster.token), timeout=10
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("metadata", "words"),
    [((), "no token"), (bearer("wrong"), "wrong token"), (bearer(""), "wrong token")],
)
async def test_without_the_token_nothing_is_told(
    daemon: Daemon, channel: grpc.aio.Channel, metadata: Any, words: str
) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    own = channel.unary_unary(f"/{SERVICE_OF[daemon.kind]}/Anything")
    for call in (
        reflection.ServerReflectionInfo(metadata=metadata, timeout=10),
        health.Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=10),
        own(b"", metadata=metadata, timeout=10),
    ):
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert words in await call.details()


def scrape(daemon: Daemon, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{daemon.metrics}/metrics", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_want_the_token_too(cluster: ClusterAtWork, daemon: Daemon) -> None:
    status, text = scrape(daemon, Authorization=f"Bearer {cluster.token}")
    assert status == 200
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert any(line.startswith("tango_") for line in lines)
    assert scrape(daemon)[0] == 401
    assert scrape(daemon, Authorization="Bearer wrong")[0] == 401
    # A page in a browser, whatever name it was loaded under.
    right = {"Authorization": f"Bearer {cluster.token}"}
    assert scrape(daemon, **right, Origin="http://example.org")[0] == 403
    assert scrape(daemon, **right, Host="example.org")[0] == 403


async def test_metrics_count_what_happened(cluster: ClusterAtWork, client: Client) -> None:
    await ready(client, service("counted"))
    for _ in range(3):
        await client.call("counted")
    await idle(client, "counted")
    done = await client.wait((await client.submit(job("/bin/true"))).job_id)

    def value(name: str, start: str) -> float:
        (daemon,) = [daemon for daemon in cluster.daemons() if daemon.name == name]
        _, text = scrape(daemon, Authorization=f"Bearer {cluster.token}")
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))

    # On the edge's own machine it is the edge that carries them.
    assert value(SITE, 'tango_served_total{code="ok"}') == 3
    assert value(SITE, "tango_service_seconds_count") == 3
    assert value("node-a1", 'tango_served_total{code="ok"}') == 0
    assert value(SITE, 'tango_requests_total{outcome="completed"}') == 3
    assert value("central", 'tango_jobs{state="succeeded"}') == 1, done
    await client.delete("counted")


def test_what_is_secret_is_for_its_owner_only(cluster: ClusterAtWork) -> None:
    state = cluster.state_dir
    modes = {path: status.st_mode for path, status in cluster.files().items()}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE(modes[state / "token"]) == 0o600
    sockets = [mode for mode in modes.values() if stat.S_ISSOCK(mode)]
    assert len(sockets) == 2
    assert all(stat.S_IMODE(mode) == 0o600 for mode in sockets)
    for path, mode in modes.items():
        assert mode & 0o022 == 0, f"others can write {path}"
        if path.name.startswith(("node.key", "central.db", "edge.db")):
            assert mode & 0o077 == 0, path
