"""What the kernel does with targets, measured on the real one; the architecture page lists it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from burners import HOG, TEN_PERCENT, burning, median_s, share_over
from cgroup_places import NotingFiles, real_root, real_v1

from tango.adapters.cgroup_driver import CgroupDriver
from tango.model.cgroup import UNLIMITED, GroupPressure, GroupTarget, Mismatch

pytestmark = pytest.mark.alone


@pytest.fixture
def cgroups() -> Iterator[CgroupDriver]:
    with real_v1("facts") as made:
        made.create("g")
        # The machine may be busy; these burners are short and are to get what they ask for.
        made.apply("", GroupTarget(weight=10_000))
        yield made


def test_a_rewritten_quota_refills_its_bucket(cgroups: CgroupDriver) -> None:
    cgroups.apply("g", TEN_PERCENT)
    (quota_file,) = (p for p in cgroups.procs_files("g") if "/cpu/" in p)
    quota_file = quota_file.replace("cgroup.procs", "cpu.cfs_quota_us")
    with burning(cgroups, "g") as burner:
        burner.start()
        share = share_over(cgroups, "g", 0.5, lambda: Path(quota_file).write_text("10000"))
    # A free core gives nearly 100 %; on a busy machine it is less, yet far above the quota.
    assert share > 0.25


def test_an_unchanged_target_does_not_refill_it(cgroups: CgroupDriver) -> None:
    cgroups.apply("g", TEN_PERCENT)
    with burning(cgroups, "g") as burner:
        burner.start()
        share = share_over(cgroups, "g", 0.8, lambda: cgroups.apply("g", TEN_PERCENT))
        usage = cgroups.usage("g")
    # One period's quota more than 10 % may fall into the time measured.
    assert share < 0.14
    assert usage.n_periods >= 5
    assert usage.n_throttled >= 3
    assert usage.throttled_s > 0.1


def test_the_smallest_quota_is_one_millisecond(cgroups: CgroupDriver) -> None:
    path = Path(cgroups._dir("cpu", "g"), "cpu.cfs_quota_us")
    path.write_text("1000")
    with pytest.raises(OSError, match="Invalid argument"):
        path.write_text("999")
    assert cgroups.apply("g", GroupTarget(quota_millis=3)) == (
        Mismatch("g", "quota_millis", "3", "10"),
    )


def test_shares_cannot_be_written_while_idle(cgroups: CgroupDriver) -> None:
    assert cgroups.apply("g", GroupTarget(weight=50, idle=True)) == ()
    path = Path(cgroups._dir("cpu", "g"), "cpu.shares")
    assert path.read_text().strip() == "3"
    with pytest.raises(OSError, match="Invalid argument"):
        path.write_text("512")
    assert cgroups.apply("g", GroupTarget(weight=50, idle=False)) == ()
    assert path.read_text().strip() == "512"


def test_the_lowest_weight_is_two_shares(cgroups: CgroupDriver) -> None:
    assert cgroups.apply("g", GroupTarget(weight=1)) == ()
    assert Path(cgroups._dir("cpu", "g"), "cpu.shares").read_text().strip() == "2"


def test_a_child_quota_above_its_parents_is_refused(cgroups: CgroupDriver) -> None:
    cgroups.create("g/c")
    assert cgroups.apply("g", GroupTarget(quota_millis=500)) == ()
    assert cgroups.apply("g/c", GroupTarget(quota_millis=501)) == (
        Mismatch("g/c", "quota_millis", "501", "unlimited"),
    )
    assert cgroups.apply("g/c", GroupTarget(quota_millis=500)) == ()
    assert cgroups.apply("g", GroupTarget(quota_millis=499)) == (
        Mismatch("g", "quota_millis", "499", "500"),
    )
    # Also when only the period is to change, and a burst was to go with it.
    both = GroupTarget(quota_millis=900, period_us=200_000, burst_us=1_000)
    misses = cgroups.apply("g/c", both)
    assert {miss.field for miss in misses} == {"quota_millis", "period_us"}
    found = cgroups.read("g/c")
    assert (found.quota_millis, found.period_us, found.burst_us) == (500, 100_000, 1_000)


def test_a_burst_above_the_quota_is_refused_by_the_kernel_itself(cgroups: CgroupDriver) -> None:
    cgroups.apply("g", GroupTarget(quota_millis=100, burst_us=10_000))
    folder = Path(cgroups._dir("cpu", "g"))
    with pytest.raises(OSError, match="Invalid argument"):
        (folder / "cpu.cfs_burst_us").write_text("10001")
    with pytest.raises(OSError, match="Invalid argument"):
        (folder / "cpu.cfs_quota_us").write_text("9999")


def test_usage_agrees_with_a_burner_of_known_time(cgroups: CgroupDriver) -> None:
    with burning(cgroups, "g") as burner:
        before = cgroups.usage("g").cpu_s
        burner.start()
        time.sleep(0.6)
        own = burner.stop()
        counted = cgroups.usage("g").cpu_s - before
    assert own > 0.1
    assert counted == pytest.approx(own, rel=0.05)


@pytest.mark.parametrize("low", [GroupTarget(weight=1), GroupTarget(weight=1, idle=True)])
def test_the_lowest_group_leaves_the_core_to_a_normal_one(
    cgroups: CgroupDriver, low: GroupTarget
) -> None:
    core = max(os.sched_getaffinity(0))
    cgroups.create("lc")
    cgroups.create("be")
    assert cgroups.apply("be", low) == ()
    # LC ends first, or BE would hardly get the time to die.
    with burning(cgroups, "be", core) as be, burning(cgroups, "lc", core) as lc:
        lc.start()
        # BE hardly gets to say that it burns, so do not wait for it.
        be._tell()
        start = {name: cgroups.usage(name).cpu_s for name in ("lc", "be")}
        time.sleep(0.6)
        used = {name: cgroups.usage(name).cpu_s - start[name] for name in start}
    assert used["lc"] > 0.05
    assert used["be"] < 0.1 * (used["lc"] + used["be"])


def test_a_memory_limit_kills(cgroups: CgroupDriver) -> None:
    if "SwapTotal:             0 kB" not in Path("/proc/meminfo").read_text():
        pytest.skip("with swap the group is swapped out instead")
    cgroups.create("g/other")
    assert cgroups.apply("g", GroupTarget(memory_max_bytes=32 << 20)) == ()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as hog:
        try:
            assert hog.stdout is not None
            hog.stdout.readline()
            cgroups.move("g", hog.pid)
            assert cgroups.usage("g").n_oom_kills == 0
            out, _ = hog.communicate(b"\n", timeout=5.0)
        finally:
            hog.kill()
    assert out == b""
    assert hog.returncode == -9
    assert cgroups.usage("g").n_oom_kills == 1
    assert cgroups.usage("").n_oom_kills == 0, "v1 counts kills in the group alone"


def test_pressure_is_unavailable_on_v1(cgroups: CgroupDriver) -> None:
    assert cgroups.pressure("g") == GroupPressure(None, None, None)
    assert cgroups.features().pressure is False


def test_a_new_cpuset_group_is_fit_for_processes(cgroups: CgroupDriver) -> None:
    cgroups.create("a/b")
    folder = Path(cgroups._dir("cpuset", "a/b"))
    assert (folder / "cpuset.cpus").read_text().strip()
    assert (folder / "cpuset.mems").read_text().strip()
    with burning(cgroups, "a/b") as burner:
        assert cgroups.procs("a/b") == (burner.process.pid,)
        groups = Path(f"/proc/{burner.process.pid}/cgroup").read_text()
        for controller in ("cpu", "cpuacct", "cpuset", "memory"):
            assert f":{controller}:/{real_root('facts')}/a/b\n" in groups


def test_cores_outside_the_parents_are_refused(cgroups: CgroupDriver) -> None:
    cgroups.create("a/b")
    if "-" not in (cgroups.read("a").cpuset or ""):
        pytest.skip("needs two cores")
    assert cgroups.apply("a/b", GroupTarget(cpuset="0")) == ()
    assert cgroups.apply("a", GroupTarget(cpuset="0")) == ()
    (miss,) = cgroups.apply("a/b", GroupTarget(cpuset="0-1"))
    assert (miss.field, miss.found) == ("cpuset", "0")


def test_a_process_that_is_gone_cannot_be_moved(cgroups: CgroupDriver) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(ProcessLookupError):
        cgroups.move("g", process.pid)


def test_only_the_own_root_is_touched() -> None:
    files = NotingFiles()
    with real_v1("facts", files) as cgroups, burning(cgroups, "") as burner:
        cgroups.create("lc/a")
        target = GroupTarget(500, 50_000, 1_000, 20, True, 64 << 20, "0")
        for group in ("", "lc", "lc/a"):
            cgroups.apply(group, target)
        cgroups.move("lc/a", burner.process.pid)
        cgroups.kill("lc")
        burner.end()
        cgroups.remove("")
    own = real_root("facts").split("/")[0]
    assert files.touched
    for path in files.touched:
        assert Path(path).parts[5] == own, path


def test_an_outside_change_is_put_right(cgroups: CgroupDriver) -> None:
    cgroups.apply("g", GroupTarget(quota_millis=500))
    Path(cgroups._dir("cpu", "g"), "cpu.cfs_quota_us").write_text("70000")
    assert cgroups.read("g").quota_millis == 700
    assert cgroups.apply("g", GroupTarget(quota_millis=500)) == ()
    assert cgroups.read("g").quota_millis == 500


def test_a_group_made_again_by_someone_else_is_found(cgroups: CgroupDriver) -> None:
    cgroups.apply("g", GroupTarget(quota_millis=500))
    folder = Path(cgroups._dir("cpu", "g"))
    folder.rmdir()
    folder.mkdir()
    assert cgroups.read("g").quota_millis == UNLIMITED
    assert cgroups.apply("g", GroupTarget(quota_millis=400)) == ()


def test_a_changed_quota_costs_about_a_tenth_of_a_millisecond(cgroups: CgroupDriver) -> None:
    resize_s = median_s(lambda i: cgroups.apply("g", GroupTarget(quota_millis=500 + i % 2)))
    usage_s = median_s(lambda _: cgroups.usage("g"))
    # Three times the aims of 0.1 and 0.15 ms, since the machine that runs the tests is shared.
    assert resize_s < 0.000_3
    assert usage_s < 0.000_45
