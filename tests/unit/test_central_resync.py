"""Sessions of edges: who supersedes whom, and the full resync after every (re)connect."""

from __future__ import annotations

from central_bench import Bench, ended, node, running, spec

from tango.model.job import AttemptState, AttemptStatus, JobState
from tango.model.messages import CentralWelcome, EdgeHello, EdgeState, StopAttempt


def started(n_tasks: int = 1, **options: object) -> Bench:
    bench = Bench()
    bench.edge_up(node())
    bench.submit("j1", spec(n_tasks=n_tasks, **options))
    return bench


def test_welcome_comes_first() -> None:
    bench = Bench(incarnation=42)
    bench.edge_up(node())
    assert bench.sent[0] == (1, CentralWelcome(42))


def test_an_equal_or_higher_incarnation_supersedes() -> None:
    bench = Bench()
    bench.edge_up(node(), session=1, incarnation=5)
    bench.edge_up(node(), session=2, incarnation=5)
    bench.edge_up(node(), session=3, incarnation=6)
    assert [closed.session for closed in bench.closed] == [1, 2]
    bench.nodes(session=2)  # the old stream speaks into the void
    bench.edge_down(session=2)
    bench.submit()
    assert bench.starts() == ["j1.0.1"]
    assert bench.sent[-1][0] == 3


def test_a_lower_incarnation_is_refused() -> None:
    bench = Bench()
    bench.edge_up(node(), session=1, incarnation=5)
    bench.edge_up(node(cpu=9000), session=2, incarnation=4)
    assert [closed.session for closed in bench.closed] == [2]
    assert "later stream" in bench.closed[0].reason
    bench.edge_down(session=1)
    bench.edge_up(node(cpu=9000), session=3, incarnation=4)
    assert [closed.session for closed in bench.closed] == [2, 3]
    bench.edge_up(node(), session=4, incarnation=5)
    assert bench.central.edge_views()[0].connected


def test_an_attempt_known_there_goes_on() -> None:
    bench = started()
    bench.edge_down()
    assert bench.state() is JobState.SCHEDULED
    bench.edge_up(node(), session=2, attempts=(running("j1.0.1"),))
    assert bench.state() is JobState.RUNNING
    assert bench.starts() == ["j1.0.1"]
    bench.edge_down(2)
    bench.edge_up(node(), session=3, attempts=(ended("j1.0.1"),))
    assert bench.state() is JobState.SUCCEEDED
    assert bench.acks() == ["j1.0.1"]


def test_a_start_that_got_lost_is_sent_again_with_the_same_id() -> None:
    bench = started()
    bench.edge_down()
    bench.edge_up(node(), session=2)
    assert bench.starts() == ["j1.0.1", "j1.0.1"]
    assert bench.sent[-1][0] == 2
    assert bench.job().tasks[0].attempt == 1


def test_a_start_is_not_sent_at_a_resync_before_it_is_on_disk() -> None:
    bench = Bench()
    bench.submit()
    bench.hold_disk = True
    bench.edge_up(node())
    bench.edge_down()
    bench.edge_up(node(), session=2)
    assert not bench.starts()
    bench.write()
    assert bench.starts() == ["j1.0.1"]


def test_a_start_whose_edge_is_away_waits_for_it() -> None:
    bench = Bench()
    bench.submit()
    bench.hold_disk = True
    bench.edge_up(node())
    bench.edge_down()
    bench.release_disk()
    assert not bench.starts()
    bench.edge_up(node(), session=2)
    assert bench.starts() == ["j1.0.1"]


def test_what_ran_and_is_gone_from_a_complete_node_is_lost() -> None:
    bench = started(retries=1)
    bench.status(running("j1.0.1"))
    bench.edge_down()
    bench.edge_up(node(), session=2)
    assert bench.job().tasks[0].failures == 1
    assert bench.job().reason.startswith("lost with its node or supervisor")
    bench.advance(2.0)
    assert bench.starts() == ["j1.0.1", "j1.0.2"]
    bench.resynced("n1", session=2)
    assert bench.starts() == ["j1.0.1", "j1.0.2", "j1.0.2"]
    bench.status(running("j1.0.2"), session=2)
    bench.resynced("n1", session=2)
    assert bench.state() is JobState.FAILED
    assert bench.job().reason == "lost with its node or supervisor"


