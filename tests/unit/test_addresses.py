"""Addresses: what is one, and what is loopback."""

from __future__ import annotations

import pytest

from tango.model.addresses import parse_address
from tango.model.errors import InvalidField


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:7000", "127.8.9.10:0", "[::1]:7000", "localhost:7000", "unix:/run/tango.sock"],
)
def test_loopback(text: str) -> None:
    address = parse_address(text)
    assert address.loopback
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1", "localhost.example.org:1", "127.1:1"],
)
def test_beyond_loopback(text: str) -> None:
    assert not parse_address(text).loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7000",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:70000",
        "127.0.0.1:-1",
        "::1:7000",
        "[localhost]:1",
        "[1.2.3.4]:1",
        "http://127.0.0.1:1",
        "127.0.0.1:1/",
        "127.0.0.1:1\n",
        "unix:relative.sock",
        "unix:/" + "a" * 107,
        "unix:/a\0b",
        "user@127.0.0.1:1",
    ],
)
def test_what_is_no_address_names_the_field(text: str) -> None:
    with pytest.raises(InvalidField) as raised:
        parse_address(text, "server.listen")
    assert raised.value.field == "server.listen"


def test_forms() -> None:
    assert parse_address("unix:///run/x.sock").path == "/run/x.sock"
    assert parse_address("localhost:1").numeric_host == "127.0.0.1"
    assert str(parse_address("[::1]:0").with_port(5)) == "[::1]:5"
