"""Plans for bounds and backups that come late: what still holds is done, the rest planned again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from central_bench import MIB, Bench, ended, running
from test_central_bounds import (
    RULE,
    TRIPS_A,
    TRIPS_B,
    again,
    at,
    die,
    job,
    place,
    reserved,
    submit,
    task,
    tell,
    two_sites,
    up,
)

from tango.model.bounds import BoundPlan, BoundSnapshot
from tango.model.commands import Solve
from tango.model.events import BoundsSolved, SolveFailed
from tango.model.job import JobState
from tango.model.round_trips import EdgeTrip

NEAR_BOTH = task(near="a1", ms=3, backup=True)


def held(*jobs: str) -> Bench:
    """A plan for these jobs, each one task near to a1, is under way."""
    bench = two_sites()
    bench.hold_solves = True
    for name in jobs:
        bench.submit(name, job(NEAR_BOTH))
    bench.advance(0.2)
    return bench


def asked(bench: Bench) -> tuple[Solve, BoundSnapshot]:
    (solve,) = bench.solves
    assert isinstance(solve.snapshot, BoundSnapshot)
    return solve, solve.snapshot


def finish(bench: Bench) -> None:
    bench.hold_solves = False
    while bench.solves:
        bench.solve()


def test_one_plan_is_asked_for_at_a_time_and_nothing_is_done_before_it_comes() -> None:
    bench = held("j1")
    bench.submit("j2", job(NEAR_BOTH))
    bench.advance(5.0)
    asked(bench)
    assert not bench.starts()
    assert not bench.kept
    finish(bench)
    bench.advance(0.2)
    assert sorted(bench.starts()) == ["j1.0.1", "j2.0.1"]


def test_of_a_job_that_was_cancelled_meanwhile_nothing_is_kept() -> None:
    bench = held("j1", "j2")
    bench.cancel("j1")
    finish(bench)
    bench.advance(1.0)
    assert bench.state("j1") is JobState.CANCELLED
    assert bench.starts() == ["j2.0.1"]
    assert ("bound", "j1.0") not in bench.kept
    assert list(reserved(bench).values()) == [256]


def test_a_node_that_died_meanwhile_gets_nothing() -> None:
    bench = held("j1")
    die(bench)
    finish(bench)
    assert not bench.starts()
    assert "what it was planned on has changed" in bench.job("j1").reason
    bench.advance(1.0)
    assert place(bench, "j1") == "a/a2"


def test_room_that_others_took_meanwhile_is_not_given_twice() -> None:
    bench = held("j1")
    _, snapshot = asked(bench)
    plan = RULE.plan(snapshot)  # type: ignore[union-attr]
    (record,) = plan.records
    # The batch policy fills all nodes with ordinary jobs.
    solve = bench.solves.popleft()
    bench.hold_solves = False
    others = [f"o{number}" for number in range(3)]
    for name in others:
        bench.submit(name, job(task(cpu=1800)))
        bench.advance(0.1)
    assert {place(bench, name) for name in others} == {"a/a1", "a/a2", "b/b1"}
    bench.hold_solves = True
    bench.feed(BoundsSolved(solve.solve_id, plan, 0.1, bench.wall))
    assert "j1.0.1" not in bench.starts()
    assert not reserved(bench)
    finish(bench)
    for name in others:
        session = 2 if place(bench, name) == "b/b1" else 1
        bench.status(running(f"{name}.0.1"), session=session)
        bench.status(ended(f"{name}.0.1"), session=session)
    bench.advance(2.0)
    assert place(bench, "j1") == record.node


def test_what_stands_of_a_plan_is_done_though_another_part_does_not() -> None:
    bench = two_sites()
    bench.hold_solves = True
    bench.submit("j1", job(NEAR_BOTH))
    bench.submit("j2", job(task(near="b1", ms=0)))
    bench.advance(0.2)
    bench.nodes(at("b1", cordoned=True), session=2, trips=TRIPS_B)
    finish(bench)
    assert bench.starts() == ["j1.0.1"]
    bench.nodes(at("b1"), session=2, trips=TRIPS_B)
    bench.advance(2.0)
    assert place(bench, "j2") == "b/b1"


def test_a_delay_that_has_grown_meanwhile_counts() -> None:
    bench = Bench(bound_rule=RULE)
    # Only a2 has room within 5 ms of a1.
    bench.edge_up(at("a1", lc_held_millis=2000), at("a2"), session=1, edge="a", trips=TRIPS_A)
    bench.hold_solves = True
    bench.submit("j1", job(task(near="a1", ms=5)))
    bench.advance(0.2)
    solve, snapshot = asked(bench)
    plan = RULE.plan(snapshot)  # type: ignore[union-attr]
    assert [record.node for record in plan.records] == ["a/a2"]
    far = (EdgeTrip("a/a1", 0.001), EdgeTrip("a/a2", 0.050))
    for _ in range(3):
        bench.advance(1.0)
        bench.nodes(at("a1", lc_held_millis=2000), at("a2"), session=1, trips=far)
    bench.solves.clear()
    bench.feed(BoundsSolved(solve.solve_id, plan, 3.0, bench.wall))
    assert not bench.starts()
    finish(bench)
    bench.advance(1.0)
    assert not bench.starts()
    assert "beyond 5 ms" in bench.job("j1").reason


def test_a_gang_is_started_whole_or_not_at_all() -> None:
    bench = two_sites()
    bench.hold_solves = True
    bench.submit("j1", job(task("web", "b1", 0), task("cache", "a1", 3)))
    bench.advance(0.2)
    bench.nodes(at("b1", cordoned=True), session=2, trips=TRIPS_B)
    finish(bench)
    bench.advance(0.05)
    assert not bench.starts()
    assert not bench.kept


def test_a_plan_of_an_earlier_question_is_no_answer() -> None:
    bench = held("j1")
    solve, snapshot = asked(bench)
    bench.feed(BoundsSolved(solve.solve_id + 7, BoundPlan(), 0.1, bench.wall))
    finish(bench)
    assert bench.starts() == ["j1.0.1"]
    plan = RULE.plan(snapshot)  # type: ignore[union-attr]
    bench.feed(BoundsSolved(solve.solve_id, plan, 0.1, bench.wall))
    assert bench.starts() == ["j1.0.1"]


def test_a_plan_that_failed_is_asked_for_again_after_a_while() -> None:
    bench = held("j1")
    solve = bench.solves.popleft()
    bench.feed(SolveFailed(solve.solve_id, "the helper is gone"))
    bench.advance(0.9)
    assert not bench.solves
    bench.advance(0.2)
    finish(bench)
    assert bench.starts() == ["j1.0.1"]


def test_a_plan_that_never_comes_is_given_up() -> None:
    bench = held("j1")
    first = bench.solves.popleft()
    bench.advance(31.0)
    second, _ = asked(bench)
    assert second.solve_id != first.solve_id
    finish(bench)
    assert bench.starts() == ["j1.0.1"]


def test_a_crash_before_the_plan_comes_leaves_nothing() -> None:
    bench = held("j1")
    bench = again(bench)
    assert not bench.kept
    up(bench)
    bench.advance(1.0)
    assert bench.starts() == ["j1.0.1"]


@pytest.mark.parametrize("late", [False, True])
def test_a_task_that_ended_meanwhile_gets_no_other_place(late: bool) -> None:
    bench = two_sites()
    submit(bench, "big", job(task(near="a1", ms=0, cpu=2000)))
    submit(bench, "j1", job(task(near="a1", ms=5), retries=0))
    assert place(bench, "j1") == "a/a2"
    for name in ("big", "j1"):
        bench.status(running(f"{name}.0.1"))
    bench.status(ended("big.0.1"))
    bench.hold_solves = late
    far = (EdgeTrip("a/a1", 0.001), EdgeTrip("a/a2", 0.050), EdgeTrip("b", 0.010))
    for _ in range(4):
        bench.advance(1.0)
        tell(bench, trips=far)
    if late:
        bench.status(ended("j1.0.1"))
        finish(bench)
        bench.advance(1.0)
        assert not bench.stops()
        assert bench.state("j1") is JobState.SUCCEEDED
    else:
        assert bench.stops() == ["j1.0.1"]
    assert not (late and reserved(bench))


def test_a_backup_on_a_node_that_was_drained_meanwhile_is_not_taken() -> None:
    bench = Bench(bound_rule=RULE)
    up(bench)
    bench.hold_solves = True
    bench.submit("j1", job(replace(NEAR_BOTH, memory_bytes=600 * MIB)))
    bench.advance(0.2)
    _, snapshot = asked(bench)
    (record,) = RULE.plan(snapshot).records  # type: ignore[union-attr]
    backup = record.backup[2:]
    views = [at(one, cordoned=one == backup) for one in ("a1", "a2")]
    bench.nodes(*views, session=1, trips=TRIPS_A)
    finish(bench)
    assert record.backup not in reserved(bench)
    bench.advance(1.0)
    assert place(bench, "j1") == record.node
    assert bench.job("j1").tasks[0].warning.startswith("unprotected")
