"""What edges say of attempts: ends, retries, refusals, and acknowledgements after the disk."""

from __future__ import annotations

from dataclasses import replace

from central_bench import EPOCH, Bench, ended, node, running, spec

from tango.model.job import AttemptState, AttemptStatus, JobState
from tango.model.messages import AckEnds


def started(n_tasks: int = 1, **options: object) -> Bench:
    bench = Bench()
    bench.edge_up(node())
    bench.submit("j1", spec(n_tasks=n_tasks, **options))
    assert len(bench.starts()) == n_tasks
    return bench


def test_an_end_is_acknowledged_and_told_after_it_is_on_disk() -> None:
    bench = started()
    bench.status(running("j1.0.1", at=EPOCH + 100.0))
    bench.hold_disk = True
    bench.advance(5.0)
    bench.status(ended("j1.0.1", cpu_s=1.5))
    assert not bench.acks()
    assert bench.state() is JobState.RUNNING
    bench.write()
    assert bench.acks() == ["j1.0.1"]
    job = bench.changes[-1]
    assert (job.state, job.tasks[0].exit_code) == (JobState.SUCCEEDED, 0)
    assert job.ended_at == EPOCH + 105.0
    assert bench.central.counts().succeeded == 1
    assert bench.central.counts().cpu_s == 1.5


def test_an_end_reported_twice_counts_once_and_is_acknowledged_again() -> None:
    bench = started(retries=3)
    bench.hold_disk = True
    for _ in range(3):
        bench.status(ended("j1.0.1", 1))
    assert not bench.acks()
    bench.release_disk()
    assert bench.acks() == ["j1.0.1"]
    assert bench.job().tasks[0].failures == 1
    bench.status(ended("j1.0.1", 1))
    assert bench.acks() == ["j1.0.1"] * 2
    assert bench.job().tasks[0].failures == 1


def test_acknowledgements_are_batched() -> None:
    bench = started(n_tasks=3)
    bench.hold_disk = True
    bench.resynced("n1", *(ended(f"j1.{i}.1") for i in range(3)))
    bench.release_disk()
    [acks] = [message for _, message in bench.sent if isinstance(message, AckEnds)]
    assert acks.attempt_ids == ("j1.0.1", "j1.1.1", "j1.2.1")
    assert bench.state() is JobState.SUCCEEDED


def test_an_end_while_the_edge_is_away_for_the_ack_is_acknowledged_at_the_resync() -> None:
    bench = started()
    bench.hold_disk = True
    bench.status(ended("j1.0.1"))
    bench.edge_down()
    bench.release_disk()
    assert not bench.acks()
    bench.edge_up(node(), session=2, attempts=(ended("j1.0.1"),))
    assert bench.acks() == ["j1.0.1"]


def test_a_failed_task_is_retried_after_its_backoff() -> None:
    bench = started(retries=1, backoff_s=2.0)
    bench.status(running("j1.0.1"))
    bench.status(ended("j1.0.1", 3))
    assert bench.job().reason == "exit code 3; retry 1 of 1"
    bench.nodes(node())
    bench.advance(1.9)
    assert bench.starts() == ["j1.0.1"]
    bench.advance(0.2)
    assert bench.starts() == ["j1.0.1", "j1.0.2"]
    bench.status(ended("j1.0.2", None, signal=9, failure="out of memory"))
    assert bench.state() is JobState.FAILED
    assert bench.job().reason == "killed by signal 9 (out of memory)"


def test_a_retry_that_waits_for_room_shows_both_reasons() -> None:
    bench = started(retries=1)
    bench.status(ended("j1.0.1", 3))
    bench.nodes(node(lc_held_millis=1900))
    bench.advance(2.0)
    assert bench.job().reason.startswith("exit code 3; retry 1 of 1; waiting for room: no node")


def test_a_retry_is_timed_by_the_wall_clock_after_a_restart() -> None:
    bench = started(retries=1, backoff_s=30.0)
    bench.status(ended("j1.0.1", 1))
    bench.advance(20.0)
    # The new process's clock began elsewhere; wall time says that 20 of 30 s have gone.
    again = Bench(bench.disk, now=5.0, epoch=EPOCH + 115.0)
    again.edge_up(node())
    again.advance(9.9)
    assert not again.starts()
    again.advance(0.2)
    assert again.starts() == ["j1.0.2"]


def test_a_wall_clock_that_jumped_back_does_not_hold_a_retry_for_ever() -> None:
    bench = started(retries=1)
    bench.status(ended("j1.0.1", 1))
    job = bench.disk["j1"]
    task = replace(job.tasks[0], retry_at=EPOCH + 1e6)
    again = Bench({"j1": replace(job, tasks=(task,))})
    again.edge_up(node())
    again.advance(61.0)
    assert again.starts() == ["j1.0.2"]


