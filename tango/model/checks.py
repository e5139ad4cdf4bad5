"""Range and shape checks that specs share; every failure is an InvalidField."""

from __future__ import annotations

import re

from tango.model.errors import InvalidField
from tango.model.units import format_number

MAX_ARGV = 256
MAX_ARGV_BYTES = 64 * 1024
MAX_ENV = 256
# What the node puts in its place where a replica starts.
PLACEHOLDERS = ("{host}", "{port}")
_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")


def check_range(field: str, value: float, low: float, high: float) -> None:
    """Refuse a value outside [low, high], and NaN."""
    if not low <= value <= high:
        fix = f"use {format_number(low)} to {format_number(high)}"
        raise InvalidField(field, f"{format_number(value)} is out of range", fix)


def check_argv(argv: tuple[str, ...], field: str = "argv") -> None:
    """Refuse an empty command, empty program, NUL bytes and absurd sizes."""
    if not argv or not argv[0]:
        raise InvalidField(field, "is empty", "give the program and its arguments as a list")
    if len(argv) > MAX_ARGV or sum(len(part) for part in argv) > MAX_ARGV_BYTES:
        raise InvalidField(field, "is too long", f"at most {MAX_ARGV} arguments, 64 KiB")
    if any("\0" in part for part in argv):
        raise InvalidField(field, "holds a NUL byte", "remove it")


def check_placeholders(argv: tuple[str, ...], field: str = "argv") -> None:
    """Refuse an argument that is a placeholder and nothing else, but none that is replaced."""
    for index, part in enumerate(argv):
        if _PLACEHOLDER.fullmatch(part) and part not in PLACEHOLDERS:
            known = " and ".join(PLACEHOLDERS)
            raise InvalidField(f"{field}[{index}]", f"{part} is no placeholder", f"use {known}")


def check_env(env: tuple[tuple[str, str], ...], field: str = "env") -> None:
    """Refuse names with '=' or NUL, doubled names, and more than 256 entries."""
    if len(env) > MAX_ENV:
        raise InvalidField(field, f"has {len(env)} entries", f"at most {MAX_ENV}")
    seen: set[str] = set()
    for name, value in env:
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise InvalidField(f"{field}.{name}", "is not a valid variable", "no '=' or NUL in it")
        if name in seen:
            raise InvalidField(f"{field}.{name}", "is given twice", "keep one")
        seen.add(name)
