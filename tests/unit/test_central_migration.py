"""Migrations at the central master: pinned, room kept, back where they fail, refused clearly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from central_bench import Bench, ended, node, running, spec

from tango.model.cluster import NodeView
from tango.model.errors import FailedPrecondition, NotFound
from tango.model.job import AttemptStatus, Checkpoint, JobState, TaskRecord
from tango.model.messages import ForgetCheckpoints, StartAttempt, StopAttempt

DONE = Checkpoint("j1.0.1", "sha256:1", 4096)
# Whoever begins from it is told where it is.
THERE = replace(DONE, edge="e1", node="n1")


def able(name: str, **more: object) -> NodeView:
    return node(name, checkpoints=True, **more)


def at_work(*nodes: NodeView, **options: object) -> Bench:
    """j1 runs on n1, which has the most room; n2 is there too."""
    bench = Bench()
    bench.edge_up(*(nodes or (able("n1"), able("n2", cpu=1000))))
    bench.submit("j1", spec(**options))
    bench.status(running("j1.0.1"))
    assert bench.job().tasks[0].node == "n1"
    return bench


def task(bench: Bench) -> TaskRecord:
    return bench.job().tasks[0]


def dumps(bench: Bench) -> list[tuple[str, int]]:
    """What workers were told to checkpoint: attempt and number."""
    found = [message for _, message in bench.sent if isinstance(message, StopAttempt)]
    return [(one.attempt_id, one.checkpoint) for one in found if one.checkpoint]


def restores(bench: Bench) -> list[tuple[str, str, Checkpoint | None]]:
    found = [message for _, message in bench.sent if isinstance(message, StartAttempt)]
    return [(one.attempt_id, one.node, one.restore) for one in found[1:]]


def forgotten(bench: Bench) -> list[tuple[str, tuple[str, ...]]]:
    """What nodes were told to remove: the node, and the attempts that left it."""
    found = [one for _, one in bench.sent if isinstance(one, ForgetCheckpoints)]
    return [(one.node, one.attempt_ids) for one in found]


def checkpointed(attempt_id: str = "j1.0.1", made: Checkpoint = DONE) -> AttemptStatus:
    return replace(ended(attempt_id, None, signal=9, cpu_s=2.0), checkpoint=made)


def refusal(bench: Bench, op: int) -> str:
    error = bench.answers[op].error
    assert isinstance(error, FailedPrecondition), error
    return str(error)


def offered(bench: Bench, name: str) -> int:
    site = bench.central._core.sites.site("e1")
    offer = site.offers.get(name)
    return 0 if offer is None else offer.cpu_millis


def test_a_task_goes_on_where_it_was_sent_and_its_source_is_free() -> None:
    bench = at_work()
    op = bench.migrate("j1", "n2")
    assert bench.answers[op].error is None
    assert dumps(bench) == [("j1.0.1", 1)]
    assert (offered(bench, "n1"), offered(bench, "n2")) == (1500, 500), "room on both"
    assert bench.state() is JobState.RUNNING
    bench.status(checkpointed())
    assert restores(bench) == [("j1.0.2", "n2", THERE)]
    assert bench.acks() == ["j1.0.1"]
    assert (offered(bench, "n1"), offered(bench, "n2")) == (2000, 500)
    bench.status(running("j1.0.2"))
    found = task(bench)
    assert (found.state, found.node, found.migration) == (JobState.RUNNING, "n2", None)
    assert found.moved == "migrated with its state from n1 of e1 to n2 of e1"
    assert (found.failures, found.losses, found.evictions, found.migrations) == (0, 0, 0, 1)
    bench.status(ended("j1.0.2", cpu_s=3.0))
    assert (bench.state(), task(bench).cpu_s) == (JobState.SUCCEEDED, 5.0)


def test_nothing_is_told_before_it_is_on_disk() -> None:
    bench = at_work()
    bench.hold_disk = True
    op = bench.migrate("j1", "n2")
    assert (dumps(bench), op in bench.answers) == ([], False)
    bench.write()
    assert dumps(bench) == [("j1.0.1", 1)]
    bench.status(checkpointed())
    assert (restores(bench), bench.acks()) == ([], [])
    bench.write()
    assert restores(bench) == [("j1.0.2", "n2", THERE)]
    assert bench.acks() == ["j1.0.1"]


def test_what_cannot_be_written_goes_on_where_it_is() -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    failed = replace(running("j1.0.1"), checkpoint_try=1, checkpoint_error="a TCP connection")
    bench.status(failed)
    found = task(bench)
    assert (found.state, found.attempt_id, found.migration) == (JobState.RUNNING, "j1.0.1", None)
    assert found.moved == "not migrated to n2 of e1: a TCP connection"
    assert offered(bench, "n2") == 1000
    assert restores(bench) == []
    # The worker's word on an earlier try ends no later one.
    bench.migrate("j1", "n2")
    bench.status(failed)
    assert task(bench).migration is not None
    bench.status(replace(failed, checkpoint_try=2))
    assert task(bench).migration is None


@pytest.mark.parametrize("how", ["refused", "failed", "node lost"])
def test_where_the_target_fails_it_goes_back_with_its_state(how: str) -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    bench.status(checkpointed())
    if how == "refused":
        bench.refuse("j1.0.2", "no room")
        why = "refused: no room"
    elif how == "failed":
        bench.status(ended("j1.0.2", None, failure="its process id is taken"))
        why = "its process id is taken"
    else:
        bench.nodes(able("n1"), able("n2", ready=False, dead=True))
        bench.advance(6.0)
        why = "node n2 lost"
    assert restores(bench)[-1] == ("j1.0.3", "n1", THERE)
    bench.status(running("j1.0.3"))
    found = task(bench)
    assert (found.state, found.node, found.migration) == (JobState.RUNNING, "n1", None)
    assert found.moved == f"not migrated to n2 of e1: {why}; it went on at n1 of e1"
    assert (found.failures, found.evictions) == (0, 0)
    assert offered(bench, "n1") == 1500


def test_what_can_be_restored_nowhere_begins_anew_and_says_so() -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    bench.status(checkpointed())
    bench.refuse("j1.0.2", "no room")
    bench.status(ended("j1.0.3", None, failure="an image is damaged"))
    bench.advance(1.0)
    assert restores(bench)[-1][2] is None
    found = task(bench)
    assert (found.state, found.attempt_id) == (JobState.SCHEDULED, "j1.0.4")
    expected = "not migrated to n2 of e1: refused: no room; its state is lost: an image is damaged"
    assert found.moved == expected
    assert (found.failures, found.evictions) == (0, 1)


def test_a_task_that_ends_before_its_state_is_written_has_ended() -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    bench.status(ended("j1.0.1"))
    assert (bench.state(), task(bench).migration) == (JobState.SUCCEEDED, None)
    assert offered(bench, "n2") == 1000


def test_a_restored_task_that_ends_before_anybody_heard_of_it_has_ended() -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    bench.status(checkpointed())
    bench.status(replace(ended("j1.0.2"), started_at=bench.wall))
    assert bench.state() is JobState.SUCCEEDED


@pytest.mark.parametrize("when", ["dumping", "restoring"])
def test_a_cancel_ends_it_wherever_it_is(when: str) -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    if when == "restoring":
        bench.status(checkpointed())
        bench.cancel()
        assert bench.stops()[-1] == "j1.0.2"
        bench.status(ended("j1.0.2", None, failure="stopped before it started"))
    else:
        bench.cancel()
        bench.status(checkpointed())
    assert bench.state() is JobState.CANCELLED
    assert (offered(bench, "n1"), offered(bench, "n2")) == (2000, 1000)
    assert len(restores(bench)) == (when == "restoring")


def test_another_central_master_goes_on_with_it() -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    again = Bench(bench.disk, incarnation=2)
    again.edge_up(able("n1"), able("n2", cpu=1000), attempts=(running("j1.0.1"),))
    assert dumps(again) == [("j1.0.1", 1)], "the stream may have lost it"
    assert offered(again, "n2") == 500
    third = Bench(again.disk, incarnation=3)
    third.edge_up(able("n1"), able("n2", cpu=1000), attempts=(checkpointed(),))
    (start,) = [message for _, message in third.sent if isinstance(message, StartAttempt)]
    assert (start.attempt_id, start.node, start.restore) == ("j1.0.2", "n2", THERE)
    last = Bench(third.disk, incarnation=4)
    last.edge_up(able("n1"), able("n2", cpu=1000))
    (start,) = [message for _, message in last.sent if isinstance(message, StartAttempt)]
    assert (start.attempt_id, start.restore) == ("j1.0.2", THERE), "the same attempt, once more"


def test_no_room_is_given_away_that_is_kept_for_a_migration() -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    bench.submit("j2", spec(cpu=800))
    bench.advance(1.0)
    assert bench.job("j2").tasks[0].node == "n1"
    refused = bench.migrate("j2", "n2")
    assert refusal(bench, refused).startswith("no task of job j2 runs")
    bench.status(running("j2.0.1"))
    refused = bench.migrate("j2", "n2")
    text = "node n2 of e1 has 500m CPU and 960.0 MiB free, 800m and 64.0 MiB are needed"
    assert refusal(bench, refused) == text


def test_a_whole_job_moves_or_none_of_it() -> None:
    bench = Bench()
    bench.edge_up(able("n1", cpu=4000), able("n2", cpu=1000))
    bench.submit("j1", spec(n_tasks=3, cpu=400))
    for index in range(3):
        bench.status(running(f"j1.{index}.1"))
    assert {one.node for one in bench.job().tasks} == {"n1"}
    op = bench.migrate("j1", "n2")
    assert "1200m and 192.0 MiB are needed" in refusal(bench, op)
    assert dumps(bench) == []
    bench.migrate("j1", "n2", task="t1")
    assert dumps(bench) == [("j1.1.1", 1)]
    bench.nodes(able("n1", cpu=4000), able("n2", cpu=2000))
    bench.status(replace(running("j1.1.1"), checkpoint_try=1, checkpoint_error="no"))
    bench.migrate("j1", "n2")
    assert dumps(bench)[1:] == [("j1.0.1", 1), ("j1.1.1", 2), ("j1.2.1", 1)]


def test_what_is_refused_and_why() -> None:
    plain = node("n3", checkpoint_note="criu is not installed")
    bench = at_work(able("n1"), able("n2", cpu=100), plain, able("n4", cordoned=True))
    missing = bench.answers[bench.migrate("j9", "n2")].error
    assert isinstance(missing, NotFound)
    nowhere = bench.answers[bench.migrate("j1", "n9")].error
    assert isinstance(nowhere, NotFound)
    no_task = bench.answers[bench.migrate("j1", "n2", task="t7")].error
    assert isinstance(no_task, NotFound)

    def why(name: str, task: str = "") -> str:
        return refusal(bench, bench.migrate("j1", name, task))

    assert why("n1") == "task t0 is on n1 of e1 already"
    assert why("n2").startswith("node n2 of e1 has 100m CPU")
    assert why("n3") == "node n3 of e1 cannot checkpoint: criu is not installed"
    assert why("n4") == "node n4 of e1 takes no tasks now"
    bench.nodes(node("n1", checkpoint_note="criu check failed"), able("n2", cpu=1000))
    assert why("n2") == "node n1 of e1 cannot checkpoint: criu check failed"
    bench.nodes(able("n1"), able("n2", cpu=1000))
    bench.migrate("j1", "n2")
    assert why("n2") == "task t0 is on its way to n2 already"
    bench.cancel()
    assert why("n2") == "job j1 is being stopped"
    assert dumps(bench) == [("j1.0.1", 1)]
    assert task(bench).state is JobState.RUNNING


@pytest.mark.parametrize("end", ["runs", "runs again", "lost", "ended", "cancelled"])
def test_both_are_told_once_that_nobody_begins_from_it_any_more(end: str) -> None:
    bench = at_work()
    bench.migrate("j1", "n2")
    bench.status(checkpointed())
    if end in ("runs again", "lost"):
        bench.refuse("j1.0.2", "no room")
    assert forgotten(bench) == []
    bench.hold_disk = True
    if end == "runs":
        bench.status(running("j1.0.2"))
    elif end == "runs again":
        bench.status(running("j1.0.3"))
    elif end == "lost":
        bench.status(ended("j1.0.3", None, failure="an image is damaged"))
    elif end == "ended":
        bench.status(replace(ended("j1.0.2"), started_at=bench.wall))
    else:
        bench.cancel()
        bench.write()
        bench.status(ended("j1.0.2", None, failure="stopped: before it was restored"))
    assert forgotten(bench) == [], "not before it is on disk"
    bench.write()
    assert forgotten(bench) == [("n1", ("j1.0.1",)), ("n2", ("j1.0.1",))]


def test_what_has_no_way_to_the_target_is_refused_at_once() -> None:
    by_directory = able("n1", checkpoint_shared=True)
    by_session = able("n2", cpu=1000, checkpoint_transfer=True)
    bench = at_work(by_directory, by_session)
    assert refusal(bench, bench.migrate("j1", "n2")) == (
        "a checkpoint does not get from n1 to n2: n2 has no worker.checkpoint_dir, and "
        "worker.checkpoint_transfer is off at n1"
    )
    bench.nodes(able("n1", checkpoint_transfer=True), replace(by_directory, node="n2"))
    assert "n1 has no worker.checkpoint_dir" in refusal(bench, bench.migrate("j1", "n2"))
    assert dumps(bench) == []
    bench.nodes(replace(by_directory, checkpoint_transfer=True), by_session)
    assert bench.answers[bench.migrate("j1", "n2")].error is None
