"""The state machine of a job by itself: ends, retries, refusals, cancels, reasons."""

from __future__ import annotations

import pytest
from central_bench import MIB, ended, running, spec

from tango.controllers.central import jobs
from tango.controllers.central.invariants import check_record
from tango.model.job import AttemptState, AttemptStatus, JobRecord, JobState, TaskSpec

PLACE = ("e1", "n1")


def job(n_tasks: int = 1, **options: object) -> JobRecord:
    return jobs.new_job("j", "s", spec(n_tasks=n_tasks, **options), 1000.0)


def placed(record: JobRecord, *indices: int) -> JobRecord:
    wanted = indices or jobs.waiting(record)[0]
    after = jobs.assigned(record, dict.fromkeys(wanted, PLACE))
    check_record(after)
    return after


def run(record: JobRecord, index: int, wall: float = 1001.0) -> JobRecord:
    after = jobs.running(record, index, running(record.tasks[index].attempt_id), wall)
    check_record(after)
    return after


def end(record: JobRecord, index: int, exit_code: int | None = 0, **how: object) -> JobRecord:
    status = ended(record.tasks[index].attempt_id, exit_code, **how)
    after = jobs.ended(record, index, status, 1010.0)
    check_record(after)
    return after


def test_a_job_of_two_tasks_from_pending_to_succeeded() -> None:
    record = job(2)
    assert jobs.waiting(record) == ((0, 1), 0.0)
    record = placed(record)
    assert record.state is JobState.SCHEDULED
    assert [task.attempt_id for task in record.tasks] == ["j.0.1", "j.1.1"]
    record = run(record, 0)
    assert record.state is JobState.RUNNING
    assert record.started_at == 1001.0
    record = end(run(record, 1), 1)
    assert record.state is JobState.RUNNING
    record = end(record, 0)
    assert record.state is JobState.SUCCEEDED
    assert record.ended_at == 1010.0
    assert record.reason == ""
    assert record.version == 6


def test_a_failure_is_retried_after_a_doubling_bounded_backoff() -> None:
    record = job(retries=3, backoff_s=2.0)
    for failures, delay in ((1, 2.0), (2, 4.0), (3, 8.0)):
        record = end(run(placed(record), 0), 0, 3)
        task = record.tasks[0]
        assert (record.state, task.failures) == (JobState.PENDING, failures)
        assert task.retry_at == 1010.0 + delay
        assert record.reason == f"exit code 3; retry {failures} of 3"
        assert jobs.waiting(record) == ((0,), task.retry_at)
    record = end(run(placed(record), 0), 0, 3)
    assert record.state is JobState.FAILED
    assert record.reason == "exit code 3"
    assert record.tasks[0].attempt_id == "j.0.4"
    assert jobs.waiting(record) == ((), 0.0)


def test_backoff_stays_finite() -> None:
    assert jobs.backoff_s(spec(retries=1000), 999) == 60.0
    assert jobs.backoff_s(spec(backoff_s=0.0), 5) == 0.0


def test_a_failed_task_fails_its_job_and_what_waits_is_cancelled() -> None:
    record = run(placed(job(3, retries=1)), 1)
    record = end(record, 0, 1)
    assert record.state is JobState.RUNNING
    assert record.tasks[0].state is JobState.PENDING
    record = end(record, 1, 1)
    record = end(placed(record, 1), 1, 7)
    assert record.state is JobState.FAILED
    assert record.reason == "task t1: exit code 7"
    assert record.tasks[0].state is JobState.CANCELLED
    assert record.tasks[0].reason == "another task failed"
    assert record.tasks[2].state is JobState.SCHEDULED  # it is being stopped
    record = end(record, 2, None, signal=15)
    assert record.tasks[2].state is JobState.CANCELLED
    assert record.tasks[2].reason == "stopped: killed by signal 15"
    assert record.state is JobState.FAILED


def test_a_start_that_was_never_sent_is_taken_back_when_the_job_fails() -> None:
    record = placed(job(2))
    status = ended("j.0.1", 1)
    record = jobs.ended(record, 0, status, 1010.0, frozenset({1}))
    assert record.tasks[1].state is JobState.CANCELLED
    check_record(record)


