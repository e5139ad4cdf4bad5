"""Units and their text forms: CPU in millicores, memory in bytes, time in seconds."""

from __future__ import annotations

import re

from tango.model.errors import InvalidField

_CPU = re.compile(r"^(?:(?P<millis>\d+)m|(?P<cores>\d+(?:\.\d{1,3})?))$")
_MEMORY = re.compile(r"^(?P<number>\d+(?:\.\d+)?)(?P<suffix>Ki|Mi|Gi|Ti|k|M|G|T)?$")
_FACTORS = {
    None: 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
MAX_CPU_MILLIS = 1_000_000
MAX_MEMORY_BYTES = 2**50


def parse_cpu(text: str | int | float, field: str = "cpu") -> int:
    """Millicores from a Kubernetes CPU quantity: "500m", "2", 0.5, 1.

    Raises InvalidField for anything else, for 0 and below, and above 1000 cores.
    """
    match = _CPU.match(str(text).strip())
    if match is None or isinstance(text, bool):
        raise InvalidField(field, f"{text!r} is not a CPU quantity", 'write "500m" or 0.5')
    if match["millis"] is not None:
        millis = int(match["millis"])
    else:
        millis = round(float(match["cores"]) * 1000)
    if not 0 < millis <= MAX_CPU_MILLIS:
        raise InvalidField(field, f"{text!r} is out of range", "use 1m to 1000 cores")
    return millis


def parse_memory(text: str | int, field: str = "memory") -> int:
    """Bytes from a Kubernetes memory quantity: "64Mi", "1G", 1048576.

    Raises InvalidField for anything else, for 0 and below, and above 1 PiB.
    """
    match = _MEMORY.match(str(text).strip())
    if match is None or isinstance(text, bool):
        raise InvalidField(field, f"{text!r} is not a memory quantity", 'write "64Mi" or "1G"')
    size = round(float(match["number"]) * _FACTORS[match["suffix"]])
    if not 0 < size <= MAX_MEMORY_BYTES:
        raise InvalidField(field, f"{text!r} is out of range", "use 1 byte to 1 PiB")
    return size


def format_cpu(millis: int) -> str:
    """The shortest Kubernetes form: 1500 -> "1500m", 2000 -> "2"."""
    return f"{millis // 1000}" if millis % 1000 == 0 else f"{millis}m"


def format_number(value: float) -> str:
    """A whole number in full (100000000, never 1e+08), any other shortly."""
    whole = abs(value) < 1e15 and value == int(value)
    return f"{value:.0f}" if whole else f"{value:g}"


def format_memory(size: int) -> str:
    """For people: the largest binary unit that keeps at least one digit before the point."""
    value = float(size)
    for suffix in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {suffix}" if suffix == "B" else f"{value:.1f} {suffix}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_count(count: int, noun: str) -> str:
    """For people, the noun in the plural where that is called for: "1 site", "1,000 sites"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
