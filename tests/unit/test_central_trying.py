"""Where a job with delay bounds or backups would go: answered, and nothing is done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from central_bench import MIB, Bench, running, spec
from test_central_bounds import at, job, place, reserved, submit, task, tell, two_sites, up

from tango.model.affinity import Taint
from tango.model.errors import InvalidField, TangoError
from tango.model.events import SolveFailed, TryJob
from tango.model.improvement import TriedJob, TriedTask
from tango.model.job import JobSpec


def asked(bench: Bench, wanted: JobSpec) -> TriedJob | TangoError:
    op = bench.op()
    bench.feed(TryJob(op, wanted, bench.wall))
    answer = bench.answers[op]
    if answer.error is not None:
        assert isinstance(answer.error, TangoError)
        return answer.error
    assert isinstance(answer.result, TriedJob)
    return answer.result


def test_its_place_and_its_backup_are_told_and_nothing_is_done() -> None:
    bench = two_sites()
    bench.advance(0.2)
    wanted = job(task(near="a1", ms=3, backup=True), task("friend", of="main", ms=1))
    tried = asked(bench, wanted)
    assert tried == TriedJob((TriedTask("main", "a/a1", "a/a2"), TriedTask("friend", "a/a1")))
    bench.advance(2.0)
    assert not bench.kept
    assert not bench.starts()
    assert not reserved(bench)
    submit(bench, "j1", wanted)
    assert (place(bench, "j1", 0), place(bench, "j1", 1)) == ("a/a1", "a/a1")


def test_what_is_reserved_for_others_counts() -> None:
    bench = two_sites()
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True, memory=900 * MIB, cpu=100)))
    bench.status(running("j1.0.1"))
    tried = asked(bench, job(task(near="a1", ms=3, memory=512 * MIB, cpu=100)))
    assert isinstance(tried, TriedJob)
    assert not tried.tasks
    assert "none of 3 nodes will do" in tried.reason


@pytest.mark.parametrize("more", [{"cordoned": True}, {"taints": (Taint("gpu", "yes"),)}])
def test_another_node_within_the_bound_that_takes_nothing_is_no_absent_one(
    more: dict[str, object],
) -> None:
    bench = two_sites()
    tell(bench, at("a1"), at("a2", **more))
    bench.advance(0.2)
    said = "unprotected: no other node within its bound takes it"
    for bound in ({"near": "a1", "ms": 3}, {"near": "a1", "ms": 3, "memory": 900 * MIB}):
        tried = asked(bench, job(task(backup=True, **bound)))  # type: ignore[arg-type]
        assert tried == TriedJob((TriedTask("main", "a/a1", "", said),))
    submit(bench, "j1", job(task(near="a1", ms=3, backup=True)))
    assert bench.job("j1").tasks[0].warning == said
    tell(bench, at("a1"), at("a2"))
    bench.advance(6.0)
    assert bench.job("j1").tasks[0].warning == ""
    tell(bench, at("a1"), at("a2", **more))
    bench.advance(6.0)
    assert bench.job("j1").tasks[0].warning == said, "found out later, too"


@pytest.mark.parametrize(
    "wanted",
    [
        job(task(near="a1", ms=3, cpu=3000)),
        job(task(backup=True, memory=9000 * MIB)),
        job(replace(task(near="a1", ms=3), node="nowhere")),
    ],
)
def test_what_never_fits_is_told_as_when_it_is_submitted(wanted: JobSpec) -> None:
    bench = two_sites()
    tried = asked(bench, wanted)
    submit(bench, "j1", wanted)
    assert isinstance(tried, TriedJob)
    assert tried.reason.startswith("NeverFits: ")
    assert tried == TriedJob(reason=bench.job("j1").reason)


def test_one_without_a_backup_is_told_to_be_unprotected() -> None:
    bench = two_sites()
    tried = asked(bench, job(task(near="b1", ms=1, backup=True)))
    assert tried == TriedJob(
        (TriedTask("main", "b/b1", "", "unprotected: no other node within its bound"),)
    )


def test_bad_input_is_refused_as_when_it_is_submitted() -> None:
    bench = two_sites()
    bench.advance(11.0)
    error = asked(bench, job(task(near="a9")))
    assert isinstance(error, InvalidField)
    assert "no node is named 'a9'" in error.problem
    assert "no task with `near` or `backup`" in str(asked(bench, spec()))
    bench = Bench()
    up(bench)
    assert "numpy" in str(asked(bench, job(task(near="a1"))))


def test_a_node_that_may_be_yet_to_come_is_a_reason_to_wait() -> None:
    bench = two_sites()
    tried = asked(bench, job(task(near="a9")))
    assert tried == TriedJob(reason="no node is named a9")


def test_who_gets_no_plan_is_told() -> None:
    bench = two_sites()
    bench.hold_solves = True
    ops = [bench.op(), bench.op()]
    for op in ops:
        bench.feed(TryJob(op, job(task(near="a1")), bench.wall))
    bench.feed(SolveFailed(bench.solves.popleft().solve_id, "it broke"))
    assert "it broke" in str(bench.answers[ops[0]].error)
    bench.advance(31.0)
    assert "no plan came in time" in str(bench.answers[ops[1]].error)
