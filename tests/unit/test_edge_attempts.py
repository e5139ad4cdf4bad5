"""BE at the edge: admission, relay between central and workers, resync, nodes told to central."""

from __future__ import annotations

import pytest
from edge_world import CENTRAL, MIB, EdgeWorld, FakeWorker, service, start

from tango.algorithms.quota.reclaim import HEADROOM
from tango.controllers.edge.attempts import MAX_HELD_STOPS, MAX_PAST
from tango.model import events as ev
from tango.model.cluster import GroupReport, NodeReport, SideUsage
from tango.model.job import AttemptState, AttemptStatus
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    AttemptRefused,
    CentralWelcome,
    EdgeState,
    ForgetLogs,
    NodeResynced,
    NodesChanged,
    ReportUsage,
    StartAttempt,
    StopAttempt,
)


def site(**fields: object) -> tuple[EdgeWorld, FakeWorker]:
    """One node of 1000m and 1 GiB, central connected."""
    world = EdgeWorld(**fields)
    world.central_up()
    worker = world.worker("n1")
    world.central.clear()
    worker.inbox.clear()
    return world, worker


def ended(attempt_id: str, **fields: object) -> AttemptStatus:
    return AttemptStatus(attempt_id, AttemptState.ENDED, exit_code=0, **fields)  # type: ignore[arg-type]


def test_an_admitted_attempt_is_started_and_held() -> None:
    world, worker = site()
    message = start("j.0.0", "n1", 300, 100 * MIB)
    world.central_says(message)
    assert worker.told(StartAttempt) == [message]
    (node,) = world.controller.node_views()
    assert (node.be_held_millis, node.be_memory_bytes, node.be_tasks) == (300, 100 * MIB, 1)
    running = AttemptStatus("j.0.0", AttemptState.RUNNING, cpu_millis=300, memory_bytes=100 * MIB)
    worker.say(AttemptChanged(running))
    (told,) = world.told_central(AttemptChanged)
    assert (told.attempt.state, told.attempt.node) == (AttemptState.RUNNING, "n1")
    worker.say(AttemptChanged(running))
    assert not world.told_central(AttemptChanged)  # nothing new


def test_an_end_is_relayed_until_acknowledged_then_forgotten() -> None:
    world, worker = site()
    world.central_says(start("j.0.0", "n1"))
    for _ in range(2):
        worker.say(AttemptChanged(ended("j.0.0")))
        (told,) = world.told_central(AttemptChanged)
        assert (told.attempt.node, told.attempt.cpu_millis) == ("n1", 100)
    (node,) = world.controller.node_views()
    assert (node.be_held_millis, node.be_tasks) == (0, 0)
    world.central_says(AckEnds(("j.0.0", "unknown")))
    assert worker.told(AckEnds) == [AckEnds(("j.0.0",))]
    assert world.controller.session_of("j.0.0") == worker.session  # its log is still there
    world.do(ev.CentralUp(CENTRAL + 1))
    (state,) = world.told_central(EdgeState)
    assert state.attempts == ()


def test_an_acknowledgement_of_what_still_runs_is_ignored() -> None:
    world, worker = site()
    world.central_says(start("j.0.0", "n1"))
    world.central_says(AckEnds(("j.0.0",)))
    assert not worker.told(AckEnds)
    assert world.controller.node_views()[0].be_tasks == 1


