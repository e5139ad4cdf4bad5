"""What the kernel does with v2 targets, measured on the real one (tools/guest: Debian's 6.1)."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from burners import HOG, TEN_PERCENT, burning, share_over
from cgroup_places import NotingFiles, delegated_v2, real_root, top_v2

from tango.adapters.cgroup_detect import Mounts, delegated_group, detect, find_mounts, v2_group
from tango.adapters.cgroup_driver import CgroupDriver
from tango.model.cgroup import GroupTarget, Mismatch

HALF = GroupTarget(quota_millis=500, period_us=100_000)
# Fork a child, wait with it; so there are two processes in the group when one is killed.
FAMILY = """
import os, sys, time
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
sys.stdin.readline()
data = bytearray(96 << 20)
data[::4096] = b"x" * len(data[::4096])
print("still here", flush=True)
"""


@pytest.fixture(params=[delegated_v2, top_v2], ids=["systemd", "cgroupfs"])
def cgroups(request: pytest.FixtureRequest) -> Iterator[CgroupDriver]:
    with request.param("facts") as made:
        made.create("g")
        yield made


def folder(cgroups: CgroupDriver, group: str) -> Path:
    (path,) = cgroups.procs_files(group)
    return Path(path).parent


def test_everything_is_offered(cgroups: CgroupDriver) -> None:
    features = cgroups.features()
    assert features.version == 2
    assert features.controllers == {"cpu", "cpuset", "memory"}
    assert features.burst
    assert features.idle
    assert features.pressure
    assert features.oom_group


def test_a_childs_quota_above_its_parents_is_taken_and_does_not_count(
    cgroups: CgroupDriver,
) -> None:
    """v1 refuses it; here keeping the order is ours, and the smaller quota is what counts."""
    cgroups.create("g/c")
    assert cgroups.apply("g", TEN_PERCENT) == ()
    assert cgroups.apply("g/c", GroupTarget(quota_millis=900, period_us=100_000)) == ()
    assert cgroups.read("g/c").quota_millis == 900
    with burning(cgroups, "g/c") as burner:
        burner.start()
        share = share_over(cgroups, "g/c", 1.5, lambda: None)
    assert share < 0.25


def test_a_rewritten_quota_refills_its_bucket(cgroups: CgroupDriver) -> None:
    cgroups.apply("g", TEN_PERCENT)
    quota = folder(cgroups, "g") / "cpu.max"
    with burning(cgroups, "g") as burner:
        burner.start()
        still = share_over(cgroups, "g", 1.5, lambda: cgroups.apply("g", TEN_PERCENT))
        refilled = share_over(cgroups, "g", 1.5, lambda: quota.write_text("10000 100000"))
    assert still < 0.2, "an unchanged target is not written"
    assert refilled > 0.25


def test_a_throttled_group_counts_its_periods(cgroups: CgroupDriver) -> None:
    cgroups.apply("g", TEN_PERCENT)
    with burning(cgroups, "g") as burner:
        burner.start()
        share_over(cgroups, "g", 1.5, lambda: None)
        usage = cgroups.usage("g")
    assert usage.n_periods >= 5
    assert usage.n_throttled >= 3
    assert usage.throttled_s > 0.1


def test_the_smallest_quota_is_one_millisecond(cgroups: CgroupDriver) -> None:
    path = folder(cgroups, "g") / "cpu.max"
    path.write_text("1000 100000")
    with pytest.raises(OSError, match="Invalid argument"):
        path.write_text("999 100000")
    assert cgroups.apply("g", GroupTarget(quota_millis=3)) == (
        Mismatch("g", "quota_millis", "3", "10"),
    )


def test_a_burst_above_the_quota_is_refused_by_the_kernel_itself(cgroups: CgroupDriver) -> None:
    assert cgroups.apply("g", GroupTarget(quota_millis=100, burst_us=10_000)) == ()
    with pytest.raises(OSError, match="Invalid argument"):
        (folder(cgroups, "g") / "cpu.max.burst").write_text("10001")
    with pytest.raises(OSError, match="Invalid argument"):
        (folder(cgroups, "g") / "cpu.max").write_text("9999 100000")


def test_the_weight_of_an_idle_group_is_nought_and_cannot_be_written(
    cgroups: CgroupDriver,
) -> None:
    assert cgroups.apply("g", GroupTarget(weight=50, idle=True)) == ()
    path = folder(cgroups, "g") / "cpu.weight"
    assert path.read_text().strip() == "0"
    with pytest.raises(OSError, match="Invalid argument"):
        path.write_text("50")
    assert cgroups.apply("g", GroupTarget(idle=False)) == ()
    assert path.read_text().strip() == "50"


@pytest.mark.parametrize("low", [GroupTarget(weight=1), GroupTarget(weight=1, idle=True)])
def test_the_lowest_group_leaves_the_core_to_a_normal_one(
    cgroups: CgroupDriver, low: GroupTarget
) -> None:
    core = max(os.sched_getaffinity(0))
    cgroups.create("lc")
    cgroups.create("be")
    assert cgroups.apply("be", low) == ()
    with burning(cgroups, "be", core) as be, burning(cgroups, "lc", core) as lc:
        lc.start()
        be._tell()
        start = {name: cgroups.usage(name).cpu_s for name in ("lc", "be")}
        time.sleep(1.5)
        used = {name: cgroups.usage(name).cpu_s - start[name] for name in start}
    assert used["lc"] > 0.1
    assert used["be"] < 0.1 * (used["lc"] + used["be"])


def test_two_on_one_core_are_under_pressure(cgroups: CgroupDriver) -> None:
    core = max(os.sched_getaffinity(0))
    cgroups.create("alone")
    with burning(cgroups, "g", core) as one, burning(cgroups, "g", core) as two:
        one.start()
        two.start()
        before = cgroups.pressure("g").cpu
        time.sleep(1.5)
        after = cgroups.pressure("g").cpu
    assert before is not None
    assert after is not None
    assert after.some_total_s - before.some_total_s > 0.3
    unloaded = cgroups.pressure("alone")
    assert unloaded.cpu is not None
    assert unloaded.cpu.some_total_s == 0.0
    assert unloaded.memory is not None
    assert unloaded.io is not None


def test_pressure_that_is_switched_off_is_unavailable_not_nought(cgroups: CgroupDriver) -> None:
    switch = folder(cgroups, "g") / "cgroup.pressure"
    if not switch.exists():
        pytest.skip("this kernel cannot switch it off for one group")
    switch.write_text("0")
    assert cgroups.pressure("g").cpu is None
    switch.write_text("1")
    assert cgroups.pressure("g").cpu is not None


def no_swap() -> None:
    if "SwapTotal:             0 kB" not in Path("/proc/meminfo").read_text():
        pytest.skip("with swap the group is swapped out instead")


def test_a_memory_limit_kills_and_parents_count_it_too(cgroups: CgroupDriver) -> None:
    no_swap()
    cgroups.create("g/one")
    cgroups.create("g/other")
    assert cgroups.apply("g/one", GroupTarget(memory_max_bytes=32 << 20)) == ()
    argv = [sys.executable, "-I", "-S", "-c", HOG]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hog:
        try:
            assert hog.stdout is not None
            hog.stdout.readline()
            cgroups.move("g/one", hog.pid)
            out, _ = hog.communicate(b"\n", timeout=60.0)
        finally:
            hog.kill()
    assert (out, hog.returncode) == (b"", -9)
    counted = {name: cgroups.usage(name).n_oom_kills for name in ("g/one", "g/other", "g")}
    assert counted == {"g/one": 1, "g/other": 0, "g": 1}


@pytest.mark.parametrize("whole", [True, False])
def test_an_oom_group_dies_as_a_whole(cgroups: CgroupDriver, whole: bool) -> None:
    no_swap()
    target = GroupTarget(memory_max_bytes=48 << 20, oom_group=whole)
    assert cgroups.apply("g", target) == ()
    argv = [sys.executable, "-I", "-S", "-c", FAMILY]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            for pid in (parent.pid, child):
                cgroups.move("g", pid)
            out, _ = communicate(parent)
            assert (out, parent.returncode) == (b"", -9)
            assert cgroups.procs("g") == (() if whole else (child,))
        finally:
            cgroups.kill("g")
            parent.kill()


def communicate(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Tell it to go on; its child may hold its stdout, so read only what it writes itself."""
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    process.wait(60.0)
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return process.stdout.read() or b"", b""


