"""Where the cgroup tests run: real v1 and v2 kernels, the fake, and v2 on emulated files."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from v2_tree import V2Tree

from tango.adapters.cgroup_detect import (
    Mounts,
    delegated_group,
    detect,
    find_mounts,
    v2_group,
)
from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_fake import FakeCgroups
from tango.adapters.cgroup_files import GroupFiles, KernelFiles
from tango.adapters.cgroup_v1 import CgroupV1
from tango.adapters.cgroup_v2 import CgroupV2


class NotingFiles(KernelFiles):
    """The kernel's files, with every change noted."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: set[str] = set()

    def write(self, path: str, value: str) -> None:
        self.touched.add(path)
        super().write(path, value)

    def make_dir(self, path: str) -> bool:
        self.touched.add(path)
        return super().make_dir(path)

    def remove_dir(self, path: str) -> None:
        self.touched.add(path)
        super().remove_dir(path)


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


@functools.cache
def delegated_base() -> Path | str:
    """The v2 group that systemd delegated to this test process, else why there is none.

    We leave it for a leaf of our own: a group whose children have controllers holds no processes.
    """
    mount = find_mounts().v2
    if mount is None:
        return "no cgroup v2 is mounted"
    base = delegated_group(mount, v2_group())
    if base is None:
        return "no group is delegated to us (systemd-run -p Delegate=yes)"
    if mount / v2_group().strip("/") == base:
        leaf = base / "pytest"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text("0")
    return base


def _skip(reason: str) -> NoReturn:
    if os.environ.get("TANGO_REQUIRE_CGROUP_V2"):  # tools/guest: there it has to be
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def delegated_v2(name: str = "", files: GroupFiles | None = None) -> Iterator[CgroupDriver]:
    """A real v2 in systemd's way: below a unit with Delegate=yes, tango.slice/x.service/..."""
    base = delegated_base()
    if isinstance(base, str):
        _skip(base)
    cgroups = CgroupV2(base, real_root(name), files)
    try:
        yield cgroups
    finally:
        clean(cgroups)


@contextlib.contextmanager
def top_v2(name: str = "", files: GroupFiles | None = None) -> Iterator[CgroupDriver]:
    """A real v2 in cgroupfs' way: below the mount itself, whose controllers others enabled."""
    mount = find_mounts().v2
    if mount is None:
        _skip("no cgroup v2 is mounted")
    try:
        cgroups = CgroupV2(mount, real_root(name), files, base_is_ours=False)
    except OSError as error:
        _skip(f"cgroup v2 at {mount} cannot be used: {error}")
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
