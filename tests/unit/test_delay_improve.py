"""Better plans as waves of moves: by hand, and on random topologies wave by wave."""

from __future__ import annotations

import random
from types import ModuleType

import pytest
from test_delay_replan import _study
from test_edge_scheduler_acceptance import edge, pod, sizes, where

from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_improve import copied, improvement, totals
from tango.algorithms.placement.placeholders import NOTHING, Need, need_of
from tango.model.improvement import Wish

NAMES = ("cloud-1", "edge-1", "edge-2", "edge-3")
study = _study


def shared_badly() -> DelayBound:
    """Both pods had to be on edge-1 while edge-3 was full."""
    here = edge()
    here.schedule(pod("full-3", 8, "edge-3", 0))
    for name in ("a", "b"):
        here.schedule(pod(name, 3, "edge-1", 25))
    here.delete("full-3")
    assert sizes(here) == {"edge-2": 6}
    return here


def test_one_move_makes_one_placeholder_do_for_both() -> None:
    here = shared_badly()
    before = where(here)
    plan = improvement(here, 10, (), NAMES)
    assert (plan.before.reserved_bytes, plan.after.reserved_bytes) == (6 * 2**30, 3 * 2**30)
    moved = {wish.task for wave in plan.waves for wish in wave if wish.node != "edge-1"}
    assert len(moved) == 1
    assert where(here) == before, "only planned"


def test_nobody_moves_that_shall_stay_or_where_nothing_can_start() -> None:
    here = shared_badly()
    for max_moves, stay, targets in (
        (0, (), NAMES),
        (10, ("a", "b"), NAMES),
        (10, (), ("edge-1",)),
    ):
        plan = improvement(here, max_moves, stay, targets)
        assert (plan.waves, plan.after) == ((), plan.before)
        assert plan.why_not


def test_who_others_want_to_be_near_to_stays() -> None:
    here = shared_badly()
    for name in ("a", "b"):
        here.schedule(pod(f"near-{name}", 1, name, 0))
    plan = improvement(here, 10, (), NAMES)
    assert not {"a", "b"} & {
        wish.task for wave in plan.waves for wish in wave if wish.node != "edge-1"
    }


def test_the_fewest_moves_that_do() -> None:
    """Ten would be allowed, and one is as good."""
    plan = improvement(shared_badly(), 10, (), NAMES)
    assert sum(wish.node != "edge-1" for wave in plan.waves for wish in wave) <= 2


def test_a_copy_says_the_same() -> None:
    here = shared_badly()
    copy = copied(here)
    assert (where(copy), sizes(copy), totals(copy)) == (where(here), sizes(here), totals(here))
    copy.delete("a")
    assert "a" in here.bound


@pytest.mark.parametrize(("n_pods", "max_moves"), [(50, 10), (70, 3), (90, 1000), (110, 10)])
def test_on_random_topologies_each_wave_is_a_good_state(
    study: ModuleType, n_pods: int, max_moves: int
) -> None:
    """Counted by hand, without the books: capacity, both ends of a move, backups, bounds."""
    better = 0
    for seed in range(4):
        cluster, pods = study.world(seed, n_pods)
        here = study.books(cluster)
        here.makes_room = False
        rng = random.Random(seed)
        for one in pods:
            here.schedule(one)
        for name in rng.sample(sorted(here.bound), n_pods // 5):
            here.delete(name)
        plan = improvement(here, max_moves, (), cluster.names)
        assert plan.after.better_than(plan.before) == bool(plan.waves)
        better += bool(plan.waves)
        state = {
            name: Wish(name, one.node, one.backup) for name, one in here.bound.items() if one.node
        }
        protected = {name for name, wish in state.items() if wish.backup}
        moves = 0
        for wave in plan.waves:
            left = {wish.task: state[wish.task].node for wish in wave}
            state |= {wish.task: wish for wish in wave}
            moves += sum(left[wish.task] != wish.node for wish in wave)
            check(here, state, left)
            assert protected <= {name for name, wish in state.items() if wish.backup}
        assert moves <= max_moves
        assert sum(room.memory_bytes for room in kept(here, state).values()) == (
            plan.after.reserved_bytes
        )
    assert better >= 2


def kept(here: DelayBound, state: dict[str, Wish]) -> dict[str, Need]:
    """What each host has to keep for backups."""
    loads: dict[tuple[str, str], Need] = {}
    for name, wish in state.items():
        if wish.backup:
            assert wish.backup != wish.node
            key = wish.backup, wish.node
            loads[key] = loads.get(key, NOTHING).plus(need_of(here.bound[name].pod))
    found: dict[str, Need] = {}
    for (host, _), load in loads.items():
        found[host] = found.get(host, NOTHING).most(load)
    return found


def check(here: DelayBound, state: dict[str, Wish], left: dict[str, str]) -> None:
    room, delays = here.room, here.room.delays
    assert delays is not None
    used = dict(kept(here, state))
    for name, wish in state.items():
        pod_ = here.bound[name].pod
        row = delays.row(room.index_of(pod_.near))
        for node in filter(None, (wish.node, wish.backup)):
            assert row[room.index_of(node)] <= pod_.bound_s
        for node in {wish.node, left.get(name, wish.node)}:
            used[node] = used.get(node, NOTHING).plus(need_of(pod_))
    for node, size in used.items():
        at = room.index_of(node)
        assert size.memory_bytes <= room.cluster.memory[at]
        assert size.cpu_millis <= room.cluster.cpu[at]
