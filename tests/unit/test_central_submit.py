"""Submits and cancels: durable before answered, never twice, and what a full disk does."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from central_bench import Bench, ended, node, running, spec

from tango.adapters.records import decode, encode
from tango.controllers.central.submissions import check_same
from tango.model.errors import (
    AlreadyExists,
    InvalidField,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from tango.model.events import SubmitJob
from tango.model.explanation import Subject
from tango.model.job import JobSpec, JobState, Near, TaskSpec


def error(bench: Bench, op: int) -> Exception | None:
    return bench.answers[op].error


def test_a_submit_is_answered_only_when_it_is_on_disk() -> None:
    bench = Bench()
    bench.hold_disk = True
    op = bench.submit()
    assert not bench.answers
    assert bench.central.job("j1") is None
    assert bench.central.counts().pending == 0
    bench.write()
    assert bench.answers[op].result == bench.job()
    assert bench.disk["j1"].job_id == "j1"
    assert bench.central.counts().pending == 1
    assert bench.changes == [bench.job()]


def test_the_same_submission_again_gets_the_old_job() -> None:
    bench = Bench()
    bench.submit("j1", spec("first"), submission="s")
    op = bench.submit("j2", spec("first"), submission="s")
    assert bench.answers[op].result == bench.job("j1")
    assert bench.central.job("j2") is None


def test_the_same_submission_while_the_first_write_is_under_way() -> None:
    bench = Bench()
    bench.hold_disk = True
    ops = [bench.submit("j1", submission="s"), bench.submit("j2", submission="s")]
    assert len(bench.writes) == 1
    assert not bench.answers
    bench.write()
    assert [bench.answers[op].result for op in ops] == [bench.job("j1")] * 2


def test_a_submission_is_known_after_a_restart() -> None:
    bench = Bench()
    bench.submit("j1", submission="s")
    again = Bench(bench.disk)
    op = again.submit("j2", submission="s")
    assert again.answers[op].result == again.job("j1")


def test_submits_without_an_id_are_different_jobs() -> None:
    bench = Bench()
    for i in range(2):
        bench.feed(SubmitJob(bench.op(), f"j{i}", "", spec(), bench.wall))
    assert sorted(bench.disk) == ["j0", "j1"]


def test_a_failed_write_means_that_the_job_does_not_exist() -> None:
    bench = Bench()
    bench.hold_disk = True
    ops = [bench.submit("j1", submission="s"), bench.submit("j2", submission="s")]
    bench.fail_write("disk full")
    for op in ops:
        assert isinstance(error(bench, op), Unavailable)
        assert "disk full" in str(error(bench, op))
    assert bench.central.job("j1") is None
    bench.hold_disk = False
    op = bench.submit("j3", submission="s")
    assert bench.answers[op].result == bench.job("j3")


def test_bad_specs_and_doubled_ids_are_refused() -> None:
    bench = Bench()
    assert isinstance(error(bench, bench.submit("j1", JobSpec("Bad Name", ()))), InvalidField)
    assert not bench.disk
    bench.submit("j1")
    assert isinstance(error(bench, bench.submit("j1", submission="other")), AlreadyExists)


def test_the_waiting_room_is_bounded() -> None:
    bench = Bench(max_jobs_waiting=2)
    bench.hold_disk = True
    bench.submit("j1")
    bench.submit("j2")
    assert isinstance(error(bench, bench.submit("j3")), ResourceExhausted)
    bench.release_disk()
    assert isinstance(error(bench, bench.submit("j3")), ResourceExhausted)
    bench.edge_up(node())
    bench.submit("j3")
    bench.advance(0.01)
    assert bench.state("j3") is JobState.SCHEDULED


def test_listings_show_the_newest_last() -> None:
    bench = Bench()
    for i in range(50):
        bench.submit(f"j{i}", spec(cpu=2000 if i == 20 else 4000))
    bench.edge_up(node())
    assert [job.job_id for job in bench.central.jobs(limit=2)] == ["j48", "j49"]
    assert [job.job_id for job in bench.central.jobs([JobState.SCHEDULED])] == ["j20"]
    pending = bench.central.jobs([JobState.PENDING], 3)
    assert [job.job_id for job in pending] == ["j47", "j48", "j49"]
    assert len(bench.central.jobs()) == 50
    assert bench.central.counts().scheduled == 1
    again = Bench(bench.disk)
    assert [job.job_id for job in again.central.jobs(limit=2)] == ["j8", "j9"]  # same second


# ---- cancel


def test_cancel_of_a_waiting_job_is_stored_then_answered() -> None:
    bench = Bench()
    bench.submit()
    bench.hold_disk = True
    op = bench.cancel()
    assert op not in bench.answers
    assert bench.state() is JobState.PENDING
    bench.write()
    assert bench.answers[op].result == bench.disk["j1"]
    assert bench.state() is JobState.CANCELLED
    bench.release_disk()
    bench.edge_up(node())
    assert not bench.starts()


def test_cancel_of_a_running_job_stops_its_tasks_first() -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.submit("j1", spec(n_tasks=2))
    bench.status(running("j1.0.1"))
    bench.hold_disk = True
    op = bench.cancel()
    assert not bench.stops()
    bench.write()
    assert (bench.state(), bench.job().reason) == (JobState.RUNNING, "cancelling")
    assert bench.answers[op].result == bench.disk["j1"]
    assert sorted(bench.stops()) == ["j1.0.1", "j1.1.1"]
    bench.release_disk()
    second = bench.cancel()
    assert bench.answers[second].result == bench.disk["j1"]
    bench.status(ended("j1.1.1", None, signal=15))
    assert bench.state() is JobState.RUNNING
    bench.status(ended("j1.0.1", None, signal=15))
    assert bench.state() is JobState.CANCELLED
    assert bench.acks() == ["j1.1.1", "j1.0.1"]


def test_cancel_between_assignment_and_its_write_never_starts() -> None:
    bench = Bench()
    bench.submit()
    bench.hold_disk = True
    bench.edge_up(node())
    op = bench.cancel()
    bench.write()
    assert op not in bench.answers
    bench.write()
    assert bench.state() is JobState.CANCELLED
    assert bench.answers[op].result == bench.disk["j1"]
    assert not bench.starts()
    assert not bench.stops()


def test_cancel_of_an_ended_or_unknown_job() -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.submit()
    bench.status(ended("j1.0.1"))
    before = bench.disk["j1"]
    assert bench.answers[bench.cancel()].result == before
    assert isinstance(error(bench, bench.cancel("nope")), NotFound)
    bench.hold_disk = True
    bench.submit("j2")
    assert isinstance(error(bench, bench.cancel("j2")), NotFound)


def test_a_cancel_survives_a_crash() -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.submit("j1", spec(n_tasks=2, retries=5))
    bench.status(running("j1.0.1"))
    bench.cancel()
    again = Bench(bench.disk)
    assert again.job().reason == "cancelling"
    again.edge_up(node(), attempts=(running("j1.0.1"),))
    assert again.stops() == ["j1.0.1"]
    assert not again.starts()
    assert again.job().tasks[1].reason == "stopped before it started"
    again.status(ended("j1.0.1", None, signal=9))
    assert again.state() is JobState.CANCELLED


def test_a_cancel_that_cannot_be_stored_is_told_and_kept() -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.submit()
    bench.hold_disk = True
    op = bench.cancel()
    bench.fail_write()
    assert isinstance(error(bench, op), Unavailable)
    assert bench.state() is JobState.SCHEDULED
    assert not bench.stops()
    bench.advance(0.2)
    assert not bench.writes
    bench.advance(0.1)
    bench.release_disk()
    assert bench.stops() == ["j1.0.1"]


# ---- other writes that fail


def test_failed_writes_are_tried_again_ever_more_slowly_with_the_latest_state() -> None:
    bench = Bench()
    bench.submit("j1")
    bench.submit("j2")
    bench.hold_disk = True
    bench.edge_up(node())
    assert len(bench.writes) == 1  # both assignments in one group
    bench.fail_write()
    waits = []
    for _ in range(7):
        before = bench.now
        at = bench.central.wake_at
        assert at is not None
        bench.advance(at - bench.now)
        waits.append(round(bench.now - before, 3))
        assert len(bench.writes) == 2  # one by one
        bench.fail_write()
        bench.fail_write()
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert not bench.starts()
    bench.advance(5.0)
    bench.release_disk()
    assert bench.starts() == ["j1.0.1", "j2.0.1"]
    assert any(note.event == "store_failed" for note in bench.notes)


@pytest.mark.parametrize("n_changes", [1, 3])
def test_one_write_at_a_time_carries_the_latest(n_changes: int) -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.submit("j1", spec(n_tasks=3))
    bench.hold_disk = True
    for i in range(n_changes):
        bench.status(running(f"j1.{i}.1"))
    assert len(bench.writes) == 1
    bench.write()
    assert len(bench.writes) == (n_changes > 1)
    bench.release_disk()
    states = [task.state for task in bench.disk["j1"].tasks]
    assert states.count(JobState.RUNNING) == n_changes


# ---- the same submission with another job


def test_the_same_submission_with_another_job_is_refused_with_what_differs() -> None:
    bench = Bench()
    bench.submit("j1", spec(n_tasks=2), submission="s")
    other = replace(
        spec(n_tasks=2, cpu=750),
        tasks=(spec().tasks[0], replace(spec().tasks[0], name="t1", argv=("no",))),
    )
    for again in (bench, Bench({key: decode(encode(job)) for key, job in bench.disk.items()})):
        assert again.answers[again.submit("j2", spec(n_tasks=2), submission="s")].error is None
        refused = error(again, again.submit("j2", other, submission="s"))
        assert isinstance(refused, AlreadyExists)
        assert str(refused) == (
            "submission_id 's' is that of another job, j1: not the same in tasks[1].argv; draw a "
            "new one for each job"
        )
        refused = error(
            again, again.submit("j2", spec("b", 1, retries=1, priority=2), submission="s")
        )
        assert "not the same in name, tasks, retries and more;" in str(refused)
        assert again.central.job("j2") is None
        assert list(again.disk) == ["j1"]


def test_nor_is_it_taken_while_the_first_write_is_under_way() -> None:
    bench = Bench()
    bench.hold_disk = True
    bench.submit("j1", submission="s")
    assert isinstance(error(bench, bench.submit("j2", spec(cpu=1), submission="s")), AlreadyExists)


def test_every_way_in_which_two_jobs_differ_is_found() -> None:
    """Whatever the model will have: each field of a task and of a job by itself."""
    task = TaskSpec("t", ("true",))
    job = JobSpec("job", (task,))
    given = {"near": Near("n1", within_s=0.02), "env": (("A", "b"),), "cpuset": (1, 2)}
    bench = Bench()
    bench.submit("j1", job, submission="s")
    for each in fields(TaskSpec):
        value = getattr(task, each.name)
        new = given.get(each.name) or (
            not value if isinstance(value, bool) else f"{value}x" if isinstance(value, str)
            else (*value, "x") if isinstance(value, tuple) else value + 1
        )  # fmt: skip
        changed = replace(job, tasks=(replace(task, **{each.name: new}),))
        with pytest.raises(AlreadyExists, match=rf"tasks\[0\]\.{each.name}\b"):
            check_same(bench.job("j1"), changed)
    for each in fields(JobSpec):
        if each.name != "tasks":
            value = getattr(job, each.name)
            new = f"{value}x" if isinstance(value, str) else value + 1
            with pytest.raises(AlreadyExists, match=f"in {each.name};"):
                check_same(bench.job("j1"), replace(job, **{each.name: new}))


# ---- jobs of one name


def test_a_second_job_of_a_name_is_told_of_the_first() -> None:
    bench = Bench()
    bench.submit("j1", spec("digest"))
    assert bench.central.namesakes(bench.job("j1")) == ""
    bench.submit("j2", spec("digest"))
    bench.submit("j3", spec("other"))
    told = "another job named 'digest' has not ended: j1"
    assert bench.central.namesakes(bench.job("j2")) == told
    assert bench.central.namesakes(bench.job("j3")) == ""
    again = Bench(bench.disk)
    assert again.central.namesakes(again.job("j2")) == told, "after a restart too"
    for i in range(6):
        bench.submit(f"k{i}", spec("digest"))
    assert bench.central.namesakes(bench.job("j1")) == (
        "7 other jobs named 'digest' have not ended: j2, k0, k1, k2, k3 and others"
    )
    bench.cancel("j1")
    for i in range(6):
        bench.cancel(f"k{i}")
    assert bench.central.namesakes(bench.job("j2")) == ""


def test_a_name_is_no_id_and_the_ids_are_told() -> None:
    bench = Bench()
    bench.submit("digest-1", spec("digest"))

    def asked() -> set[str]:
        with pytest.raises(NotFound) as found:
            bench.central.existing_job("digest")
        with pytest.raises(NotFound) as explained:
            bench.central.explain("digest", (Subject.JOB, Subject.NODE), 3, bench.now)
        return {
            str(found.value),
            str(error(bench, bench.cancel("digest"))),
            str(error(bench, bench.migrate("digest", "n1"))),
            str(explained.value).removeprefix("central: "),
        }

    assert asked() == {"'digest' is the name of a job and not its id, which is digest-1 (pending)"}
    bench.submit("digest-2", spec("digest"))
    bench.submit("digest-3", spec("digest"))
    bench.cancel("digest-3")
    told = "'digest' is the name of 3 jobs; say which by its id: "
    assert asked() == {told + "digest-2 (pending), digest-1 (pending), digest-3 (cancelled)"}
    assert str(error(bench, bench.cancel("nothing"))) == (
        "job 'nothing' is unknown; `tango get jobs` lists those there are"
    )
