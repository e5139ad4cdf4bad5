"""The file operations on the kernel's own files, v2's included where a v2 tree is mounted."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator

import pytest
from cgroup_places import real_root, real_v1

from tango.adapters.cgroup_detect import find_mounts
from tango.adapters.cgroup_files import KernelFiles
from tango.adapters.cgroup_values import keyed, parse_cpus, parse_pressure


@pytest.fixture
def v2_group() -> Iterator[str]:
    """A group in the real v2 tree, with or without controllers in it."""
    mount = find_mounts().v2
    if mount is None:
        pytest.skip("no cgroup v2 mounted")
    group = mount / real_root("").replace("/", "-")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no rights in cgroup v2: {error}")
    yield str(group)
    group.rmdir()


def test_v2_files_of_the_real_kernel(v2_group: str) -> None:
    files = KernelFiles()
    assert keyed(files.read(f"{v2_group}/cpu.stat"))["usage_usec"] == 0
    assert files.read(f"{v2_group}/cgroup.subtree_control") == ""
    if files.exists(f"{v2_group}/cpu.pressure"):
        pressure = parse_pressure(files.read(f"{v2_group}/cpu.pressure"))
        assert pressure.some_avg10 == pressure.some_total_s == 0.0
    with pytest.raises(OSError) as caught:
        files.write(f"{v2_group}/cgroup.subtree_control", "+nonsense")
    assert caught.value.errno == errno.EINVAL
    files.close()


def test_v2_one_write_kills_a_group(v2_group: str) -> None:
    files = KernelFiles()
    if not files.exists(f"{v2_group}/cgroup.kill"):
        pytest.skip("no cgroup.kill before 5.14")
    with subprocess.Popen(["sleep", "30"]) as process:
        try:
            files.write(f"{v2_group}/cgroup.procs", str(process.pid))
            assert files.read_long(f"{v2_group}/cgroup.procs").split() == [str(process.pid)]
            files.write(f"{v2_group}/cgroup.kill", "1")
            assert process.wait(2.0) == -9
        finally:
            process.kill()
    files.close()


def test_descriptors_are_kept_up_to_a_bound() -> None:
    files = KernelFiles(max_fds=3)
    with real_v1("files", files) as cgroups:
        cgroups.create("g")
        for _ in range(3):
            cgroups.usage("g")
            cgroups.read("g")
            assert files.open_fds == 3
        files.close()
        assert files.open_fds == 0
        cgroups.usage("g")
        cgroups.remove("g")
        assert files.open_fds == 0


def test_a_bound_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="max_fds"):
        KernelFiles(max_fds=0)


def test_read_only_files_refuse_writes_as_rights() -> None:
    # cgroup files let root open anything for writing; sysfs is the same code and does not.
    online = "/sys/devices/system/cpu/online"
    files = KernelFiles()
    assert parse_cpus(files.read(online))
    with pytest.raises(PermissionError):
        files.write(online, "0")
    files.close()


@pytest.mark.parametrize(
    ("text", "cores"),
    [("", set()), ("0", {0}), ("0-2,5", {0, 1, 2, 5}), (" 3 , 1 ", {1, 3}), ("a", None)],
)
def test_core_lists(text: str, cores: set[int] | None) -> None:
    assert parse_cpus(text) == cores


def test_pressure_of_kernels_without_a_full_line_for_cpu() -> None:
    pressure = parse_pressure("some avg10=1.25 avg60=0.00 avg300=0.00 total=2000000\n")
    assert (pressure.some_avg10, pressure.some_total_s) == (1.25, 2.0)
    assert (pressure.full_avg10, pressure.full_total_s) == (0.0, 0.0)
