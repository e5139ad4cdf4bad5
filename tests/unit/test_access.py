"""Roles and RPCs: every method of every service is in the table, and for whom."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import tango.v1
from tango.model.access import RPCS, Identity, Role, parse_identity, refusal, server_name

USER, EDGE, WORKER, PEER = Role.USER, Role.EDGE, Role.WORKER, Role.PEER
SESSIONS = {
    "/tango.v1.EdgeService/ConnectWorker": {WORKER},
    "/tango.v1.EdgeService/FetchCheckpoint": {WORKER},
    "/tango.v1.EdgeService/OfferCheckpoint": {WORKER},
    "/tango.v1.CentralService/ConnectEdge": {EDGE},
    "/tango.v1.CentralService/FetchCheckpoint": {EDGE},
    "/tango.v1.CentralService/OfferCheckpoint": {EDGE},
    "/tango.v1.PeerService/ConnectPeer": {EDGE, PEER},
}


def methods() -> set[str]:
    """Every RPC of every service of the package, and of what every server has beside it."""
    files = {health_pb2.DESCRIPTOR.name, reflection_pb2.DESCRIPTOR.name}
    for module in pkgutil.iter_modules(tango.v1.__path__):
        if module.name.endswith("_pb2"):
            files.add(importlib.import_module(f"tango.v1.{module.name}").DESCRIPTOR.name)
    pool = descriptor_pool.Default()
    return {
        f"/{service.full_name}/{method.name}"
        for name in files
        for service in pool.FindFileByName(name).services_by_name.values()
        for method in service.methods
    }


def test_every_rpc_has_an_entry_and_every_entry_an_rpc() -> None:
    assert methods() == set(RPCS), "say in tango/model/access.py who may call it"


@pytest.mark.parametrize("method", sorted(RPCS))
def test_who_may_call_it(method: str) -> None:
    allowed = {role for role in Role if not refusal(method, Identity(role, "x"))}
    if method.startswith("/tango."):
        assert allowed == SESSIONS.get(method, {USER})
    else:
        assert allowed == set(Role)


@pytest.mark.parametrize("role", list(Role))
def test_what_is_not_in_the_table_is_for_nobody(role: Role) -> None:
    for method in ("/tango.v1.EdgeService/New", "", "tango.v1.EdgeService/Call"):
        assert refusal(method, Identity(role, "x")).endswith("is open to nobody")


def test_a_peer_may_connect_as_one_and_nothing_else() -> None:
    mine = {m for m in RPCS if m.startswith("/tango.") and not refusal(m, Identity(PEER, "x"))}
    assert mine == {"/tango.v1.PeerService/ConnectPeer"}


def test_a_refusal_names_who_and_for_whom() -> None:
    assert refusal("/tango.v1.EdgeService/Call", Identity(WORKER, "n1")) == (
        "/tango.v1.EdgeService/Call is for user; the certificate says worker n1"
    )


@pytest.mark.parametrize("role", list(Role))
def test_an_identity_survives_its_uri(role: Role) -> None:
    identity = Identity(role, "node-1")
    assert parse_identity(identity.uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "", "tango://", "tango://worker", "tango://worker/", "tango://worker/a/b", "tango://root/a",
        "tango://WORKER/a", "tango://worker/A", "tango://worker/a\n", "TANGO://worker/a",
        "spiffe://worker/a", "worker/a", "tango://worker/" + "a" * 64, "tango://worker/a?x=y",
    ],
)  # fmt: skip
def test_what_is_no_identity(uri: str) -> None:
    assert parse_identity(uri) is None


def test_server_names_tell_role_and_name_apart() -> None:
    assert server_name(EDGE) == "edge.tango.internal"
    assert server_name(EDGE, "a") == "a.edge.tango.internal"
    names = [name for role in Role for name in Identity(role, "edge").server_names]
    assert len(names) == len(set(names)), "no name of one is a name of another"
