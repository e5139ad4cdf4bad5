"""What every Solver promises: exactly one answer, also when a policy raises."""

from __future__ import annotations

import pytest

from tango.adapters.solvers import InProcessSolver
from tango.model.plan import (
    BatchPlan,
    BatchSnapshot,
    Demand,
    NodeOffer,
    TrafficPlan,
    TrafficSnapshot,
)
from tango.ports import Solver


@pytest.fixture
def solver() -> Solver:
    return InProcessSolver()


class Failing:
    name = "failing"

    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        raise ArithmeticError("no plan")

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        raise ArithmeticError("no plan")


def test_a_plan_comes_once_with_its_cost(solver: Solver) -> None:
    from tango.adapters.policies import batch_policy, traffic_policy

    answers: list[tuple[object, float]] = []
    snapshot = TrafficSnapshot(
        (Demand("s", 2, 100, 0, 0),), (NodeOffer("n", 1000, 2**30, (("s", 4),), 0.0),)
    )
    solver.route(traffic_policy("least-loaded"), snapshot, lambda *answer: answers.append(answer))
    solver.place(
        batch_policy("most-free"), BatchSnapshot((), ()), lambda *answer: answers.append(answer)
    )
    (plan, cost_s), (batch, _) = answers
    assert isinstance(plan, TrafficPlan)
    assert [(route.node, route.count) for route in plan.routes] == [("n", 2)]
    assert cost_s >= 0
    assert batch == BatchPlan(())


def test_a_policy_that_raises_is_an_answer_too(solver: Solver) -> None:
    answers: list[object] = []
    solver.route(Failing(), TrafficSnapshot((), ()), lambda plan, _: answers.append(plan))
    solver.place(Failing(), BatchSnapshot((), ()), lambda plan, _: answers.append(plan))
    assert [type(answer) for answer in answers] == [ArithmeticError, ArithmeticError]
