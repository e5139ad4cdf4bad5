"""What the two versions do in their own way: order across groups, controllers, what is missing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from v2_tree import PRESSURE, V2Tree

from tango.adapters.cgroup_fake import FakeCgroups
from tango.adapters.cgroup_fake_kernel import BASE, FakeKernel
from tango.adapters.cgroup_v1 import CgroupV1
from tango.adapters.cgroup_v2 import CgroupV2
from tango.model.cgroup import GroupPressure, GroupTarget, Mismatch, Pressure


def v2(tmp_path: Path, **options: object) -> tuple[CgroupV2, V2Tree]:
    base = tmp_path / "tango.slice"
    files = V2Tree(base, **options)  # type: ignore[arg-type]
    return CgroupV2(base, "node", files), files


def test_fake_refuses_a_child_quota_above_its_parents() -> None:
    with FakeCgroups() as cgroups:
        cgroups.create("p/c")
        assert cgroups.apply("p", GroupTarget(quota_millis=500)) == ()
        misses = cgroups.apply("p/c", GroupTarget(quota_millis=600))
        assert misses == (Mismatch("p/c", "quota_millis", "600", "unlimited"),)
        assert cgroups.apply("p/c", GroupTarget(quota_millis=500)) == ()
        misses = cgroups.apply("p", GroupTarget(quota_millis=400))
        assert misses == (Mismatch("p", "quota_millis", "400", "500"),)


def test_a_refused_quota_leaves_the_old_quota_and_period() -> None:
    with FakeCgroups() as cgroups:
        cgroups.create("p/c")
        cgroups.apply("p", GroupTarget(quota_millis=500))
        cgroups.apply("p/c", GroupTarget(quota_millis=300, period_us=100_000))
        target = GroupTarget(quota_millis=900, period_us=200_000)
        misses = cgroups.apply("p/c", target)
        assert {miss.field for miss in misses} == {"quota_millis", "period_us"}
        found = cgroups.read("p/c")
        assert (found.quota_millis, found.period_us) == (300, 100_000)


def test_a_refused_quota_repeated_writes_nothing_more() -> None:
    with FakeCgroups() as cgroups:
        cgroups.create("p/c")
        cgroups.apply("p", GroupTarget(quota_millis=500))
        cgroups.apply("p/c", GroupTarget(quota_millis=400, burst_us=30_000))
        shrink = GroupTarget(quota_millis=300, burst_us=10_000)
        assert cgroups.apply("p", shrink)
        n_writes = cgroups.n_writes
        assert cgroups.apply("p", shrink)
        assert cgroups.n_writes == n_writes


def test_fake_usage_is_what_was_spent() -> None:
    with FakeCgroups() as cgroups:
        cgroups.create("lc/a")
        cgroups.create("lc/b")
        cgroups.spend("lc/a", cpu_s=1.5, memory_bytes=1000, n_oom_kills=1)
        cgroups.spend("lc/b", cpu_s=0.5, memory_bytes=200)
        cgroups.spend("lc/a", cpu_s=0.25, memory_bytes=700)
        cgroups.throttle("lc/a", n_periods=10, n_throttled=3, throttled_s=0.125)
        usage = cgroups.usage("lc/a")
        assert (usage.cpu_s, usage.memory_bytes, usage.n_oom_kills) == (1.75, 700, 1)
        assert (usage.n_periods, usage.n_throttled, usage.throttled_s) == (10, 3, 0.125)
        assert (cgroups.usage("lc").cpu_s, cgroups.usage("lc").memory_bytes) == (2.25, 900)
        assert cgroups.usage("lc").n_oom_kills == 0


def test_fake_refuses_a_memory_limit_below_what_is_used() -> None:
    with FakeCgroups() as cgroups:
        cgroups.create("g")
        cgroups.spend("g", memory_bytes=1 << 20)
        misses = cgroups.apply("g", GroupTarget(memory_max_bytes=4096))
        assert misses == (Mismatch("g", "memory_max_bytes", "4096", "unlimited"),)


def test_fake_processes_exit() -> None:
    with FakeCgroups() as cgroups:
        cgroups.create("g")
        cgroups.move("g", 7)
        cgroups.exit(7)
        assert cgroups.procs("g") == ()
        cgroups.remove("g")


def test_v1_needs_the_cpu_controller() -> None:
    with pytest.raises(KeyError):
        CgroupV1({"memory": Path("/sys/fs/cgroup/memory")}, "tango-never")


def test_v1_missing_controllers_are_told_not_guessed() -> None:
    cgroups = CgroupV1({"cpu": Path(BASE, "cpu")}, "tango", FakeKernel(2))
    cgroups.create("g")
    assert cgroups.features().controllers == {"cpu"}
    target = GroupTarget(quota_millis=100, memory_max_bytes=-1, cpuset="0")
    assert cgroups.apply("g", target) == (
        Mismatch("g", "memory_max_bytes", "unlimited", "unavailable"),
        Mismatch("g", "cpuset", "0", "unavailable"),
    )
    found = cgroups.read("g")
    assert (found.quota_millis, found.memory_max_bytes, found.cpuset) == (100, None, None)
    assert cgroups.usage("g").memory_bytes == 0


def test_v1_a_hierarchy_without_rights_is_left_out() -> None:
    class NoMemory(FakeKernel):
        def make_dir(self, path: str) -> bool:
            if "/memory/" in path:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return super().make_dir(path)

    mounts = {name: Path(BASE, name) for name in ("cpu", "cpuacct", "memory")}
    cgroups = CgroupV1(mounts, "tango", NoMemory(2))
    assert cgroups.features().controllers == {"cpu", "cpuacct"}
    assert "Permission denied" in cgroups.refused["memory"]
    cgroups.create("g")
    assert len(cgroups.procs_files("g")) == 2


def test_v1_controllers_mounted_together_are_one_hierarchy() -> None:
    both = Path(BASE, "cpu")
    cgroups = CgroupV1({"cpu": both, "cpuacct": both}, "tango", FakeKernel(2))
    cgroups.create("g")
    assert cgroups.procs_files("g") == (f"{BASE}/cpu/tango/g/cgroup.procs",)


def test_v2_enables_controllers_from_parent_to_child(tmp_path: Path) -> None:
    cgroups, _ = v2(tmp_path)
    cgroups.create("lc/a")
    for folder in ("", "node", "node/lc"):
        control = (tmp_path / "tango.slice" / folder / "cgroup.subtree_control").read_text()
        assert set(control.split()) == {"cpu", "cpuset", "memory"}, folder
    leaf = tmp_path / "tango.slice/node/lc/a"
    assert (leaf / "cgroup.subtree_control").read_text() == ""
    assert (leaf / "cpu.max").exists()


def test_v2_a_group_with_processes_gets_no_children(tmp_path: Path) -> None:
    cgroups, _ = v2(tmp_path)
    cgroups.create("a")
    cgroups.move("a", os.getpid())
    with pytest.raises(OSError) as caught:
        cgroups.create("a/b")
    assert caught.value.errno == errno.EBUSY
    with pytest.raises(OSError) as caught:
        cgroups.move("", os.getpid())
    assert caught.value.errno == errno.EBUSY


def test_v2_without_cpu_is_no_use_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cpu is not offered here"):
        v2(tmp_path, offered="memory pids")
    assert not (tmp_path / "tango.slice/node").exists()


def test_v2_without_memory_and_cpuset(tmp_path: Path) -> None:
    cgroups, _ = v2(tmp_path, offered="cpu")
    cgroups.create("g")
    assert cgroups.features().controllers == {"cpu"}
    assert set(cgroups.refused) == {"cpuset", "memory"}
    misses = cgroups.apply("g", GroupTarget(weight=1, memory_max_bytes=4096))
    assert misses == (Mismatch("g", "memory_max_bytes", "4096", "unavailable"),)
    assert cgroups.read("g").memory_max_bytes is None


def test_v2_a_base_with_processes_cannot_be_used(tmp_path: Path) -> None:
    base = tmp_path / "tango.slice"
    files = V2Tree(base)
    files.write(f"{base}/cgroup.procs", "77")
    with pytest.raises(OSError, match="holds processes") as caught:
        CgroupV2(base, "node", files)
    assert caught.value.errno == errno.EBUSY
    assert (base / "cgroup.subtree_control").read_text() == ""
    assert (base / "cgroup.type").read_text() == "domain"


def test_v2_a_base_that_is_not_ours_is_not_written(tmp_path: Path) -> None:
    base = tmp_path / "cgroup"
    files = V2Tree(base)
    with pytest.raises(PermissionError, match="not ours"):
        CgroupV2(base, "node", files, base_is_ours=False)
    files.write(f"{base}/cgroup.subtree_control", "+cpu")
    files.write(f"{base}/cgroup.subtree_control", "+memory")
    cgroups = CgroupV2(base, "node", files, base_is_ours=False)
    assert cgroups.features().controllers == {"cpu", "memory"}
    assert (base / "cgroup.subtree_control").read_text().split() == ["cpu", "memory"]


def test_v2_the_base_itself_as_root_is_never_removed(tmp_path: Path) -> None:
    base = tmp_path / "tango.slice"
    cgroups = CgroupV2(base, "", V2Tree(base))
    cgroups.create("lc/a")
    cgroups.remove("")
    assert cgroups.groups() == ()
    assert base.is_dir()


def test_v2_older_kernels_lack_burst_and_idle(tmp_path: Path) -> None:
    cgroups, _ = v2(tmp_path, without=("cpu.max.burst", "cpu.idle"))
    cgroups.create("g")
    assert (cgroups.features().burst, cgroups.features().idle) == (False, False)
    target = GroupTarget(quota_millis=100, burst_us=5, idle=True, weight=3)
    assert cgroups.apply("g", target) == (
        Mismatch("g", "burst_us", "5", "unavailable"),
        Mismatch("g", "idle", "True", "unavailable"),
    )
    found = cgroups.read("g")
    assert (found.quota_millis, found.weight, found.burst_us, found.idle) == (100, 3, None, None)


def test_v2_a_child_above_its_parent_is_taken(tmp_path: Path) -> None:
    cgroups, _ = v2(tmp_path)
    cgroups.create("p/c")
    assert cgroups.apply("p", GroupTarget(quota_millis=500)) == ()
    assert cgroups.apply("p/c", GroupTarget(quota_millis=600)) == ()


def test_v2_cores_that_the_parent_does_not_grant_are_told(tmp_path: Path) -> None:
    cgroups, _ = v2(tmp_path)
    cgroups.create("p/c")
    assert cgroups.apply("p", GroupTarget(cpuset="0-1")) == ()
    misses = cgroups.apply("p/c", GroupTarget(cpuset="1-2"))
    assert misses == (Mismatch("p/c", "cpuset", "1-2", "1"),)


def test_v2_usage_and_pressure(tmp_path: Path) -> None:
    cgroups, files = v2(tmp_path)
    cgroups.create("g")
    folder = tmp_path / "tango.slice/node/g"
    files.put(
        folder / "cpu.stat",
        "usage_usec 2500000\nuser_usec 1\nsystem_usec 2\nnr_periods 9\nnr_throttled 4\n"
        "throttled_usec 750000\nnr_bursts 0\nburst_usec 0\n",
    )
    files.put(folder / "memory.current", "123456\n")
    files.put(folder / "memory.events", "low 0\nhigh 0\nmax 2\noom 2\noom_kill 1\n")
    files.put(folder / "cpu.pressure", PRESSURE.replace("some avg10=0.00", "some avg10=12.50"))
    files.put(folder / "memory.pressure", PRESSURE.replace("total=0", "total=1500000"))
    usage = cgroups.usage("g")
    assert (usage.cpu_s, usage.n_periods, usage.n_throttled, usage.throttled_s) == (2.5, 9, 4, 0.75)
    assert (usage.memory_bytes, usage.n_oom_kills) == (123_456, 1)
    files.put(folder / "io.pressure", PRESSURE.replace("avg10=0.00", "avg10=1.00"))
    pressure = cgroups.pressure("g")
    assert pressure.cpu == Pressure(12.5, 0.0, 0.0, 0.0)
    assert pressure.memory == Pressure(0.0, 0.0, 1.5, 1.5)
    assert pressure.io == Pressure(1.0, 1.0, 0.0, 0.0)
    (folder / "io.pressure").unlink()  # hidden: cgroup.pressure was switched off
    cgroups.close()
    assert cgroups.pressure("g") == GroupPressure(pressure.cpu, pressure.memory, None)


def test_v2_without_pressure_says_none(tmp_path: Path) -> None:
    cgroups, _ = v2(tmp_path, pressure=False)
    cgroups.create("g")
    assert cgroups.features().pressure is False
    assert cgroups.pressure("g") == GroupPressure(None, None, None)


def test_v2_unused_descriptors_are_bounded(tmp_path: Path) -> None:
    base = tmp_path / "tango.slice"
    files = V2Tree(base)
    files._max = 8
    cgroups = CgroupV2(base, "node", files)
    for i in range(6):
        cgroups.create(f"g{i}")
        cgroups.apply(f"g{i}", GroupTarget(quota_millis=100 + i, weight=5, memory_max_bytes=4096))
        assert files.open_fds <= 8
    assert cgroups.read("g0").quota_millis == 100
    cgroups.close()
    assert files.open_fds == 0
