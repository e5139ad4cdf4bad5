"""Ids of CPU cores: lists of them as people and the kernel write them ("0-1,3"), and bit masks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from tango.model.errors import InvalidField

MAX_CORES = 4096

_PART = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_FIX = "write ids like '0-1,3', each once"


def parse_cores(text: str, field: str) -> tuple[int, ...]:
    """Ids in order, of "0-1,3". Raises InvalidField, for one that is there twice as well."""
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = _PART.fullmatch(part)
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if match is None or not first <= last < MAX_CORES:
            raise InvalidField(field, f"{text!r} is no list of core ids", _FIX)
        found += range(first, last + 1)
    check_core_ids(found, field)
    return tuple(sorted(found))


def check_core_ids(ids: Iterable[int], field: str) -> None:
    """Raises InvalidField for ids out of range, and for one that is there twice."""
    seen: set[int] = set()
    for core in ids:
        if not 0 <= core < MAX_CORES:
            raise InvalidField(field, f"{core} is no core id", f"use 0 to {MAX_CORES - 1}")
        if core in seen:
            raise InvalidField(field, f"core {core} is there twice", _FIX)
        seen.add(core)


def format_cores(ids: Iterable[int]) -> str:
    """The kernel's form: "0-1,3"; "" for none."""
    runs: list[list[int]] = []
    for core in sorted(ids):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


@lru_cache(maxsize=4096)
def mask_of(ids: tuple[int, ...]) -> int:
    """A bit for each id."""
    mask = 0
    for core in ids:
        mask |= 1 << core
    return mask


def ids_of(mask: int) -> tuple[int, ...]:
    """The ids of the bits, in order."""
    ids = []
    while mask:
        low = mask & -mask
        ids.append(low.bit_length() - 1)
        mask ^= low
    return tuple(ids)


def lowest(mask: int, count: int) -> int:
    """The lowest `count` bits of a mask that has so many at least."""
    rest = mask
    for _ in range(count):
        rest &= rest - 1
    return mask ^ rest


def without_highest(mask: int, count: int) -> int:
    """The mask without its highest `count` bits, or 0."""
    return lowest(mask, max(0, mask.bit_count() - count)) if count else mask
