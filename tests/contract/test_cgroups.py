"""The contract of `Cgroups`: real v1, the fake, v2 on an emulated tree and on a real kernel."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cgroup_places import delegated_v2, emulated_v2, fake, real_v1, top_v2

from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_fake import FakeCgroups
from tango.adapters.cgroup_values import parse_cpus
from tango.model.cgroup import UNLIMITED, GroupTarget, Mismatch
from tango.ports import Cgroups

PLACES = {
    "v1": real_v1,
    "fake": fake,
    "v2": emulated_v2,
    "v2-systemd": delegated_v2,
    "v2-cgroupfs": top_v2,
}
GROUP = "lc/hello/r-1"


@pytest.fixture(params=PLACES)
def cgroups(request: pytest.FixtureRequest) -> Iterator[CgroupDriver]:
    with PLACES[request.param]() as made:
        made.create(GROUP)
        yield made


@pytest.fixture
def pid() -> Iterator[int]:
    """A real process that waits; the fake and the emulated tree only see its number."""
    with subprocess.Popen(["sleep", "30"]) as process:
        yield process.pid
        process.kill()


def test_it_is_a_cgroups(cgroups: CgroupDriver) -> None:
    seam: Cgroups = cgroups
    features = seam.features()
    assert features.version in (1, 2)
    assert {"cpu", "memory", "cpuset"} <= features.controllers
    assert features.pressure is (features.version == 2)


def test_create_makes_parents_and_is_idempotent(cgroups: CgroupDriver) -> None:
    cgroups.create(GROUP)
    cgroups.create("be")
    cgroups.create("")
    assert cgroups.groups() == ("be", "lc", "lc/hello", GROUP)


def test_a_group_that_exists_keeps_its_values(cgroups: CgroupDriver) -> None:
    cgroups.apply(GROUP, GroupTarget(quota_millis=700))
    cgroups.create(GROUP)
    assert cgroups.read(GROUP).quota_millis == 700


def test_remove_is_recursive_and_idempotent(cgroups: CgroupDriver) -> None:
    cgroups.create("lc/other")
    cgroups.remove("lc/hello")
    assert cgroups.groups() == ("lc", "lc/other")
    cgroups.remove("lc/hello")
    cgroups.remove("lc")
    assert cgroups.groups() == ()


def test_removed_and_made_again_starts_from_defaults(cgroups: CgroupDriver) -> None:
    cgroups.apply(GROUP, GroupTarget(quota_millis=700, weight=7))
    cgroups.remove(GROUP)
    cgroups.create(GROUP)
    found = cgroups.read(GROUP)
    assert (found.quota_millis, found.weight) == (UNLIMITED, 100)


def test_remove_of_the_root_takes_it_away_and_it_can_be_made_again(cgroups: CgroupDriver) -> None:
    folder = Path(cgroups.procs_files("")[0]).parent
    cgroups.remove("")
    if not isinstance(cgroups, FakeCgroups):
        assert not folder.exists()
        assert not folder.parent.exists()
        assert folder.parent.parent.exists()
    cgroups.create(GROUP)
    assert cgroups.groups() == ("lc", "lc/hello", GROUP)


@pytest.mark.parametrize(
    "name",
    ["..", "a/..", "../x", "/abs", "a//b", "a/", ".hidden", "a/.b", "a b", "a\n", "ä", "a" * 256],
)
def test_names_that_would_leave_the_root_are_refused(cgroups: CgroupDriver, name: str) -> None:
    calls = (
        lambda: cgroups.create(name),
        lambda: cgroups.remove(name),
        lambda: cgroups.apply(name, GroupTarget(weight=1)),
        lambda: cgroups.read(name),
        lambda: cgroups.usage(name),
        lambda: cgroups.pressure(name),
        lambda: cgroups.procs(name),
        lambda: cgroups.move(name, 1),
        lambda: cgroups.procs_files(name),
        lambda: cgroups.kill(name),
    )
    for call in calls:
        with pytest.raises(ValueError):
            call()
    assert cgroups.groups() == ("lc", "lc/hello", GROUP)


def test_a_kernel_file_is_no_group(cgroups: CgroupDriver) -> None:
    with pytest.raises(NotADirectoryError):
        cgroups.create(f"{GROUP}/cgroup.procs")


def test_absent_groups_are_file_not_found(cgroups: CgroupDriver) -> None:
    for call in (
        lambda: cgroups.apply("no", GroupTarget(quota_millis=100)),
        lambda: cgroups.apply("no", GroupTarget(weight=1)),
        lambda: cgroups.apply("no", GroupTarget(memory_max_bytes=1 << 20)),
        lambda: cgroups.apply("no", GroupTarget(cpuset="0")),
        lambda: cgroups.read("no"),
        lambda: cgroups.usage("no"),
        lambda: cgroups.pressure("no"),
        lambda: cgroups.procs("no"),
        lambda: cgroups.move("no", os.getpid()),
    ):
        with pytest.raises(FileNotFoundError):
            call()


def test_a_group_removed_behind_our_back_is_file_not_found(cgroups: CgroupDriver) -> None:
    cgroups.apply(GROUP, GroupTarget(quota_millis=100))
    cgroups.usage(GROUP)
    files = cgroups.procs_files(GROUP)
    if isinstance(cgroups, FakeCgroups):
        cgroups.remove(GROUP)
    else:
        for path in files:
            folder = Path(path).parent
            if not path.startswith("/sys/"):
                for file in folder.iterdir():
                    file.unlink()
            folder.rmdir()
    if isinstance(cgroups, FakeCgroups) or files[0].startswith(
        "/sys/"
    ):  # plain files stay readable through an open descriptor
        with pytest.raises(FileNotFoundError):
            cgroups.apply(GROUP, GroupTarget(quota_millis=200))
        with pytest.raises(FileNotFoundError):
            cgroups.usage(GROUP)
    cgroups.remove(GROUP)


FULL = GroupTarget(
    quota_millis=333,
    period_us=50_000,
    burst_us=10_000,
    weight=250,
    idle=False,
    memory_max_bytes=64 << 20,
    cpuset="0",
)


def test_fact_4_everything_is_applied_and_read_back_in_each_kind_of_place(
    cgroups: CgroupDriver,
) -> None:
    full = replace(FULL, oom_group=True if cgroups.features().oom_group else None)
    assert cgroups.apply(GROUP, full) == ()
    assert cgroups.read(GROUP) == full


def test_an_empty_target_changes_nothing(cgroups: CgroupDriver) -> None:
    before = cgroups.read(GROUP)
    assert cgroups.apply(GROUP, GroupTarget()) == ()
    assert cgroups.read(GROUP) == before


def test_unlimited_again(cgroups: CgroupDriver) -> None:
    cgroups.apply(GROUP, FULL)
    free = GroupTarget(quota_millis=UNLIMITED, memory_max_bytes=UNLIMITED)
    assert cgroups.apply(GROUP, free) == ()
    found = cgroups.read(GROUP)
    assert (found.quota_millis, found.memory_max_bytes) == (UNLIMITED, UNLIMITED)
    assert found.period_us == 50_000


def test_unchanged_values_are_never_written(
    cgroups: CgroupDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups.apply(GROUP, FULL)
    written: list[tuple[str, str]] = []
    real = cgroups._files.write

    def note(path: str, value: str) -> None:
        written.append((Path(path).name, value))
        real(path, value)

    monkeypatch.setattr(cgroups._files, "write", note)
    for target in (FULL, GroupTarget(quota_millis=333), GroupTarget(cpuset="0", weight=250)):
        assert cgroups.apply(GROUP, target) == ()
    assert written == []
    assert cgroups.apply(GROUP, GroupTarget(quota_millis=334)) == ()
    assert len(written) == 1


def test_burst_goes_down_before_the_quota_and_up_after_it(cgroups: CgroupDriver) -> None:
    high = GroupTarget(quota_millis=800, burst_us=80_000)
    low = GroupTarget(quota_millis=100, burst_us=5_000)
    for target in (high, low, high, low):
        assert cgroups.apply(GROUP, target) == ()
        found = cgroups.read(GROUP)
        assert (found.quota_millis, found.burst_us) == (target.quota_millis, target.burst_us)


def test_a_burst_above_the_quota_is_held_at_it_and_told(cgroups: CgroupDriver) -> None:
    misses = cgroups.apply(GROUP, GroupTarget(quota_millis=100, burst_us=20_000))
    assert misses == (Mismatch(GROUP, "burst_us", "20000", "10000"),)
    assert cgroups.read(GROUP).burst_us == 10_000


def test_a_quota_below_the_burst_takes_the_burst_down_and_tells(cgroups: CgroupDriver) -> None:
    cgroups.apply(GROUP, GroupTarget(quota_millis=500, burst_us=50_000))
    misses = cgroups.apply(GROUP, GroupTarget(quota_millis=200))
    assert misses == (Mismatch(GROUP, "burst_us", "50000", "20000"),)
    assert cgroups.read(GROUP).quota_millis == 200
    assert cgroups.apply(GROUP, GroupTarget(quota_millis=200)) == ()


@pytest.mark.parametrize(("asked", "period"), [(5, 100_000), (0, 100_000), (99, 10_000)])
def test_a_quota_below_one_millisecond_becomes_it_and_is_told(
    cgroups: CgroupDriver, asked: int, period: int
) -> None:
    misses = cgroups.apply(GROUP, GroupTarget(quota_millis=asked, period_us=period))
    smallest = 1_000_000 // period
    assert misses == (Mismatch(GROUP, "quota_millis", str(asked), str(smallest)),)
    assert cgroups.read(GROUP).quota_millis == smallest


def test_a_period_alone_keeps_the_millicores(cgroups: CgroupDriver) -> None:
    cgroups.apply(GROUP, GroupTarget(quota_millis=250, period_us=100_000))
    assert cgroups.apply(GROUP, GroupTarget(period_us=20_000)) == ()
    found = cgroups.read(GROUP)
    assert (found.quota_millis, found.period_us) == (250, 20_000)


def test_quota_and_period_move_together_under_a_tight_parent(cgroups: CgroupDriver) -> None:
    """Every way from one pair to another, with parent and child at the very same ratio."""
    child = f"{GROUP}/c"
    cgroups.create(child)
    pairs = [(500, 100_000), (500, 20_000), (300, 50_000), (900, 200_000), (500, 100_000)]
    for millis, period in pairs:
        for name in ("lc", "lc/hello"):
            assert cgroups.apply(name, GroupTarget(quota_millis=UNLIMITED)) == ()
        target = GroupTarget(quota_millis=millis, period_us=period)
        for name in (child, GROUP, "lc/hello", "lc"):
            assert cgroups.apply(name, GroupTarget(quota_millis=UNLIMITED)) == ()
        for name in ("lc", "lc/hello", GROUP, child):
            assert cgroups.apply(name, target) == ()
        same_rate = GroupTarget(quota_millis=millis, period_us=period * 2)
        for name in ("lc/hello", GROUP, child, "lc"):
            assert cgroups.apply(name, same_rate) == (), name
            assert cgroups.read(name).period_us == period * 2


@pytest.mark.parametrize(
    ("target", "field", "found"),
    [
        (GroupTarget(period_us=999), "period_us", "100000"),
        (GroupTarget(period_us=1_000_001), "period_us", "100000"),
        (GroupTarget(quota_millis=-7), "quota_millis", "unlimited"),
        (GroupTarget(burst_us=-1), "burst_us", "0"),
        (GroupTarget(weight=0), "weight", "100"),
        (GroupTarget(weight=10_001), "weight", "100"),
        (GroupTarget(weight=10_001, idle=True), "weight", "1"),
        (GroupTarget(memory_max_bytes=-2), "memory_max_bytes", "unlimited"),
    ],
)
def test_values_out_of_range_come_back_as_mismatch(
    cgroups: CgroupDriver, target: GroupTarget, field: str, found: str
) -> None:
    (miss,) = cgroups.apply(GROUP, target)
    assert (miss.group, miss.field, miss.found) == (GROUP, field, found)


@pytest.mark.parametrize("cpus", ["", "x", "1-0", "0-", "99999"])
def test_impossible_cpusets_come_back_as_mismatch(cgroups: CgroupDriver, cpus: str) -> None:
    before = cgroups.read(GROUP).cpuset
    (miss,) = cgroups.apply(GROUP, GroupTarget(cpuset=cpus))
    assert (miss.field, miss.wanted, miss.found) == ("cpuset", cpus, before)


def test_cpuset_spellings_are_the_same_value(
    cgroups: CgroupDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not {0, 1} <= (parse_cpus(cgroups.read(GROUP).cpuset or "") or set()):
        pytest.skip("needs cores 0 and 1")
    assert cgroups.apply(GROUP, GroupTarget(cpuset="0-1")) == ()
    monkeypatch.setattr(cgroups._files, "write", None)
    assert cgroups.apply(GROUP, GroupTarget(cpuset="1,0")) == ()


def test_memory_limits_count_in_pages(cgroups: CgroupDriver) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    assert cgroups.apply(GROUP, GroupTarget(memory_max_bytes=100 * page + 1)) == ()
    assert cgroups.read(GROUP).memory_max_bytes == 100 * page


@pytest.mark.parametrize("weight", [1, 2, 50, 100, 101, 9_999, 10_000])
def test_weights_come_back_as_asked(cgroups: CgroupDriver, weight: int) -> None:
    assert cgroups.apply(GROUP, GroupTarget(weight=weight)) == ()
    assert cgroups.read(GROUP).weight == weight


def test_weight_survives_an_idle_time(cgroups: CgroupDriver) -> None:
    cgroups.apply(GROUP, GroupTarget(weight=300))
    assert cgroups.apply(GROUP, GroupTarget(idle=True)) == ()
    assert cgroups.read(GROUP).idle is True
    assert cgroups.read(GROUP).weight == 1
    assert cgroups.apply(GROUP, GroupTarget(idle=False)) == ()
    assert cgroups.read(GROUP).weight == 300


def test_weight_asked_for_while_idle_is_given_later(cgroups: CgroupDriver) -> None:
    assert cgroups.apply(GROUP, GroupTarget(weight=1, idle=True)) == ()
    assert cgroups.apply(GROUP, GroupTarget(weight=700)) == ()
    assert cgroups.read(GROUP).idle is True
    assert cgroups.apply(GROUP, GroupTarget(idle=False)) == ()
    assert cgroups.read(GROUP).weight == 700
    assert cgroups.apply(GROUP, GroupTarget(weight=5, idle=True)) == ()
    assert cgroups.apply(GROUP, GroupTarget(weight=6, idle=False)) == ()
    assert cgroups.read(GROUP).weight == 6


def test_processes_are_listed_where_they_are(cgroups: CgroupDriver, pid: int) -> None:
    cgroups.create("be")
    cgroups.move(GROUP, pid)
    assert cgroups.procs(GROUP) == (pid,)
    assert cgroups.procs("lc") == ()
    cgroups.move("be", pid)
    assert cgroups.procs(GROUP) == ()
    assert cgroups.procs("be") == (pid,)


def test_a_group_in_use_cannot_be_removed(cgroups: CgroupDriver, pid: int) -> None:
    cgroups.move(GROUP, pid)
    with pytest.raises(OSError) as caught:
        cgroups.remove("lc")
    assert caught.value.errno == errno.EBUSY
    assert cgroups.procs(GROUP) == (pid,)


def test_pid_zero_and_below_are_refused(cgroups: CgroupDriver) -> None:
    for bad in (0, -1):
        with pytest.raises(ValueError):
            cgroups.move(GROUP, bad)


def test_kill_ends_the_whole_subtree(cgroups: CgroupDriver) -> None:
    with contextlib.ExitStack() as stack:
        sleepers = [stack.enter_context(subprocess.Popen(["sleep", "30"])) for _ in range(2)]
        cgroups.create("lc/two")
        cgroups.move(GROUP, sleepers[0].pid)
        cgroups.move("lc/two", sleepers[1].pid)
        cgroups.kill("lc")
        if cgroups.procs_files("")[0].startswith("/sys/"):
            assert [process.wait(2.0) for process in sleepers] == [-9, -9]
        else:
            assert cgroups.procs(GROUP) == cgroups.procs("lc/two") == ()
            for process in sleepers:
                process.kill()
    cgroups.remove("lc")


def test_procs_files_let_a_process_in(cgroups: CgroupDriver, pid: int) -> None:
    paths = cgroups.procs_files(GROUP)
    assert all(path.startswith("/") and path.endswith("/cgroup.procs") for path in paths)
    assert len(set(paths)) == len(paths)
    for path in paths:
        cgroups._files.write(path, str(pid))
    assert cgroups.procs(GROUP) == (pid,)


def test_usage_of_a_new_group_is_nought(cgroups: CgroupDriver) -> None:
    usage = cgroups.usage(GROUP)
    assert (usage.cpu_s, usage.n_periods, usage.n_throttled, usage.n_oom_kills) == (0, 0, 0, 0)


def test_pressure_is_there_or_said_to_be_unavailable(cgroups: CgroupDriver) -> None:
    pressure = cgroups.pressure(GROUP)
    resources = (pressure.cpu, pressure.memory, pressure.io)
    if not cgroups.features().pressure:
        assert resources == (None, None, None)
        return
    for found in resources:
        assert found is not None
        assert found.some_total_s == pytest.approx(0.0, abs=0.01)
        assert 0 <= found.full_total_s <= found.some_total_s


def test_a_whole_group_for_the_oom_killer(cgroups: CgroupDriver) -> None:
    if not cgroups.features().oom_group:
        (miss,) = cgroups.apply(GROUP, GroupTarget(oom_group=True))
        assert (miss.field, miss.wanted, miss.found) == ("oom_group", "True", "unavailable")
        assert cgroups.read(GROUP).oom_group is None
        return
    assert cgroups.read(GROUP).oom_group is False
    for wanted in (True, True, False):
        assert cgroups.apply(GROUP, GroupTarget(oom_group=wanted)) == ()
        assert cgroups.read(GROUP).oom_group is wanted
    assert cgroups.read("lc").oom_group is False


def test_closed_means_descriptors_only(cgroups: CgroupDriver) -> None:
    cgroups.close()
    assert cgroups.apply(GROUP, GroupTarget(quota_millis=100)) == ()
