"""A task that was to be restored elsewhere, and is not, for its job is over."""

from __future__ import annotations

from dataclasses import replace

from central_bench import ended, spec

from tango.controllers.central import jobs
from tango.controllers.central.invariants import check_record
from tango.model.job import Checkpoint, JobState, Migration


def test_a_restore_that_nobody_was_told_of_is_over_with_its_job() -> None:
    record = jobs.assigned(
        jobs.new_job("j1", "", spec(n_tasks=2), 1.0), {0: ("e1", "n1"), 1: ("e1", "n1")}
    )
    there = Migration(1, "e1", "n1", "e1", "n2", Checkpoint("j1.1.1", "sha256:0", 1))
    moving = replace(record.tasks[1], migration=there)
    record = replace(record, tasks=(record.tasks[0], moving))
    record = jobs.ended(record, 0, ended("j1.0.1", 3), 2.0, unsent=frozenset({1}))
    check_record(record)
    assert record.tasks[1].state is JobState.CANCELLED
    assert record.tasks[1].migration is None
