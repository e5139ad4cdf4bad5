"""Whose loopback interface this process has: who has the same one reaches the same 127.0.0.1.

The kernel's boot id (proc_sys_kernel(5), random since each boot and the same in all containers) and
the network namespace (namespaces(7)). A process of another machine cannot know the former, so that
none passes for a neighbour by being dialled from 127.0.0.1, as through a tunnel.
"""

from __future__ import annotations

import os
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/net")
# Set by units that hide /proc/sys (ProcSubset=pid), from systemd's %b, which has no dashes.
BOOT_ID_VARIABLE = "TANGO_BOOT_ID"


def loopback_identity() -> str:
    """Equal in two processes if they share a loopback interface; "" where it cannot be told."""
    try:
        boot_id = os.environ.get(BOOT_ID_VARIABLE) or _BOOT_ID.read_text().strip()
        return f"{boot_id.replace('-', '')}/{_NAMESPACE.readlink()}"
    except OSError:
        return ""
