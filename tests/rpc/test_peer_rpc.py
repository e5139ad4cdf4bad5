"""PeerService behind mutual TLS: who may connect as a site, and as which one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tls_probe import SITE, World

from tango.model.access import Role, server_name
from tango.model.errors import Refused
from tango.model.peers import FromPeer, PeerHello, PeerView, PeerWelcome, ToPeer
from tango.wire.backends import GuestSession
from tango.wire.channels import open_channel
from tango.wire.peer_client import PeerClient
from tango.wire.servers import RpcServer, make_server
from tango.wire.services import peer_service
from tango.wire.stream_session import StreamSession
from tango.wire.tls import Tls

VIEW = PeerView(SITE, "site-b", "127.0.0.1:1", connected=True, rtt_ms=1.5)


class Backend:
    """Welcomes whoever says hello."""

    incarnation = 7

    def __init__(self) -> None:
        self.hellos: list[FromPeer] = []

    def peers(self) -> tuple[PeerView, ...]:
        return (VIEW,)

    async def guest_session(self, session: GuestSession) -> None:
        self.hellos.append(await session.receive(5.0))
        session.send(PeerWelcome(SITE, 7))
        await session.run(lambda _: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("ca"))


def tls(world: World, role: Role, name: str) -> Tls:
    return Tls(world.issue(role, name, force=True))


@contextlib.asynccontextmanager
async def served(world: World) -> AsyncIterator[tuple[Backend, RpcServer]]:
    backend = Backend()
    server = make_server(
        "127.0.0.1:0", "", [peer_service(backend)], tls=tls(world, Role.EDGE, SITE)
    )
    await server.start()
    try:
        yield backend, server
    finally:
        await server.stop(0)


async def say_hello(world: World, server: RpcServer, role: Role, name: str, as_name: str) -> ToPeer:
    """The answer to a hello as that site, with a certificate for another, or the same."""
    answers: asyncio.Queue[ToPeer] = asyncio.Queue()

    async def serve(session: StreamSession[ToPeer, FromPeer]) -> str:
        session.send(PeerHello(as_name, 9, "0", 1))

        def on_message(message: ToPeer) -> None:
            answers.put_nowait(message)
            session.close("enough")

        return await session.run(on_message)

    async with open_channel(
        str(server.address), tls=tls(world, role, name), server=server_name(Role.EDGE, SITE)
    ) as channel:
        async with asyncio.timeout(20):
            reason = await PeerClient(channel, ()).connect_peer(9, serve)
    if answers.empty():
        raise Refused(reason)
    return answers.get_nowait()


@pytest.mark.parametrize("role", [Role.EDGE, Role.PEER])
async def test_a_site_connects_with_its_own_certificate(world: World, role: Role) -> None:
    async with served(world) as (backend, server):
        answer = await say_hello(world, server, role, "site-b", "site-b")
        assert answer == PeerWelcome(SITE, 7)
        assert backend.hellos == [PeerHello("site-b", 9, "0", 1)]


@pytest.mark.parametrize("role", [Role.EDGE, Role.PEER])
async def test_a_site_is_the_one_of_its_certificate(world: World, role: Role) -> None:
    async with served(world) as (backend, server):
        with pytest.raises(Refused, match=r"for (edge|peer) site-b, not for site-c"):
            await say_hello(world, server, role, "site-b", "site-c")
        assert not backend.hellos


@pytest.mark.parametrize("role", [Role.USER, Role.WORKER, Role.CENTRAL])
async def test_nobody_else_connects_as_a_site(world: World, role: Role) -> None:
    async with served(world) as (backend, server):
        with pytest.raises(Refused, match="ConnectPeer is for edge or peer"):
            await say_hello(world, server, role, "x", "x")
        assert not backend.hellos


async def test_listings_are_for_users(world: World) -> None:
    async with served(world) as (_, server):
        for role in (Role.USER, Role.PEER):
            async with open_channel(
                str(server.address), tls=tls(world, role, "y"), server=server_name(Role.EDGE, SITE)
            ) as channel:
                client = PeerClient(channel, ())
                if role is Role.USER:
                    assert await client.peers() == (VIEW,)
                else:
                    with pytest.raises(Refused, match="ListPeers is for user"):
                        await client.peers()
