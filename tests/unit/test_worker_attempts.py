"""The worker's BE attempts: each runs at most once, and its end is told until acknowledged."""

from __future__ import annotations

import pytest
from worker_world import MIB, World, task

from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.job import AttemptState
from tango.model.messages import (
    AttemptChanged,
    ForgetLogs,
    StartAttempt,
    StopAttempt,
    WorkerState,
)

ID = "j.0.1"


@pytest.fixture
def world() -> World:
    world = World()
    world.connect()
    return world


@pytest.fixture
def manual() -> World:
    """Nothing is answered by itself."""
    world = World(auto=False)
    world.connect()
    return world


def test_runs_in_its_own_group_with_its_memory_and_as_best_effort(world: World) -> None:
    world.start_attempt(ID, task(memory_bytes=32 * MIB, cpu_millis=300))
    (spec,) = [one.spec for one in world.commands(cmd.StartProcess)]
    assert (spec.key, spec.group, spec.port, spec.best_effort) == (ID, f"be/{ID}", None, True)
    assert world.groups[f"be/{ID}"].memory == 32 * MIB
    status = world.attempt(ID)
    assert status.state is AttemptState.RUNNING
    assert (status.node, status.cpu_millis, status.memory_bytes) == ("n1", 300, 32 * MIB)
    assert status.started_at == world.wall


def test_states_of_a_start_are_told(manual: World) -> None:
    manual.start_attempt(ID)
    assert manual.attempt(ID).state is AttemptState.STARTING
    manual.begin(manual.starts[0])
    assert manual.attempt(ID).state is AttemptState.RUNNING


@pytest.mark.parametrize(("exit_code", "signal"), [(0, 0), (3, 0), (None, 11)])
def test_an_end_is_told_with_its_exit_and_the_groups_cpu_time(
    world: World, exit_code: int | None, signal: int
) -> None:
    world.start_attempt(ID)
    world.groups[f"be/{ID}"].cpu_s = 2.5
    world.advance(4)
    world.end(ID, exit_code, signal, cpu_s=1.0)
    status = world.attempt(ID)
    assert status.state is AttemptState.ENDED
    assert (status.exit_code, status.signal, status.failure) == (exit_code, signal, "")
    assert status.cpu_s == 2.5
    assert status.ended_at - status.started_at == pytest.approx(4)


def test_an_oom_kill_is_noted(world: World) -> None:
    world.start_attempt(ID)
    world.groups[f"be/{ID}"].oom_kills = 1
    world.end(ID, None, signal=9)
    assert world.attempt(ID).failure == "killed by signal 9 (out of memory)"


def test_a_lost_end_is_noted(world: World) -> None:
    world.start_attempt(ID)
    world.end(ID, None)
    assert world.attempt(ID).failure == "ended unseen: its exit code is lost"


def test_an_end_does_not_wait_long_for_counters(world: World) -> None:
    world.start_attempt(ID)
    del world.groups[f"be/{ID}"]
    world.end(ID, 0)
    assert world.attempt(ID).state is AttemptState.RUNNING
    world.advance(1.0)
    assert world.attempt(ID).state is AttemptState.ENDED
    assert world.attempt(ID).cpu_s == 0.5


def test_a_repeated_start_only_tells_how_it_is(world: World) -> None:
    world.start_attempt(ID)
    for _ in range(2):
        world.sent.clear()
        world.start_attempt(ID)
        assert world.attempt(ID).state is AttemptState.RUNNING
    world.end(ID, 5)
    world.sent.clear()
    world.start_attempt(ID)
    assert world.attempt(ID).exit_code == 5
    assert world.begun[ID] == 1


def test_a_start_after_the_acknowledgement_runs_nothing(world: World) -> None:
    world.start_attempt(ID)
    world.end(ID)
    world.acknowledge(ID)
    world.sent.clear()
    world.start_attempt(ID)
    assert world.attempt(ID).failure == "ran here before, and its end was acknowledged"
    assert world.begun[ID] == 1
    assert world.controller.attempts() == ()


