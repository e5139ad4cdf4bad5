"""The REST face behind mutual TLS: the roles of gRPC, certificates that change, expire or lack."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rest_probe import JOB, TOKEN, Face, faced
from tls_probe import World

from tango.model.access import RPCS, Identity, Role, refusal
from tango.model.settings import TlsSettings
from tango.v1 import central_service_pb2
from tango.wire import handshakes
from tango.wire.rest.bindings import Binding, bindings_of
from tango.wire.rest.examples import BODIES
from tango.wire.role_gate import EXPIRED, NO_ROLE
from tango.wire.tls import Tls

BINDINGS = bindings_of(central_service_pb2.DESCRIPTOR.services_by_name["CentralService"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "ca")


def client(settings: TlsSettings | None, ca: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca or (settings.ca_file if settings else None))
    # Authorities of `tango certs` have no key usage of the kind that Python asks for since 3.13.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if settings is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


@contextlib.asynccontextmanager
async def secured(world: World, listen: str = "127.0.0.1:0") -> AsyncIterator[Face]:
    tls = world.tls(Role.CENTRAL, "central")
    async with faced(listen, tls, client(world.issue(Role.USER, "ada"))) as face:
        yield face


def as_other(face: Face, context: ssl.SSLContext | None) -> Face:
    return Face(face.address, face.daemon, context)


async def test_a_user_needs_no_token_and_any_host_will_do(world: World) -> None:
    # TLS lets it listen beyond loopback.
    async with secured(world, "0.0.0.0:0") as face:
        answer = await face.call("POST", "/v1/jobs", JOB, token=None, host="central.example")
        assert answer.status == 200
        assert (await face.call("GET", "/v1/jobs", token="whatever")).status == 200
        # The browser of somebody who has a certificate must not be another's hand.
        for headers in ({"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}):
            answer = await face.call("POST", "/v1/jobs", JOB, token=None, **headers)
            assert answer.status == 403
        assert len(face.daemon.jobs((), 10)) == 1


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.USER])
async def test_other_roles_may_call_nothing(
    world: World, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    async with secured(world) as face:
        other = as_other(face, client(world.issue(role, "x")))
        for binding in BINDINGS:
            path = binding.path.replace("{job_id}", "x").replace("{name}", "x")
            answer = await other.call(binding.verb, path, BODIES.get(binding.rpc.name), token=TOKEN)
            assert (answer.status, answer.error["status"]) == (403, "PERMISSION_DENIED")
            assert answer.error["message"] == refusal(binding.method, Identity(role, "x"))
        assert face.daemon.jobs((), 10) == ()
        assert (await other.call("GET", "/openapi.json")).status == 200
    noted = [record.fields for record in caplog.records if record.message == "refused"]  # type: ignore[attr-defined]
    assert {each["method"] for each in noted} == {binding.method for binding in BINDINGS}
    assert all(each["peer"].startswith("ipv4:127.0.0.1:") for each in noted)


def test_what_users_may_call_is_what_the_face_serves() -> None:
    users = {method for method, roles in RPCS.items() if Role.USER in roles}
    central = {method for method in users if method.startswith("/tango.v1.CentralService/")}
    assert {binding.method for binding in BINDINGS} == central


async def refused(face: Face) -> None:
    """No answer at all."""
    try:
        answer = await face.call("GET", "/v1/jobs")
    except OSError:
        return
    assert answer.status == 0


async def test_who_has_no_good_certificate_gets_no_answer(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = World(tmp_path / "other")
    user = world.issue(Role.USER, "carl")
    expired = world.issue(Role.USER, "bob")
    world.expired(expired)
    async with secured(world) as face:
        contexts = [
            client(None, user.ca_file),
            client(other.issue(Role.USER, "eve"), user.ca_file),
            client(expired),
        ]
        for context in contexts:
            await refused(as_other(face, context))
        await refused(as_other(face, None))
        with pytest.raises(ssl.SSLCertVerificationError):
            await as_other(face, client(other.issue(Role.USER, "mal"))).connect()
        old = client(user)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        await refused(as_other(face, old))
        assert (await face.call("GET", "/v1/jobs")).status == 200
        # gRPC's watch over handshakes serves here too.
        async with asyncio.timeout(10):
            while handshakes.REASON not in {
                getattr(record, "fields", {}).get("reason") for record in caplog.records
            }:
                await asyncio.sleep(0.05)


async def test_a_certificate_that_states_no_role(world: World) -> None:
    settings = world.issue(Role.USER, "bob")
    world.rewritten(settings, dt.timedelta(days=1), stating=False)
    async with secured(world) as face:
        answer = await as_other(face, client(settings)).call("GET", "/v1/jobs")
        assert (answer.status, answer.error["message"]) == (403, NO_ROLE)


async def test_a_certificate_that_expires_on_an_open_connection(world: World) -> None:
    user = world.issue(Role.USER, "bob")
    world.rewritten(user, dt.timedelta(seconds=4))
    async with secured(world) as face:
        job_id = (await face.call("POST", "/v1/jobs", JOB)).json["job"]["jobId"]
        bob = as_other(face, client(user))
        watching = asyncio.ensure_future(bob.call("GET", f"/v1/jobs/{job_id}:watch"))
        reader, writer = await bob.connect()
        line = f"GET /v1/jobs HTTP/1.1\r\nHost: {face.address}\r\n\r\n".encode()
        statuses = []
        async with asyncio.timeout(20):
            while 401 not in statuses:
                writer.write(line)
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                body = await reader.readexactly(int(head.partition("Length: ")[2].split("\r")[0]))
                statuses.append(int(head.split(" ")[1]))
                await asyncio.sleep(0.1)
        assert json.loads(body)["error"]["message"] == EXPIRED
        assert statuses[0] == 200
        writer.close()
        last = json.loads((await watching).body.splitlines()[-1])
        assert (last["error"]["code"], last["error"]["message"]) == (401, EXPIRED)


async def test_new_files_are_taken_up_without_a_restart(world: World, tmp_path: Path) -> None:
    """Of the server's own certificate, and of the authorities that it trusts."""
    own = world.issue(Role.CENTRAL, "central")
    tls = Tls(own)
    user = client(world.issue(Role.USER, "ada"))
    later = World(tmp_path / "later")
    eve = later.issue(Role.USER, "eve")
    of_both = client(eve, own.ca_file)
    async with faced(tls=tls, context=user) as face:

        async def serial() -> str:
            _, writer = await face.connect()
            found = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
            writer.close()
            return str(found)

        before = await serial()
        await refused(as_other(face, of_both))
        world.issue(Role.CENTRAL, "central", force=True)
        assert await serial() != before
        ca = Path(own.ca_file)
        old = ca.read_bytes()
        ca.write_bytes(old + Path(eve.ca_file).read_bytes())
        assert (await as_other(face, of_both).call("GET", "/v1/jobs")).status == 200
        assert (await face.call("GET", "/v1/jobs")).status == 200
        # And the other way: an authority that is taken out counts no more.
        ca.write_bytes(old)
        await refused(as_other(face, of_both))
        # What does not fit is not taken; the last that did goes on.
        Path(own.cert_file).write_text("no certificate")
        assert (await face.call("GET", "/v1/jobs")).status == 200


@pytest.mark.parametrize("binding", BINDINGS, ids=lambda binding: binding.rpc.name)
def test_every_call_is_in_the_table_of_roles(binding: Binding) -> None:
    assert RPCS[binding.method] == {Role.USER}


async def test_a_handshake_that_does_not_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from tango.wire.rest import listener

    monkeypatch.setattr(listener, "HANDSHAKE_TIMEOUT_S", 0.3)
    async with secured(world) as face:
        reader, writer = await as_other(face, None).connect()
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        assert (await face.call("GET", "/v1/jobs")).status == 200
