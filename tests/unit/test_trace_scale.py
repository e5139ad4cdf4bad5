"""Sizes, loads, deadlines and nodes on the edge."""

from __future__ import annotations

from typing import Any

import pytest

from tango.model.errors import InvalidField
from tango.workload.cluster_events import MachineEvent, MachineStep, Step, TaskEvent, TaskUsage
from tango.workload.openb import OpenbNode
from tango.workload.trace_nodes import NodeChange, UsageShare, borg_nodes, openb_nodes
from tango.workload.trace_scale import (
    BORG_2011_SCALE,
    GIB,
    OPENB_SCALE,
    DeadlineRule,
    NodeScale,
    OfferedLoad,
    offered_load,
)

SCALE = NodeScale(0.5, 0.25, cpu_millis=4000, memory_bytes=8 * GIB, unknown=0.1)


@pytest.mark.parametrize(
    ("cpu", "millis"), [(0.5, 4000), (0.125, 1000), (0.9, 4000), (1e-6, 10), (0, 10), (None, 400)]
)
def test_cpu_requests(cpu: float | None, millis: int) -> None:
    assert SCALE.request_cpu_millis(cpu) == millis


@pytest.mark.parametrize(
    ("memory", "size"), [(0.25, 8 * GIB), (0.125, 4 * GIB), (1, 8 * GIB), (0, 16 * 2**20)]
)
def test_memory_requests(memory: float | None, size: int) -> None:
    assert SCALE.request_memory_bytes(memory) == size
    assert SCALE.request_memory_bytes(None) == round(0.8 * GIB)


def test_nodes_keep_their_proportions() -> None:
    assert SCALE.node_cpu_millis(1.0) == 8000
    assert SCALE.node_memory_bytes(0.0625) == 2 * GIB
    assert (SCALE.node_cpu_millis(0), SCALE.node_memory_bytes(0)) == (1, 2**20)
    assert BORG_2011_SCALE.request_cpu_millis(0.5) == BORG_2011_SCALE.node_cpu_millis(0.5)


def test_borg_machines_become_nodes() -> None:
    add, remove, update = MachineStep.ADD, MachineStep.REMOVE, MachineStep.UPDATE
    events = [
        MachineEvent(1, 0, 5, add, "", 0.5, 0.25),
        MachineEvent(2, 0, 6, add, "", None, None),
        MachineEvent(3, 600_000_000, 5, update, "", None, 0.125),
        MachineEvent(4, 700_000_000, 5, remove, "", None, None),
        MachineEvent(5, 900_000_000, 5, add, "", None, None),
    ]
    assert list(borg_nodes(events, SCALE, start_s=600, speed_up=10)) == [
        NodeChange(0, "5", 4000, 8 * GIB),
        NodeChange(0, "6", 4000, 8 * GIB),
        NodeChange(0, "5", 4000, 4 * GIB),
        NodeChange(10, "5", 0, 0),
        NodeChange(30, "5", 4000, 4 * GIB),
    ]


def test_openb_machines_become_nodes() -> None:
    nodes = [OpenbNode(2, "a", 96_000, 384 * GIB), OpenbNode(3, "b", 32_000, 256 * GIB)]
    assert list(openb_nodes(nodes, OPENB_SCALE)) == [
        NodeChange(0, "a", 4000, 8 * GIB),
        NodeChange(0, "b", 1333, round(256 / 384 * 8 * GIB)),
    ]


def test_load_and_the_speed_up_to_another() -> None:
    offered = offered_load([(0, 10), (5, 20), (20, 10)])
    assert offered == OfferedLoad(3, 20, 40)
    assert offered.load(4000) == 0.5
    assert offered.speed_up_to(0.9, 4000) == pytest.approx(1.8)
    assert offered_load([(0, 10)], span_s=5).load(1000) == 2


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: offered_load([(0, 1), (0, 1)]).load(1000), "2 arrivals at one time have no rate"),
        (lambda: offered_load([]).load(1000), "trace"),
        (lambda: OfferedLoad(1, 5, 0).speed_up_to(1, 1000), "it brings no work"),
        (lambda: OfferedLoad(1, 1e9, 1e-6).speed_up_to(1, 1000), "sped up by 1e"),
        (lambda: OfferedLoad(1, 5, 1).load(0), "capacity_millis"),
        (lambda: OfferedLoad(1, 5, 1).speed_up_to(0, 1000), "load"),
        (lambda: NodeScale(0, 1), "machine_cpu"),
        (lambda: NodeScale(1, 1, min_cpu_millis=5000), "min_cpu_millis: 5000 is out of range"),
        (lambda: NodeScale(1, 1, memory_bytes=1), "memory_bytes"),
        (lambda: DeadlineRule(factor=0.5), "factor"),
        (lambda: DeadlineRule(floor_s=0), "floor_s"),
        (lambda: UsageShare().share, "none of its 0 windows"),
    ],
)
def test_what_cannot_be_scaled(make: Any, problem: str) -> None:
    with pytest.raises(InvalidField, match=problem):
        make()


def test_deadlines() -> None:
    rule = DeadlineRule(factor=4, floor_s=0.05)
    assert rule.deadline_s(0.1) == pytest.approx(0.4)
    assert rule.deadline_s(0.001) == 0.05


def test_used_share_of_requests() -> None:
    def asks(job: int, cpu: float | None) -> TaskEvent:
        return TaskEvent(1, 0, Step.SUBMIT, job, 0, None, 0, 0, cpu, None)

    share = UsageShare(max_tasks=2)
    for job, cpu in ((1, 0.1), (2, None), (3, 0.3), (4, 0.5), (1, 0.2)):
        share.request(asks(job, cpu))
    for job, end_us, cpu in ((1, 300, 0.1), (3, 100, 0.3), (2, 300, 1), (4, 300, 1)):
        share.usage(TaskUsage(1, 0, end_us * 1_000_000, job, 0, 1, cpu, 0))
    # Task 2 asked for nothing that is known, task 4 came when two were remembered.
    assert (share.windows, share.unknown) == (2, 2)
    assert share.share == pytest.approx((300 * 0.1 + 100 * 0.3) / (300 * 0.2 + 100 * 0.3))
