"""Ports of an embedded cluster: free, different, and out of the way of outgoing connections."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tango.sdk import embedded


def test_below_the_kernels_own() -> None:
    lowest = int(embedded.EPHEMERAL_PORTS.read_text().split()[0])
    ports = list(embedded._free_ports(30))
    assert len(set(ports)) == 30
    assert all(port >= embedded.FIRST_PORT for port in ports)
    assert all(port < lowest for port in ports) or lowest <= embedded.FIRST_PORT + 30
    for port in ports:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))


def test_the_kernels_own_where_its_range_begins_low(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text(f"{embedded.FIRST_PORT + 3}\t65535\n")
    monkeypatch.setattr(embedded, "EPHEMERAL_PORTS", tmp_path / "range")
    ports = list(embedded._free_ports(9))
    assert len(set(ports)) == 9
