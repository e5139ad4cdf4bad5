"""Published routes as upstream files of nginx and HAProxy, and a file replaced in one step."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from tango.model.errors import InvalidField
from tango.model.routes import ReplicaRoute, RouteTable

# What both proxies take as a name without quotes; Tango's own names are all of this kind.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# HAProxy's largest; nginx takes more.
MAX_WEIGHT = 256
# Idle connections that nginx keeps open to the replicas, in each of its processes.
KEEPALIVE = 32


def nginx(table: RouteTable) -> str:
    """An `upstream` block, to be included within `http`.

    max_conns is what was set aside; without a share nothing was, and there is none. An upstream
    must have a server: without routes it has one that is down, and nginx answers 502.
    """
    name = _name(table.service, "service")
    lines = [_head(table), f"upstream {name} {{", f"    zone tango_{name} 64k;"]
    for route, weight in _weighed(table):
        slots = f" max_conns={route.slots}" if route.slots else ""
        replica = f"{_name(route.replica, 'replica')} on {_name(route.node, 'node')}"
        lines.append(f"    server {_address(route)} weight={weight}{slots};  # {replica}")
    if not table.routes:
        lines.append("    server 127.0.0.1:1 down;")
    return "\n".join([*lines, f"    keepalive {KEEPALIVE};", "}", ""])


def haproxy(table: RouteTable) -> str:
    """A `backend` section, for a further -f. Without routes it has no server: 503."""
    name = _name(table.service, "service")
    lines = [_head(table), f"backend {name}", "    mode http", "    balance roundrobin"]
    for route, weight in _weighed(table):
        slots = f" maxconn {route.slots}" if route.slots else ""
        replica = _name(route.replica, "replica")
        lines.append(f"    server {replica} {_address(route)} weight {weight}{slots}")
    return "\n".join([*lines, ""])


def replace_file(path: Path, text: str) -> bool:
    """Put the text into the file in one step; False where it is in there already.

    A new file can be read by all, for proxies run as other users; one that is there keeps its mode.
    Raises InvalidField where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        mode = 0o644
        if path.is_file():
            if path.read_text(errors="replace") == text:
                return False
            mode = path.stat().st_mode & 0o777
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        problem = f"cannot write {path}: {error.strerror}"
        raise InvalidField("--write", problem, "name a file in a directory of your own") from None
    return True


def _head(table: RouteTable) -> str:
    command = f"tango routes {_name(table.service, 'service')}"
    version = f"version {table.version} of {_name(table.edge, 'edge')}"
    return f"# Written by `{command}`; {version}. Changes here are lost."


def _weighed(table: RouteTable) -> list[tuple[ReplicaRoute, int]]:
    """Routes with weights from 1 to MAX_WEIGHT, in the same proportion."""
    top = max((route.weight for route in table.routes), default=0)
    if top <= MAX_WEIGHT:
        return [(route, max(1, route.weight)) for route in table.routes]
    return [(route, max(1, route.weight * MAX_WEIGHT // top)) for route in table.routes]


def _name(name: str, field: str) -> str:
    """The name, where it can stand in such a file and means nothing but itself there."""
    if _NAME.fullmatch(name) is None:
        raise InvalidField(field, f"{name[:80]!r} cannot stand in a proxy's file", "rename it")
    return name


def _address(route: ReplicaRoute) -> str:
    if not 1 <= route.port <= 65535:
        raise InvalidField("port", f"{route.port} of {route.replica[:80]!r}", "1 to 65535")
    try:
        six = isinstance(ipaddress.ip_address(route.host), ipaddress.IPv6Address)
    except ValueError:
        if _HOST.fullmatch(route.host) is None:
            fix = "correct the node's label `address`"
            raise InvalidField("host", f"{route.host[:80]!r} is no host", fix) from None
        six = False
    if "%" in route.host:
        raise InvalidField("host", f"{route.host[:80]!r} has a zone", "use an address without one")
    return f"[{route.host}]:{route.port}" if six else f"{route.host}:{route.port}"
