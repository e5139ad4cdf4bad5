"""Detection: mounts as the kernel lists them, and what is tried on them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cgroup_places import clean, real_root, real_v1, why_no_v1
from v2_tree import V2Tree

from tango.adapters.cgroup_detect import (
    Mounts,
    delegated_group,
    detect,
    find_mounts,
    parse_mountinfo,
    v2_group,
)
from tango.adapters.cgroup_observe import ObservingFiles
from tango.model.cgroup import GroupTarget

V1_TEXT = r"""
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/me\040mory rw,relatime - cgroup cgroup rw,memory
37 31 0:32 / /else/where rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
not a mount line
"""


def test_mounts_of_a_hybrid_machine() -> None:
    both = Path("/sys/fs/cgroup/cpu,cpuacct")
    assert parse_mountinfo(V1_TEXT) == Mounts(
        {"cpu": both, "cpuacct": both, "memory": Path("/sys/fs/cgroup/me mory")},
        Path("/sys/fs/cgroup/unified"),
    )


def test_mounts_of_a_unified_machine() -> None:
    text = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    assert parse_mountinfo(text) == Mounts({}, Path("/sys/fs/cgroup"))
    assert parse_mountinfo("") == Mounts({}, None)


def test_this_machine_is_detected_or_says_why_not() -> None:
    if reason := why_no_v1():
        pytest.skip(f"no cgroup v1 to write here: {reason}")
    root = real_root("detect")
    found = detect(root)
    try:
        assert found.cgroups is not None
        assert found.cgroups.features().version == 1
        assert "without pressure" in found.reason
        assert found.cgroups.groups() == ()
    finally:
        if found.cgroups is not None:
            found.cgroups.remove("")
            found.cgroups.close()
    cpu = find_mounts().v1["cpu"]
    assert not (cpu / root).exists()


def test_a_root_that_is_in_use_is_adopted_as_it_is() -> None:
    if reason := why_no_v1():
        pytest.skip(f"no cgroup v1 to write here: {reason}")
    with real_v1("adopted") as before:
        before.create("lc/a")
        before.apply("", GroupTarget(quota_millis=100))
        found = detect(real_root("adopted"))
        assert found.cgroups is not None, found.reason
        assert found.cgroups.groups() == ("lc", "lc/a")
        assert found.cgroups.read("").quota_millis == 100
        found.cgroups.close()


def test_nothing_mounted() -> None:
    found = detect("tango", mounts=Mounts({}, None))
    assert found.cgroups is None
    assert "cpu controller" in found.reason


def test_no_rights_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "not-there"
    found = detect("tango", mounts=Mounts({"cpu": missing}, None))
    assert found.cgroups is None
    assert str(missing) in found.reason


def test_a_delegated_v2_group(tmp_path: Path) -> None:
    base = tmp_path / "tango.slice"
    files = V2Tree(base)
    found = detect("node", base=base, mounts=Mounts({}, tmp_path), make_files=lambda: files)
    assert found.cgroups is not None, found.reason
    assert found.cgroups.features().version == 2
    assert f"cgroup v2 at {base}: cpu, cpuset, memory" in found.reason
    assert found.cgroups.groups() == ()


def test_a_v2_root_without_the_controller_enabled(tmp_path: Path) -> None:
    top = tmp_path / "cgroup"
    files = V2Tree(top)
    found = detect("node", mounts=Mounts({}, top), make_files=lambda: files)
    assert found.cgroups is None
    assert "cpu is not enabled" in found.reason
    assert not (top / "node").exists()


def test_a_group_that_takes_no_processes_is_refused(tmp_path: Path) -> None:
    class NoMoves(V2Tree):
        def _cgroup_procs(self, folder: Path, value: str) -> str:
            raise PermissionError(13, "Permission denied", str(folder))

    base = tmp_path / "tango.slice"
    files = NoMoves(base)
    found = detect("node", base=base, mounts=Mounts({}, tmp_path), make_files=lambda: files)
    assert found.cgroups is None
    assert "Permission denied" in found.reason
    assert not (base / "node").exists()


def test_a_quota_that_does_not_stick_is_refused(tmp_path: Path) -> None:
    class Forgetful(V2Tree):
        def _cpu_max(self, folder: Path, value: str) -> str:
            return "max 100000"

    base = tmp_path / "tango.slice"
    files = Forgetful(base)
    found = detect("node", base=base, mounts=Mounts({}, tmp_path), make_files=lambda: files)
    assert found.cgroups is None
    assert "asked 1, is unlimited" in found.reason


def test_delegation_is_read_from_systemds_mark(tmp_path: Path) -> None:
    unit = tmp_path / "system.slice/tango.service"
    leaf = unit / "supervisor"
    leaf.mkdir(parents=True)
    assert delegated_group(tmp_path, "/system.slice/tango.service/supervisor") is None
    try:
        os.setxattr(unit, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no user attributes on this file system: {error}")
    assert delegated_group(tmp_path, "/system.slice/tango.service/supervisor") == unit
    assert delegated_group(tmp_path, "/system.slice/tango.service") == unit
    assert delegated_group(tmp_path, "/system.slice") is None
    assert delegated_group(tmp_path, "/") is None
    assert delegated_group(tmp_path, "/../elsewhere") is None


def test_a_user_manager_is_not_delegated_to_us(tmp_path: Path) -> None:
    manager = tmp_path / "user.slice/user@1000.service"
    (manager / "app.slice").mkdir(parents=True)
    try:
        os.setxattr(manager, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no user attributes on this file system: {error}")
    assert delegated_group(tmp_path, "/user.slice/user@1000.service/app.slice") is None


def test_own_group_is_a_path() -> None:
    assert v2_group().startswith("/")


def test_an_observer_leaves_the_oom_killer_its_way(tmp_path: Path) -> None:
    (tmp_path / "memory.oom.group").write_text("0")
    (tmp_path / "cgroup.procs").write_text("")
    files = ObservingFiles()
    files.write(str(tmp_path / "memory.oom.group"), "1")
    files.write(str(tmp_path / "cgroup.procs"), "7")
    assert (tmp_path / "memory.oom.group").read_text() == "0"
    assert (tmp_path / "cgroup.procs").read_text() == "7"


def test_an_observer_writes_no_target_and_tells_each() -> None:
    if reason := why_no_v1():
        pytest.skip(f"no cgroup v1 to write here: {reason}")
    found = detect(real_root("observed"), make_files=ObservingFiles, enforce=False)
    assert found.cgroups is not None
    with found.cgroups as cgroups:
        try:
            cgroups.create("be/job")
            before = cgroups.read("be/job")
            wanted = GroupTarget(500, 10_000, 0, 7, None, 64 * 2**20, "0")
            told = {miss.field for miss in cgroups.apply("be/job", wanted)}
            # Where there is but one core, the wanted cpuset is the one in force.
            assert told >= {"quota_millis", "period_us", "weight", "memory_max_bytes"}
            assert cgroups.read("be/job") == before
            with subprocess.Popen(["sleep", "60"]) as process:
                cgroups.move("be/job", process.pid)
                assert cgroups.procs("be/job") == (process.pid,)
                process.kill()
        finally:
            clean(cgroups)
