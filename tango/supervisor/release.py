"""`python -m tango.supervisor.release`: after a supervisor's death, lets systemd start another.

systemd puts a unit's new main process into the unit's own group, and cannot (219/CGROUP) while that
group's children have controllers, as they do where payload outlived its supervisor. Run as
ExecStopPost=, in the unit's .control leaf, this switches controllers off from the leaves up; the
processes stay where they are, without limits, until the worker that is restarted with the new
supervisor switches them on and writes its targets again.
"""

from __future__ import annotations

import os
import sys

from .leaf import MOUNT

_CONTROL = ".control"


def release(mount: str = MOUNT, own: str = "/proc/self/cgroup") -> int:
    """How many groups had controllers for their children; 0 where we are in no .control leaf."""
    with open(own, encoding="utf-8") as file:
        lines = file.read().splitlines()
    group = next((line[3:] for line in lines if line.startswith("0::/")), "/").strip("/")
    unit, _, leaf = group.rpartition("/")
    if leaf != _CONTROL or not unit:
        return 0
    n_groups = 0
    # Bottom up: a controller is switched off only where no child uses it for its own children.
    for folder, _, _ in os.walk(f"{mount}/{unit}", topdown=False):
        path = f"{folder}/cgroup.subtree_control"
        try:
            with open(path, encoding="ascii") as file:
                enabled = file.read().split()
            if enabled:
                fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(fd, " ".join(f"-{name}" for name in enabled).encode("ascii"))
                finally:
                    os.close(fd)
                n_groups += 1
        except FileNotFoundError:  # the group went meanwhile
            continue
    return n_groups


if __name__ == "__main__":
    sys.stderr.write(f"tango.supervisor: controllers off in {release()} groups\n")
