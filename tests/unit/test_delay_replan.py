"""The offline plan applied to running pods: by hand, and on random topologies step by step."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
from test_edge_scheduler_acceptance import edge, pod, sizes, where

from tango.algorithms.placement.delay_events import Asked, DelayMachine, Ended, Improve
from tango.algorithms.placement.delay_replan import figures, replan
from tango.algorithms.placement.move_plan import Move, Reserve, Start, Stop
from tango.algorithms.placement.placeholders import NOTHING, need_of
from tango.algorithms.placement.pod import Pod

STUDY = Path(__file__).parents[2] / "tools/delay_study.py"


@pytest.fixture(name="study", scope="module")
def _study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("delay_study", STUDY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["delay_study"] = module
    spec.loader.exec_module(module)
    return module


def test_placeholders_that_grew_one_by_one_become_one_that_is_shared() -> None:
    """Both pods had to be on edge-1 while edge-2 and edge-3 were full; one of them moves now."""
    machine = DelayMachine(edge())
    machine.handle(Asked(pod("full-3", 8, "edge-3", 0)))
    machine.handle(Asked(pod("a", 3, "edge-1", 25)))
    machine.handle(Asked(pod("b", 3, "edge-1", 25)))
    machine.handle(Ended("full-3"))
    assert where(machine.here) == {"a": ("edge-1", "edge-2"), "b": ("edge-1", "edge-2")}
    assert sizes(machine.here) == {"edge-2": 6}
    done = machine.handle(Improve())
    assert done.reason == ""
    assert sum(sizes(machine.here).values()) == 3
    assert {type(step) for step in done.steps} == {Move, Reserve}, "nothing is stopped first"
    assert where(machine.here) == {"a": ("edge-2", "edge-1"), "b": ("edge-3", "edge-1")}
    assert all(one.backup for one in machine.here.bound.values())
    # Once more: nothing better is to be had.
    again = machine.handle(Improve())
    assert (again.reason, again.steps, again.writes) == (
        "it is no better than what is there", (), (),
    )  # fmt: skip


def test_a_plan_that_loses_a_running_pod_is_not_taken() -> None:
    """Only one of them fits on edge-1, and the plan would begin with the one that waits."""
    here = edge()
    here.schedule(pod("runs", 8, "edge-1", 0))
    for name in ("a", "b"):
        here.schedule(pod(name, 1, "edge-2", 25))
    here.wait(pod("first", 8, "edge-1", 0))
    plan = replan(here)
    assert plan.why_not == "it has no node for runs"
    assert (plan.here, plan.steps) == (here, ())


def test_what_others_hold_in_the_same_room_stays_theirs() -> None:
    here = edge()
    here.room.take(Pod("other", memory_bytes=8 * 2**30), here.room.index_of("edge-3"))
    for name in ("a", "b"):
        here.schedule(pod(name, 3, "edge-1", 25))
    plan = replan(here)
    assert plan.why_not == "it is no better than what is there"
    assert plan.here is here


def test_a_pod_whose_reference_is_gone_is_kept_where_it_is() -> None:
    here = edge()
    here.schedule(pod("leader", 1, "edge-1", 0))
    here.schedule(pod("friend", 1, "leader", 15))
    for number in range(3):
        here.schedule(pod(f"p{number}", 2, "edge-1", 25))
    here.delete("leader")
    plan = replan(here)
    assert plan.here.bound["friend"].node == here.bound["friend"].node != ""


@pytest.mark.parametrize("n_pods", [70, 120])
def test_on_random_topologies_no_pod_is_lost_and_no_node_is_overfull(
    study: ModuleType, n_pods: int
) -> None:
    better = 0
    for seed in range(6):
        cluster, pods = study.world(seed, n_pods)
        here = study.books(cluster)
        rng = random.Random(seed)
        for one in pods:
            here.schedule(one)
        for name in rng.sample(sorted(here.bound), n_pods // 5):
            here.delete(name)
        before = {name: one.node for name, one in here.bound.items()}
        plan = replan(here)
        assert {name: one.node for name, one in here.bound.items()} == before, "only planned"
        better += not plan.why_not
        assert plan.after.better_than(plan.before) == (not plan.why_not)
        assert figures(plan.here) == plan.after
        for host, size in plan.here.placeholders.sizes.items():
            assert plan.here.placeholders.required(host) == size
        memory = {row.name: row.memory_bytes for row in cluster.nodes}
        runs = dict(before)
        kept = {cluster.names[at]: size for at, size in here.placeholders.sizes.items()}
        for step in plan.steps:
            match step:
                case Move(name, source, target):
                    assert runs[name] == source
                    used = sum(
                        need_of(here.bound[each].pod).memory_bytes
                        for each, node in runs.items()
                        if node == target or each == name
                    )
                    assert used + kept.get(target, NOTHING).memory_bytes <= memory[target]
                    runs[name] = target
                case Stop(name, _):
                    runs[name] = ""
                case Start(name, node):
                    runs[name] = node
                case Reserve(node, size):
                    kept[node] = size
        assert runs == {name: one.node for name, one in plan.here.bound.items()}
        assert all(runs.values())
    assert better >= 2


def test_the_study_counts_what_it_says(study: ModuleType) -> None:
    found = study.placed(1, 50)
    assert found["online"]["rejected"] == 0
    assert found["applied"]["backup_gib"] <= found["online"]["backup_gib"]
    assert found["backups"]["moves"] == 0
    assert found["any"]["backup_gib"] <= found["backups"]["backup_gib"]
    exact = study.square(60, random.Random(0))
    layered = study.LayeredDelays(exact, study.LAYERS_S)
    for bound_s in study.BOUNDS_S:
        shares = [
            study.kept(exact, layered, bound_s, use, random.Random(0)) for use in ("largest", "all")
        ]
        assert 0 <= shares[0] <= shares[1] <= 1
