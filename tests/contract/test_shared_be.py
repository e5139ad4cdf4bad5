"""BE of nodes that share cores: one tree to its node, beside other nodes' BE in the kernel."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from cgroup_places import real_v1, top_v2, why_no_v1

from tango.adapters.cgroup_shared_be import SharedBe
from tango.model.cgroup import UNLIMITED, CgroupFeatures, GroupTarget
from tango.ports import Cgroups

BURN = "while True: pass"


@pytest.fixture
def nodes() -> Iterator[tuple[SharedBe, SharedBe]]:
    """Two nodes of one machine."""
    place = top_v2 if why_no_v1() else real_v1
    with (
        place("a1") as a1,
        place("b1") as b1,
        place("be") as common,
        place("be/a1") as be_a1,
        place("be/b1") as be_b1,
    ):
        yield SharedBe(a1, be_a1, common), SharedBe(b1, be_b1, common)


def test_a_node_sees_one_tree_of_its_own(nodes: tuple[SharedBe, SharedBe]) -> None:
    a1, b1 = nodes
    seam: Cgroups = a1
    for group in ("lc", "lc/hello", "lc/hello/r-1", "be", "be/j1.0.1"):
        seam.create(group)
    b1.create("be/j2.0.1")
    assert a1.groups() == ("be", "be/j1.0.1", "lc", "lc/hello", "lc/hello/r-1")
    assert b1.groups() == ("be", "be/j2.0.1")
    assert isinstance(a1.features(), CgroupFeatures)
    assert all("/be/a1/j1.0.1/" in path for path in a1.procs_files("be/j1.0.1"))
    with subprocess.Popen([sys.executable, "-c", BURN]) as process:
        a1.move("be/j1.0.1", process.pid)
        assert a1.procs("be/j1.0.1") == (process.pid,)
        assert b1.procs("be/j2.0.1") == ()
        end = time.monotonic() + 20
        while a1.usage("be").cpu_s <= 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert a1.usage("").cpu_s >= a1.usage("be").cpu_s > 0
        assert (a1.pressure("be").cpu is not None) is a1.features().pressure
        a1.kill("")
        process.wait()
    b1.remove("be/j2.0.1")
    assert b1.groups() == ("be",)
    assert "be/j1.0.1" in a1.groups()


def test_targets_of_be_hold_against_every_nodes_lc(nodes: tuple[SharedBe, SharedBe]) -> None:
    a1, b1 = nodes
    common = a1._common
    features = a1.features()
    for node in nodes:
        node.create("be")
        idle = True if features.idle else None
        assert node.apply("be", GroupTarget(UNLIMITED, weight=1, idle=idle)) == ()
    found = common.read("")
    assert found.weight == 1
    assert found.idle is (True if features.idle else None)
    # A cap is one node's own.
    assert a1.apply("be", GroupTarget(500, 10_000)) == ()
    assert a1.read("be").quota_millis == 500
    assert common.read("").quota_millis == UNLIMITED
    assert b1.read("be").quota_millis == UNLIMITED
    (miss,) = a1.apply("be", GroupTarget(weight=0))[:1]
    assert miss.group == "be"


def test_be_of_one_node_yields_to_lc_of_another(nodes: tuple[SharedBe, SharedBe]) -> None:
    a1, b1 = nodes
    idle = True if a1.features().idle else None
    for node in nodes:
        node.create("lc")
        node.create("be")
        node.apply("be", GroupTarget(weight=1, idle=idle))
        node.apply("", GroupTarget(cpuset="0"))
    # One core for all: BE of a1, and LC of b1.
    a1._common.apply("", GroupTarget(cpuset="0"))
    a1._be.apply("", GroupTarget(cpuset="0"))
    b1._node.apply("lc", GroupTarget(cpuset="0"))
    burners = [subprocess.Popen([sys.executable, "-I", "-S", "-c", BURN]) for _ in range(2)]
    try:
        a1.move("be", burners[0].pid)
        b1.move("lc", burners[1].pid)
        be, lc = a1.usage("be").cpu_s, b1.usage("lc").cpu_s
        end = time.monotonic() + 60
        while b1.usage("lc").cpu_s - lc < 0.3 and time.monotonic() < end:
            time.sleep(0.02)
        took_lc = b1.usage("lc").cpu_s - lc
        took_be = a1.usage("be").cpu_s - be
        assert took_lc >= 0.3
        assert took_be < 0.2 * took_lc, "with equal weights it would be about as much"
    finally:
        for process in burners:
            process.kill()
            process.wait()
