"""A better plan for tasks with bounds and backups that run: shown, carried out, given up."""

from __future__ import annotations

import pytest
from central_bench import MIB, Bench, ended, node, running
from test_central_bounds import RULE, again, at, job, reserved, task

from tango.controllers.central.improving import WAVE_S
from tango.model.cluster import NodeView
from tango.model.errors import Refused, Unavailable
from tango.model.events import ImproveSolved, SolveFailed
from tango.model.explanation import Subject
from tango.model.improvement import (
    BoundTotals,
    Improvement,
    ImproveView,
    MoveState,
    Wish,
)
from tango.model.job import JobState
from tango.model.round_trips import EdgeTrip

NAMES = ("a1", "a2", "a3")
TRIPS = (*(EdgeTrip(f"a/{name}", 0.001) for name in NAMES), EdgeTrip("b", 0.010))


def three() -> Bench:
    """Three nodes of a site, near to one another."""
    bench = Bench(bound_rule=RULE)
    bench.edge_up(*map(at, NAMES), session=1, edge="a", trips=TRIPS)
    return bench


def crowded() -> Bench:
    """Two tasks on one node, their placeholder as large as both: a third node was full."""
    bench = three()
    run(bench, "full", memory=1000 * MIB, near="a3", ms=0)
    for name in ("j1", "j2"):
        run(bench, name, memory=300 * MIB, near="a1", backup=True)
    bench.status(ended("full.0.1"))
    bench.advance(1.0)
    assert {places(bench)["j1"], places(bench)["j2"]} == {"a1"}
    assert reserved(bench) == {"a/a2": 600}
    return bench


def run(
    bench: Bench, job_id: str, *, memory: int, near: str, ms: float = 5, backup: bool = False
) -> None:
    bench.submit(job_id, job(task(near=near, ms=ms, backup=backup, memory=memory, cpu=100)))
    bench.advance(0.2)
    bench.status(running(f"{job_id}.0.1", bench.wall))


def places(bench: Bench) -> dict[str, str]:
    return {job.job_id: job.tasks[0].node for job in bench.central.jobs()}


def asked(bench: Bench, max_moves: int = 10, *, apply: bool = False) -> ImproveView:
    answer = bench.answers[bench.improve(max_moves, apply=apply)]
    assert answer.error is None, answer.error
    assert isinstance(answer.result, ImproveView)
    return answer.result


def now(bench: Bench) -> ImproveView:
    view = bench.central.improvement
    assert view is not None
    return view


def tell(bench: Bench, *views: NodeView) -> None:
    bench.nodes(*(views or map(at, NAMES)), session=1, trips=TRIPS)


# ---- shown


def test_what_would_be_better_is_shown_and_nothing_is_done() -> None:
    bench = crowded()
    bench.advance(100.0)
    kept, sent = dict(bench.kept), len(bench.sent)
    view = asked(bench)
    assert (view.before.reserved_bytes, view.after.reserved_bytes) == (600 * MIB, 300 * MIB)
    (move,) = view.moves
    assert (move.source, move.task, move.state) == ("a/a1", "main", MoveState.PLANNED)
    assert move.target in ("a/a2", "a/a3")
    assert move.ran_s == pytest.approx(101.0, abs=1.0)
    assert not view.applied
    assert view.done
    bench.advance(2.0)
    assert (bench.kept, len(bench.sent)) == (kept, sent)


def test_no_move_is_made_where_none_is_allowed() -> None:
    view = asked(crowded(), 0)
    assert view.why_not.startswith("no better plan")
    assert not view.moves


def test_where_all_is_well_it_says_so() -> None:
    bench = three()
    view = asked(bench)
    assert view.why_not == "no task that runs has a delay bound or a backup"
    run(bench, "j1", memory=300 * MIB, near="a1", backup=True)
    view = asked(bench, apply=True)
    assert view.why_not
    assert view.done
    assert bench.central.improvement is None


def test_other_backups_cost_no_move() -> None:
    """Two of different nodes have a placeholder each, and one would do for both."""
    bench = three()
    run(bench, "third", memory=700 * MIB, near="a3", ms=0)
    run(bench, "j1", memory=400 * MIB, near="a1", backup=True)
    run(bench, "first", memory=600 * MIB, near="a1", ms=0)
    run(bench, "j2", memory=400 * MIB, near="a2", backup=True)
    bench.status(ended("third.0.1"))
    bench.advance(1.0)
    assert reserved(bench) == {"a/a2": 400, "a/a3": 400}
    view = asked(bench, 0, apply=True)
    assert (view.moves, view.rebacked) == ((), 1)
    bench.advance(0.5)
    assert reserved(bench) == {"a/a3": 400}
    assert now(bench).done
    assert now(bench).now == view.after
    assert not bench.stops()
    for name in ("j1", "j2"):
        assert bench.job(name).tasks[0].backup == "a/a3"


