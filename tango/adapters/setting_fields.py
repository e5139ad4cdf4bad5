"""Fields that the files of several daemons have: addresses, paths, names, sizes."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from tango.adapters.documents import Section
from tango.model.errors import InvalidField
from tango.model.names import check_name
from tango.model.settings import TlsSettings

_HOST_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>\d+)")
_MAX_PATH = 4096


def split_host_port(text: str) -> tuple[str, int]:
    """("127.0.0.1", 50051) from "127.0.0.1:50051", IPv6 in brackets; ValueError with the reason."""
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if len(match["port"]) > 5 or int(match["port"]) > 65535:
        raise ValueError(f"{match['port'][:20]} is not a port (0 to 65535)")
    host = match["six"] or match["host"]
    if match["six"]:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv6 address") from None
    return host, int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether a host is this machine only: "localhost" or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_listen(section: Section, key: str, tls: TlsSettings | None) -> str:
    """HOST:PORT to listen on; beyond loopback only with TLS."""
    return _reached(section, key, tls, "listens beyond loopback")


def read_peer(
    section: Section, key: str, tls: TlsSettings | None, *, optional: bool = False
) -> str:
    """HOST:PORT to dial, "" where it may be left out; beyond loopback only with TLS."""
    if optional and not section.string(key, ""):
        return ""
    # The token would cross the network in the clear.
    address = _reached(section, key, tls, "is beyond loopback")
    if split_host_port(address)[1] == 0:
        raise section.error(key, "port 0 is nothing to dial", "write the port that it listens on")
    return address


def _reached(section: Section, key: str, tls: TlsSettings | None, problem: str) -> str:
    address = section.string(key)
    try:
        host, _ = split_host_port(address)
    except ValueError as error:
        raise section.error(key, str(error), 'write "127.0.0.1:50051"') from None
    if tls is None and not is_loopback(host):
        if key == "metrics":
            fix = "metrics speak no TLS; use 127.0.0.1, [::1] or localhost"
        else:
            fix = "that needs mutual TLS: add a [tls] table, or use 127.0.0.1, [::1] or localhost"
        raise section.error(key, f"{host} {problem}", fix)
    return address


def read_path(section: Section, key: str, base: Path) -> str:
    """An absolute path; a relative one is relative to the configuration file."""
    text = section.string(key)
    if not text or "\0" in text or len(text) > _MAX_PATH:
        raise section.error(key, "is not a path", "write a path, absolute or relative to this file")
    try:
        return os.path.normpath(base / Path(text).expanduser())
    except RuntimeError:  # "~nobody-of-that-name"
        raise section.error(key, "is not a path", "name a home directory that exists") from None


def read_optional_path(section: Section, key: str, base: Path) -> str:
    """As read_path; "" where there is none."""
    return read_path(section, key, base) if section.string(key, "") else ""


def read_name(section: Section, key: str) -> str:
    """A name of Tango's: of a node, an edge."""
    try:
        return check_name(section.string(key), section.field(key))
    except InvalidField as error:
        raise error if error.where else error.at(section.where(key)) from None


def read_body(section: Section, default: int) -> int:
    """max_body in bytes: of a request, and of an answer."""
    return read_bounded_memory(section, "max_body", default, 1024, 64 * 2**20)


def read_bounded_memory(section: Section, key: str, default: int, low: int, high: int) -> int:
    """A size in bytes within low..high."""
    size = section.memory(key, default)
    if not low <= size <= high:
        raise section.error(key, f"{size} bytes is out of range", f"use {low} to {high} bytes")
    return size
