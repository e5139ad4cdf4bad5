"""Finds out which control groups this machine lets us use: by making some, not by version."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_files import GroupFiles, KernelFiles
from tango.adapters.cgroup_v1 import CONTROLLERS as V1_CONTROLLERS
from tango.adapters.cgroup_v1 import CgroupV1
from tango.adapters.cgroup_v2 import CgroupV2
from tango.model.cgroup import UNLIMITED, GroupTarget

# The smallest ratio there is: v1 refuses any above that of a root that we adopted.
_TRIAL = GroupTarget(quota_millis=1, period_us=1_000_000)
_NO_QUOTA = GroupTarget(quota_millis=UNLIMITED)
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mounts:
    """Where cgroups are mounted: a directory for each v1 controller, and the v2 tree if any."""

    v1: dict[str, Path]
    v2: Path | None


@dataclass(frozen=True, slots=True)
class Detection:
    """The driver that works here, or None; `reason` says why, or what is missing, for people."""

    cgroups: CgroupDriver | None
    reason: str


def parse_mountinfo(text: str) -> Mounts:
    """Mounts of a /proc/self/mountinfo (proc(5)); the first mount of a controller counts."""
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if not dash or len(fields) < 5 or len(kind) < 3:
            continue
        # Blanks in paths are octal escapes.
        path = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        if kind[0] == "cgroup2" and v2 is None:
            v2 = path
        elif kind[0] == "cgroup":
            for controller in set(kind[2].split(",")) & set(V1_CONTROLLERS):
                v1.setdefault(controller, path)
    return Mounts(v1, v2)


def find_mounts() -> Mounts:
    """Mounts of this machine as this process sees them."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text("utf-8"))


def delegated_group(mount: Path, own: str) -> Path | None:
    """The group above or at our own that systemd has delegated (Delegate=yes), v2 only.

    own: our group as /proc/self/cgroup has it. systemd marks delegation with an extended attribute
    (systemd.io/CGROUP_DELEGATION). A user's service manager is delegated to itself, not to us.
    """
    if ".." in own.split("/"):
        return None
    path = mount / own.strip("/")
    while path != mount and mount in path.parents:
        for name in ("user.delegate", "trusted.delegate"):
            try:
                marked = os.getxattr(path, name) == b"1"
            except OSError:
                continue
            if marked:
                return None if path.name.startswith("user@") else path
        path = path.parent
    return None


def v2_group(pid: int = 0) -> str:
    """The group of a process, or (0) our own, in the v2 hierarchy; "/" if there is none.

    OSError where there is no such process, or none that we may see.
    """
    for line in Path(f"/proc/{pid or 'self'}/cgroup").read_text("utf-8").splitlines():
        if line.startswith("0::"):
            return line[3:]
    return "/"


def detect(
    root: str,
    *,
    base: Path | None = None,
    beside: int = 0,
    mounts: Mounts | None = None,
    make_files: Callable[[], GroupFiles] = KernelFiles,
    enforce: bool = True,
) -> Detection:
    """Try v1, then v2: make a group, cap it, put a process in, remove it.

    root: relative path of our root group, see the drivers. base: a v2 group delegated to us; found
    by its mark if not given. enforce: False does without the cap (see ObservingFiles). beside: the
    process whose delegated group is used, 0 for our own. The root group is there afterwards where
    this succeeds. Takes some milliseconds and starts one process: call it once, before gRPC starts.
    """
    found = find_mounts() if mounts is None else mounts
    reasons: list[str] = []
    for make in _candidates(root, base, beside, found, make_files):
        try:
            cgroups, place = make()
        except OSError as error:
            reasons.append(str(error))
            continue
        problem = _trial(cgroups, enforce)
        if not problem:
            return Detection(cgroups, _summary(cgroups, place))
        reasons.append(f"{place}: {problem}")
        with contextlib.suppress(OSError):
            # Never what was there before us.
            if not cgroups.groups() and not cgroups.procs(""):
                cgroups.remove("")
        cgroups.close()
    return Detection(None, "; ".join(reasons) or "no cgroup hierarchy has the cpu controller")


_Candidate = Callable[[], tuple[CgroupDriver, str]]


def _candidates(
    root: str,
    base: Path | None,
    beside: int,
    mounts: Mounts,
    make_files: Callable[[], GroupFiles],
) -> list[_Candidate]:
    makers: list[_Candidate] = []
    if base is None and "cpu" in mounts.v1:
        makers.append(
            lambda: (CgroupV1(mounts.v1, root, make_files()), f"cgroup v1 at {mounts.v1['cpu']}")
        )
    if base is None and mounts.v2 is not None:
        with contextlib.suppress(OSError):
            base = delegated_group(mounts.v2, v2_group(beside))
        if base is None:
            top = mounts.v2
            makers.append(
                lambda: (
                    CgroupV2(top, root, make_files(), base_is_ours=False),
                    f"cgroup v2 at {top}",
                )
            )
    if base is not None:
        delegated = base
        makers.append(
            lambda: (CgroupV2(delegated, root, make_files()), f"cgroup v2 at {delegated}")
        )
    return makers


def _trial(cgroups: CgroupDriver, enforce: bool) -> str:
    """What does not work, in words; empty if all does. Leaves nothing behind."""
    group = f"tango-trial-{os.getpid()}"
    try:
        cgroups.create(group)
        try:
            if enforce and (misses := cgroups.apply(group, _TRIAL)):
                return f"a CPU quota was not taken: asked {misses[0].wanted}, is {misses[0].found}"
            # A throttled process would take its time to die.
            cgroups.apply(group, _NO_QUOTA)
            return _trial_process(cgroups, group)
        finally:
            cgroups.remove(group)
    except OSError as error:
        return str(error)


def _trial_process(cgroups: CgroupDriver, group: str) -> str:
    # Rights to make a group do not include the right to move a process from outside into it.
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE
    ) as process:
        try:
            cgroups.move(group, process.pid)
            inside = cgroups.procs(group)
            return "" if process.pid in inside else "a process did not stay where it was put"
        finally:
            cgroups.kill(group)
            process.kill()
            process.wait()


def _summary(cgroups: CgroupDriver, place: str) -> str:
    features = cgroups.features()
    text = f"{place}: {', '.join(sorted(features.controllers))}"
    missing = [name for name in ("burst", "idle", "pressure") if not getattr(features, name)]
    if missing:
        text += f"; without {', '.join(missing)}"
    for controller, reason in sorted(cgroups.refused.items()):
        text += f"; no {controller}: {reason}"
    return text
