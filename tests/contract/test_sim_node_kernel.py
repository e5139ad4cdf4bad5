"""The simulated CPU against the real kernel's scheduler: the same groups and work on both."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

import pytest
from burners import burning
from cgroup_places import real_root, real_v1

from tango.adapters.cgroup_detect import detect
from tango.adapters.cgroup_driver import CgroupDriver
from tango.model.cgroup import GroupTarget, GroupUsage
from tango.sim.node_cpu import NodeCpu

pytestmark = pytest.mark.alone

SECONDS = 1.0
WORK_S = 0.01
# Uses so much CPU time, sleeps as long, again and again.
ON_AND_OFF = """
import os, sys, time
print("ready", flush=True)
sys.stdin.readline()
os.sched_setaffinity(0, {int(sys.argv[1])})
work_s = float(sys.argv[2])
while True:
    end = time.thread_time() + work_s
    while time.thread_time() < end:
        pass
    time.sleep(work_s)
"""


@pytest.fixture
def cgroups() -> Iterator[CgroupDriver]:
    with real_v1("sim") as made:
        outer = detect(real_root("sim").partition("/")[0]).cgroups
        assert outer is not None
        with outer:
            # Others may use the core, too; ours get nearly all of it.
            outer.apply("", GroupTarget(weight=10_000))
            yield made


@contextlib.contextmanager
def on_and_off(cgroups: CgroupDriver, group: str, core: int) -> Iterator[None]:
    argv = [sys.executable, "-I", "-S", "-c", ON_AND_OFF, str(core), str(WORK_S)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            cgroups.move(group, process.pid)
            process.stdin.write(b"\n")
            process.stdin.flush()
            yield
        finally:
            process.kill()


def measured(cgroups: CgroupDriver, groups: Mapping[str, GroupTarget]) -> dict[str, GroupUsage]:
    """What each group got in SECONDS of time, scaled to exactly that."""
    time.sleep(0.2)
    start = time.monotonic()
    before = {group: cgroups.usage(group) for group in groups}
    time.sleep(SECONDS)
    after = {group: cgroups.usage(group) for group in groups}
    scale = SECONDS / (time.monotonic() - start)
    return {
        group: GroupUsage(
            cpu_s=(after[group].cpu_s - old.cpu_s) * scale,
            memory_bytes=0,
            n_periods=round((after[group].n_periods - old.n_periods) * scale),
            n_throttled=round((after[group].n_throttled - old.n_throttled) * scale),
            throttled_s=(after[group].throttled_s - old.throttled_s) * scale,
            n_oom_kills=0,
        )
        for group, old in before.items()
    }


def make(cgroups: CgroupDriver, groups: Mapping[str, GroupTarget]) -> NodeCpu:
    """The groups on the kernel, and one simulated core with the same."""
    cpu = NodeCpu(1000, 0.0)
    for group, target in groups.items():
        cgroups.create(group)
        assert cgroups.apply(group, target) == ()
        cpu.set_group(group, target, 0.0)
    return cpu


def run(cpu: NodeCpu, seconds: float) -> None:
    while cpu.next_at <= seconds:
        cpu.advance(cpu.next_at)


def core() -> int:
    return max(os.sched_getaffinity(0))


def share(usage: Mapping[str, GroupUsage], group: str) -> float:
    """Of what our groups got together: others may have had the core, too."""
    return usage[group].cpu_s / sum(each.cpu_s for each in usage.values())


def test_two_burners_share_a_core_by_weight(cgroups: CgroupDriver) -> None:
    groups = {"a": GroupTarget(weight=100), "b": GroupTarget(weight=300)}
    cpu = make(cgroups, groups)
    with burning(cgroups, "a", core()) as a, burning(cgroups, "b", core()) as b:
        a.start()
        b.start()
        found = measured(cgroups, groups)
    cpu.start("a", "a", math.inf, 0.0)
    cpu.start("b", "b", math.inf, 0.0)
    assert cpu.usage("a", SECONDS).cpu_s / SECONDS == 0.25
    assert share(found, "a") == pytest.approx(0.25, abs=0.02)


def test_a_burner_is_throttled_as_often_and_as_long(cgroups: CgroupDriver) -> None:
    groups = {"a": GroupTarget(200, 10_000)}
    cpu = make(cgroups, groups)
    with burning(cgroups, "a", core()) as a:
        a.start()
        # Where others have the core it waits for them instead: the least disturbed counts.
        runs = [measured(cgroups, groups)["a"] for _ in range(4)]
    found = max(runs, key=lambda run: run.throttled_s)
    cpu.start("a", "a", math.inf, 0.0)
    run(cpu, SECONDS)
    expected = cpu.usage("a", SECONDS)
    assert found.cpu_s == pytest.approx(expected.cpu_s, rel=0.05)
    assert found.n_periods == pytest.approx(cpu.n_periods("a", SECONDS), rel=0.02)
    assert found.n_throttled == pytest.approx(expected.n_throttled, rel=0.05)
    assert found.throttled_s <= expected.throttled_s * 1.02
    assert found.throttled_s == pytest.approx(expected.throttled_s, rel=0.15)


def test_an_idle_burner_has_what_a_service_at_half_duty_leaves(cgroups: CgroupDriver) -> None:
    groups = {"lc": GroupTarget(weight=100), "be": GroupTarget(weight=1, idle=True)}
    cpu = make(cgroups, groups)
    # LC ends first, or BE would hardly get the time to die.
    with burning(cgroups, "be", core()) as be, on_and_off(cgroups, "lc", core()):
        be.start()
        found = measured(cgroups, groups)
    cpu.start("be", "be", math.inf, 0.0)
    at = 0.0
    while at < SECONDS:
        cpu.start("lc", "lc", WORK_S, at)
        at = cpu.next_at
        cpu.advance(at)
        at += WORK_S
    expected = {group: cpu.usage(group, SECONDS).cpu_s for group in groups}
    assert share(found, "lc") == pytest.approx(expected["lc"] / SECONDS, abs=0.03)
