"""Tasks with delay bounds and backups at the central master: placed, failed over, moved, kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from central_bench import MIB, Bench, ended, node, running

from tango.adapters.bound_rules import bound_rule
from tango.controllers.central.begin import begin
from tango.model.cluster import NodeView
from tango.model.decision_text import sentence
from tango.model.errors import InvalidField
from tango.model.events import CentralEvent, DelaysMeasured
from tango.model.explanation import Subject
from tango.model.job import JobSpec, JobState, Near, TaskSpec
from tango.model.placement_profile import DEFAULT
from tango.model.placements import BoundRecord, ReservationRecord
from tango.model.round_trips import EdgeTrip, RoundTrip
from tango.model.settings import DelaySettings, DelaySource
from tango.model.starts import CentralStart

RULE = bound_rule(DEFAULT)
# a1 and a2 are 1 ms from their site, b1 2 ms from its; the sites are 10 ms apart.
TRIPS_A = (EdgeTrip("a/a1", 0.001), EdgeTrip("a/a2", 0.001), EdgeTrip("b", 0.010))
TRIPS_B = (EdgeTrip("b/b1", 0.002),)


def task(
    name: str = "main",
    near: str = "",
    ms: float = 5.0,
    *,
    of: str = "",
    backup: bool = False,
    cpu: int = 500,
    memory: int = 256 * MIB,
) -> TaskSpec:
    bound = Near(near, of, ms / 1000) if near or of else None
    return TaskSpec(name, ("true",), cpu_millis=cpu, memory_bytes=memory, near=bound, backup=backup)


def job(*tasks: TaskSpec, retries: int = 0, priority: int = 0) -> JobSpec:
    return JobSpec("job", tasks, retries=retries, priority=priority)


def at(name: str, **more: object) -> NodeView:
    return replace(node(name), edge=name[0], **more)  # type: ignore[arg-type]


def up(bench: Bench) -> None:
    """Both sites, and what they measured."""
    bench.edge_up(at("a1"), at("a2"), session=1, edge="a", trips=TRIPS_A)
    bench.edge_up(at("b1"), session=2, edge="b", trips=TRIPS_B)


def two_sites() -> Bench:
    bench = Bench(bound_rule=RULE)
    up(bench)
    return bench


def submit(bench: Bench, job_id: str, spec: JobSpec) -> int:
    """Submit, and let it be looked at."""
    op = bench.submit(job_id, spec)
    bench.advance(0.2)
    return op


def place(bench: Bench, job_id: str = "j1", index: int = 0) -> str:
    found = bench.job(job_id).tasks[index]
    return f"{found.edge}/{found.node}" if found.node else ""


def reserved(bench: Bench) -> dict[str, int]:
    return {
        f"{site.edge}/{view.node}": view.reserved_bytes // MIB
        for site in bench.central.edge_views()
        for view in site.nodes
        if view.reserved_bytes
    }


def tell(bench: Bench, *a: NodeView, trips: tuple[EdgeTrip, ...] = TRIPS_A) -> None:
    bench.nodes(*(a or (at("a1"), at("a2"))), session=1, trips=trips)


def die(bench: Bench, name: str = "a1") -> None:
    """The node is dead for its edge, and the grace on top of it has passed."""
    views = [at(one, ready=one != name, dead=one == name) for one in ("a1", "a2")]
    bench.nodes(*views, session=1, trips=TRIPS_A)
    bench.advance(6.0)


# ---- placing


def test_a_task_goes_within_its_bound_and_its_backup_is_reserved() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    assert place(bench) == "a/a1"
    assert bench.starts() == ["j1.0.1"]
    assert bench.job().tasks[0].backup == "a/a2"
    assert reserved(bench) == {"a/a2": 256}
    assert isinstance(bench.kept["bound", "j1.0"], BoundRecord)
    assert bench.kept["reservation", "a/a2"] == ReservationRecord("a/a2", 500, 256 * MIB)
    (found,) = bench.central.explain("j1", (Subject.JOB,), 10, bench.now)
    assert found.records[0][3:-1] == ("j1", "main", "a", "a1", "a/a2", "placed on a/a1")
    look = found.records[0][-1]
    assert (look.reference, look.bound_s, look.n_inside) == ("a/a1", 0.003, 2)
    assert look.inside == (("a/a1", 0.0), ("a/a2", 0.002))
    assert look.removed == (("delay: beyond 3 ms of a/a1", 1, ("b/b1",)),)
    assert (look.node, look.free_bytes, look.runner_up) == ("a/a1", 1024 * MIB, "a/a2")
    assert (look.step, look.grew, look.shared) == (5, False, 0)


def test_explain_says_by_which_step_a_backup_was_found_and_who_shares_it() -> None:
    bench = two_sites()
    for number in range(1, 5):
        submit(bench, f"j{number}", job(task(near="a1", ms=20, backup=True)))
    records = [
        bench.central.explain(f"j{number}", (Subject.JOB,), 10, bench.now)[0].records[0]
        for number in range(1, 5)
    ]
    looks = [record[-1] for record in records]
    assert looks[0].step == 5
    assert 3 in [look.step for look in looks]
    assert all((look.shared > 0) == (look.step in (3, 4) or look.grew) for look in looks)
    text = sentence(records[0])
    assert "newly reserved room, step 5, shared with no other tasks" in text
    assert "within 20 ms of a/a1: a/a1 0.0 ms, a/a2 2.0 ms" in text


def test_a_bound_alone_reserves_nothing() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="b1", ms=3)))
    assert place(bench) == "b/b1"
    assert not reserved(bench)
    assert (bench.job().tasks[0].backup, bench.job().tasks[0].warning) == ("", "")


def test_a_backup_alone_may_be_anywhere() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(backup=True)))
    assert place(bench)
    (host,) = reserved(bench)
    assert host != place(bench)


def test_what_is_reserved_is_offered_to_nobody_else() -> None:
    bench = Bench(bound_rule=RULE)
    bench.edge_up(at("a1"), at("a2"), edge="a", trips=TRIPS_A)
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True, memory=768 * MIB, cpu=100)))
    submit(bench, "j2", job(task(memory=512 * MIB, cpu=100)))
    assert not place(bench, "j2")
    assert "waiting for room" in bench.job("j2").reason
    bench.status(running("j1.0.1"))
    bench.status(ended("j1.0.1"))
    bench.advance(1.0)
    assert bench.state("j1") is JobState.SUCCEEDED
    assert place(bench, "j2")
    assert not reserved(bench)
    assert not bench.kept


def test_tasks_of_a_job_are_near_to_one_another_or_none_is_placed() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task("web", "b1", 0), task("cache", of="web", ms=1)))
    assert (place(bench, "j1", 0), place(bench, "j1", 1)) == ("b/b1", "b/b1")
    submit(bench, "j2", job(task("web", "b1", 0), task("cache", of="web", ms=1, cpu=1500)))
    assert not any(one.node for one in bench.job("j2").tasks)
    assert "none of 3 nodes will do" in bench.job("j2").reason


def test_a_gang_whose_own_backup_is_in_its_way_goes_without_it_until_there_is_room() -> None:
    bench = two_sites()
    one = task("one", "a1", 3, backup=True, memory=700 * MIB, cpu=100)
    two = task("two", of="one", ms=5, memory=700 * MIB, cpu=100)
    submit(bench, "j1", job(one, two))
    assert {place(bench, "j1", 0), place(bench, "j1", 1)} == {"a/a1", "a/a2"}
    first = bench.job("j1").tasks[0]
    assert (first.backup, first.warning) == (
        "",
        "unprotected: no room for its backup within its bound",
    )
    assert not bench.job("j1").tasks[1].warning
    assert isinstance(bench.kept["bound", "j1.0"], BoundRecord)
    assert bench.kept["bound", "j1.0"].pod.protected
    # Where only one of two backups has room, that one is kept.
    small = task("small", of="one", ms=5, backup=True, memory=200 * MIB, cpu=100)
    bench.cancel("j1")
    for attempt in ("j1.0.1", "j1.1.1"):
        bench.status(ended(attempt, None, failure="stopped"))
    bench.advance(1.0)
    submit(bench, "j2", job(one, two, small))
    assert all(place(bench, "j2", index) for index in range(3))
    assert [bool(each.backup) for each in bench.job("j2").tasks] == [False, False, True]


def test_a_waiting_task_is_placed_when_its_bound_can_be_kept() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="b1", ms=1, cpu=2000)))
    submit(bench, "j2", job(task(near="b1", ms=1)))
    assert place(bench, "j1") == "b/b1"
    assert not place(bench, "j2")
    bench.status(running("j1.0.1"), session=2)
    bench.status(ended("j1.0.1"), session=2)
    bench.advance(1.0)
    assert place(bench, "j2") == "b/b1"


# ---- bad input


@pytest.mark.parametrize(
    ("near", "field", "problem"),
    [
        (Near("a9", "", 0.005), "tasks[0].near.node", "no node is named 'a9'"),
        (Near("a1", "", -0.001), "tasks[0].near.within_ms", "-1"),
        (Near("", "", 0.001), "tasks[0].near", "names nothing"),
        (Near("a1", "web", 0.001), "tasks[0].near", "both"),
        (Near("", "web", 0.001), "tasks[0].near.task", "no task is named 'web'"),
        (Near("", "main", 0.001), "tasks[0].near.task", "the task itself"),
    ],
)
def test_a_bound_that_makes_no_sense_is_refused(near: Near, field: str, problem: str) -> None:
    bench = two_sites()
    bench.advance(11.0)
    op = submit(bench, "j1", job(replace(task(), near=near)))
    error = bench.answers[op].error
    assert isinstance(error, InvalidField)
    assert error.field == field
    assert problem in error.problem
    assert error.fix


def test_tasks_that_are_near_to_one_another_in_a_ring_are_refused() -> None:
    bench = two_sites()
    op = submit(bench, "j1", job(task("web", of="db"), task("db", of="web")))
    assert "ring" in str(bench.answers[op].error)


def test_a_node_of_several_sites_is_named_with_its_site() -> None:
    bench = Bench(bound_rule=RULE)
    for session, edge in ((1, "a"), (2, "b")):
        trips = (EdgeTrip(f"{edge}/n1", 0.001),)
        bench.edge_up(node("n1"), session=session, edge=edge, trips=trips)
    op = submit(bench, "j1", job(task(near="n1")))
    assert "a/n1, b/n1" in str(bench.answers[op].error)
    submit(bench, "j2", job(task(near="b/n1", ms=0)))
    assert place(bench, "j2") == "b/n1"


def test_while_sites_dial_in_such_a_job_waits_and_says_for_what() -> None:
    bench = Bench(bound_rule=RULE)
    bench.edge_up(at("b1"), session=3, edge="b", trips=TRIPS_B)
    submit(bench, "j1", job(task(near="a1", ms=3)))
    bench.advance(1.0)
    assert "no node is named a1" in bench.job().reason
    up(bench)
    bench.advance(1.0)
    assert place(bench) == "a/a1"


def test_without_numpy_such_jobs_are_refused_and_name_the_extra() -> None:
    bench = Bench()
    up(bench)
    op = submit(bench, "j1", job(task(near="a1")))
    error = bench.answers[op].error
    assert isinstance(error, InvalidField)
    assert error.field == "tasks[0].near"
    assert "numpy" in error.problem
    assert "solver" in error.fix
    op = submit(bench, "j2", job(task(backup=True)))
    assert bench.answers[op].error.field == "tasks[0].backup"  # type: ignore[union-attr]
    submit(bench, "j3", job(task()))
    assert place(bench, "j3")


# ---- failure


def test_a_failed_node_restarts_its_task_on_the_backup() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    bench.status(running("j1.0.1"))
    die(bench)
    assert place(bench) == "a/a2"
    assert bench.starts() == ["j1.0.1", "j1.0.2"]
    assert "j1.0.1" in bench.stops()
    found = bench.job().tasks[0]
    assert found.failures == 0
    assert found.warning.startswith("unprotected")
    said = str(bench.central.explain("j1", (Subject.JOB,), 20, bench.now))
    assert "a/a1 failed or is drained: runs again on its backup a/a2" in said


def test_two_tasks_of_one_node_share_no_more_than_its_backup_has() -> None:
    bench = two_sites()
    for name in ("j1", "j2"):
        submit(bench, name, job(task(near="a1", ms=3, backup=True)))
    assert {place(bench, "j1"), place(bench, "j2")} <= {"a/a1", "a/a2"}
    where = place(bench, "j1")
    die(bench, where[2:])
    other = "a/a2" if where == "a/a1" else "a/a1"
    assert (place(bench, "j1"), place(bench, "j2")) == (other, other)


def test_several_nodes_at_once() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=20, backup=True, cpu=1200)))
    submit(bench, "j2", job(task(near="a2", ms=20, backup=True, cpu=1200)))
    before = {place(bench, "j1"), place(bench, "j2")}
    assert len(before) == 2
    gone = [at(one, ready=False, dead=True) for one in ("a1", "a2")]
    bench.nodes(*gone, session=1, trips=TRIPS_A)
    bench.advance(6.0)
    assert [place(bench, "j1"), place(bench, "j2")].count("b/b1") == 1
    waits = next(bench.job(one) for one in ("j1", "j2") if place(bench, one) != "b/b1")
    assert waits.state is JobState.PENDING
    assert "none of 3 nodes will do" in waits.reason
    tell(bench)
    bench.advance(2.0)
    assert all(place(bench, one) for one in ("j1", "j2"))


def test_a_drained_nodes_task_goes_to_its_backup() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    bench.status(running("j1.0.1"))
    tell(bench, at("a1", cordoned=True, draining=True), at("a2"))
    assert bench.stops() == ["j1.0.1"]
    bench.status(ended("j1.0.1", None, signal=15))
    bench.advance(0.2)
    assert place(bench) == "a/a2"
    said = str(bench.central.explain("j1", (Subject.JOB,), 20, bench.now))
    assert "a/a1 failed or is drained: runs again on its backup a/a2" in said


def test_a_backup_of_a_node_that_dies_is_found_elsewhere() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=20, backup=True)))
    host = bench.job().tasks[0].backup
    assert host in ("a/a2", "b/b1")
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=20, backup=True)))
    where, host = place(bench), bench.job().tasks[0].backup
    if host.startswith("a/"):
        die(bench, host[2:])
        assert bench.job().tasks[0].backup not in ("", host)
        assert place(bench) == where
    else:
        bench.nodes(at("b1", ready=False, dead=True), session=2, trips=TRIPS_B)
        bench.advance(2.0)
        assert bench.job().tasks[0].backup not in ("", host)


# ---- delays


def far(bench: Bench, rtt_s: float) -> None:
    """The site is told to be so far from a1, once."""
    bench.advance(1.0)
    trips = (EdgeTrip("a/a1", 0.001), EdgeTrip("a/a2", rtt_s), EdgeTrip("b", 0.010))
    tell(bench, trips=trips)
    bench.advance(0.01)


def near_a1_on_a2() -> Bench:
    bench = two_sites()
    submit(bench, "big", job(task(near="a1", ms=0, cpu=2000)))
    submit(bench, "j1", job(task(near="a1", ms=5)))
    assert place(bench, "j1") == "a/a2"
    bench.status(running("big.0.1"))
    bench.status(running("j1.0.1"))
    bench.status(ended("big.0.1"))
    return bench


def test_a_bound_that_is_broken_for_long_moves_the_task() -> None:
    bench = near_a1_on_a2()
    far(bench, 0.050)
    far(bench, 0.050)
    assert not bench.stops()
    far(bench, 0.050)
    bench.advance(1.0)
    assert bench.stops() == ["j1.0.1"]
    assert "within its bound again, on a/a1" in bench.job("j1").tasks[0].evicting
    assert place(bench, "j1") == "a/a2"
    assert reserved(bench) == {"a/a1": 256}
    assert bench.starts().count("j1.0.2") == 0, "two attempts of one task at once"
    bench.status(ended("j1.0.1", None, signal=15))
    bench.advance(0.2)
    assert place(bench, "j1") == "a/a1"
    assert bench.job("j1").tasks[0].failures == 0
    assert not reserved(bench)


def test_a_delay_that_jitters_about_a_bound_moves_nothing() -> None:
    bench = near_a1_on_a2()
    for turn in range(20):
        far(bench, 0.050 if turn % 3 else 0.001)
    assert not bench.stops()


def test_not_to_know_a_delay_is_no_reason_to_move() -> None:
    bench = near_a1_on_a2()
    for _ in range(200):
        bench.advance(1.0)
        tell(bench, trips=(EdgeTrip("a/a1", 0.001),))
    assert not bench.stops()
    assert place(bench, "j1") == "a/a2"


def test_delays_of_a_file_count_where_that_is_the_source() -> None:
    delays = DelaySettings(source=DelaySource.FILE, path="x")
    bench = Bench(bound_rule=RULE, delays=delays)
    up(bench)
    submit(bench, "j1", job(task(near="a1", ms=3, cpu=1500), task("two", near="a1", ms=3)))
    assert {place(bench, "j1", 0), place(bench, "j1", 1)} == {"a/a1"}
    submit(bench, "j2", job(task(near="a1", ms=3)))
    assert not place(bench, "j2"), "edges' own pings would have let it go to a2"
    trips = (RoundTrip("a1", "b1", 0.002), RoundTrip("b/b1", "a2", 0.030))
    bench.feed(DelaysMeasured(trips, bench.wall))
    bench.advance(2.0)
    assert place(bench, "j2") == "b/b1"


def test_a_task_with_a_bound_is_not_moved_out_of_it_by_hand() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3)))
    bench.status(running("j1.0.1"))
    op = bench.migrate("j1", "b1")
    assert "has a delay bound" in str(bench.answers[op].error)


# ---- the disk


def again(bench: Bench) -> Bench:
    """kill -9 and a restart."""
    return Bench(
        bench.disk, incarnation=2, now=10.0, epoch=bench.wall - 9.0, bound_rule=RULE,
        kept=bench.kept,
    )  # fmt: skip


def test_reservations_survive_a_restart() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    bench.status(running("j1.0.1"))
    kept = dict(bench.kept)
    bench = again(bench)
    bench.advance(3.0)
    assert bench.kept == kept
    statuses = (running("j1.0.1"),)
    bench.edge_up(at("a1"), at("a2"), edge="a", session=7, attempts=statuses, trips=TRIPS_A)
    assert reserved(bench) == {"a/a2": 256}
    bench.advance(3.0)
    assert bench.kept == kept
    assert not bench.starts()
    bench.nodes(at("a1", ready=False, dead=True), at("a2"), session=7, trips=TRIPS_A)
    bench.advance(6.0)
    assert place(bench) == "a/a2"


def test_reservations_count_before_the_first_plan_after_a_restart() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True, memory=900 * MIB)))
    bench = again(bench)
    bench.edge_up(at("a2"), edge="a", session=7)
    submit(bench, "j2", job(task(memory=512 * MIB)))
    assert not place(bench, "j2")


def test_nothing_starts_before_its_reservation_is_on_disk() -> None:
    bench = two_sites()
    bench.hold_disk = True
    bench.submit("j1", job(task(near="a1", ms=3, backup=True)))
    bench.write()  # the job itself
    first, second = bench.writes
    assert {write.kind for write in first.writes} == {"bound", "reservation"}
    assert [write.kind for write in second.writes] == ["job"]
    bench.fail_write()
    bench.write()
    assert bench.state() is JobState.SCHEDULED
    assert not bench.starts()
    bench.advance(1.0)
    assert {write.kind for write in bench.writes[0].writes} == {"bound", "reservation"}
    bench.write()
    assert bench.starts() == ["j1.0.1"]


def test_explain_tells_after_a_restart_what_the_store_knows() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    submit(bench, "plain", job(task()))
    bench.status(running("j1.0.1", bench.wall))
    bench.status(
        running("plain.0.1", bench.wall), session=1 if place(bench, "plain")[0] == "a" else 2
    )
    bench = again(bench)
    attempts = (running("j1.0.1"),)
    bench.edge_up(at("a1"), at("a2"), edge="a", session=7, attempts=attempts, complete=())
    bench.now += 300.0
    (found,) = bench.central.explain("j1", (Subject.JOB,), 10, bench.now)
    assert not found.records
    assert (
        "is running on a1 of a for 5 min, to be within 3 ms of a1, backup on a/a2, attempt 1"
    ) in found.summary
    assert any("restarted" in remark for remark in found.missing)
    (found,) = bench.central.explain("plain", (Subject.JOB,), 10, bench.now)
    assert " for 5 min, attempt 1" in found.summary


@pytest.mark.parametrize("lost", ["bound", "reservation"])
def test_records_that_a_crash_has_lost_are_made_again(lost: str) -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    bench.kept = {key: one for key, one in bench.kept.items() if key[0] != lost}
    bench = again(bench)
    bench.edge_up(
        at("a1"), at("a2"), edge="a", session=7, attempts=(running("j1.0.1"),), trips=TRIPS_A
    )
    bench.advance(3.0)
    assert reserved(bench) == {"a/a2": 256}
    assert bench.job().tasks[0].backup == "a/a2"


def test_after_a_restart_no_task_waits_for_a_site_that_never_comes_back() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(backup=True)))
    assert place(bench) == "a/a1"
    bench.status(running("j1.0.1"))
    tell(bench, at("a1", cordoned=True, draining=True), at("a2"))
    bench.status(ended("j1.0.1", None, signal=15))
    assert bench.state() is JobState.PENDING
    bench = again(bench)
    bench.edge_up(at("b1"), session=9, edge="b", trips=TRIPS_B)
    for _ in range(8):
        bench.advance(1.0)
        bench.nodes(at("b1"), session=9, trips=TRIPS_B)
    assert bench.state() is JobState.PENDING
    assert "a/a1" in bench.job().reason
    for _ in range(4):
        bench.advance(1.0)
        bench.nodes(at("b1"), session=9, trips=TRIPS_B)
    assert place(bench) == "b/b1"


def test_a_cancelled_job_leaves_nothing() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    bench.cancel()
    bench.status(ended("j1.0.1", None, signal=15))
    bench.advance(1.0)
    assert bench.state() is JobState.CANCELLED
    assert not bench.kept
    assert not reserved(bench)


def test_a_refused_task_is_placed_anew() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    bench.refuse("j1.0.1")
    assert bench.state() is JobState.PENDING
    bench.advance(1.0)
    assert bench.starts() == ["j1.0.1", "j1.0.2"]


def test_the_same_events_give_the_same_commands() -> None:
    """What a replay of a recording rests on."""
    events: list[tuple[CentralEvent, float]] = []

    class Taped(Bench):
        def feed(self, event: CentralEvent) -> None:
            events.append((event, self.now))
            super().feed(event)

    bench = Taped(bound_rule=RULE)
    up(bench)
    submit(bench, "j1", job(task(near="a1", ms=20, backup=True), task("two", backup=True)))
    submit(bench, "j2", job(task(near="b1", ms=20, backup=True)))
    bench.status(running("j1.0.1"))
    die(bench)
    start = CentralStart(bench.settings, incarnation=1, seed=7)
    central = begin(start, RULE)
    assert [one for event, now in events for one in central.handle(event, now)] == bench.order
    assert len(bench.starts()) > 3
