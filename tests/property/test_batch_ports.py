"""Fixed ports under every batch policy: none is given twice on a node, and nothing leaks."""

from __future__ import annotations

from dataclasses import replace

from batch_snapshots import MIB, left_after
from hypothesis import given
from hypothesis import strategies as st
from test_batch_policies import check_that_who_does_not_fit_leaves_nothing, each_policy

from tango.model.plan import BatchOffer, BatchSnapshot, BatchTask, Gang, RunningTask

NODES = ("w1", "w2", "w3")
PORTS = st.lists(st.sampled_from((80, 443, 9090)), unique=True, max_size=2).map(tuple)


@st.composite
def port_snapshots(draw: st.DrawFn, elastic: bool = False) -> BatchSnapshot:
    """Nodes on which some ports are taken, some of them by what may be preempted."""
    offers, running = [], []
    for name in draw(st.lists(st.sampled_from(NODES), unique=True, min_size=1, max_size=3)):
        ports = draw(PORTS)
        offers.append(BatchOffer("e1", name, draw(st.integers(1, 8)) * 100, 2**30, ports=ports))
        for port in ports if elastic else ():
            if draw(st.booleans()):
                attempt = f"r.{len(running)}.1"
                running.append(RunningTask(attempt, "e1", name, 0, 100, MIB, ports=(port,)))
    gangs = []
    for number in range(draw(st.integers(0, 6))):
        tasks = tuple(
            BatchTask(
                f"j{number}", index, draw(st.integers(1, 3)) * 100, 64 * MIB,
                node=draw(st.sampled_from(("", "", *NODES))), ports=draw(PORTS),
            )
            for index in range(draw(st.integers(1, 3)))
        )  # fmt: skip
        gangs.append(Gang(f"j{number}", draw(st.integers(0, 2)), tasks))
    gangs.sort(key=lambda gang: -gang.priority)
    return BatchSnapshot(tuple(gangs), tuple(offers), 1, running=tuple(running))


@given(snapshot=port_snapshots())
def test_no_port_is_given_twice(snapshot: BatchSnapshot) -> None:
    tasks = {(one.job_id, one.task_index): one for gang in snapshot.gangs for one in gang.tasks}
    for policy in each_policy():
        plan = policy.place(snapshot)
        left_after(snapshot, plan)
        taken = {offer.node: set(offer.ports) for offer in snapshot.offers}
        for one in plan.placements:
            ports = tasks[one.job_id, one.task_index].ports
            assert not taken[one.node].intersection(ports), one
            taken[one.node].update(ports)


@given(snapshot=port_snapshots())
def test_a_gang_that_does_not_fit_leaves_no_port_behind(snapshot: BatchSnapshot) -> None:
    check_that_who_does_not_fit_leaves_nothing(snapshot)


@given(snapshot=port_snapshots(elastic=True))
def test_whoever_is_preempted_makes_room_for_the_whole_gang(snapshot: BatchSnapshot) -> None:
    for policy in each_policy():
        preempt = policy.place(snapshot).preempt
        if preempt is None:
            continue
        victims = [one for one in snapshot.running if one.attempt_id in preempt.attempt_ids]
        assert victims
        offers = []
        for offer in snapshot.offers:
            gone = [one for one in victims if one.node == offer.node]
            freed = {port for one in gone for port in one.ports}
            cpu = offer.cpu_millis + sum(one.cpu_millis for one in gone)
            ports = tuple(port for port in offer.ports if port not in freed)
            offers.append(replace(offer, cpu_millis=cpu, ports=ports))
        gang = next(one for one in snapshot.gangs if one.job_id == preempt.job_id)
        alone = BatchSnapshot((gang,), tuple(offers), 1)
        assert len(policy.place(alone).placements) == len(gang.tasks)
