"""A node that is a group on a whole core, held to its size by a quota."""

from __future__ import annotations

import pytest

from tango.algorithms.quota.sides import BE, LC
from tango.model.cgroup import GroupTarget
from tango.model.errors import InvalidField
from tango.sim.engine import Engine
from tango.sim.machine import Machine
from tango.sim.topology import NodeShape, Site, Topology


def _machine(cap_period_us: int) -> Machine:
    machine = Machine(Engine(), 400, 2**30, {}, cap_period_us=cap_period_us)
    for side in (LC, BE):
        machine.set_group(side, GroupTarget())
    return machine


def test_work_runs_at_full_speed_until_the_quota_is_used_up() -> None:
    cpu = _machine(10_000).cpu
    cpu.start("short", LC, 0.003, 0.0)
    assert cpu.advance(0.0031) == ["short"]
    cpu.start("long", LC, 0.006, 0.01)
    # 4 ms at once, 2 ms from the next boundary on.
    assert cpu.advance(0.0219) == []
    assert cpu.advance(0.0221) == ["long"]


def test_without_a_period_it_is_a_slower_machine() -> None:
    cpu = _machine(0).cpu
    cpu.start("short", LC, 0.004, 0.0)
    assert cpu.advance(0.0099) == []
    assert cpu.advance(0.0101) == ["short"]


def test_the_cap_is_there_after_a_boot() -> None:
    machine = _machine(10_000)
    machine.power_off()
    machine.power_on()
    machine.set_group(LC, GroupTarget())
    machine.cpu.start("burner", LC, float("inf"), 0.0)
    machine.cpu.advance(1.0)
    assert machine.cpu.usage(LC, 1.0).cpu_s == pytest.approx(0.4, abs=0.001)


def test_a_period_that_the_kernel_would_refuse_is_refused() -> None:
    node = NodeShape("n1", 400, 2**30, cap_period_us=999)
    with pytest.raises(InvalidField, match="cap_period_us"):
        Topology((Site("here", (node,)),)).validate()
