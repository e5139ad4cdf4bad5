"""Better plans and trials on their way: over the wire unchanged, from a helper process the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tango.adapters.bound_rules import bound_rule
from tango.adapters.helper_solver import HelperSolver
from tango.model.bounds import BoundNode, BoundSnapshot, BoundTask, ImproveSnapshot
from tango.model.improvement import (
    BoundTotals,
    Improvement,
    ImproveView,
    MoveState,
    TaskMove,
    TriedJob,
    TriedTask,
)
from tango.model.placement_profile import DEFAULT
from tango.model.placements import BoundRecord, PodRecord, ReservationRecord
from tango.model.round_trips import RoundTrip
from tango.wire.convert_improvement import (
    improve_view_from_pb,
    improve_view_to_pb,
    tried_job_from_pb,
    tried_job_to_pb,
)

GIB = 2**30
VIEW = ImproveView(
    BoundTotals(9, 8, 3, 2, 700, 6 * GIB),
    BoundTotals(9, 8, 1, 0, 400, 3 * GIB),
    BoundTotals(9, 8, 2, 1, 500, 4 * GIB),
    tuple(
        TaskMove("j1", "main", "a/a1", "b/b1", "a/a2", 12.5, state, state.value)
        for state in MoveState
    ),
    4,
    "it is so",
    applied=True,
    done=True,
    stopped="things have changed",
)


def test_a_plan_arrives_as_it_was_sent() -> None:
    assert improve_view_from_pb(improve_view_to_pb(VIEW)) == VIEW
    strange = improve_view_to_pb(replace(VIEW, why_not="n\udcff"))
    assert improve_view_from_pb(strange).why_not == "n?"


def test_a_trial_arrives_as_it_was_sent() -> None:
    for tried in (
        TriedJob((TriedTask("a", "a/a1", "a/a2"), TriedTask("b", "a/a1", "", "unprotected"))),
        TriedJob(reason="no room"),
    ):
        assert tried_job_from_pb(tried_job_to_pb(tried)) == tried


def snapshot() -> ImproveSnapshot:
    """Two tasks on n1 that n2 backs up, each with room of its own."""
    names = ("s/n1", "s/n2", "s/n3")
    tasks = tuple(
        BoundTask(BoundRecord(PodRecord(name, 100, GIB, near="s/n1", bound_s=0.02), *names[:2]),
                  names[0])
        for name in ("j1.0", "j2.0")
    )  # fmt: skip
    return ImproveSnapshot(
        BoundSnapshot(
            tuple(BoundNode(name, "s", 4000, 8 * GIB) for name in names),
            tasks,
            (),
            ((names[1], ReservationRecord(names[1], 200, 2 * GIB)),),
            tuple(RoundTrip("s", name, 0.001) for name in names),
        ),
        max_moves=5,
        targets=names,
    )


async def test_a_helper_process_makes_the_same_plan_and_ends() -> None:
    rule = bound_rule(DEFAULT)
    assert rule is not None
    here = rule.improve(snapshot())
    assert here.after.reserved_bytes == GIB
    assert len({wish.task for wave in here.waves for wish in wave}) == 2
    solver = HelperSolver()
    answered: asyncio.Future[Improvement | Exception] = asyncio.get_running_loop().create_future()
    solver.improve(rule, snapshot(), lambda plan, _: answered.set_result(plan))
    try:
        assert await asyncio.wait_for(answered, 30) == here
        assert solver._helper is None, "it was one of its own"
    finally:
        await solver.close()


@pytest.mark.parametrize("max_moves", [0, 5])
def test_who_is_to_stay_is_not_moved(max_moves: int) -> None:
    rule = bound_rule(DEFAULT)
    assert rule is not None
    asked = replace(snapshot(), max_moves=max_moves, stay=("j1.0", "j2.0"))
    assert rule.improve(asked).why_not
