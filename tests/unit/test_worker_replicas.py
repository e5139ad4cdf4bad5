"""The worker's replicas: start, health, backoff, drain, replacement."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worker_groups import Group
from worker_world import FEATURES, MIB, World, service, target, targets

from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.messages import EdgeWelcome, ReplicaGone, WorkerHello, WorkerState
from tango.model.process import ProcessRecord
from tango.model.service import QuotaMode, ReplicaState


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


def started(world: World, *wanted: object) -> str:
    """Aim at the targets and answer the one start; returns the process key."""
    world.aim(*wanted)  # type: ignore[arg-type]
    (spec,) = world.starts
    world.begin(spec)
    return spec.key


def test_hello_comes_before_the_full_state(world: World) -> None:
    hello, state = world.sent[:2]
    assert isinstance(hello, WorkerHello)
    assert (hello.node, hello.key, hello.incarnation) == ("n1", "k", 1)
    assert state == WorkerState((), (), ())
    world.say(EdgeWelcome("e1", 1))


def test_dialling_before_the_listing_waits_for_it() -> None:
    world = World()
    controller = type(world.controller)(
        world.settings,
        incarnation=9,
        key="k",
        capacity=world.controller._hello.capacity,
        enforcement=world.controller._hello.enforcement,
        features=None,
    )
    assert controller.handle(ev.UpstreamUp(3), 0.0) == []
    commands = controller.handle(ev.ProcessesListed(()), 0.0)
    messages = [one.message for one in commands if isinstance(one, cmd.SendUpstream)]
    assert [type(message) for message in messages] == [WorkerHello, WorkerState]


@pytest.mark.parametrize("known", [True, False])
def test_only_a_replica_or_a_task_is_killed_as_a_whole(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side or a service must not die of one member's memory."""
    monkeypatch.setattr("worker_world.FEATURES", replace(FEATURES, oom_group=known))
    world = World()
    world.connect()
    asked = {one.group: one.target.oom_group for one in world.commands(cmd.CreateGroup)}
    world.aim(target(service(memory_bytes=64 * MIB)))
    asked |= {one.group: one.target.oom_group for one in world.commands(cmd.CreateGroup)}
    world.start_attempt("j.0.1")
    asked |= {one.group: one.target.oom_group for one in world.commands(cmd.CreateGroup)}
    whole = {name for name, oom_group in asked.items() if oom_group}
    assert {"lc/hello", "lc/hello/hello-0", "be/j.0.1"} <= set(asked)
    assert whole == ({"lc/hello/hello-0", "be/j.0.1"} if known else set())


def test_a_target_becomes_a_ready_replica_in_its_own_group(world: World) -> None:
    world.aim(target(service(memory_bytes=64 * MIB, memory_per_request_bytes=MIB, concurrency=3)))
    (spec,) = [one.spec for one in world.commands(cmd.StartProcess)]
    assert spec.group == "lc/hello/hello-0"
    assert spec.port == 0
    assert not spec.best_effort
    assert spec.key == "hello-0.1-1"
    assert world.groups["lc/hello/hello-0"].memory == 67 * MIB
    status = world.told("hello-0")
    assert status.state is ReplicaState.READY
    assert (status.pid, status.port) == (1001, 21_001)


def test_be_side_has_the_lowest_weight_and_nothing_but_services_has_a_quota(world: World) -> None:
    world.aim(target(service(quota=QuotaMode.FOLLOW)))
    world.start_attempt("j.0.1")
    be = world.groups["be"]
    assert (be.weight, be.idle) == (1, True)
    limited = {name for name, group in world.groups.items() if group.quota >= 0}
    assert limited == {"lc/hello", "lc/hello/hello-0"}


def test_states_of_a_start_are_told(manual: World) -> None:
    started(manual, target(service()))
    assert manual.told("hello-0").state is ReplicaState.STARTING
    assert manual.told("hello-0").pid == 1001
    (check,) = manual.checks
    assert (check.port, check.path) == (21_001, "/healthz")
    manual.answer(check, "connection refused")
    manual.advance(0.1)
    (check,) = manual.checks
    manual.answer(check)
    assert manual.told("hello-0").state is ReplicaState.READY
    assert manual.told("hello-0").reason == ""


def test_an_end_that_overtakes_its_start_is_an_end(manual: World) -> None:
    manual.aim(target(service()))
    (spec,) = manual.starts
    record = ProcessRecord(spec.key, 1, manual.wall)
    manual.post(ev.ProcessEnded(spec.key, replace(record, ended_at=manual.wall, exit_code=3)))
    manual.post(ev.ProcessStarted(spec.key, record, 21_001))
    assert manual.told("hello-0").reason == "exited with code 3"
    assert manual.told("hello-0").state is ReplicaState.BACKOFF
    assert not manual.checks


