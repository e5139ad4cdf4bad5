"""Moves the supervisor into a leaf of its cgroup v2 group, so that groups beside it can be used.

A group whose children have controllers holds no processes itself (kernel doc admin-guide/cgroup-v2,
"No Internal Process Constraint"), so whoever a group was delegated to leaves it for a leaf before
the payload's groups are made. systemd does it by itself from 254 on (DelegateSubgroup=).
"""

from __future__ import annotations

import contextlib
import os

MOUNT = "/sys/fs/cgroup"


def enter_leaf(name: str, mount: str = MOUNT, own: str = "/proc/self/cgroup") -> str:
    """Enter the leaf `name` of our own group; its directory, or "" where there is no unified v2.

    Fine where we are in it already. OSError where the group is not ours to use.
    """
    if not os.path.exists(f"{mount}/cgroup.controllers"):
        return ""
    with open(own, encoding="utf-8") as file:
        lines = file.read().splitlines()
    group = next((line[3:] for line in lines if line.startswith("0::/")), "/").strip("/")
    if not group or os.path.basename(group) == name:
        return f"{mount}/{group}" if group else ""
    leaf = f"{mount}/{group}/{name}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(leaf, 0o755)
    fd = os.open(f"{leaf}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % os.getpid())
    finally:
        os.close(fd)
    return leaf
