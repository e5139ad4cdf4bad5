"""Delay bounds and shared backups after any arrivals, ends, failures, returns and drifts of RTT."""

from __future__ import annotations

import random
from dataclasses import replace

from delay_world import Nodes, clusters, copied, delays, made
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.algorithms.placement.cluster import NodeRow
from tango.algorithms.placement.delay_books import OUTSIDE
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_events import (
    Asked,
    BoundEvent,
    DelayMachine,
    Ended,
    Failed,
    Improve,
    Remeasured,
    Returned,
)
from tango.algorithms.placement.delay_offline import place_offline
from tango.algorithms.placement.delay_replan import figures
from tango.algorithms.placement.move_plan import Start
from tango.algorithms.placement.placeholders import NOTHING, PREFIX, need_of
from tango.algorithms.placement.pod import Pod
from tango.model.commands import Put


def check(here: DelayBound) -> None:
    room, names = here.room, here.room.cluster.names
    placed = {name for name, one in here.bound.items() if one.node}
    hosts = {PREFIX + names[host] for host in here.placeholders.sizes}
    assert set(room.held) == placed | hosts
    for index, row in enumerate(room.cluster.nodes):
        pods = [held.pod for held in room.held.values() if held.node == index]
        assert room.memory[index] == row.memory_bytes - sum(p.memory_bytes for p in pods) >= 0
        assert room.cpu[index] == row.cpu_millis - sum(p.cpu_millis for p in pods) >= 0
        assert room.open[index] or not pods
    # The placeholder invariant, from the pods alone.
    for host in names:
        size = here.placeholders.sizes.get(room.index_of(host), NOTHING)
        covered = [one for one in here.bound.values() if one.backup == host]
        assert bool(covered) == (room.index_of(host) in here.placeholders.sizes)
        for node in names:
            load = NOTHING
            for one in covered:
                if one.node == node:
                    load = load.plus(need_of(one.pod))
            assert load.within(size), (host, node)
    for one in here.bound.values():
        assert room.node_of(one.pod.name) == one.node
        if one.backup:
            assert one.node
            assert one.backup != one.node
            assert not one.warning or one.warning == OUTSIDE
        elif one.pod.near:
            assert one.warning
        elif one.node:
            assert room.cluster.cloud[room.index_of(one.node)]
        reference = room.place_of(one.pod.near)
        if one.node and reference is not None and one.warning != OUTSIDE:
            assert room.delays is not None
            row = room.delays.row(reference)
            for node in filter(None, (one.node, one.backup)):
                assert row[room.index_of(node)] <= one.pod.bound_s


@given(clusters(), st.integers(0, 99), st.data())
@settings(max_examples=200, deadline=None)
def test_acceptance_the_placeholder_invariant_over_arrivals_deletions_and_failures(
    rows: list[NodeRow], seed: int, data: st.DataObject
) -> None:
    here = made(rows, seed)
    names = [row.name for row in rows]
    dead: set[str] = set()
    for number in range(data.draw(st.integers(1, 14))):
        event = data.draw(
            st.sampled_from(["submit", "submit", "submit", "delete", "fail", "join", "drift"])
        )
        if event == "submit":
            near = data.draw(st.sampled_from(["", *names, *names, *sorted(here.bound)]))
            bound = {"near": near, "bound_s": data.draw(st.floats(0, 1))} if near else {}
            pod = Pod(
                f"p{number}", memory_bytes=data.draw(st.integers(0, 6)),
                cores=data.draw(st.integers(0, 2)), priority=data.draw(st.integers(0, 2)), **bound,
            )  # fmt: skip
            answer = here.schedule(pod)
            assert bool(answer.reason) == (pod.name not in here.bound)
        elif event == "delete" and here.bound:
            here.delete(data.draw(st.sampled_from(sorted(here.bound))))
        elif event == "fail":
            fallen = data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=3))
            dead |= fallen
            known = set(here.bound)
            covered = {
                one.pod.name for one in here.bound.values()
                if {one.node} == fallen and one.backup
            }  # fmt: skip
            here.fail(fallen)
            assert set(here.bound) == known
            # One node alone: whoever was covered runs on.
            assert all(here.bound[name].node for name in covered)
        elif event == "join" and dead:
            back = data.draw(st.sets(st.sampled_from(sorted(dead)), min_size=1))
            dead -= back
            here.join(back)
        elif event == "drift":
            here.delays_changed(delays(len(rows), data.draw(st.integers(0, 99))))
        check(here)
    for name in sorted(here.bound):
        here.delete(name)
    check(here)
    assert not here.room.held
    assert here.room.memory.tolist() == here.room.cluster.memory.tolist()


@given(clusters(), st.integers(0, 99), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_acceptance_independent_of_the_order_of_the_nodes(
    rows: list[NodeRow], seed: int, rng: random.Random
) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)
    one, other = made(rows, seed), made(shuffled, seed)
    names = [row.name for row in rows]
    for number in range(8):
        pod = Pod(f"p{number}", memory_bytes=1 + number % 4, near=names[number % len(names)],
                  bound_s=0.1 * number)  # fmt: skip
        assert one.schedule(pod) == other.schedule(pod)
    assert one.fail([names[0]]) == other.fail([names[0]])
    assert one.bound == other.bound


