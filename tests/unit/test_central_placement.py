"""Placement: offers, order, gangs, windows, reasons, and plans that came too late."""

from __future__ import annotations

import pytest
from central_bench import MIB, Bench, ended, node, running, spec

from tango.algorithms.batch.most_free import MostFree
from tango.controllers.central import batch
from tango.model.commands import Persist, SendEdge
from tango.model.events import BatchSolved, SolveFailed
from tango.model.job import JobState
from tango.model.messages import StartAttempt
from tango.model.plan import BatchPlan, BatchSnapshot, Placement


class Scripted:
    """A policy that answers with what the test wrote down."""

    name = "scripted"

    def __init__(self, *placements: Placement) -> None:
        self.placements = placements

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        return BatchPlan(self.placements)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_WINDOW", 8)


def test_an_assignment_is_on_disk_before_the_start_is_sent() -> None:
    bench = Bench()
    bench.submit()
    bench.hold_disk = True
    bench.edge_up(node())
    task = bench.writes[0].writes[0].value.tasks[0]
    assert (task.state, task.attempt_id) == (JobState.SCHEDULED, "j1.0.1")
    assert not bench.starts()
    bench.write()
    assert bench.starts() == ["j1.0.1"]
    [start] = [m for _, m in bench.sent if isinstance(m, StartAttempt)]
    assert (start.node, start.spec) == ("n1", spec().tasks[0])
    kinds = [type(c) for c in bench.order if isinstance(c, Persist | SendEdge)]
    assert kinds[-2:] == [Persist, SendEdge]


def test_offers_leave_out_what_lc_and_be_hold() -> None:
    bench = Bench()
    bench.submit("j1", spec(cpu=4000))
    view = node(
        cpu=4000,
        memory=1000 * MIB,
        lc_held_millis=500,
        be_held_millis=300,
        lc_memory_bytes=100 * MIB,
        be_memory_bytes=50 * MIB,
        be_tasks=2,
    )
    bench.edge_up(view, node("n2", cpu=100, lc_held_millis=100), node("n3", ready=False))
    [offer] = bench.snapshots[-1].offers
    assert (offer.edge, offer.node, offer.be_tasks) == ("e1", "n1", 2)
    assert (offer.cpu_millis, offer.memory_bytes) == (3200, 850 * MIB)


def test_what_the_edge_has_not_told_of_yet_is_not_offered_twice() -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.submit("j1", spec(cpu=1500))
    bench.advance(1.0)
    bench.submit("j2", spec(cpu=1500))
    [offer] = bench.snapshots[-1].offers
    assert offer.cpu_millis == 500
    bench.nodes(node(lc_held_millis=0))  # an old reading, from before the start arrived
    assert bench.starts() == ["j1.0.1"]
    bench.status(running("j1.0.1"))  # told, but the reading is older still
    bench.advance(1.0)
    assert bench.snapshots[-1].offers[0].cpu_millis == 500
    bench.nodes(node(be_held_millis=1500))
    bench.advance(1.0)
    assert bench.snapshots[-1].offers[0].cpu_millis == 500
    bench.status(ended("j1.0.1"))
    bench.nodes(node())
    bench.advance(1.0)
    assert bench.starts() == ["j1.0.1", "j2.0.1"]


def test_attempts_that_are_not_ours_count_with_what_the_edge_has_not_told_of() -> None:
    bench = Bench()
    bench.edge_up(node(be_held_millis=800))
    bench.submit("j1", spec(cpu=1000))
    bench.submit("j2", spec(cpu=1000))
    bench.advance(1.0)
    assert bench.starts() == ["j1.0.1"]
    assert bench.snapshots[-1].offers[0].cpu_millis == 200


def test_priority_then_arrival() -> None:
    bench = Bench()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        bench.submit(name, spec(cpu=1000, priority=priority))
    bench.edge_up(node(cpu=3000))
    [snapshot] = bench.snapshots
    assert [gang.job_id for gang in snapshot.gangs] == ["b", "d", "a", "c"]
    assert bench.starts() == ["b.0.1", "d.0.1", "a.0.1"]


def test_a_gang_is_placed_whole_over_sites_or_waits() -> None:
    bench = Bench()
    bench.submit("j1", spec(n_tasks=3, cpu=1500))
    bench.edge_up(node(), session=1, edge="e1")
    assert not bench.starts()
    assert bench.job().reason == (
        "NeverFits: its 3 tasks need more CPU than all nodes have together"
    )
    bench.edge_up(node(), session=2, edge="e2")
    bench.advance(1.0)
    assert not bench.starts()
    bench.edge_up(node(), session=3, edge="e3")
    bench.advance(1.0)
    assert sorted(bench.starts()) == ["j1.0.1", "j1.1.1", "j1.2.1"]
    assert {task.edge for task in bench.job().tasks} == {"e1", "e2", "e3"}


