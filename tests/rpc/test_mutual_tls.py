"""Mutual TLS over real sockets: who is refused, what the log and the client are told, reload."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import shutil
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from tls_probe import SITE, World, guarded_by, raw_credentials, raw_stub, stub_as
from wire_probe import probed

from tango.model.access import Role, server_name
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.errors import InvalidField, Refused, Unavailable
from tango.model.messages import WorkerHello
from tango.v1 import edge_service_pb2 as pb
from tango.wire import handshakes
from tango.wire.channels import open_channel
from tango.wire.edge_servicer import _claimed_node
from tango.wire.errors import model_errors
from tango.wire.role_gate import as_certified
from tango.wire.servers import RpcServer
from tango.wire.sessions import decode_from_worker, encode_from_worker
from tango.wire.tls import Tls


@pytest.fixture(scope="module")
def module_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def world(module_world: World, tmp_path: Path) -> World:
    """The same authority in a directory of its own: what a test changes is its own."""
    shutil.copytree(module_world.directory, tmp_path / "authority")
    copy = object.__new__(World)
    copy.directory = tmp_path / "authority"
    return copy


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "PATIENCE_S", 0.05)


async def get(stub: Any, name: str = "x") -> Any:
    with model_errors():
        return await stub.GetService(pb.GetServiceRequest(name=name), timeout=5)


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [r.fields for r in caplog.records if r.getMessage() == "refused"]  # type: ignore[attr-defined]


async def logged(caplog: pytest.LogCaptureFixture, count: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(5):
        while len(refusals(caplog)) < count:
            await asyncio.sleep(0.01)
    return refusals(caplog)


async def test_a_user_calls_beyond_tokens(world: World) -> None:
    async with (
        guarded_by(world.tls(Role.EDGE, SITE)) as (_, server),
        stub_as(server, world.tls(Role.USER, "ada")) as stub,
    ):
        assert (await get(stub)).service.edge == "x"
        stream = stub.WatchService(pb.WatchServiceRequest(name="x"), timeout=5)
        assert await stream.read() is not grpc.aio.EOF
        stream.cancel()


@pytest.mark.parametrize("role", list(Role))
async def test_every_valid_certificate_may_ask_for_health(world: World, role: Role) -> None:
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (_, server):
        name = server_name(Role.EDGE, SITE)
        async with open_channel(
            str(server.address), tls=world.tls(role, "someone"), server=name
        ) as channel:
            answer = await HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("role", list(Role))
async def test_checkpoints_are_for_workers(world: World, role: Role) -> None:
    """The probe has none: whoever passes the gate is told that."""
    told = (
        "does not offer"
        if role is Role.WORKER
        else f"is for worker; the certificate .* {role.value}"
    )
    async with (
        guarded_by(world.tls(Role.EDGE, SITE)) as (_, server),
        stub_as(server, world.tls(role, "x")) as stub,
    ):
        with pytest.raises(Refused, match=told), model_errors():
            await stub.FetchCheckpoint(pb.FetchCheckpointRequest(), timeout=5).read()
        with pytest.raises(Refused, match=told), model_errors():
            await stub.OfferCheckpoint(iter([pb.OfferCheckpointRequest()]), timeout=5)


@pytest.mark.parametrize("role", [Role.WORKER, Role.EDGE, Role.PEER, Role.CENTRAL])
async def test_a_wrong_role_is_refused(
    world: World, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (probe, server):
        async with stub_as(server, world.tls(role, "n1")) as stub:
            with pytest.raises(Refused, match=f"is for user; the certificate says {role.value} n1"):
                await get(stub)
            with pytest.raises(Refused, match="is for user"), model_errors():
                await stub.WatchService(pb.WatchServiceRequest(name="x"), timeout=5).read()
            assert probe.ends == []
        first, second = await logged(caplog, 2)
        assert first["method"] == "/tango.v1.EdgeService/GetService"
        assert second["method"] == "/tango.v1.EdgeService/WatchService"
        assert first["peer"].startswith("ipv4:127.0.0.1:")


async def test_only_workers_connect_as_workers(world: World) -> None:
    async with (
        guarded_by(world.tls(Role.EDGE, SITE)) as (_, server),
        stub_as(server, world.tls(Role.USER, "ada")) as stub,
    ):
        with pytest.raises(Refused, match="ConnectWorker is for worker"), model_errors():
            await stub.ConnectWorker(timeout=5).read()


async def test_what_is_not_in_the_table_is_refused(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (_, server):
        async with open_channel(
            str(server.address),
            tls=world.tls(Role.USER, "ada"),
            server=server_name(Role.EDGE, SITE),
        ) as channel:
            with pytest.raises(Refused, match="open to nobody"), model_errors():
                await channel.unary_unary("/tango.v1.EdgeService/Nothing")(b"", timeout=5)
        assert len(await logged(caplog)) == 1


Dial = Callable[[World, RpcServer], Any]


def no_certificate(world: World, server: RpcServer) -> Any:
    return raw_stub(server, raw_credentials(world.issue(Role.USER, "ada"), certificate=False))


def expired(world: World, server: RpcServer) -> Any:
    settings = world.issue(Role.USER, "ada")
    world.expired(settings)
    return raw_stub(server, raw_credentials(settings))


def other_authority(world: World, server: RpcServer) -> Any:
    other = World(world.directory / "other")
    theirs = other.issue(Role.USER, "ada")
    # It trusts the server, but the server does not trust it.
    shutil.copy(world.directory / "ca.pem", theirs.ca_file)
    return raw_stub(server, raw_credentials(theirs))


def distrusting(world: World, server: RpcServer) -> Any:
    other = World(world.directory / "other")
    settings = world.issue(Role.USER, "ada")
    shutil.copy(other.directory / "ca.pem", settings.ca_file)
    return raw_stub(server, raw_credentials(settings))


def plain_text(world: World, server: RpcServer) -> Any:
    return raw_stub(server, None)


def another_name(world: World, server: RpcServer) -> Any:
    return stub_as(server, world.tls(Role.USER, "ada"), "site-b")


def another_role(world: World, server: RpcServer) -> Any:
    return stub_as(server, world.tls(Role.USER, "ada"), "", Role.CENTRAL)


@pytest.mark.parametrize(
    ("dial", "words"),
    [
        (no_certificate, "does not take what this side shows"),
        (expired, "does not take what this side shows"),
        (other_authority, "does not take what this side shows"),
        (distrusting, "not to be trusted: .*; see tls.ca_file"),
        (plain_text, "does not take what this side shows"),
        (another_name, "its certificate is for another name or role"),
        (another_role, "its certificate is for another name or role"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_no_handshake_no_call(
    world: World, dial: Dial, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (_, server):
        async with dial(world, server) as stub:
            for _ in range(3):
                with pytest.raises(Unavailable, match=words) as raised:
                    await get(stub)
                assert str(server.address) in str(raised.value)
        found = await logged(caplog)
        assert found[0]["peer"].startswith("ipv4:127.0.0.1:")
        assert "ended before any call" in found[0]["reason"]
        await asyncio.sleep(0.15)
        assert len(refusals(caplog)) == 1, "the same again is counted, not logged"
        async with stub_as(server, world.tls(Role.USER, "grace")) as stub:
            assert (await get(stub)).service.edge == "x"


async def test_who_makes_calls_is_not_taken_for_one_who_failed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (_, server):
        for name in ("ada", "grace"):
            async with stub_as(server, world.tls(Role.USER, name)) as stub:
                await get(stub)
        await asyncio.sleep(0.2)
        assert refusals(caplog) == []


async def test_tls_to_a_server_without_it(world: World) -> None:
    async with probed() as (_, server), stub_as(server, world.tls(Role.USER, "ada")) as stub:
        with pytest.raises(Unavailable, match="speaks no TLS"):
            await get(stub)


async def test_old_tls_is_refused(world: World) -> None:
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (_, server):
        settings = world.issue(Role.USER, "ada")
        for version, welcome in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)):
            context = ssl.create_default_context(cafile=settings.ca_file)
            context.load_cert_chain(settings.cert_file, settings.key_file)
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            context.set_alpn_protocols(["h2"])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the old version is deprecated: that is the point
                context.minimum_version = version
                context.maximum_version = version
            dial = asyncio.open_connection(
                "127.0.0.1",
                server.address.port,
                ssl=context,
                server_hostname=server_name(Role.EDGE, SITE),
            )
            if welcome:
                _, writer = await dial
                assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
                writer.close()
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await dial


async def test_a_worker_is_only_the_node_of_its_certificate(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    async def session(context: Any) -> None:
        decode = as_certified(context, decode_from_worker, _claimed_node)
        while (envelope := await context.read()) is not grpc.aio.EOF:
            seen.append(decode(envelope)[2])

    def hello(node: str) -> Any:
        said = WorkerHello(node, "key", 1, NodeCapacity(1000, 2**30), Enforcement.NONE, "0")
        return encode_from_worker(said, 1, 1)

    async with guarded_by(world.tls(Role.EDGE, SITE)) as (probe, server):
        probe.session = session
        async with stub_as(server, world.tls(Role.WORKER, "n1")) as stub:
            call = stub.ConnectWorker(timeout=5)
            await call.write(hello("n1"))
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK
            assert [message.node for message in seen] == ["n1"]
            call = stub.ConnectWorker(timeout=5)
            await call.write(hello("n2"))
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
            assert await call.details() == "the certificate is for worker n1, not for n2"
    assert [message.node for message in seen] == ["n1"]
    (found,) = refusals(caplog)
    assert found["method"] == "/tango.v1.EdgeService/ConnectWorker"


# ---- reload


async def test_new_connections_take_new_certificates(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    user = world.tls(Role.USER, "ada")
    settings = world.issue(Role.EDGE, SITE)
    async with guarded_by(Tls(settings)) as (_, server), stub_as(server, user) as old:
        await get(old)
        # Another authority altogether: nothing of the first one is good any more.
        other = World(world.directory / "other")
        made = other.issue(Role.EDGE, SITE)
        for ours, theirs in (
            (settings.ca_file, made.ca_file),
            (settings.cert_file, made.cert_file),
            (settings.key_file, made.key_file),
        ):
            shutil.copy(theirs, ours)
        async with stub_as(server, other.tls(Role.USER, "ada")) as stub:
            assert (await get(stub)).service.edge == "x"
        async with stub_as(server, user) as stub:
            with pytest.raises(Unavailable, match="not to be trusted"):
                await get(stub)
        assert (await get(old)).service.edge == "x", "what is connected goes on"
    assert "certificate reloaded" in caplog.messages


async def test_what_does_not_fit_is_not_reloaded(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    settings = world.issue(Role.EDGE, SITE)
    key = Path(settings.key_file).read_bytes()
    user = world.tls(Role.USER, "ada")
    async with guarded_by(Tls(settings)) as (_, server):
        Path(settings.key_file).write_text("-----BEGIN PRIVATE KEY-----\nrubbish\n")
        for _ in range(3):
            async with stub_as(server, user) as stub:
                await get(stub)
        said = [r for r in caplog.records if r.getMessage() == "certificate not reloaded"]
        assert len(said) == 1
        assert "tls.key_file" in said[0].fields["reason"]  # type: ignore[attr-defined]
        # Mended, it is taken up: and the next, of somebody else, is not.
        Path(settings.key_file).write_bytes(key)
        async with stub_as(server, user) as stub:
            await get(stub)
        somebody = world.issue(Role.EDGE, "site-b")
        shutil.copy(somebody.key_file, settings.key_file)
        shutil.copy(somebody.cert_file, settings.cert_file)
        async with stub_as(server, user) as stub:
            await get(stub)
        said = [r for r in caplog.records if r.getMessage() == "certificate not reloaded"]
        assert "is now for edge site-b, this is edge site-a" in said[-1].fields["reason"]  # type: ignore[attr-defined]


async def test_a_client_takes_its_new_certificate_on_reconnect(world: World) -> None:
    settings = world.issue(Role.USER, "ada")
    user = Tls(settings)
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (_, server):
        world.expired(settings)
        # The files do not fit any more, and the old one is still good: no reason to stop.
        async with stub_as(server, user) as stub:
            await get(stub)
        serial = Path(settings.cert_file).read_bytes()
        world.issue(Role.USER, "ada", force=True)
        assert user.latest().cert == Path(settings.cert_file).read_bytes() != serial
        async with stub_as(server, user) as stub:
            await get(stub)


async def test_a_certificate_that_expires_ends_calls_and_streams(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    settings = world.issue(Role.USER, "ada")
    world.rewritten(settings, dt.timedelta(seconds=2))
    user = Tls(settings)
    async with guarded_by(world.tls(Role.EDGE, SITE)) as (probe, server):
        async with stub_as(server, user) as stub:
            stream = stub.WatchService(pb.WatchServiceRequest(name="x"), timeout=10)
            await stream.read()
            with pytest.raises(Refused, match="has expired; connect again"), model_errors():
                await stream.read()
            assert probe.ends == ["watch"]
            with pytest.raises(Refused, match="has expired; connect again"):
                await get(stub)
        with pytest.raises(InvalidField, match=r"tls.cert_file: .* has expired; `tango certs"):
            user.channel_credentials()
    assert {found["method"].rpartition("/")[2] for found in refusals(caplog)} == {
        "WatchService",
        "GetService",
    }
