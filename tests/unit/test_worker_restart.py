"""A restarted worker adopts what runs, says what ended, and sets every group right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worker_world import MIB, World, service, target, targets, task

from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.job import AttemptState
from tango.model.messages import WorkerState
from tango.model.process import ProcessRecord
from tango.model.service import QuotaMode, ReplicaState

FOLLOW = service(
    quota=QuotaMode.FOLLOW,
    quota_base_millis=100,
    concurrency=4,
    memory_bytes=64 * MIB,
    memory_per_request_bytes=MIB,
)


@pytest.fixture
def world() -> World:
    world = World()
    world.connect()
    return world


def state(world: World) -> WorkerState:
    (message,) = world.said(WorkerState)
    assert isinstance(message, WorkerState)
    return message


def test_a_confirmed_replica_keeps_its_process(world: World) -> None:
    world.aim(target(FOLLOW))
    pid = world.told("hello-0").pid
    world.boot()
    world.connect()
    (status,) = state(world).replicas
    assert (status.replica_id, status.generation, status.pid) == ("hello-0", 1, pid)
    assert status.state is ReplicaState.READY
    world.aim(target(FOLLOW))
    world.dispatch("a")
    assert world.told("hello-0").pid == pid
    assert world.forwards["a"].port == world.told("hello-0").port
    assert sum(world.begun.values()) == 1


def test_an_adopted_replica_is_starting_until_it_answers() -> None:
    world = World()
    world.connect()
    world.aim(target(FOLLOW))
    world.auto = False
    world.boot()
    world.connect()
    assert state(world).replicas[0].state is ReplicaState.STARTING
    (check,) = world.checks
    assert check.path == "/healthz"
    world.answer(check)
    assert world.told("hello-0").state is ReplicaState.READY


def test_quotas_are_at_base_after_a_crash_with_requests_in_flight(world: World) -> None:
    world.aim(target(FOLLOW), target(FOLLOW, 1))
    world.dispatch("a", "b", "c", "d", "e")
    assert world.groups["lc/hello"].quota == 700
    world.boot()
    assert world.groups["lc/hello"].quota == 200
    assert world.groups["lc/hello/hello-0"].quota == 100
    assert world.groups["lc/hello/hello-0"].memory == 68 * MIB


def test_a_replica_that_is_not_confirmed_is_stopped(world: World) -> None:
    world.aim(target(service()), target(service(), 1))
    world.boot()
    world.connect()
    assert len(world.running()) == 2
    world.aim(target(service(), 1))
    assert world.running() == ["hello-1.1-2"]


def test_another_generation_replaces_an_adopted_replica(world: World) -> None:
    world.aim(target(service()))
    world.boot()
    world.connect()
    world.aim(target(service(), generation=2))
    assert world.running() == ["hello-0.2-1"]


def test_keys_are_new_after_a_restart_and_restarts_count_on(world: World) -> None:
    world.aim(target(service()))
    world.end("hello-0.1-1", 1)
    world.advance(1)
    assert world.told("hello-0").restarts == 1
    world.boot()
    world.connect()
    world.aim(target(service()))
    assert world.told("hello-0").restarts == 1
    world.end("hello-0.1-2", 1)
    world.advance(1)
    assert world.running() == ["hello-0.2-1"]
    assert world.told("hello-0").restarts == 2


def test_a_replica_that_ended_meanwhile_waits_for_the_edge(world: World) -> None:
    world.aim(target(service()))
    world.die("hello-0.1-1", 3)
    world.boot()
    world.connect()
    assert world.records == {}
    (status,) = state(world).replicas
    assert status.state is ReplicaState.BACKOFF
    assert status.reason == "exited with code 3; waits for the edge's targets"
    world.advance(100)
    assert not world.running()
    world.aim(target(service()))
    assert world.told("hello-0").reason == "exited with code 3"
    world.advance(1)
    assert world.told("hello-0").state is ReplicaState.READY


def test_a_replica_that_ended_meanwhile_and_is_not_wanted_goes(world: World) -> None:
    world.aim(target(service()))
    world.die("hello-0.1-1", 3)
    world.boot()
    world.connect()
    world.aim()
    assert world.controller.replicas() == ()
    assert sorted(world.groups) == ["", "be", "lc"]


def test_an_adopted_replica_that_ends_before_the_edge_speaks_waits(world: World) -> None:
    world.aim(target(service()))
    world.boot()
    world.end("hello-0.1-1", 3)
    world.advance(50)
    assert not world.running()
    world.connect()
    world.aim(target(service()))
    world.advance(1)
    assert world.running() == ["hello-0.2-1"]


def test_of_two_processes_of_one_replica_the_newest_stays(world: World) -> None:
    world.aim(target(service()))
    old = world.records["hello-0.1-1"]
    world.records["hello-0.0-9"] = ProcessRecord("hello-0.0-9", 77, old.started_at - 5, old.meta)
    world.specs["hello-0.0-9"] = world.specs["hello-0.1-1"]
    world.auto = False
    world.boot()
    assert world.stops == {"hello-0.0-9": 0.0}
    world.end("hello-0.0-9", None, signal=9)
    assert list(world.records) == ["hello-0.1-1"]
    world.connect()
    assert [one.pid for one in state(world).replicas] == [old.pid]


def test_a_replica_whose_port_is_not_known_is_replaced(world: World) -> None:
    world.aim(target(service()))
    record = world.records["hello-0.1-1"]
    meta = tuple(pair for pair in record.meta if pair[0] != "port")
    world.records["hello-0.1-1"] = ProcessRecord(record.key, record.pid, record.started_at, meta)
    world.boot()
    world.connect()
    assert state(world).replicas[0].reason == "its port is not known; waits for the edge's targets"
    world.aim(target(service()))
    world.advance(1)
    assert world.told("hello-0").state is ReplicaState.READY


@pytest.mark.parametrize(
    "meta",
    [
        (),
        (("kind", "pet"),),
        (("kind", "attempt"), ("attempt_id", "x")),
        (("kind", "replica"), ("service", "hello"), ("replica_id", "../../etc")),
    ],
)
def test_a_process_that_is_not_understood_is_left_alone(
    world: World, meta: tuple[tuple[str, str], ...]
) -> None:
    world.records["pet"] = ProcessRecord("pet", 5, world.wall, meta)
    world.log.clear()
    world.boot()
    assert "pet" in world.records
    assert [note.event for note in world.commands(cmd.Note)] == ["unknown_process_left_alone"]


def test_groups_that_nothing_accounts_for_are_removed() -> None:
    world = World(auto=False)
    world.connect()
    world.aim(target(FOLLOW), target(service("other")))
    world.start_attempt("j.0.1")
    world.begin(world.starts[0])
    # The worker dies before the runtime began the others.
    world.boot()
    assert sorted(world.groups) == ["", "be", "lc", "lc/hello", "lc/hello/hello-0"]
    notes = [note for note in world.commands(cmd.Note) if note.event == "leftover_group_removed"]
    assert len(notes) == 3


def test_a_running_attempt_goes_on_and_its_end_is_told(world: World) -> None:
    world.start_attempt("j.0.1", task(memory_bytes=32 * MIB))
    world.boot()
    world.connect()
    (status,) = state(world).attempts
    assert (status.state, status.memory_bytes) == (AttemptState.RUNNING, 32 * MIB)
    world.start_attempt("j.0.1")
    world.end("j.0.1", 4)
    assert world.attempt("j.0.1").exit_code == 4
    assert world.begun["j.0.1"] == 1


def test_an_attempt_that_ended_meanwhile_is_told_with_its_true_exit_code(world: World) -> None:
    world.start_attempt("j.0.1")
    world.die("j.0.1", 4, cpu_s=1.5)
    world.boot()
    world.connect()
    (status,) = state(world).attempts
    assert (status.state, status.exit_code, status.cpu_s) == (AttemptState.ENDED, 4, 1.5)
    world.boot()
    world.connect()
    assert state(world).attempts == (status,)
    world.acknowledge("j.0.1")
    assert world.records == {}
    assert sorted(world.groups) == ["", "be", "lc"]
    world.boot()
    world.connect()
    assert state(world).attempts == ()


def test_an_adopted_attempt_has_the_rest_of_its_deadline(world: World) -> None:
    world.start_attempt("j.0.1", task(deadline_s=60))
    world.advance(40)
    world.auto = False
    world.boot()
    world.advance(19.5)
    assert not world.stops
    world.advance(1)
    assert world.stops == {"j.0.1": 5.0}


def test_a_deadline_that_ended_it_before_the_crash_is_still_said(world: World) -> None:
    world.start_attempt("j.0.1", task(deadline_s=60))
    world.now += 61
    world.die("j.0.1", signal=15)
    world.boot()
    world.connect()
    assert state(world).attempts[0].failure == "deadline of 60 s exceeded"


def test_an_attempt_that_was_shut_down_with_its_node_is_not_blamed(world: World) -> None:
    world.start_attempt("job.0.1", task())
    world.die("job.0.1", signal=15)
    world.records["job.0.1"] = replace(world.records["job.0.1"], shut_down=True)
    world.boot()
    world.connect()
    told = world.attempt("job.0.1")
    assert told.state is AttemptState.ENDED
    assert (told.failure, told.evicted) == ("its node was shut down", "its node was shut down")


def test_one_that_ended_well_while_its_node_was_shut_down_has_succeeded(world: World) -> None:
    world.start_attempt("job.0.1", task())
    world.records["job.0.1"] = replace(
        world.records["job.0.1"], ended_at=world.wall, exit_code=0, shut_down=True
    )
    world.boot()
    world.connect()
    told = world.attempt("job.0.1")
    assert (told.exit_code, told.failure, told.evicted) == (0, "", "")


def test_a_new_supervisor_is_told_again_what_to_stop(world: World) -> None:
    """The one that died took with it what it was stopping; the grace begins anew."""
    world.auto = False
    world.aim(target(FOLLOW))
    world.start_attempt("job.0.1", task())
    for spec in tuple(world.starts):
        world.begin(spec)
    world.aim()
    world.stop_attempt("job.0.1")
    stopped = {command.key for command in world.commands(cmd.StopProcess)}
    assert len(stopped) == 2
    before = len(world.commands(cmd.StopProcess))
    world.post(ev.RuntimeUp(renewed=False))
    assert len(world.commands(cmd.StopProcess)) == before
    world.post(ev.RuntimeUp(renewed=True, adopted=2))
    assert {command.key for command in world.commands(cmd.StopProcess)[before:]} == stopped


def test_with_kept_targets_a_replica_is_started_again_before_the_edge_is_back() -> None:
    world = World()
    world.connect()
    world.aim(target(FOLLOW, 0), target(FOLLOW, 1))
    gone, lives = world.told("hello-0"), world.told("hello-1")
    world.die(next(key for key, one in world.records.items() if one.pid == gone.pid), 1)
    world.boot(targets(target(FOLLOW, 0), target(FOLLOW, 1), target(FOLLOW, 2)))
    world.advance(1.0)
    assert [world.replica(f"hello-{n}").state for n in range(3)] == [ReplicaState.READY] * 3
    assert world.replica("hello-0").pid != gone.pid
    assert world.replica("hello-1").pid == lives.pid
    assert world.replica("hello-0").restarts == 1
    assert len(world.running()) == 3


def test_kept_targets_never_stop_what_runs() -> None:
    """They may be older than what runs: another generation, or a replica that they do not know."""
    world = World()
    world.connect()
    world.aim(target(FOLLOW, 0, generation=2), target(FOLLOW, 1))
    before = world.running()
    world.boot(targets(target(FOLLOW, 0, generation=1)))
    world.advance(2.0)
    assert world.running() == before
    assert world.stops == {}
    world.connect()
    world.aim(target(FOLLOW, 0, generation=2))
    assert len(world.running()) == 1


def test_what_is_lost_is_dead_before_that_is_told(world: World) -> None:
    world.start_attempt("job.0.1", task())
    lost = replace(world.records["job.0.1"], ended_at=world.wall, lost=True)
    world.records["job.0.1"] = lost
    begun = len(world.log)
    world.post(ev.ProcessEnded("job.0.1", lost))
    after = world.log[begun:]
    assert after[0] == cmd.KillGroup("be/job.0.1")
    assert world.attempt("job.0.1").state is AttemptState.ENDED


@pytest.mark.parametrize("understood", [True, False])
def test_orphans_of_a_lost_record_are_ended_unless_a_record_is_not_understood(
    understood: bool,
) -> None:
    world = World()
    world.connect()
    world.start_attempt("job.0.1", task())
    group = world.specs["job.0.1"].group
    del world.records["job.0.1"]  # the supervisor's directory was lost, not the process
    if not understood:
        strange = ProcessRecord("strange", 7, 0.0, (("kind", "other"),), ended_at=1.0)
        world.records["strange"] = strange
    world.boot()
    killed = [command.group for command in world.commands(cmd.KillGroup)]
    assert killed == ([group] if understood else [])