def test_an_acknowledged_end_is_forgotten_with_its_group_and_keeps_its_log(world: World) -> None:
    world.start_attempt(ID)
    world.acknowledge(ID)
    assert world.controller.attempts()
    world.end(ID)
    assert f"be/{ID}" in world.groups
    world.log.clear()
    world.acknowledge(ID, "unknown.0.1")
    assert world.log == [cmd.RemoveGroup(f"be/{ID}"), cmd.ForgetProcess(ID, keep_log=True)]
    assert world.controller.attempts() == ()
    world.acknowledge(ID)


def test_an_end_is_told_until_acknowledged(world: World) -> None:
    world.start_attempt(ID)
    world.end(ID, 7)
    world.sent.clear()
    world.advance(25)
    assert len(world.said(AttemptChanged)) == 2
    world.disconnect()
    world.advance(25)
    world.connect()
    (state,) = world.said(WorkerState)
    assert [(one.attempt_id, one.exit_code) for one in state.attempts] == [(ID, 7)]
    world.acknowledge(ID)
    world.sent.clear()
    world.advance(25)
    assert world.said(AttemptChanged) == []


def test_an_end_while_the_edge_is_away_is_in_the_next_state(world: World) -> None:
    world.start_attempt(ID)
    world.disconnect()
    world.end(ID, 7)
    world.connect()
    assert world.attempt(ID).exit_code == 7


def test_a_start_that_fails_has_ended_and_never_ran(manual: World) -> None:
    manual.start_attempt(ID)
    manual.refuse(manual.starts[0], "executable 'work' not found", lasting=True)
    status = manual.attempt(ID)
    assert (status.state, status.failure) == (AttemptState.ENDED, "executable 'work' not found")
    assert (status.exit_code, status.started_at) == (None, 0.0)
    manual.acknowledge(ID)
    assert sorted(manual.groups) == ["", "be", "lc"]


def test_a_deadline_stops_it(manual: World) -> None:
    manual.start_attempt(ID, task(deadline_s=60, stop_grace_s=3))
    manual.begin(manual.starts[0])
    manual.advance(59.9)
    assert not manual.stops
    manual.advance(0.2)
    assert manual.stops == {ID: 3}
    manual.end(ID, None, signal=15)
    assert manual.attempt(ID).failure == "deadline of 60 s exceeded"
    assert manual.attempt(ID).signal == 15


def test_a_deadline_that_is_met_is_forgotten(world: World) -> None:
    world.start_attempt(ID, task(deadline_s=60))
    world.end(ID)
    world.advance(100)
    assert world.commands(cmd.StopProcess) == []


@pytest.mark.parametrize(("reason", "failure"), [("", "cancelled"), ("evicted", "evicted")])
def test_a_stop_is_reported_with_its_reason(manual: World, reason: str, failure: str) -> None:
    manual.start_attempt(ID)
    manual.begin(manual.starts[0])
    manual.stop_attempt(ID, reason)
    manual.stop_attempt(ID, "again")
    assert manual.stops == {ID: 5.0}
    manual.end(ID, None, signal=15)
    assert manual.attempt(ID).failure == failure


def test_a_stop_may_bring_its_own_grace(manual: World) -> None:
    manual.start_attempt(ID)
    manual.begin(manual.starts[0])
    manual.say(StopAttempt(ID, "evicted", grace_s=0.5))
    assert manual.stops == {ID: 0.5}


def test_a_stop_before_the_start_is_answered_waits_for_it(manual: World) -> None:
    manual.start_attempt(ID)
    manual.stop_attempt(ID)
    assert not manual.stops
    manual.begin(manual.starts[0])
    assert manual.stops == {ID: 5.0}
    manual.end(ID, None, signal=15)
    assert manual.attempt(ID).failure == "cancelled"


