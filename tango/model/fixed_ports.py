"""Fixed TCP ports: one of a node is one process's, replica or task."""

from __future__ import annotations

from collections.abc import Iterable

from tango.model.errors import InvalidField

# Of one task.
MAX_PORTS = 16
MAX_PORT = 65535


def check_ports(ports: tuple[int, ...], field: str) -> None:
    """Raises InvalidField for what is no port, one that is there twice, and too many."""
    if len(ports) > MAX_PORTS:
        raise InvalidField(field, f"has {len(ports)} ports", f"give {MAX_PORTS} at most")
    for at, port in enumerate(ports):
        if not 1 <= port <= MAX_PORT:
            raise InvalidField(f"{field}[{at}]", f"{port} is out of range", f"use 1 to {MAX_PORT}")
        if port in ports[:at]:
            raise InvalidField(field, f"port {port} is there twice", "give each once")


def format_ports(ports: Iterable[int]) -> str:
    """For programs: "8080,9090", in the order given."""
    return ",".join(map(str, ports))


def parse_ports(text: str) -> tuple[int, ...]:
    """What `format_ports` wrote, () for "". Raises InvalidField or ValueError for all else."""
    ports = tuple(map(int, text.split(","))) if text else ()
    check_ports(ports, "ports")
    return ports


def port_taken(port: int) -> str:
    """Why a node will not do now."""
    return f"port {port} is taken"


def ports_text(ports: Iterable[int]) -> str:
    """For people: "port 80", "ports 80 and 443"; "" for none."""
    *rest, last = [str(port) for port in sorted(ports)] or [""]
    if not rest:
        return last and f"port {last}"
    return f"ports {', '.join(rest)} and {last}"