def test_a_later_smaller_gang_may_overtake() -> None:
    bench = Bench()
    bench.edge_up(node(cpu=2000), node("n2", cpu=3000))
    bench.submit("big", spec(n_tasks=2, cpu=2500))
    bench.submit("small")
    bench.advance(1.0)
    assert bench.starts() == ["small.0.1"]
    assert bench.state("big") is JobState.PENDING


def test_reasons_for_waiting() -> None:
    bench = Bench()
    bench.submit("j1", spec(cpu=3000))
    assert bench.job().reason == "waiting for room: no node is ready"
    bench.edge_up(node(cpu=2000), node("n2", cpu=1000, memory=4096 * MIB))
    assert bench.job().reason == (
        "NeverFits: task t0 needs 3 CPU and 64.0 MiB, the largest node has "
        "2 CPU with 1.0 GiB or 1 CPU with 4.0 GiB"
    )
    assert bench.disk["j1"].reason == ""  # not stored
    bench.edge_up(node("n3", cpu=4000, be_held_millis=2000), session=2, edge="e2")
    bench.advance(1.0)
    assert bench.job().reason == "waiting for room: no node has 3 CPU and 64.0 MiB free"
    bench.nodes(node("n3", cpu=4000), session=2)
    bench.advance(1.0)
    assert bench.state() is JobState.SCHEDULED
    assert bench.job().reason == ""


@pytest.mark.usefixtures("small_windows")
def test_gangs_that_never_fit_do_not_fill_the_windows() -> None:
    bench = Bench()
    for i in range(20):
        bench.submit(f"huge{i}", spec(cpu=9000))
    bench.submit("small")
    bench.edge_up(node())
    bench.advance(0.01)
    assert bench.starts() == ["small.0.1"]
    assert len(bench.snapshots) == 1


@pytest.mark.usefixtures("small_windows")
def test_windows_are_bounded_and_go_through_the_whole_queue() -> None:
    bench = Bench()
    for i in range(20):
        bench.submit(f"big{i}", spec(cpu=1800))
    bench.submit("small", spec(cpu=100))
    bench.edge_up(node(lc_held_millis=1500))
    assert len(bench.snapshots[0].gangs) == 8
    bench.advance(1.0)
    assert bench.starts() == ["small.0.1"]
    assert len(bench.snapshots) == 3
    bench.advance(60.0)
    assert len(bench.snapshots) == 3  # nothing changes: nothing is asked again
    bench.submit("late", spec(cpu=100))
    assert [gang.job_id for gang in bench.snapshots[3].gangs] == ["late"]
    bench.advance(1.0)
    bench.submit("urgent", spec(cpu=100, priority=1))
    assert bench.snapshots[4].gangs[0].job_id == "urgent"
    assert bench.starts() == ["small.0.1", "late.0.1", "urgent.0.1"]


@pytest.mark.usefixtures("small_windows")
def test_constant_small_growth_neither_starves_the_tail_nor_passes_over_the_head() -> None:
    bench = Bench()
    for i in range(32):
        bench.submit(f"big{i}", spec(cpu=1800))
    bench.submit("small", spec(cpu=100))
    bench.edge_up(node(lc_held_millis=1500))
    for i in range(40):
        bench.nodes(node(lc_held_millis=1500 - i))
        bench.advance(0.1)
    assert bench.starts() == ["small.0.1"]
    heads = [s for s in bench.snapshots if s.gangs[0].job_id == "big0"]
    assert len(heads) > 10


def test_a_big_gang_counts_by_its_tasks_in_a_window() -> None:
    bench = Bench()
    bench.hold_solves = True
    for i in range(5):
        bench.submit(f"j{i}", spec(n_tasks=100, cpu=1, memory=MIB))
    bench.edge_up(node())
    bench.hold_solves = False
    bench.solve()
    assert [len(snapshot.gangs) for snapshot in bench.snapshots] == [1]
    bench.advance(1.0)
    assert [len(snapshot.gangs) for snapshot in bench.snapshots] == [1] * 5
    assert len(bench.starts()) == 500


def test_a_plan_is_checked_against_the_present() -> None:
    bench = Bench()
    bench.hold_solves = True
    for name in ("a", "b", "c", "d"):
        bench.submit(name, spec(cpu=1000))
    bench.edge_up(node(cpu=2000), node("n2", cpu=2000))
    bench.nodes(node(cpu=2000, lc_held_millis=900), node("n2", cpu=2000))
    bench.cancel("b")
    places = {"a": "n1", "b": "n1", "c": "n1", "d": "n2"}
    plan = [Placement(job, 0, "e1", place) for job, place in places.items()]
    bench.policy = Scripted(*plan)
    bench.solve()
    assert bench.starts() == ["a.0.1", "d.0.1"]
    assert bench.state("c") is JobState.PENDING
    bench.policy = MostFree()
    bench.hold_solves = False
    bench.advance(1.0)
    assert bench.starts() == ["a.0.1", "d.0.1", "c.0.1"]
    assert bench.job("c").tasks[0].node == "n2"