def test_a_start_answered_with_an_ended_record_is_an_end(manual: World) -> None:
    manual.aim(target(service()))
    (spec,) = manual.starts
    record = ProcessRecord(spec.key, 1, manual.wall, ended_at=manual.wall, exit_code=4)
    manual.post(ev.ProcessStarted(spec.key, record, 21_001))
    manual.post(ev.ProcessEnded(spec.key, record))
    assert manual.told("hello-0").reason == "exited with code 4"


def test_a_replica_that_is_not_wanted_is_stopped_and_its_groups_go(manual: World) -> None:
    key = started(manual, target(service(stop_grace_s=7)))
    manual.answer(manual.checks[0])
    manual.aim()
    assert manual.told("hello-0").state is ReplicaState.STOPPING
    assert manual.stops == {key: 7}
    manual.end(key, signal=15)
    assert manual.controller.replicas() == ()
    assert sorted(manual.groups) == ["", "be", "lc"]
    assert manual.told("hello-0").pid == 0
    assert manual.records == {}


def test_draining_waits_for_requests_in_flight_and_takes_no_new_ones(manual: World) -> None:
    key = started(manual, target(service(concurrency=2)))
    manual.answer(manual.checks[0])
    manual.dispatch("a")
    manual.aim()
    assert not manual.stops
    manual.dispatch("b")
    assert [done.ran for done in manual.dones()] == [False]
    manual.finish("a")
    assert key in manual.stops


def test_draining_ends_with_the_timeout_of_requests(manual: World) -> None:
    key = started(manual, target(service(stop_grace_s=1, timeout_s=2)))
    manual.answer(manual.checks[0])
    manual.dispatch("a")
    manual.aim()
    manual.advance(1.9)
    assert not manual.stops
    manual.advance(0.2)
    assert key in manual.stops
    manual.end(key, signal=15)
    # The group stays until the last answer is in.
    assert "lc/hello/hello-0" in manual.groups
    assert ReplicaGone("hello-0") not in manual.sent
    manual.finish("a")
    assert "lc/hello/hello-0" not in manual.groups
    assert manual.sent[-1] == ReplicaGone("hello-0")


def test_a_stop_that_brings_no_end_is_repeated(manual: World) -> None:
    key = started(manual, target(service(stop_grace_s=2)))
    manual.aim()
    manual.stops.clear()
    manual.advance(12.1)
    assert manual.stops == {key: 0.0}


def test_wanted_again_while_draining_goes_on(manual: World) -> None:
    key = started(manual, target(service()))
    manual.answer(manual.checks[0])
    manual.dispatch("a")
    manual.aim()
    manual.aim(target(service()))
    assert manual.told("hello-0").state is ReplicaState.READY
    manual.finish("a")
    manual.advance(10)
    assert not manual.stops
    assert manual.running() == [key]


def test_wanted_again_while_stopping_starts_anew_after_the_end(manual: World) -> None:
    key = started(manual, target(service()))
    manual.aim()
    manual.aim(target(service()))
    assert not manual.starts
    manual.end(key, signal=15)
    assert len(manual.starts) == 1
    assert manual.told("hello-0").restarts == 1


def test_stopped_before_its_start_is_answered(manual: World) -> None:
    manual.aim(target(service()))
    (spec,) = manual.starts
    manual.aim()
    assert not manual.stops
    manual.begin(spec)
    assert spec.key in manual.stops
    manual.end(spec.key, signal=15)
    assert manual.controller.replicas() == ()


def test_a_new_generation_replaces_the_process_in_the_same_group(manual: World) -> None:
    key = started(manual, target(service(memory_bytes=64 * MIB)))
    manual.answer(manual.checks[0])
    manual.aim(target(service(memory_bytes=96 * MIB, quota=QuotaMode.FOLLOW), generation=2))
    assert manual.told("hello-0").reason == "replaced by generation 2"
    manual.end(key, signal=15)
    (spec,) = manual.starts
    assert dict(spec.meta)["generation"] == "2"
    assert manual.groups["lc/hello/hello-0"].memory == 96 * MIB
    assert manual.groups["lc/hello/hello-0"].quota == 50
    manual.begin(spec)
    assert manual.told("hello-0").generation == 2
    assert manual.told("hello-0").restarts == 0


def test_a_new_generation_ends_a_backoff(manual: World) -> None:
    key = started(manual, target(service()))
    manual.end(key, 1)
    manual.aim(target(service(), generation=2))
    assert len(manual.starts) == 1


def test_the_same_targets_again_change_nothing(world: World) -> None:
    world.aim(target(service()), target(service(), 1))
    world.log.clear()
    world.aim(target(service()), target(service(), 1))
    assert world.log == []


