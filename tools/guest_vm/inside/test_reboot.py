"""In the guest, after its reboot: everything came back by itself, and jobs are what they were."""

from __future__ import annotations

import json
import time
from pathlib import Path

from site_under_test import (
    KEPT,
    PAYLOAD,
    TREE,
    UNITS,
    active,
    calls_work,
    client,
    eventually,
    job,
    main_pid,
    pids,
    said,
)

from tango.model.job import JobState


def uptime_s() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def test_every_unit_is_up() -> None:
    eventually(lambda: all(active(unit) for unit in UNITS), "four units")
    said(f"reboot: four units active {uptime_s():.0f} s after the boot")


def test_the_service_is_ready_again() -> None:
    calls_work()
    said(f"reboot: calls work {uptime_s():.0f} s after the boot")

    def ready() -> bool:
        with client() as tango:
            return [view.ready for view in tango.services()] == [2]

    eventually(ready, "both replicas")
    assert pids(PAYLOAD)["supervisor"] == (main_pid("tango-payload"),)


def test_jobs_are_what_they_were() -> None:
    kept = json.loads(KEPT.read_text())
    short = job(kept["short"])
    assert short is not None
    assert (short.state, short.tasks[0].exit_code) == (JobState.SUCCEEDED, 0)

    def runs() -> bool:
        record = job(kept["long"])
        return record is not None and record.state is JobState.RUNNING

    eventually(runs, "the long job to run again")
    record = job(kept["long"])
    assert record is not None
    said(f"reboot: the job that ran is in attempt {record.tasks[0].attempt}, {record.state.value}")
    groups = [name for name in pids(TREE) if name.startswith("be/")]
    assert groups == [f"be/{record.tasks[0].attempt_id}"]
    time.sleep(2)
    again = job(kept["long"])
    assert again is not None
    assert again.tasks[0].attempt == record.tasks[0].attempt