def test_a_gang_waits_whole_only_while_nothing_of_it_runs_or_has_ended() -> None:
    record = placed(job(3, retries=5))
    record = end(record, 0, 1)
    assert jobs.waiting(record) == ((0,), 1011.0)
    record = end(record, 1, 1)
    assert jobs.waiting(record) == ((0,), 1011.0)
    record = end(record, 2, 1)
    assert jobs.waiting(record) == ((0, 1, 2), 1011.0)
    record = end(placed(record), 0)
    record = end(record, 1, 1)
    assert record.state is JobState.SCHEDULED
    record = end(record, 2, 1)
    assert record.state is JobState.PENDING
    assert jobs.waiting(record) == ((1,), 1012.0)


def test_a_refusal_is_no_failure_and_takes_a_new_attempt_id() -> None:
    record = jobs.refused(placed(job()), 0, "no room", 1002.0, 0.5)
    task = record.tasks[0]
    assert (task.state, task.failures, task.retry_at) == (JobState.PENDING, 0, 1002.5)
    assert record.reason == "no room"
    assert placed(record).tasks[0].attempt_id == "j.0.2"


def test_cpu_time_adds_up_over_attempts() -> None:
    record = end(run(placed(job(retries=1)), 0), 0, 1, cpu_s=2.0)
    record = end(run(placed(record), 0), 0, 0, cpu_s=3.0)
    assert record.tasks[0].cpu_s == 5.0


def test_cancel_of_a_waiting_job() -> None:
    record = jobs.cancelled(job(2), 1005.0)
    check_record(record)
    assert record.state is JobState.CANCELLED
    assert record.reason == "cancelled"
    assert record.ended_at == 1005.0


def test_cancel_of_a_running_job_ends_with_the_last_task() -> None:
    record = jobs.cancelled(run(placed(job(2, retries=9)), 0), 1005.0)
    check_record(record)
    assert (record.state, record.reason) == (JobState.RUNNING, "cancelling")
    record = end(record, 0, None, signal=15, failure="cancelled")
    assert record.tasks[0].state is JobState.CANCELLED
    assert record.tasks[0].reason == "stopped: killed by signal 15 (cancelled)"
    record = jobs.refused(record, 1, "no room", 1006.0, 1.0)
    check_record(record)
    assert record.state is JobState.CANCELLED


def test_a_task_that_was_faster_than_the_stop_has_succeeded() -> None:
    record = end(jobs.cancelled(run(placed(job()), 0), 1005.0), 0, 0)
    assert record.tasks[0].state is JobState.SUCCEEDED
    assert record.state is JobState.CANCELLED


def test_a_lost_attempt_is_a_failure() -> None:
    record = jobs.lost(run(placed(job(retries=1)), 0), 0, 1010.0)
    check_record(record)
    assert record.tasks[0].failures == 1
    assert record.tasks[0].reason == "lost with its node or supervisor"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"exit_code": 3}, "exit code 3"),
        ({"signal": 11}, "killed by signal 11"),
        ({"signal": 9, "failure": "out of memory"}, "killed by signal 9 (out of memory)"),
        ({"signal": 15, "failure": "deadline"}, "deadline of 60 s exceeded"),
        ({"signal": 9, "failure": "deadline of 60 s exceeded"}, "deadline of 60 s exceeded"),
        ({"exit_code": 0, "failure": "deadline exceeded"}, "deadline of 60 s exceeded"),
        ({"failure": "no such program: nope"}, "no such program: nope"),
        ({}, "ended while nobody could see its exit code"),
        ({"exit_code": 0}, ""),
    ],
)
def test_reasons_are_readable(status: dict[str, object], reason: str) -> None:
    task = TaskSpec("t", ("true",), memory_bytes=MIB, deadline_s=60.0)
    assert jobs.readable_end(task, AttemptStatus("a", AttemptState.ENDED, **status)) == reason


def test_exit_code_0_after_a_deadline_is_a_failure() -> None:
    record = end(run(placed(job(deadline_s=60.0)), 0), 0, 0, failure="deadline")
    assert record.state is JobState.FAILED


def test_a_workers_times_are_kept_within_what_central_knows() -> None:
    record = placed(job())
    early = jobs.running(record, 0, running("j.0.1", at=5.0), 1001.0)
    late = jobs.running(record, 0, running("j.0.1", at=9e9), 1001.0)
    true = jobs.running(record, 0, running("j.0.1", at=1000.5), 1001.0)
    assert [r.tasks[0].started_at for r in (early, late, true)] == [1000.0, 1001.0, 1000.5]
