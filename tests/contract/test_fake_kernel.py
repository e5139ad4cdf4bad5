"""The fake kernel beside the real one: the same writes, the same answers."""

from __future__ import annotations

import random

import pytest
from cgroup_places import fake, real_v1

from tango.adapters.cgroup_driver import CgroupDriver
from tango.adapters.cgroup_fake import FakeCgroups
from tango.adapters.cgroup_values import parse_cpus

GROUPS = ("p", "p/c", "p/c/d")
VALUES = {
    "cpu.cfs_quota_us": "-1 -7 0 999 1000 1001 5000 20000 20001 50000 100000 200000 x",
    "cpu.cfs_period_us": "0 999 1000 20000 50000 100000 200000 1000000 1000001",
    "cpu.cfs_burst_us": "0 500 1000 5000 20000 50000 200000",
    "cpu.shares": "0 1 2 3 512 1024 262144 300000",
    "cpu.idle": "0 1 2",
    "memory.limit_in_bytes": "-1 -2 67108864 100000001",
    "cpuset.cpus": "0 0-1 1 1,0 x",
}


def answer(cgroups: CgroupDriver, group: str, file: str, value: str) -> str:
    path = f"{cgroups._dir(file.partition('.')[0], group)}/{file}"
    try:
        cgroups._files.write(path, value)
    except OSError as error:
        return f"errno {error.errno}"
    return "taken"


def state(cgroups: CgroupDriver) -> list[str]:
    found = []
    for group in GROUPS:
        for file in VALUES:
            path = f"{cgroups._dir(file.partition('.')[0], group)}/{file}"
            found.append(f"{group} {file} {cgroups._files.read(path)}")
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_same_writes_get_the_same_answers(seed: int) -> None:
    random_ = random.Random(seed)
    with real_v1("beside") as real:
        cores = parse_cpus(real.read("").cpuset or "") or frozenset()
        if cores != frozenset(range(len(cores))) or len(cores) < 2:
            pytest.skip("needs cores 0 and 1, and none left out")
        pretended = FakeCgroups("tango/node", cores=len(cores))
        for cgroups in (real, pretended):
            cgroups.create(GROUPS[-1])
        for _ in range(400):
            group = random_.choice(GROUPS)
            file = random_.choice(tuple(VALUES))
            value = random_.choice(VALUES[file].split())
            answers = [answer(cgroups, group, file, value) for cgroups in (real, pretended)]
            assert answers[0] == answers[1], (group, file, value)
            assert state(real) == state(pretended), (group, file, value)


def test_a_fake_machine_of_one_core() -> None:
    with FakeCgroups(cores=1) as cgroups:
        assert cgroups.read("").cpuset == "0"
    with fake() as cgroups:
        assert cgroups.read("").cpuset == "0-3"
