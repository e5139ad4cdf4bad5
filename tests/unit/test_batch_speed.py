"""What a solve of a full window costs at 1,000 nodes: it runs in the central master's own process.

Run with -s to see the figures; the bounds are generous, for machines that others use too.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tango.adapters.policies import batch_policy, policy_names
from tango.controllers.central.batch import MAX_WINDOW
from tango.model.affinity import NodeTerms, Requirement, Taint, Toleration
from tango.model.plan import (
    BatchOffer,
    BatchPlan,
    BatchPolicy,
    BatchSnapshot,
    BatchTask,
    Gang,
    RunningTask,
)

MIB = 2**20
N_SITES, N_NODES = 125, 8
BOUND_S = 0.5


def gangs(cpu_millis: int, name: str) -> tuple[Gang, ...]:
    """Gangs of one, of three sizes, as many as a window takes; policy `node` wants names."""
    return tuple(
        Gang(f"j{i}", 5, (BatchTask(f"j{i}", 0, cpu_millis + i % 3, 64 * MIB, node=node),))
        for i in range(MAX_WINDOW)
        for node in (f"n{i % N_NODES}" if name == "node" else "",)
    )


def offers(free_millis: int) -> tuple[BatchOffer, ...]:
    """4 cores each; what is free differs from node to node."""
    return tuple(
        BatchOffer(
            f"e{site}",
            f"n{number}",
            free_millis + site * number,
            (512 + site) * MIB,
            8,
            500,
            256 * MIB,
            3500 - free_millis - site * number,
            512 * MIB,
        )
        for site in range(N_SITES)
        for number in range(N_NODES)
    )


def timed(policy: BatchPolicy, snapshot: BatchSnapshot) -> tuple[float, BatchPlan]:
    begin = time.thread_time()
    plan = policy.place(snapshot)
    return time.thread_time() - begin, plan


@pytest.mark.parametrize("name", policy_names("tango.batch"))
def test_a_full_window_at_a_thousand_nodes(name: str) -> None:
    if name == "profile":
        pytest.importorskip("numpy", reason="profiles need the extra `solver`")
    policy = batch_policy(name)
    with_room_s, plan = timed(policy, BatchSnapshot(gangs(200, name), offers(1000)))
    assert len(plan.placements) == MAX_WINDOW
    full = offers(100)
    running = tuple(
        RunningTask(f"{one.edge}.{one.node}.{i}", one.edge, one.node, 0, 300, 64 * MIB, float(i))
        for one in full
        for i in range(8)
    )
    full_s, plan = timed(policy, BatchSnapshot(gangs(4000, name), full, running=running))
    assert not plan.placements
    assert plan.preempt is None, "not even all that runs on a node would do"
    print(f"{name}: {with_room_s * 1e3:.1f} ms with room, {full_s * 1e3:.1f} ms full")
    assert max(with_room_s, full_s) < BOUND_S


@pytest.mark.parametrize("name", policy_names("tango.batch"))
def test_a_full_window_that_requires_labels(name: str) -> None:
    if name == "profile":
        pytest.importorskip("numpy", reason="profiles need the extra `solver`")
    terms = NodeTerms((Requirement("zone", "In", ("z1", "z2")),), (), (Toleration("spot"),))
    wanted = tuple(
        replace(gang, tasks=tuple(replace(task, terms=terms) for task in gang.tasks))
        for gang in gangs(200, name)
    )
    marked = tuple(
        replace(
            one,
            labels=(("disk", "ssd"), ("zone", f"z{at // N_NODES % 4}")),
            taints=(Taint("spot"),) if at % 2 else (),
        )
        for at, one in enumerate(offers(1000))
    )
    cost_s, plan = timed(batch_policy(name), BatchSnapshot(wanted, marked))
    assert len(plan.placements) == MAX_WINDOW
    print(f"{name}: {cost_s * 1e3:.1f} ms with labels and taints")
    assert cost_s < 2 * BOUND_S
