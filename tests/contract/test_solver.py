"""What every Solver promises: exactly one answer, also when a policy raises or its helper dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from one_answer import one_answer

from tango.adapters import solver_frames as frames
from tango.adapters.helper_solver import HelperFailed, HelperLost, HelperSolver
from tango.adapters.policies import batch_policy, traffic_policy
from tango.adapters.solvers import InProcessSolver
from tango.model.plan import (
    BatchPlan,
    BatchSnapshot,
    Demand,
    NodeOffer,
    TrafficPlan,
    TrafficPolicy,
    TrafficSnapshot,
)
from tango.ports import Solver

Answer = tuple[TrafficPlan | Exception, float]
SNAPSHOT = TrafficSnapshot(
    (Demand("s", 2, 100, 0, 0),), (NodeOffer("n", 1000, 2**30, (("s", 4),), 0.0),)
)


@pytest.fixture(params=["in-process", "helper", "helper-by-size"])
async def solver(request: pytest.FixtureRequest) -> AsyncGenerator[Solver, None]:
    if request.param == "in-process":
        yield InProcessSolver()
        return
    helper = HelperSolver(limit_s=-1.0) if request.param == "helper" else HelperSolver()
    yield helper
    await helper.close()


async def ask(solver: Solver, policy: TrafficPolicy, snapshot: TrafficSnapshot) -> Answer:
    """The answer, once there; fails if a second one comes."""
    return await one_answer(lambda done: solver.route(policy, snapshot, done))


class Failing:
    name = "failing"

    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        raise ArithmeticError("no plan")

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        raise ArithmeticError("no plan")


async def test_a_plan_comes_once_with_its_cost(solver: Solver) -> None:
    plan, cost_s = await ask(solver, traffic_policy("least-loaded"), SNAPSHOT)
    assert isinstance(plan, TrafficPlan)
    assert [(route.node, route.count) for route in plan.routes] == [("n", 2)]
    assert cost_s >= 0
    answers: list[object] = []
    solver.place(batch_policy("most-free"), BatchSnapshot((), ()), lambda *it: answers.append(it))
    ((batch, _),) = answers  # type: ignore[misc]
    assert batch == BatchPlan(())


async def test_a_policy_that_raises_is_an_answer_too(solver: Solver) -> None:
    plan, _ = await ask(solver, Failing(), TrafficSnapshot((), ()))
    assert isinstance(plan, (ArithmeticError, HelperFailed, HelperLost))
    batches: list[object] = []
    solver.place(Failing(), BatchSnapshot((), ()), lambda plan, _: batches.append(plan))
    assert [type(answer) for answer in batches] == [ArithmeticError]


async def test_plans_do_not_depend_on_where_they_are_made(solver: Solver) -> None:
    """Offers that change, come and go between solves included."""
    policy = traffic_policy("dss-lc")
    snapshot = large(services=4, nodes=90)
    for seed in range(3):
        offers = list(snapshot.offers)
        offers[seed] = replace(offers[seed], cpu_millis=100 * seed, load=0.9)
        snapshot = replace(snapshot, offers=tuple(offers[: 90 - 5 * seed]), seed=seed)
        plan, _ = await ask(solver, policy, snapshot)
        assert plan == policy.route(snapshot)


async def test_what_was_asked_at_once_is_answered_in_order(solver: Solver) -> None:
    told: list[int] = []
    policy = traffic_policy("least-loaded")
    for number in range(5):
        solver.route(policy, SNAPSHOT, lambda _plan, _cost, number=number: told.append(number))  # type: ignore[misc]
    await until(lambda: len(told) == 5)
    assert told == [0, 1, 2, 3, 4]


# ---- the helper process


async def test_a_helper_that_dies_is_said_and_replaced() -> None:
    solver = HelperSolver(limit_s=-1.0)
    policy = traffic_policy("least-loaded")
    await ask(solver, policy, SNAPSHOT)
    (helper,) = helpers()
    os.kill(helper, signal.SIGKILL)
    await gone(helper)
    lost, _ = await ask(solver, policy, SNAPSHOT)
    assert isinstance(lost, HelperLost)
    plan, _ = await ask(solver, policy, SNAPSHOT)
    assert isinstance(plan, TrafficPlan)
    await solver.close()
    assert helpers() == []


async def test_where_no_helper_starts_it_is_said_once_and_solved_in_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solver = HelperSolver(limit_s=-1.0)
    policy = traffic_policy("least-loaded")
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        lost, _ = await ask(solver, policy, SNAPSHOT)
        assert isinstance(lost, HelperLost)
        for _ in range(3):
            plan, _ = await ask(solver, policy, SNAPSHOT)
            assert isinstance(plan, TrafficPlan)
    assert helpers() == []
    monkeypatch.setattr(solver, "_without_until", 0.0)
    plan, _ = await ask(solver, policy, SNAPSHOT)
    assert isinstance(plan, TrafficPlan)
    assert len(helpers()) == 1, "after a while another one is tried"
    await solver.close()


def test_a_helper_that_may_not_lower_its_priority_works_all_the_same(tmp_path: Path) -> None:
    """As under a filter of system calls: os.nice raises PermissionError."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ndef refuse(by): raise PermissionError(1, 'not permitted')\nos.nice = refuse\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tango.adapters.solver_helper"],
        input=b"",
        capture_output=True,
        check=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    (size,) = frames.LENGTH.unpack(done.stdout[: frames.LENGTH.size])
    assert frames.unpacked(done.stdout[frames.LENGTH.size :][:size]) == {"ready": True}


