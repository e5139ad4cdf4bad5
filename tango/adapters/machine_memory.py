"""How much memory the machine still has, by its kernel's own estimate."""

from __future__ import annotations

import os
import re

_AVAILABLE = re.compile(rb"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)


def available_memory(path: str = "/proc/meminfo") -> int | None:
    """MemAvailable in bytes (proc(5)): free, and what can be had without swapping; None if unknown.

    It is the machine's: in a container too, and for all nodes that share it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = _AVAILABLE.search(os.read(handle, 4096))
    except OSError:
        return None
    finally:
        os.close(handle)
    return int(found[1]) * 1024 if found else None