def test_targets_with_impossible_ids_are_refused_and_the_others_stand(world: World) -> None:
    world.aim(target(service()), target(service("../up")), target(service("a/b")))
    assert [one.replica_id for one in world.controller.replicas()] == ["hello-0"]
    refused = [note for note in world.commands(cmd.Note) if note.event == "replica_target_refused"]
    assert len(refused) == 2


def test_one_core_and_less_with_quota_warns_of_the_stretch(world: World) -> None:
    world.aim(target(service(quota=QuotaMode.FOLLOW, cpu_per_request_millis=200)))
    (note,) = [one for one in world.commands(cmd.Note) if one.event == "quota_stretches_requests"]
    text = dict(note.fields)["text"]
    assert text == "cpu_per_request 200m with quota: follow stretches each request 5.0 times"


def test_targets_stand_while_the_edge_is_away(world: World) -> None:
    world.aim(target(service()))
    world.disconnect()
    world.end("hello-0.1-1", 1)
    world.advance(1.0)
    assert world.running() == ["hello-0.1-2"]
    world.connect()
    assert world.told("hello-0").restarts == 1


def test_messages_of_an_earlier_session_are_dropped(world: World) -> None:
    old = world.session
    assert old is not None
    world.connect()
    world.post(ev.UpstreamSaid(old, targets(target(service()))))
    assert world.controller.replicas() == ()
    world.post(ev.UpstreamDown(old, "superseded"))
    world.aim(target(service()))
    assert world.told("hello-0").state is ReplicaState.READY


def test_without_cgroups_there_are_no_group_commands() -> None:
    world = World(cgroups=False)
    world.connect()
    world.aim(target(service(quota=QuotaMode.FOLLOW)))
    world.dispatch("a")
    world.finish("a")
    world.start_attempt("j.0.1")
    world.end("j.0.1", 1)
    world.acknowledge("j.0.1")
    world.aim()
    world.advance(3)
    for kind in (cmd.CreateGroup, cmd.ApplyGroup, cmd.RemoveGroup):
        assert world.commands(kind) == []
    assert {one.groups for one in world.commands(cmd.SampleUsage)} == {()}
    assert world.controller.latest_report is not None
    assert world.controller.latest_report.lc.cpu_s == 0


def test_the_log_of_a_replica_is_its_latest_process(world: World) -> None:
    world.aim(target(service()))
    world.end("hello-0.1-1", 1)
    assert world.controller.process_key("hello-0") == "hello-0.1-1"
    world.advance(1)
    assert world.controller.process_key("hello-0") == "hello-0.1-2"
    assert world.controller.process_key("j.0.1") == "j.0.1"


def test_a_replica_that_fails_again_and_again_keeps_the_logs_of_two_processes(
    manual: World,
) -> None:
    keys = [started(manual, target(service()))]
    for _ in range(3):
        manual.end(keys[-1])
        manual.starts.clear()
        manual.advance(60)
        (spec,) = manual.starts
        manual.begin(spec)
        keys.append(spec.key)
    dropped = [one.key for one in manual.commands(cmd.ForgetProcess) if not one.keep_log]
    assert dropped == keys[:2]


def test_a_start_answered_twice_changes_nothing(world: World) -> None:
    world.aim(target(service()))
    world.log.clear()
    world.post(ev.ProcessStarted("hello-0.1-1", world.records["hello-0.1-1"], 9))
    assert world.log == []


def test_a_low_quota_that_a_service_group_kept_is_lifted_first(world: World) -> None:
    world.groups["lc/hello"] = Group(quota=100, period_us=10_000)
    world.aim(target(service(quota=QuotaMode.FOLLOW, quota_base_millis=500)))
    assert world.groups["lc/hello"].quota == 500


def test_an_adjusted_cpu_per_request_is_what_the_quota_follows() -> None:
    world = World()
    world.connect()
    spec = service(quota=QuotaMode.FOLLOW, quota_base_millis=100, concurrency=4)
    world.aim(target(spec))
    group = "lc/hello/hello-0"
    world.dispatch("a", "b")
    assert world.groups[group].quota == 300
    world.aim(replace(target(spec), cpu_per_request_millis=130))
    assert world.groups[group].quota == 360
    assert world.groups["lc/hello"].quota == 360
    # It stands for a process that takes its place, and a restarted worker is told again.
    world.end(world.running()[0], 1)
    world.advance(2.0)
    world.boot(kept=targets(replace(target(spec), cpu_per_request_millis=130)))
    world.connect()
    world.dispatch("c")
    assert world.groups[group].quota == 230
    world.aim(target(spec))
    assert world.groups[group].quota == 200