async def test_a_helper_ends_with_its_daemon() -> None:
    """Also after kill -9: its standard input ends."""
    script = Path(__file__).with_name("helper_owner.py")
    owner = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    helper = int(await owner.stdout.readline())
    owner.kill()
    await owner.wait()
    await gone(helper)


async def test_small_solves_stay_in_process_and_large_ones_leave_the_loop_alone() -> None:
    """In a 50 x 1,000 solve, which takes the policy 0.1 s and more, the loop goes on."""
    solver = HelperSolver()
    policy = traffic_policy("dss-lc")
    answers: list[Answer] = []
    solver.route(policy, SNAPSHOT, lambda *answer: answers.append(answer))
    assert len(answers) == 1, "a small solve is answered at once"
    await solver.start(policy)
    snapshot = large(services=50, nodes=1000)
    solving = asyncio.ensure_future(ask(solver, policy, snapshot))
    turns = 0
    while not solving.done():
        await asyncio.sleep(0.001)
        turns += 1
    plan, cost_s = await solving
    assert isinstance(plan, TrafficPlan)
    assert sum(route.count for route in plan.routes) == 50 * 200
    assert turns > 20
    assert cost_s > 0.02
    await solver.close()


def test_only_offers_that_changed_are_told_again() -> None:
    snapshot = large(services=2, nodes=50)
    told: list[NodeOffer] = []
    for frame in frames.snapshot_frames("p", snapshot, ()):
        frames.take_offers(frames.unpacked(frames.packed(frame)[4:]), told)
    assert tuple(told) == snapshot.offers
    offers = (*snapshot.offers[:7], replace(snapshot.offers[7], load=0.5), *snapshot.offers[8:40])
    (frame,) = frames.snapshot_frames("p", replace(snapshot, offers=offers), snapshot.offers)
    assert [entry[0] for entry in frame["offers"]] == [7]
    frame = frames.unpacked(frames.packed(frame)[4:])
    frames.take_offers(frame, told)
    assert frames.asked(frame, told) == replace(snapshot, offers=offers)


def large(services: int, nodes: int) -> TrafficSnapshot:
    names = [f"s{index}" for index in range(services)]
    slots = tuple((name, 20) for name in names)
    offers = tuple(
        NodeOffer(
            f"n{index}", 64_000, 2**36, slots, 0.1, 0.0001 * (index % 7), in_flight=((names[0], 1),)
        )
        for index in range(nodes)
    )
    return TrafficSnapshot(tuple(Demand(name, 200, 100, 2**20, 0) for name in names), offers)


def helpers() -> list[int]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "tango.adapters.solver_helper" in child.cmdline():
                found.append(child.pid)
    return found


async def gone(pid: int) -> None:
    def ended() -> bool:
        try:
            return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    await until(ended)


async def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < limit
        await asyncio.sleep(0.01)
