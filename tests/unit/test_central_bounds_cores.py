"""Tasks with bounds and backups that ask for whole cores, or name their node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from central_bench import Bench, ended, running
from test_central_bounds import RULE, TRIPS_A, TRIPS_B, again, at, die, job, place, submit, task

from tango.model.cluster import NodeView
from tango.model.errors import InvalidField
from tango.model.job import JobSpec, JobState, TaskSpec
from tango.model.messages import StartAttempt

CORES = (2, 3, 5)


def with_cores(name: str, **more: object) -> NodeView:
    return at(name, cores=CORES, **more)


def sites() -> Bench:
    bench = Bench(bound_rule=RULE)
    bench.edge_up(with_cores("a1"), with_cores("a2"), session=1, edge="a", trips=TRIPS_A)
    bench.edge_up(with_cores("b1"), session=2, edge="b", trips=TRIPS_B)
    return bench


def wants(cores: int = 0, *, node: str = "", backup: bool = True, ms: float = 3.0) -> JobSpec:
    spec = task(near="a1", ms=ms, backup=backup, cpu=100)
    return job(replace(spec, cores=cores, node=node))


def cores_of(bench: Bench, job_id: str = "j1") -> tuple[int, ...]:
    return bench.job(job_id).tasks[0].cores


# ---- cores


def test_cores_are_booked_by_id_at_the_start_and_kept_by_number_for_the_backup() -> None:
    bench = sites()
    submit(bench, "j1", wants(2))
    assert place(bench) == "a/a1"
    assert cores_of(bench) == (2, 3)
    start = next(m for _, m in bench.sent if isinstance(m, StartAttempt))
    assert start.cores == (2, 3)
    kept = bench.kept["reservation", "a/a2"]
    assert len(kept.cores) == 2  # type: ignore[union-attr]
    (bound,) = [one for (kind, _), one in bench.kept.items() if kind == "bound"]
    assert bound.cores == ()  # type: ignore[union-attr]


def test_cores_that_are_kept_are_offered_to_nobody_else() -> None:
    bench = sites()
    submit(bench, "j1", wants(2))
    plain = replace(task(cpu=100), cores=2)
    for name in ("o1", "o2", "o3"):
        submit(bench, name, job(plain))
    placed = {place(bench, name) for name in ("o1", "o2", "o3")}
    assert placed == {"b/b1", ""}, "a1 has one core left, a2 keeps two of three"
    submit(bench, "o4", job(replace(plain, cores=1)))
    assert cores_of(bench, "o4") in ((2,), (5,))


def test_a_failed_nodes_task_gets_as_many_cores_of_its_backup() -> None:
    bench = sites()
    submit(bench, "j1", wants(2))
    submit(bench, "o1", job(replace(task(cpu=100), cores=1, node="a2")))
    assert cores_of(bench, "o1") == (2,)
    bench.status(running("j1.0.1"))
    bench.status(running("o1.0.1"))
    views = [with_cores("a1", ready=False, dead=True), with_cores("a2", be_cores=(2,))]
    bench.nodes(*views, session=1, trips=TRIPS_A)
    bench.advance(6.0)
    assert place(bench) == "a/a2"
    assert cores_of(bench) == (3, 5)


def test_a_gang_that_asks_for_more_cores_than_are_free_waits_and_says_so() -> None:
    bench = sites()
    submit(bench, "j1", wants(2, ms=0, backup=False))
    submit(bench, "j2", wants(2, ms=0, backup=False))
    assert place(bench, "j1") == "a/a1"
    assert not place(bench, "j2")
    assert "not enough free cores" in bench.job("j2").reason
    bench.status(running("j1.0.1"))
    bench.status(ended("j1.0.1"))
    bench.advance(2.0)
    assert place(bench, "j2") == "a/a1"


def test_tasks_of_one_gang_get_cores_of_their_own() -> None:
    bench = sites()
    one = replace(task("one", near="a1", ms=0, cpu=100), cores=1)
    two = replace(task("two", near="a1", ms=0, cpu=100), cores=2)
    submit(bench, "j1", job(one, two))
    tasks = bench.job("j1").tasks
    assert sorted((*tasks[0].cores, *tasks[1].cores)) == [2, 3, 5]


def test_no_plan_is_made_again_and_again_for_cores_that_are_where_they_were() -> None:
    bench = sites()
    submit(bench, "j1", wants(2))
    bench.status(running("j1.0.1"))
    kept, written = dict(bench.kept), len(bench.order)
    for _ in range(3):
        bench.nodes(with_cores("a1"), with_cores("a2"), session=1, trips=TRIPS_A)
        bench.advance(1.0)
    assert bench.kept == kept
    assert not [one for one in bench.order[written:] if type(one).__name__ == "Persist"]


def test_cores_survive_a_restart() -> None:
    bench = sites()
    submit(bench, "j1", wants(2))
    bench.status(running("j1.0.1"))
    kept = dict(bench.kept)
    bench = again(bench)
    views = (with_cores("a1", be_cores=(2, 3)), with_cores("a2"))
    attempt = replace(running("j1.0.1"), cores=(2, 3), node="a1")
    bench.edge_up(*views, edge="a", session=7, attempts=(attempt,), trips=TRIPS_A)
    bench.advance(3.0)
    assert bench.kept == kept
    submit(bench, "o1", job(replace(task(cpu=100), cores=2)))
    assert not place(bench, "o1")


def test_core_ids_are_refused_with_words_that_say_what_to_write() -> None:
    bench = sites()
    spec: TaskSpec = replace(task(near="a1", ms=3), node="a1", cpuset=(2,), cores=1)
    op = submit(bench, "j1", job(spec))
    error = bench.answers[op].error
    assert isinstance(error, InvalidField)
    assert error.field == "tasks[0].cpuset"
    assert "core ids" in error.problem
    assert "`cores`" in error.fix


# ---- node


def test_only_the_node_that_is_named_will_do_and_the_backup_is_elsewhere() -> None:
    bench = sites()
    submit(bench, "j1", wants(node="a2"))
    assert place(bench) == "a/a2"
    assert bench.job().tasks[0].backup == "a/a1"


@pytest.mark.parametrize("backup", [True, False])
def test_when_its_node_fails_it_runs_on_its_backup_or_waits(backup: bool) -> None:
    bench = sites()
    submit(bench, "j1", wants(node="a1", backup=backup))
    bench.status(running("j1.0.1"))
    die(bench)
    if backup:
        assert place(bench) == "a/a2"
        bench.status(running("j1.0.2"))
    else:
        assert bench.state() is JobState.PENDING
        assert "the node that it names will not do: a/a1" in bench.job().reason
    bench.nodes(with_cores("a1"), with_cores("a2"), session=1, trips=TRIPS_A)
    bench.advance(2.0)
    assert place(bench) == ("a/a2" if backup else "a/a1"), "what runs stays where it is"


def test_a_task_that_is_near_to_one_that_comes_back_to_its_node_follows() -> None:
    """The first is placed again where it was; the other, known already, waits for that."""
    bench = sites()
    first = replace(task("first", cpu=100), node="a2")
    second = task("second", of="first", ms=0, cpu=100)
    submit(bench, "j1", replace(job(first, second), retries=3))
    assert (place(bench), place(bench, "j1", 1)) == ("a/a2", "a/a2")
    for attempt in ("j1.0.1", "j1.1.1"):
        bench.status(running(attempt))
    die(bench, "a2")
    bench.advance(2.0)
    assert bench.state() is JobState.PENDING
    bench.nodes(with_cores("a1"), with_cores("a2"), session=1, trips=TRIPS_A)
    bench.advance(3.0)
    assert (place(bench), place(bench, "j1", 1)) == ("a/a2", "a/a2")


def test_a_full_node_is_waited_for_though_others_are_free() -> None:
    bench = sites()
    submit(bench, "big", job(task(near="a1", ms=0, cpu=2000)))
    submit(bench, "j1", wants(node="a1"))
    assert not place(bench, "j1")
    assert "a/a1: not enough CPU" in bench.job("j1").reason
    assert not [key for key in bench.kept if key[1] == "j1.0"], "it has no place, and no record"
    bench.status(running("big.0.1"))
    bench.status(ended("big.0.1"))
    bench.advance(2.0)
    assert place(bench, "j1") == "a/a1"


def test_a_node_outside_the_bound_is_no_place_either() -> None:
    bench = sites()
    submit(bench, "j1", wants(node="b1"))
    assert not place(bench, "j1")
    assert "b/b1: beyond 3 ms of a/a1" in bench.job("j1").reason


def test_a_node_that_its_edge_does_not_know_any_more_leaves_the_backup() -> None:
    """Not parked as what can never run: it has a place."""
    bench = sites()
    submit(bench, "j1", wants(node="a1"))
    bench.status(running("j1.0.1"))
    bench.edge_up(
        with_cores("a2"), session=9, edge="a", incarnation=2, complete=("a2",), trips=TRIPS_A
    )
    bench.advance(30.0)
    bench.nodes(with_cores("a2"), session=9, trips=TRIPS_A)
    bench.advance(2.0)
    assert place(bench) == "a/a2"