def test_a_repeated_start_is_reported_not_run_again() -> None:
    world, worker = site()
    for _ in range(2):
        world.central_says(start("j.0.0", "n1"))
    assert len(worker.told(StartAttempt)) == 1
    (told,) = world.told_central(AttemptChanged)
    assert told.attempt.state is AttemptState.STARTING


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (start("j.0.0", "nowhere"), "not connected"),
        (start("j.0.0", "n1", cpu_millis=1001), "1001m asked, 1 free"),
        (start("j.0.0", "n1", memory=1025 * MIB), "1.0 GiB free"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(message: StartAttempt, word: str) -> None:
    world, worker = site()
    world.central_says(message)
    (refused,) = world.told_central(AttemptRefused)
    assert (refused.attempt_id, word in refused.reason) == ("j.0.0", True)
    assert not worker.told(StartAttempt)


def test_be_takes_only_free_memory_but_ignores_lc_cpu() -> None:
    world, worker = site()
    world.apply(service(memory_bytes=600 * MIB, cpu_per_request_millis=1000))
    world.call()
    world.central_says(start("a", "n1", 900, 400 * MIB))
    assert len(worker.told(StartAttempt)) == 1
    world.central_says(start("b", "n1", 10, 100 * MIB))
    (refused,) = world.told_central(AttemptRefused)
    assert "memory 100.0 MiB asked, 24.0 MiB free" in refused.reason
    world.central_says(start("c", "n1", 101, 1 * MIB))
    (refused,) = world.told_central(AttemptRefused)
    assert "100m free for BE" in refused.reason


def test_lc_may_use_memory_that_be_holds() -> None:
    world, worker = site()
    world.central_says(start("a", "n1", 100, 1000 * MIB))
    world.apply(service(memory_bytes=100 * MIB, memory_per_request_bytes=500 * MIB, concurrency=9))
    assert world.view().ready == 1
    for _ in range(3):
        world.call()
    world.advance(0.01)
    assert len(worker.serving) == 1  # 924 MiB are LC's: one request of 500


def test_stop_goes_to_the_worker_that_runs_it() -> None:
    world, worker = site()
    world.central_says(start("j.0.0", "n1"))
    world.central_says(StopAttempt("j.0.0", "cancelled"))
    assert worker.told(StopAttempt) == [StopAttempt("j.0.0", "cancelled")]
    worker.say(AttemptChanged(ended("j.0.0", failure="cancelled")))
    world.told_central(AttemptChanged)
    world.central_says(StopAttempt("j.0.0"))
    (told,) = world.told_central(AttemptChanged)
    assert told.attempt.failure == "cancelled"
    assert not worker.told(StopAttempt)


def test_a_stop_of_the_unknown_is_remembered_and_is_no_word_on_it() -> None:
    world, worker = site()
    world.central_says(StopAttempt("j.0.0"))
    assert not world.told_central(AttemptRefused)
    worker.attempts["j.0.0"] = AttemptStatus("j.0.0", AttemptState.RUNNING, cpu_millis=5)
    worker.up()
    assert worker.told(StopAttempt) == [StopAttempt("j.0.0")]
    worker.up()
    assert not worker.told(StopAttempt)


def test_a_stop_for_a_node_that_is_away_waits_for_it() -> None:
    world, worker = site()
    world.central_says(start("j.0.0", "n1"))
    worker.attempts["j.0.0"] = AttemptStatus("j.0.0", AttemptState.RUNNING)
    worker.down()
    world.central_says(StopAttempt("j.0.0", "cancelled"))
    assert not world.told_central(AttemptRefused)
    worker.up()
    assert worker.told(StopAttempt) == [StopAttempt("j.0.0", "cancelled")]


def test_held_stops_and_past_attempts_are_bounded() -> None:
    world, worker = site()
    world.validates = False
    for index in range(MAX_HELD_STOPS + 10):
        world.central_says(StopAttempt(f"j{index}"))
    for index in range(MAX_PAST + 10):
        worker.say(AttemptChanged(ended(f"k{index}")))
        world.central_says(AckEnds((f"k{index}",)))
        world.log.clear()
        world.central.clear()
        worker.inbox.clear()
    world.worker("n2")
    assert world.controller.session_of("k0") is None
    assert world.controller.session_of("k11") == worker.session
    names = ("j0", f"j{MAX_HELD_STOPS + 9}")
    worker.attempts = {name: AttemptStatus(name, AttemptState.RUNNING) for name in names}
    worker.up()
    assert [stop.attempt_id for stop in worker.told(StopAttempt)] == [names[1]]


def test_resync_replaces_what_was_believed_of_the_node() -> None:
    world, worker = site()
    world.central_says(start("gone", "n1", 200))
    world.central_says(start("kept", "n1", 300))
    worker.attempts["kept"] = AttemptStatus("kept", AttemptState.RUNNING)
    worker.attempts["own"] = ended("own")
    worker.down()
    assert world.controller.node_views()[0].be_held_millis == 500  # last known
    worker.up()
    (resynced,) = world.told_central(NodeResynced)
    assert resynced.node == "n1"
    assert [(a.attempt_id, a.node, a.cpu_millis) for a in resynced.attempts] == [
        ("kept", "n1", 300),
        ("own", "n1", 0),
    ]
    assert world.controller.node_views()[0].be_held_millis == 300
    world.central_says(start("gone", "n1", 200))
    assert [message.attempt_id for message in worker.told(StartAttempt)] == ["gone", "kept", "gone"]


def test_central_gets_the_full_state_when_it_comes_up() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    worker.say(AttemptChanged(AttemptStatus("a", AttemptState.RUNNING, cpu_millis=10)))
    worker.say(AttemptChanged(ended("b")))
    worker.down()
    world.worker("n2")
    assert not world.central  # alone is a state
    world.central_up()
    (state,) = world.told_central(EdgeState)
    assert [(node.node, node.ready) for node in state.nodes] == [("n1", False), ("n2", True)]
    assert [attempt.attempt_id for attempt in state.attempts] == ["a", "b"]
    assert state.complete_nodes == ("n1", "n2")


def test_only_the_current_central_is_listened_to() -> None:
    world, worker = site()
    world.central_says(start("a", "n1"), session=1)
    assert not worker.told(StartAttempt)
    world.do(ev.CentralDown(1, "old"))
    world.central_says(CentralWelcome(1))
    world.central_says(start("a", "n1"))
    assert len(worker.told(StartAttempt)) == 1
    world.do(ev.CentralDown(CENTRAL, "cut"))
    world.central_says(start("b", "n1"))
    assert not worker.told(StartAttempt)
    world.central.clear()
    worker.say(AttemptChanged(ended("a")))
    world.advance(2)
    assert not world.central


def test_nodes_are_told_at_a_steady_pace() -> None:
    world, worker = site()
    world.reporting = False
    world.apply(service())
    times = []
    for _ in range(200):  # 2 s of load, a change each 10 ms
        worker.done(world.call())
        world.advance(0.01)
        if world.told_central(NodesChanged):
            times.append(world.now)
    assert 9 <= len(times) <= 10
    world.advance(0.5)
    world.central.clear()
    quiet = []
    for _ in range(30):
        world.advance(0.1)
        if world.told_central(NodesChanged):
            quiet.append(world.now)
            worker.inbox.clear()
    assert len(quiet) >= 2


def test_a_lost_node_is_told_soon() -> None:
    world, worker = site()
    world.advance(0.5)
    world.central.clear()
    worker.down()
    world.advance(0.21)
    changed = world.told_central(NodesChanged)
    assert changed
    assert not changed[-1].nodes[0].ready


def test_an_attempt_that_turns_up_on_another_node_moves() -> None:
    world, worker = site()
    world.central_says(start("a", "n1", 100))
    other = world.worker("n2")
    other.say(AttemptChanged(AttemptStatus("a", AttemptState.RUNNING, cpu_millis=100)))
    views = world.controller.node_views()
    assert [view.be_tasks for view in views] == [0, 1]
    world.central_says(StopAttempt("a"))
    assert other.told(StopAttempt)
    assert not worker.told(StopAttempt)


def test_forgotten_logs_are_passed_on_to_a_node_that_is_there() -> None:
    world = EdgeWorld()
    worker = world.worker("n1")
    world.central_up()
    world.central_says(ForgetLogs("n1", ("j.0.1",)))
    world.central_says(ForgetLogs("n2", ("k.0.1",)))
    assert worker.told(ForgetLogs) == [ForgetLogs("n1", ("j.0.1",))]


def uses(worker: FakeWorker, cpu_s: dict[str, float]) -> None:
    """A listing report: what the groups of these attempts have used."""
    groups = tuple(
        GroupReport(f"be/{name}", used, MIB, -1, 0, 0.0, 0) for name, used in cpu_s.items()
    )
    side = SideUsage()
    worker.say(
        ReportUsage(
            NodeReport("n1", worker.world.now, side, side, be_tasks=len(groups), groups=groups)
        )
    )


def test_cpu_that_attempts_hold_and_do_not_use_is_told_and_may_be_taken() -> None:
    world, worker = site()
    world.reporting = False  # it says itself what is used
    world.central_says(start("a", "n1", 900, MIB))
    for second in range(12):
        uses(worker, {"a": 0.1 * second})
        world.advance(1.0)
    (view,) = world.controller.node_views()
    assert view.be_held_millis == 900
    assert abs(view.be_reclaimable_millis - (900 - 100 * HEADROOM)) <= 1
    world.central_says(start("b", "n1", 800, MIB))
    assert len(worker.told(StartAttempt)) == 2
    (view,) = world.controller.node_views()
    assert view.be_held_millis == 1700
    world.told_central(AttemptRefused)
    world.central_says(start("c", "n1", 200, MIB))
    (refused,) = world.told_central(AttemptRefused)
    assert "CPU 200m asked" in refused.reason
    # With the one that did not use it goes what it did not use.
    worker.say(AttemptChanged(ended("a")))
    (view,) = world.controller.node_views()
    assert (view.be_held_millis, view.be_reclaimable_millis) == (800, 0)