def test_a_stop_and_then_a_failed_start_is_a_stop(manual: World) -> None:
    manual.start_attempt(ID)
    manual.stop_attempt(ID)
    manual.refuse(manual.starts[0], "no room", lasting=False)
    assert manual.attempt(ID).failure == "cancelled"


def test_a_stop_that_brings_no_end_is_repeated(manual: World) -> None:
    manual.start_attempt(ID)
    manual.begin(manual.starts[0])
    manual.stop_attempt(ID)
    manual.stops.clear()
    manual.advance(15.1)
    assert manual.stops == {ID: 0.0}


def test_stopping_what_never_came_keeps_it_from_running(world: World) -> None:
    world.stop_attempt(ID)
    assert world.attempt(ID).failure == "cancelled"
    world.start_attempt(ID)
    assert world.begun[ID] == 0
    world.acknowledge(ID)
    assert world.controller.attempts() == ()


def test_stopping_what_has_ended_tells_the_end_again(world: World) -> None:
    world.start_attempt(ID)
    world.end(ID, 2)
    world.sent.clear()
    world.stop_attempt(ID)
    assert (world.attempt(ID).exit_code, world.attempt(ID).failure) == (2, "")


@pytest.mark.parametrize("attempt_id", ["", "../up", "a/b", ".hidden", "a b", "x" * 200])
def test_an_impossible_id_is_refused(world: World, attempt_id: str) -> None:
    world.start_attempt(attempt_id)
    assert "is not a valid id" in world.attempt(attempt_id).failure
    assert world.commands(cmd.StartProcess) == []
    world.acknowledge(attempt_id)
    assert world.controller.attempts() == ()


def test_an_end_told_twice_changes_nothing(world: World) -> None:
    world.start_attempt(ID)
    world.end(ID, 2)
    world.log.clear()
    world.post(ev.ProcessEnded(ID, world.records[ID]))
    assert world.log == []


def test_an_end_of_an_unknown_process_is_forgotten(world: World) -> None:
    world.start_attempt(ID)
    world.end(ID)
    record = world.records[ID]
    world.acknowledge(ID)
    world.log.clear()
    world.post(ev.ProcessEnded(ID, record))
    assert world.log == [cmd.ForgetProcess(ID, keep_log=True)]


def test_logs_are_forgotten_only_of_attempts_that_are_done_with(world: World) -> None:
    world.start_attempt("j.0.2")
    world.say(ForgetLogs("n", ("j.0.1", "j.0.2", "hello-g1-0.1-1")))
    assert world.commands(cmd.ForgetProcess) == [cmd.ForgetProcess("j.0.1", keep_log=False)]


# ---- evicted for LC


def test_an_eviction_is_told_with_the_end_and_so_is_the_priority(world: World) -> None:
    world.say(StartAttempt("j.0.1", task(), "n1", priority=4))
    assert world.attempt("j.0.1").priority == 4
    world.say(StopAttempt("j.0.1", "evicted: n1 needs it", 0.5, evict=True))
    last = world.attempt("j.0.1")
    assert (last.state, last.evicted, last.priority) == (
        AttemptState.ENDED,
        "evicted: n1 needs it",
        4,
    )


def test_what_was_being_cancelled_is_not_evicted(manual: World) -> None:
    manual.start_attempt("j.0.1")
    manual.begin(manual.starts[0])
    manual.stop_attempt("j.0.1", "cancelled")
    manual.say(StopAttempt("j.0.1", "evicted", 0.5, evict=True))
    manual.end("j.0.1", None, signal=15)
    last = manual.attempt("j.0.1")
    assert (last.failure, last.evicted) == ("cancelled", "")


def test_the_priority_outlives_the_worker(world: World) -> None:
    world.say(StartAttempt("j.0.1", task(), "n1", priority=-3))
    world.boot()
    world.connect()
    assert world.attempt("j.0.1").priority == -3