# ---- carried out


def test_a_task_is_stopped_once_its_new_place_is_on_disk_and_begins_anew_there() -> None:
    bench = crowded()
    bench.hold_disk = True
    view = asked(bench, apply=True)
    assert view.applied
    (move,) = view.moves
    bench.advance(0.5)
    assert not bench.stops()
    assert {write.kind for persist in bench.writes for write in persist.writes} == {
        "bound", "reservation",
    }  # fmt: skip
    bench.release_disk()
    bench.advance(0.5)
    (attempt,) = bench.stops()
    assert attempt == f"{move.job_id}.0.1"
    assert now(bench).moves[0].state is MoveState.MOVING
    assert len(bench.starts()) == 3, "two attempts of one task at once"
    bench.status(ended(attempt, None, signal=15))
    bench.advance(0.5)
    assert bench.starts()[-1] == f"{move.job_id}.0.2"
    assert f"a/{places(bench)[move.job_id]}" == move.target
    bench.status(running(f"{move.job_id}.0.2", bench.wall))
    bench.advance(0.5)
    done = now(bench)
    assert done.done
    assert not done.stopped
    assert done.moves[0].state is MoveState.MOVED
    assert done.now == done.after
    assert sum(reserved(bench).values()) == 300
    assert bench.job(move.job_id).tasks[0].failures == 0
    said = str(bench.central.explain(move.job_id, (Subject.JOB,), 20, bench.now))
    assert f"by a better plan it shall run on {move.target}" in said
    assert f"by a better plan: moves from a/a1 to {move.target}" in said
    assert asked(bench).why_not


def test_a_crash_before_the_stop_leaves_it_and_one_after_it_lets_it_go_on() -> None:
    bench = crowded()
    bench.hold_disk = True
    (move,) = asked(bench, apply=True).moves
    statuses = (running("j1.0.1"), running("j2.0.1"))
    early = again(bench)
    early.edge_up(*map(at, NAMES), session=7, edge="a", trips=TRIPS, attempts=statuses)
    early.advance(15.0)
    assert not early.stops()
    assert reserved(early) == {"a/a2": 600}
    bench.release_disk()
    bench.advance(0.5)
    assert bench.stops()
    late = again(bench)
    late.edge_up(*map(at, NAMES), session=7, edge="a", trips=TRIPS, attempts=statuses)
    late.advance(1.0)
    assert set(late.stops()) == {f"{move.job_id}.0.1"}
    late.status(ended(f"{move.job_id}.0.1", None, signal=15), session=7)
    late.advance(1.0)
    assert late.starts() == [f"{move.job_id}.0.2"]
    assert f"a/{places(late)[move.job_id]}" == move.target
    assert late.job(move.job_id).tasks[0].failures == 0
    # What comes behind this wave is forgotten: both are protected, though in more room.
    assert sum(reserved(late).values()) == 600
    late.status(running(f"{move.job_id}.0.2", late.wall), session=7)
    assert asked(late, 0, apply=True).rebacked
    late.advance(0.5)
    assert sum(reserved(late).values()) == 300


def test_what_has_changed_meanwhile_is_not_overrun() -> None:
    bench = crowded()
    bench.hold_solves = True
    op = bench.improve(apply=True)
    others = [at(name, cordoned=True) for name in NAMES[1:]]
    tell(bench, at("a1"), *others)
    bench.hold_solves = False
    bench.solve()
    view = bench.answers[op].result
    assert isinstance(view, ImproveView)
    assert view.moves
    bench.advance(2.0)
    assert not bench.stops()
    assert now(bench).done
    assert "changed since the plan was made" in now(bench).stopped
    assert now(bench).moves[0].state is MoveState.DROPPED


def test_a_job_that_ends_meanwhile_is_let_go() -> None:
    bench = crowded()
    (move,) = asked(bench, apply=True).moves
    bench.advance(0.5)
    bench.cancel(move.job_id)
    bench.status(ended(f"{move.job_id}.0.1", None, signal=15))
    bench.advance(2.0)
    assert now(bench).done
    assert (now(bench).moves[0].state, now(bench).moves[0].detail) == (
        MoveState.DROPPED, "it has ended",
    )  # fmt: skip
    assert len(bench.starts()) == 3
    assert "changed since the plan was made" in now(bench).stopped