def test_a_lost_attempt_that_turns_up_again_is_stopped() -> None:
    bench = started(retries=1)
    bench.status(running("j1.0.1"))
    bench.resynced("n1")
    bench.resynced("n1", running("j1.0.1"))
    assert bench.stops() == ["j1.0.1"]
    bench.status(ended("j1.0.1", None, signal=15))
    assert bench.acks() == ["j1.0.1"]
    assert bench.job().tasks[0].failures == 1


def test_starting_and_then_unknown_is_started_again() -> None:
    bench = started()
    bench.status(AttemptStatus("j1.0.1", AttemptState.STARTING))
    bench.resynced("n1")
    assert bench.starts() == ["j1.0.1", "j1.0.1"]


def test_a_node_that_is_not_complete_tells_nothing_by_silence() -> None:
    bench = started(n_tasks=2, retries=1)
    bench.status(running("j1.0.1"))
    bench.edge_down()
    bench.edge_up(node(ready=False), session=2, complete=())
    assert [task.state for task in bench.job().tasks] == [JobState.RUNNING, JobState.SCHEDULED]
    assert len(bench.starts()) == 2
    bench.resynced("other", session=2)
    assert len(bench.starts()) == 2
    bench.resynced("n1", running("j1.0.1"), session=2)
    assert bench.starts() == ["j1.0.1", "j1.1.1", "j1.1.1"]


def test_a_stop_that_got_lost_is_sent_again() -> None:
    bench = started(n_tasks=2)
    bench.status(running("j1.0.1"))
    bench.cancel()
    bench.edge_down()
    bench.edge_up(node(), session=2, attempts=(running("j1.0.1"), running("j1.1.1")))
    assert bench.stops() == ["j1.0.1", "j1.1.1"] * 2
    assert bench.sent[-1] == (2, StopAttempt("j1.1.1", "cancelling"))
    bench.edge_down(2)
    bench.edge_up(node(), session=3, attempts=(ended("j1.0.1", 1),))
    assert bench.state() is JobState.CANCELLED
    assert bench.acks() == ["j1.0.1"]


def test_a_stop_is_not_sent_at_a_resync_before_the_cancel_is_on_disk() -> None:
    bench = started()
    bench.hold_disk = True
    bench.cancel()
    bench.edge_down()
    bench.edge_up(node(), session=2, attempts=(running("j1.0.1"),))
    assert not bench.stops()
    bench.release_disk()
    assert bench.stops() == ["j1.0.1"]


def test_tasks_of_a_failed_job_are_stopped_after_a_restart() -> None:
    bench = started(n_tasks=3)
    bench.status(running("j1.1.1"))
    bench.status(ended("j1.0.1", 1))
    assert bench.state() is JobState.FAILED
    again = Bench(bench.disk)
    again.edge_up(node(), attempts=(running("j1.1.1"), ended("j1.0.1", 1)))
    assert again.stops() == ["j1.1.1"]
    assert again.acks() == ["j1.0.1"]
    assert not again.starts()
    assert again.job().tasks[2].state is JobState.CANCELLED
    again.status(ended("j1.1.1", None, signal=15))
    assert again.job().tasks[1].state is JobState.CANCELLED


def test_a_restart_of_central_takes_over_what_runs() -> None:
    bench = started(n_tasks=3, retries=1)
    bench.status(running("j1.0.1"))
    again = Bench(bench.disk, incarnation=2)
    again.submit("j2", spec(cpu=600))
    again.edge_up(
        node(be_held_millis=1000),
        attempts=(running("j1.0.1"), ended("j1.1.1")),
    )
    assert again.starts() == ["j1.2.1"]
    assert again.acks() == ["j1.1.1"]
    # 2000 less two active tasks of 500: the one that has ended is free again only as the edge says.
    assert again.snapshots[-1].offers[0].cpu_millis == 500
    again.nodes(node(be_held_millis=500))
    again.advance(1.0)
    assert again.starts() == ["j1.2.1", "j2.0.1"]


def test_an_edge_state_in_mid_stream_is_a_resync_too() -> None:
    bench = started()
    bench.say(EdgeHello("e1", 1, "", ""))
    bench.say(EdgeState((node(),), (), ("n1",)))
    assert bench.starts() == ["j1.0.1", "j1.0.1"]
