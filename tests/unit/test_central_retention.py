"""Ended jobs go by number and age, never before all of them is on disk; their logs go with them."""

from __future__ import annotations

from central_bench import Bench, ended, node, running, spec

from tango.model.commands import Delete, Persist
from tango.model.job import JobState
from tango.model.messages import ForgetLogs


def run(bench: Bench, job_id: str) -> None:
    bench.submit(job_id)
    bench.advance(0.1)
    bench.status(running(f"{job_id}.0.1"))
    bench.status(ended(f"{job_id}.0.1", cpu_s=1.0))


def at_work(**options: object) -> Bench:
    bench = Bench(**options)
    bench.edge_up(node("n1"))
    return bench


def forgotten(bench: Bench) -> list[ForgetLogs]:
    return [message for _, message in bench.sent if isinstance(message, ForgetLogs)]


def test_the_oldest_ended_go_when_there_are_too_many() -> None:
    bench = at_work(keep_jobs=2)
    bench.submit("waits", spec(cpu=1000))
    for number in range(4):
        run(bench, f"j{number}")
        bench.advance(1)
    assert bench.disk.keys() == {"waits", "j2", "j3"}
    assert [job.job_id for job in bench.central.jobs()] == ["waits", "j2", "j3"]
    assert forgotten(bench) == [ForgetLogs("n1", ("j0.0.1",)), ForgetLogs("n1", ("j1.0.1",))]
    counts = bench.central.counts()
    assert (counts.succeeded, counts.cpu_s) == (2, 2.0)
    op = bench.submit("again", submission="s-j0")  # its submission is forgotten too
    assert bench.answers[op].result.job_id == "again"


def test_the_old_go_when_their_time_is_over_also_after_a_restart() -> None:
    bench = at_work(keep_jobs_s=100)
    run(bench, "j0")
    bench.advance(60)
    run(bench, "j1")
    again = Bench(bench.disk, incarnation=2, keep_jobs_s=100, now=5.0, epoch=bench.wall - 5.0)
    again.edge_up(node("n1"))
    again.advance(39)
    assert again.disk.keys() == {"j0", "j1"}
    again.advance(2)
    assert again.disk.keys() == {"j1"}
    again.advance(60)
    assert not again.disk
    assert again.central.jobs() == ()


def test_nothing_goes_before_the_disk_has_all_of_it() -> None:
    bench = at_work(keep_jobs=0)
    bench.hold_disk = True
    bench.submit("j0")
    while bench.writes:
        bench.write()
    bench.status(running("j0.0.1"))
    bench.status(ended("j0.0.1"))
    deletes = [c for c in bench.order if isinstance(c, Persist) and isinstance(c.writes[0], Delete)]
    assert not deletes
    assert not bench.acks()
    bench.release_disk()
    assert bench.acks() == ["j0.0.1"]
    bench.advance(0.1)
    assert not bench.disk


def test_a_failed_job_stays_while_one_of_its_tasks_is_active() -> None:
    bench = at_work(keep_jobs=0)
    bench.submit("j0", spec(n_tasks=2))
    bench.status(running("j0.0.1"))
    bench.status(running("j0.1.1"))
    bench.status(ended("j0.0.1", 1))
    bench.advance(30)
    assert bench.state("j0") is JobState.FAILED
    bench.status(ended("j0.1.1", None, signal=15))
    bench.advance(10)
    assert not bench.disk


def test_a_removal_that_the_disk_refuses_is_tried_again() -> None:
    bench = at_work(keep_jobs=1)
    run(bench, "j0")
    bench.hold_disk = True
    bench.submit("j1")
    while bench.writes:
        bench.write()
    bench.status(running("j1.0.1"))
    bench.status(ended("j1.0.1"))
    while not isinstance(bench.writes[0].writes[0], Delete):
        bench.write()
    bench.fail_write()
    assert bench.state("j0") is JobState.SUCCEEDED
    bench.hold_disk = False
    bench.advance(6)
    assert bench.disk.keys() == {"j1"}


def test_an_end_that_is_repeated_after_its_job_is_gone_is_acknowledged() -> None:
    bench = at_work(keep_jobs=0)
    run(bench, "j0")
    bench.advance(1)
    assert not bench.disk
    bench.resynced("n1", ended("j0.0.1"))
    assert bench.acks() == ["j0.0.1", "j0.0.1"]