@given(clusters(), st.integers(0, 99), st.data())
@settings(max_examples=150, deadline=None)
def test_the_offline_plan_keeps_to_the_same_and_does_not_depend_on_order(
    rows: list[NodeRow], seed: int, data: st.DataObject
) -> None:
    names = [row.name for row in rows]
    pods: list[Pod] = []
    for number in range(data.draw(st.integers(0, 10))):
        near = data.draw(st.sampled_from(["", *names, *names, *[pod.name for pod in pods]]))
        bound = {"near": near, "bound_s": data.draw(st.floats(0, 1))} if near else {}
        pods.append(Pod(f"p{number}", memory_bytes=data.draw(st.integers(0, 6)), **bound))  # type: ignore[arg-type]
    here = made(rows, seed)
    rejected = {answer.bound.pod.name for answer in place_offline(here, pods)}
    assert rejected | set(here.bound) == {pod.name for pod in pods}
    assert not rejected & set(here.bound)
    check(here)
    again = made(rows[::-1], seed)
    bound_to_nodes = [pod for pod in pods if pod.near in names]
    others = [pod for pod in pods if pod.near not in names]
    place_offline(again, [*others, *reversed(bound_to_nodes)])
    assert again.bound == here.bound
    for name in sorted(here.bound):
        here.delete(name)
    check(here)
    assert not here.room.held


def draw_event(data: st.DataObject, here: DelayBound, dead: set[str], number: int) -> BoundEvent:
    rows = here.room.cluster.nodes
    names = [row.name for row in rows]
    kinds = ["submit", "submit", "submit", "end", "fail", "return", "drift", "improve"]
    match data.draw(st.sampled_from(kinds)):
        case "end" if here.bound:
            return Ended(data.draw(st.sampled_from(sorted(here.bound))))
        case "fail":
            return Failed(tuple(data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=3))))
        case "return" if dead:
            return Returned(tuple(data.draw(st.sets(st.sampled_from(sorted(dead)), min_size=1))))
        case "improve":
            return Improve()
        case "drift":
            return Remeasured(delays(len(rows), data.draw(st.integers(0, 99))))
    near = data.draw(st.sampled_from(["", *names, *names, *sorted(here.bound)]))
    bound = {"near": near, "bound_s": data.draw(st.floats(0, 1))} if near else {}
    return Asked(
        Pod(
            f"p{number}", memory_bytes=data.draw(st.integers(0, 6)),
            cores=data.draw(st.integers(0, 2)), priority=data.draw(st.integers(0, 2)),
            ports=data.draw(st.sampled_from([(), (), (80,)])), **bound,
        )
    )  # fmt: skip


@given(clusters(), st.integers(0, 99), st.data())
@settings(max_examples=200, deadline=None)
def test_instructions_keep_nodes_within_capacity_and_reality_as_the_books_say(
    rows: list[NodeRow], seed: int, data: st.DataObject
) -> None:
    machine = DelayMachine(made(rows, seed))
    nodes, stored = Nodes(machine.here), dict[tuple[str, str], object]()
    dead: set[str] = set()
    for number in range(data.draw(st.integers(1, 14))):
        event = draw_event(data, machine.here, dead, number)
        before, running, stopped = figures(machine.here), set(nodes.runs), len(nodes.downtime)
        covered = {one.pod.name: one for one in machine.here.bound.values() if one.backup}
        if isinstance(event, Asked):
            nodes.know([event.pod])
        elif isinstance(event, Failed):
            dead |= set(event.nodes)
            nodes.lose(event.nodes)
        elif isinstance(event, Returned):
            dead -= set(event.nodes)
        done = machine.handle(event)
        here = machine.here
        nodes.do(done.steps)
        nodes.check_is(here)
        check(here)
        for write in done.writes:
            stored[write.kind, write.key] = write.value if isinstance(write, Put) else None
        kept = {key for kind, key in stored if kind == "bound" and stored[kind, key]}
        assert kept == here.bound.keys()
        if isinstance(event, Failed) and len(event.nodes) == 1:
            starts = {step.pod: step.node for step in done.steps if isinstance(step, Start)}
            for name, one in covered.items():  # a placeholder keeps no ports
                if one.node in event.nodes and not one.pod.ports:
                    assert starts[name]
        if isinstance(event, Improve):
            assert running <= nodes.runs.keys()
            assert bool(done.reason) != figures(here).better_than(before)
            assert not done.reason or not done.steps
        elif isinstance(event, Asked | Ended):
            assert len(nodes.downtime) == stopped, "making room for another interrupts nobody"
        said = dict(done.said)
        assert all(said[name] for name in said if here.bound[name].warning)


@given(clusters(), st.integers(0, 99), st.data())
@settings(max_examples=100, deadline=None)
def test_whichever_single_node_fails_next_every_covered_pod_restarts_on_its_backup(
    rows: list[NodeRow], seed: int, data: st.DataObject
) -> None:
    """The placeholder invariant by what it is for: each tolerated failure is tried on a copy.

    The restart on the backup's host may be followed by a move, where a pod is bound to another one
    that has moved, so it is asserted of pods that are bound to nodes; the others have a node. No
    room is made for those without a backup, which could move one on that has just restarted.
    """
    machine = DelayMachine(made(rows, seed))
    dead = set[str]()
    for number in range(data.draw(st.integers(1, 12))):
        event = draw_event(data, machine.here, dead, number)
        if isinstance(event, Asked):  # ports are not kept by a placeholder
            event = Asked(replace(event.pod, ports=()))
        elif isinstance(event, Failed):
            dead |= set(event.nodes)
        elif isinstance(event, Returned):
            dead -= set(event.nodes)
        machine.handle(event)
    here = machine.here
    for name in here.room.cluster.names:
        after = copied(here)
        after.makes_room = False
        after.fail([name])
        for one in here.bound.values():
            if one.node == name and one.backup:
                assert after.bound[one.pod.name].node
                if one.pod.near in here.room.cluster.index:
                    assert after.bound[one.pod.name].node == one.backup
