"""Plans for bounds and backups through the Solver seam: the same wherever they are made."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from one_answer import one_answer
from test_solver import gone, helpers

from tango.adapters import bound_frames as frames
from tango.adapters.bound_rules import bound_rule
from tango.adapters.helper_solver import HelperFailed, HelperLost, HelperSolver
from tango.adapters.solver_frames import packed, unpacked
from tango.adapters.solvers import InProcessSolver
from tango.model.bounds import BoundNode, BoundPlan, BoundRule, BoundSnapshot, BoundTask
from tango.model.placement_profile import DEFAULT, Profile, Use
from tango.model.placements import BoundRecord, PodRecord, ReservationRecord
from tango.model.round_trips import RoundTrip
from tango.ports import Solver

_FOUND = bound_rule(DEFAULT)
assert _FOUND is not None
RULE: BoundRule = _FOUND
GIB = 2**30


def snapshot(n_nodes: int = 4, n_tasks: int = 3, n_new: int = 2) -> BoundSnapshot:
    """Tasks that run without their backups, and gangs that wait."""
    nodes = tuple(BoundNode(f"e/n{at:03}", "e", 4000, 8 * GIB) for at in range(n_nodes))
    trips = tuple(RoundTrip("e", node.name, 0.001) for node in nodes)
    pods = [
        PodRecord(f"j{at}.0", 100, GIB, near=nodes[at % n_nodes].name, bound_s=0.005)
        for at in range(n_tasks + n_new)
    ]
    tasks = tuple(
        BoundTask(BoundRecord(pod, nodes[at % n_nodes].name), nodes[at % n_nodes].name)
        for at, pod in enumerate(pods[:n_tasks])
    )
    gangs = tuple((pod.name[:-2], (pod,)) for pod in pods[n_tasks:])
    return BoundSnapshot(nodes, tasks, gangs, (), trips)


@pytest.fixture(params=["in-process", "helper", "helper-by-size"])
async def solver(request: pytest.FixtureRequest) -> AsyncGenerator[Solver, None]:
    if request.param == "in-process":
        yield InProcessSolver()
        return
    helper = HelperSolver(limit_s=-1.0) if request.param == "helper" else HelperSolver()
    yield helper
    await helper.close()


async def ask(
    solver: Solver, asked: BoundSnapshot, rule: BoundRule = RULE
) -> tuple[BoundPlan | Exception, float]:
    """The answer, once there; fails if a second one comes."""
    return await one_answer(lambda done: solver.plan(rule, asked, done))


def taken(asked: BoundSnapshot, plan: BoundPlan) -> BoundSnapshot:
    """The facts once the plan is carried out: most of it the same objects."""
    records = {record.pod.name: record for record in plan.records}
    known = [replace(one, bound=records.pop(one.bound.pod.name, one.bound)) for one in asked.tasks]
    new = [BoundTask(record, record.node) for record in records.values()]
    kept = dict(asked.reservations) | {one.node: one for one in plan.reservations}
    left = {node: one for node, one in kept.items() if node not in plan.dropped}
    return replace(asked, tasks=(*known, *new), gangs=(), reservations=tuple(sorted(left.items())))


async def test_plans_do_not_depend_on_where_they_are_made(solver: Solver) -> None:
    """In a story: what waits is placed, covered, nodes come and go, one fails."""
    asked = snapshot()
    for step in range(6):
        plan, cost_s = await ask(solver, asked)
        assert plan == RULE.plan(asked)
        assert isinstance(plan, BoundPlan)
        assert cost_s > 0
        asked = taken(asked, plan)
        if step == 1:
            more = BoundNode("e/a", "e", 100, GIB, open=False)
            asked = replace(asked, nodes=(more, *asked.nodes), failed=("e/n001",))
            off = [replace(one, at="") if one.at == "e/n001" else one for one in asked.tasks]
            asked = replace(asked, tasks=tuple(off))
        if step == 3:
            asked = replace(asked, nodes=asked.nodes[1:], failed=())
            pod = PodRecord("j9.0", 100, 100 * GIB, near="e/n000", bound_s=None)
            asked = replace(asked, gangs=(("j9", (pod,)),))
    assert plan.unplaced == () or plan.unplaced[0][0] == "j9"


async def test_a_rule_that_raises_is_an_answer_too(solver: Solver) -> None:
    wrong = replace(snapshot(), reservations=(("e/n000", ReservationRecord("", -1, -1)),))
    wrong = replace(wrong, tasks=(replace(wrong.tasks[0], at="e/none"),))
    plan, _ = await ask(solver, wrong)
    assert isinstance(plan, Exception)
    plan, _ = await ask(solver, snapshot())
    assert isinstance(plan, BoundPlan)


async def test_a_profile_that_the_helper_cannot_make_is_said() -> None:
    class Other:
        profile = Profile("odd", (Use("no-such-plugin"),))

        def plan(self, snapshot: BoundSnapshot) -> BoundPlan:
            raise NotImplementedError

    solver = HelperSolver(limit_s=-1.0)
    plan, _ = await ask(solver, snapshot(), Other())
    assert isinstance(plan, HelperFailed)
    assert "no-such-plugin" in str(plan)
    await solver.close()


async def test_a_helper_that_dies_is_said_and_replaced_and_told_all_again() -> None:
    solver = HelperSolver(limit_s=-1.0)
    asked = snapshot()
    await ask(solver, asked)
    (helper,) = helpers()
    os.kill(helper, signal.SIGKILL)
    await gone(helper)
    lost, _ = await ask(solver, asked)
    assert isinstance(lost, HelperLost)
    plan, _ = await ask(solver, asked)
    assert plan == RULE.plan(asked)
    await solver.close()
    assert helpers() == []


async def test_small_plans_stay_in_process_and_large_ones_leave_the_loop_alone() -> None:
    solver = HelperSolver()
    answers: list[object] = []
    solver.plan(RULE, snapshot(), lambda *answer: answers.append(answer))
    assert len(answers) == 1, "a small plan is made at once"
    asked = snapshot(n_nodes=1000, n_tasks=200, n_new=50)
    solving = asyncio.ensure_future(ask(solver, asked))
    turns = 0
    while not solving.done():
        await asyncio.sleep(0.001)
        turns += 1
    plan, _ = await solving
    assert plan == RULE.plan(asked)
    assert turns > 20
    await solver.close()


def test_only_what_changed_is_told_again() -> None:
    asked = snapshot(n_nodes=600)
    side = frames.Snapshots()
    found = None
    for frame in frames.snapshot_frames(DEFAULT, asked, None):
        assert len(frame["bounds"]) <= frames.FRAME_ITEMS
        found = side.take(unpacked(packed(frame)[4:]))
    assert found == (DEFAULT, asked)
    nodes = (*asked.nodes[:7], replace(asked.nodes[7], open=False), *asked.nodes[8:400])
    changed = replace(asked, nodes=nodes, failed=("e/n001",))
    (frame,) = frames.snapshot_frames(DEFAULT, changed, asked)
    assert [entry[:2] for entry in frame["bounds"]] == [["nodes", 7], ["failed", 0]]
    assert side.take(unpacked(packed(frame)[4:])) == (DEFAULT, changed)