@pytest.mark.parametrize(
    "placements",
    [
        (Placement("j1", 0, "e1", "n1"),),  # half a gang
        (Placement("j1", 0, "e1", "n1"), Placement("j1", 1, "e1", "nope")),
        (Placement("j1", 0, "e1", "n1"), Placement("j1", 1, "nope", "n1")),
        (Placement("j1", 0, "e1", "n1"), Placement("j1", 1, "e1", "n1")),  # too much for one node
        (Placement("j1", 0, "e1", "n1"), Placement("j1", 7, "e1", "n1")),
        (Placement("ghost", 0, "e1", "n1"),),
        (),
    ],
)
def test_a_plan_that_makes_no_sense_changes_nothing(placements: tuple[Placement, ...]) -> None:
    bench = Bench(policy=Scripted(*placements))
    bench.submit("j1", spec(n_tasks=2, cpu=1200))
    bench.edge_up(node(), node("n2"))
    bench.advance(0.5)
    assert bench.state() is JobState.PENDING
    assert bench.job().reason == "waiting for room"
    bench.policy = MostFree()
    bench.nodes(node(), node("n2", cpu=2001))
    bench.advance(0.5)
    assert bench.state() is JobState.SCHEDULED


def test_one_solve_at_a_time_and_only_the_outstanding_one_counts() -> None:
    bench = Bench()
    bench.hold_solves = True
    bench.edge_up(node())
    bench.submit("j1")
    bench.submit("j2")
    assert len(bench.solves) == 1
    plan = BatchPlan((Placement("j1", 0, "e1", "n1"),))
    bench.feed(BatchSolved(99, plan, 0.0, bench.wall))
    assert not bench.starts()
    bench.solve()
    assert bench.starts() == ["j1.0.1"]
    bench.advance(0.01)
    bench.solve()
    assert bench.starts() == ["j1.0.1", "j2.0.1"]


def test_a_solve_that_fails_or_never_answers_is_asked_again() -> None:
    bench = Bench()
    bench.hold_solves = True
    bench.edge_up(node())
    bench.submit()
    bench.feed(SolveFailed(bench.solves.popleft().solve_id, "division by zero"))
    assert not bench.solves
    bench.advance(1.0)
    lost = bench.solves.popleft()
    bench.advance(30.0)
    bench.solve()
    assert bench.starts() == ["j1.0.1"]
    bench.feed(SolveFailed(lost.solve_id, "late"))
    assert [note.event for note in bench.notes].count("solve_failed") == 1


def test_no_offers_no_solve() -> None:
    bench = Bench()
    bench.submit()
    assert bench.central.wake_at is None
    bench.edge_up(node(ready=False))
    assert not bench.snapshots
    assert bench.central.wake_at is None
    bench.nodes(node())
    assert bench.starts() == ["j1.0.1"]


def test_edge_down_withdraws_its_offers() -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.edge_down()
    bench.submit()
    assert not bench.snapshots
    [view] = bench.central.edge_views()
    assert not view.connected
    assert [n.ready for n in view.nodes] == [False]
    bench.edge_up(node(), session=2)
    assert bench.starts() == ["j1.0.1"]
    [view] = bench.central.edge_views()
    assert (view.connected, view.address, view.version) == (True, "127.0.0.1:1", "0.1")


def test_placements_are_explained() -> None:
    bench = Bench()
    bench.edge_up(node(), node("n2"))
    bench.submit()
    [note] = [note for note in bench.notes if note.event == "placed"]
    fields = dict(note.fields)
    assert (fields["node"], fields["runner_up"]) == ("n1", ("n2", 0.25))


def test_the_snapshots_seed_comes_from_the_controllers() -> None:
    seeds = []
    for _ in range(2):
        bench = Bench()
        bench.edge_up(node())
        bench.submit("j1")
        bench.advance(1.0)
        bench.submit("j2")
        seeds.append([snapshot.seed for snapshot in bench.snapshots])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 2


def test_nodes_of_the_same_name_at_two_sites_are_two_nodes() -> None:
    bench = Bench()
    bench.edge_up(node(), session=1, edge="e1")
    bench.edge_up(node(), session=2, edge="e2")
    bench.submit("a", spec(cpu=2000))
    bench.submit("b", spec(cpu=2000))
    bench.advance(1.0)
    assert {bench.job(name).tasks[0].edge for name in "ab"} == {"e1", "e2"}