def test_a_refused_attempt_is_placed_again_soon_under_a_new_id() -> None:
    bench = started()
    bench.refuse("j1.0.1", "no room")
    assert bench.state() is JobState.PENDING
    assert "refused by n1 of e1: no room" in bench.job().reason
    assert bench.job().tasks[0].failures == 0
    bench.advance(0.3)
    assert bench.starts() == ["j1.0.1", "j1.0.2"]
    bench.refuse("j1.0.1", "twice")  # of an older attempt
    bench.refuse("nope.0.1")
    assert bench.state() is JobState.SCHEDULED


def test_refusals_in_a_row_back_off() -> None:
    bench = started()
    waits = []
    for n in range(1, 9):
        before = bench.now
        bench.refuse(f"j1.0.{n}")
        while len(bench.starts()) == n:
            at = bench.central.wake_at
            assert at is not None
            bench.advance(at - bench.now)
        waits.append(round(bench.now - before, 2))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    bench.status(running("j1.0.9"))
    assert bench.state() is JobState.RUNNING


def test_a_refusal_of_what_runs_is_an_error_of_the_edge() -> None:
    bench = started()
    bench.status(running("j1.0.1"))
    bench.refuse("j1.0.1")
    assert bench.state() is JobState.RUNNING
    assert any(note.event == "refused_while_running" for note in bench.notes)


def test_a_refusal_does_not_end_what_runs_and_shall_stop() -> None:
    """An edge that was restarted does not know yet what runs on its nodes."""
    bench = started()
    bench.status(running("j1.0.1"))
    bench.edge_down()
    bench.edge_up(session=2, incarnation=2)
    bench.cancel()
    assert bench.stops() == ["j1.0.1"]
    bench.refuse("j1.0.1", "not found", session=2)
    assert bench.state() is JobState.RUNNING
    assert bench.job().reason == "cancelling"
    bench.nodes(node(), session=2)
    bench.resynced("n1", ended("j1.0.1"), session=2)
    assert bench.job().tasks[0].state is JobState.SUCCEEDED
    assert bench.state() is JobState.CANCELLED
    assert bench.acks() == ["j1.0.1"]


def test_a_failed_task_stops_the_others_after_the_disk() -> None:
    bench = started(n_tasks=3)
    for i in range(3):
        bench.status(running(f"j1.{i}.1"))
    bench.status(ended("j1.2.1"))
    bench.hold_disk = True
    bench.status(ended("j1.0.1", 7))
    assert not bench.stops()
    bench.release_disk()
    assert bench.stops() == ["j1.1.1"]
    assert bench.job().reason == "task t0: exit code 7"
    bench.status(ended("j1.1.1", None, signal=15))
    states = [task.state for task in bench.job().tasks]
    assert states == [JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED]
    assert bench.acks() == ["j1.2.1", "j1.0.1", "j1.1.1"]


def test_a_retried_task_of_a_gang_is_placed_alone_while_the_others_run() -> None:
    bench = started(n_tasks=2, retries=1, cpu=1000)
    bench.status(running("j1.0.1"))
    bench.status(ended("j1.1.1", 1))
    bench.nodes(node(be_held_millis=1000))
    bench.advance(2.0)
    assert bench.starts() == ["j1.0.1", "j1.1.1", "j1.1.2"]
    [gang] = bench.snapshots[-1].gangs
    assert [task.task_index for task in gang.tasks] == [1]


def test_several_waiting_tasks_of_a_job_are_placed_one_after_the_other() -> None:
    bench = started(n_tasks=4, retries=1)
    bench.status(running("j1.0.1"))
    for i in (1, 2, 3):
        bench.status(ended(f"j1.{i}.1", 1))
    bench.nodes(node(be_held_millis=500))
    bench.advance(3.0)
    assert bench.starts()[4:] == ["j1.1.2", "j1.2.2", "j1.3.2"]


def test_starting_is_told_but_changes_nothing_on_disk() -> None:
    bench = started()
    before = bench.disk["j1"]
    bench.status(AttemptStatus("j1.0.1", AttemptState.STARTING))
    assert bench.disk["j1"] == before


def test_attempts_that_nobody_wants_are_stopped_and_their_ends_acknowledged() -> None:
    bench = started()
    bench.status(running("ghost.0.1"))
    bench.status(ended("ghost.0.2"))
    bench.status(running("j1.0.0"))
    assert bench.stops() == ["ghost.0.1", "j1.0.0"]
    assert bench.acks() == ["ghost.0.2"]


def test_an_edge_cannot_speak_for_an_attempt_of_another() -> None:
    bench = started()
    bench.edge_up(node("n9"), session=2, edge="e2")
    bench.status(ended("j1.0.1", 1), session=2)
    bench.refuse("j1.0.1", session=2)
    assert bench.state() is JobState.SCHEDULED