def test_a_group_with_controllers_for_its_children_holds_no_process(
    cgroups: CgroupDriver,
) -> None:
    cgroups.create("g/leaf")
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            with pytest.raises(OSError) as caught:
                cgroups.move("g", process.pid)
            assert caught.value.errno == errno.EBUSY
            cgroups.move("g/leaf", process.pid)
            with pytest.raises(OSError) as caught:
                cgroups.create("g/leaf/below")
            assert caught.value.errno == errno.EBUSY
            # The kernel alone would have taken cpu, and made a threaded subtree of it.
            assert (folder(cgroups, "g/leaf") / "cgroup.type").read_text().strip() == "domain"
        finally:
            process.kill()


def test_usage_agrees_with_a_burner_of_known_time(cgroups: CgroupDriver) -> None:
    with burning(cgroups, "g") as burner:
        before = cgroups.usage("g").cpu_s
        burner.start()
        time.sleep(1.0)
        own = burner.stop()
        counted = cgroups.usage("g").cpu_s - before
    assert own > 0.1
    assert counted == pytest.approx(own, rel=0.1)


def test_a_process_is_where_the_path_says(cgroups: CgroupDriver) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            cgroups.move("g", process.pid)
            (line,) = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
        finally:
            process.kill()
    assert line.endswith(f"/{real_root('facts')}/g")
    assert f"/sys/fs/cgroup{line.removeprefix('0::')}" == str(folder(cgroups, "g"))


def test_at_the_mount_only_the_own_root_is_touched() -> None:
    files = NotingFiles()
    with top_v2("touched", files) as cgroups:
        cgroups.create("lc/a")
        target = GroupTarget(500, 50_000, 1_000, 20, True, 64 << 20, "0", True)
        for group in ("", "lc", "lc/a"):
            cgroups.apply(group, target)
        cgroups.kill("lc")
        cgroups.remove("")
    top = Path("/sys/fs/cgroup", real_root("touched").split("/")[0])
    assert files.touched
    for path in files.touched:
        assert top in (Path(path), *Path(path).parents), path


def test_the_delegated_group_is_found_by_its_mark() -> None:
    with delegated_v2("found") as cgroups:
        base = delegated_group(Path("/sys/fs/cgroup"), v2_group())
        assert base is not None
        assert base in folder(cgroups, "").parents
    found = detect(real_root("detected"))
    try:
        assert found.cgroups is not None, found.reason
        assert found.reason == f"cgroup v2 at {base}: cpu, cpuset, memory"
    finally:
        if found.cgroups is not None:
            found.cgroups.remove("")
            found.cgroups.close()


def test_without_delegation_the_mount_is_used() -> None:
    with top_v2("plain"):
        top = find_mounts().v2
    found = detect(real_root("direct"), base=None, mounts=Mounts({}, top))
    assert found.cgroups is not None, found.reason
    with contextlib.closing(found.cgroups) as cgroups:
        cgroups.remove("")
