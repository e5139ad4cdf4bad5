"""Where the cgroup tests run: the real v1 kernel, the fake, and v2 on emulated files."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from v2_tree import V2Tree

from tango.adapters.cgroup_detect import Mounts, detect, find_mounts
from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_fake import FakeCgroups
from tango.adapters.cgroup_files import GroupFiles
from tango.adapters.cgroup_v1 import CgroupV1
from tango.adapters.cgroup_v2 import CgroupV2


def real_root(name: str = "") -> str:
    """A root of this test process alone; two parts, so that shared parents are covered too."""
    return f"tango-test-{os.getpid()}/{name or 'node'}"


def clean(cgroups: CgroupDriver) -> None:
    """End what runs in our groups and remove them; waits at most 2 s for the kernel."""
    deadline = time.monotonic() + 2.0
    while True:
        for group in ("", *cgroups.groups()):
            with contextlib.suppress(FileNotFoundError):
                for pid in cgroups.procs(group):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        try:
            cgroups.remove("")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            break
    cgroups.close()


@functools.cache
def why_no_v1() -> str:
    """Empty if v1 works here, else the reason; tried once for a test process."""
    found = detect(real_root("probe"), mounts=Mounts(find_mounts().v1, None))
    if found.cgroups is None:
        return found.reason
    clean(found.cgroups)
    return ""


@contextlib.contextmanager
def real_v1(name: str = "", files: GroupFiles | None = None) -> Iterator[CgroupDriver]:
    """The real kernel's v1, or a skip with the reason why it cannot be had."""
    if reason := why_no_v1():
        pytest.skip(f"no cgroup v1 to write here: {reason}")
    cgroups = CgroupV1(find_mounts().v1, real_root(name), files)
    try:
        yield cgroups
    finally:
        clean(cgroups)


@contextlib.contextmanager
def fake() -> Iterator[CgroupDriver]:
    """Memory only; its pids are no processes, so nothing is to be ended."""
    with FakeCgroups("tango/node") as cgroups:
        yield cgroups


@contextlib.contextmanager
def emulated_v2() -> Iterator[CgroupDriver]:
    """Version 2 on plain files, in memory where there is such a file system: they are many."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as folder:
        base = Path(folder, "tango.slice")
        with CgroupV2(base, "site/node", V2Tree(base)) as cgroups:
            yield cgroups