def test_a_task_whose_target_dies_runs_elsewhere() -> None:
    bench = crowded()
    (move,) = asked(bench, apply=True).moves
    bench.advance(0.5)
    gone = move.target[2:]
    tell(bench, *(at(name, ready=name != gone, dead=name == gone) for name in NAMES))
    bench.advance(6.0)
    bench.status(ended(f"{move.job_id}.0.1", None, signal=15))
    bench.advance(2.0)
    assert bench.job(move.job_id).state is JobState.SCHEDULED
    assert places(bench)[move.job_id] != gone
    assert now(bench).done
    assert now(bench).moves[0].state is MoveState.DROPPED
    assert "changed since the plan was made" in now(bench).stopped


def with_plan(bench: Bench, *waves: tuple[Wish, ...]) -> ImproveView:
    """As if these waves were the rule's plan; carried out."""
    bench.hold_solves = True
    op = bench.improve(apply=True)
    solve = bench.solves.popleft()
    better = Improvement(BoundTotals(), BoundTotals(placed=1), waves)
    bench.feed(ImproveSolved(solve.solve_id, better, 0.001, bench.wall))
    bench.hold_solves = False
    view = bench.answers[op].result
    assert isinstance(view, ImproveView)
    return view


def test_another_backup_before_the_move_is_not_taken_for_the_move() -> None:
    """Its first wish is to stay with another backup, the second to go: that one is waited for."""
    bench = crowded()
    staying, going = Wish("j1.0", "a/a1", "a/a3"), Wish("j1.0", "a/a2", "a/a3")
    last = Wish("j2.0", "a/a1", "a/a3")
    (move,) = with_plan(bench, (staying,), (going,), (last,)).moves
    assert (move.target, move.state) == ("a/a2", MoveState.MOVING)
    bench.advance(1.0)
    assert not now(bench).done
    assert bench.job("j2").tasks[0].backup == "a/a2", "the last wave waits for the move"
    bench.status(ended("j1.0.1", None, signal=15))
    bench.advance(0.5)
    bench.status(running("j1.0.2", bench.wall))
    bench.advance(0.5)
    assert (now(bench).done, now(bench).stopped) == (True, "")
    assert now(bench).moves[0].state is MoveState.MOVED
    assert bench.job("j2").tasks[0].backup == "a/a3"


def test_a_backup_that_is_not_there_any_more_is_said() -> None:
    bench = crowded()
    with_plan(bench, (Wish("j1.0", "a/a1", "a/gone"),), (Wish("j2.0", "a/a2", "a/a3"),))
    bench.advance(1.0)
    assert now(bench).done
    assert "changed since the plan was made" in now(bench).stopped
    assert not bench.stops()


def test_who_finds_no_room_at_its_target_is_not_waited_for_for_ever() -> None:
    bench = crowded()
    (move,) = asked(bench, apply=True).moves
    bench.advance(0.5)
    full = at(move.target[2:], lc_memory_bytes=1000 * MIB)
    tell(bench, full, *(at(name) for name in NAMES if name != full.node))
    bench.status(ended(f"{move.job_id}.0.1", None, signal=15))
    bench.advance(10.0)
    assert "is not free yet" in bench.job(move.job_id).reason
    assert not now(bench).done
    bench.advance(WAVE_S)
    assert now(bench).done
    assert f"has not begun again after {WAVE_S:g} s" in now(bench).stopped


# ---- who may not


def test_one_at_a_time() -> None:
    bench = crowded()
    bench.hold_solves = True
    bench.improve()
    error = bench.answers[bench.improve()].error
    assert isinstance(error, Unavailable)
    bench.hold_solves = False
    bench.solve()
    asked(bench, apply=True)
    error = bench.answers[bench.improve(apply=True)].error
    assert isinstance(error, Refused)
    assert "being carried out" in str(error)
    assert asked(bench), "to look is allowed"


def test_without_numpy_there_is_no_plan() -> None:
    bench = Bench()
    bench.edge_up(node())
    error = bench.answers[bench.improve()].error
    assert isinstance(error, Refused)
    assert "solver" in str(error)


def test_a_rule_that_fails_is_told() -> None:
    bench = crowded()
    bench.hold_solves = True
    op = bench.improve()
    bench.feed(SolveFailed(bench.solves.popleft().solve_id, "it broke"))
    assert "it broke" in str(bench.answers[op].error)
    bench.hold_solves = False
    assert asked(bench)
