"""Refusals in the log: one event for each kind and peer, bounded however many come."""

from __future__ import annotations

import logging
import socket

import pytest

from tango.wire.handshakes import _peer, connected_to
from tango.wire.refusals import MAX_KINDS, QUIET_S, Refusals


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [record.fields for record in caplog.records]  # type: ignore[attr-defined]


def test_the_same_again_is_counted(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    refusals = Refusals(clock)
    for port in range(100):
        refusals.note(f"ipv4:10.0.0.1:{port}", "wrong token")
    assert fields(caplog) == [{"peer": "ipv4:10.0.0.1:0", "reason": "wrong token"}]
    refusals.note("ipv4:10.0.0.1:7", "wrong token", "/a/b")
    refusals.note("ipv4:10.0.0.2:7", "wrong token")
    refusals.note("ipv6:%5B::1%5D:7", "no token")
    assert len(fields(caplog)) == 4
    clock.now = QUIET_S
    refusals.note("ipv4:10.0.0.1:200", "wrong token")
    again = {"peer": "ipv4:10.0.0.1:200", "reason": "wrong token", "not_logged_before": 99}
    assert fields(caplog)[-1] == again
    assert caplog.records[-1].levelno == logging.WARNING


def test_a_flood_fills_neither_log_nor_memory(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    refusals = Refusals(clock)
    for host in range(3 * MAX_KINDS):
        refusals.note(f"ipv4:10.0.{host // 256}.{host % 256}:1", "no token")
    assert len(caplog.records) == MAX_KINDS == len(refusals._kinds)
    clock.now = QUIET_S + 1
    refusals.note("ipv4:192.0.2.1:1", "no token")
    assert fields(caplog)[-1]["peer"] == "ipv4:192.0.2.1:1"
    assert len(refusals._kinds) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_is_connected_to_a_port(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        assert connected_to(port) == set()
        with socket.create_connection((host, port)) as client:
            name = f"ipv6:%5B::1%5D:{client.getsockname()[1]}"
            if family == socket.AF_INET:
                name = f"ipv4:127.0.0.1:{client.getsockname()[1]}"
            assert connected_to(port) == {name}
            accepted, _ = server.accept()
            accepted.close()


def test_a_mapped_address_is_named_as_grpc_names_it() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert connected_to(port) == {f"ipv4:127.0.0.1:{client.getsockname()[1]}"}
    assert _peer("0100007F:1F90").startswith("ipv4:")
