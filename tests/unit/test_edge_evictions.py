"""The edge evicts BE for LC's memory: by what both declared, and where a machine runs short."""

from __future__ import annotations

from dataclasses import replace

from edge_world import CENTRAL, MIB, EdgeWorld, FakeWorker, service, start

from tango.model.cluster import GroupReport, NodeReport, SideUsage
from tango.model.events import CentralDown
from tango.model.job import AttemptState, AttemptStatus
from tango.model.messages import (
    AttemptChanged,
    AttemptRefused,
    NodeTargets,
    ReportUsage,
    StartAttempt,
    StopAttempt,
)


def world_with(*attempts: StartAttempt, memory: int = 256) -> tuple[EdgeWorld, FakeWorker]:
    world = EdgeWorld(eviction_grace_s=0.5)
    worker = world.worker("n1", memory=memory * MIB)
    world.central_up()
    for one in attempts:
        world.central_says(one)
    for one in worker.told(StartAttempt):
        run(worker, one)
    world.central.clear()
    return world, worker


def run(worker: FakeWorker, told: StartAttempt) -> None:
    status = AttemptStatus(
        told.attempt_id, AttemptState.RUNNING, priority=told.priority, started_at=1.0
    )
    worker.attempts[told.attempt_id] = status
    worker.say(AttemptChanged(status))


def end(worker: FakeWorker, stop: StopAttempt) -> None:
    status = replace(
        worker.attempts[stop.attempt_id],
        state=AttemptState.ENDED,
        signal=15,
        failure=stop.reason,
        evicted=stop.reason if stop.evict else "",
    )
    worker.attempts[stop.attempt_id] = status
    worker.say(AttemptChanged(status))


def listing(worker: FakeWorker, short: int = 0, **groups: tuple[float, int]) -> None:
    """A report with (CPU seconds, MiB) by attempt."""
    found = tuple(
        GroupReport(f"be/{name}.0.1", cpu_s, mib * MIB, -1, 0, 0.0, 0)
        for name, (cpu_s, mib) in groups.items()
    )
    side = SideUsage()
    report = NodeReport(
        "n1", 1.0, side, side, groups=found, be_tasks=len(found), memory_short_bytes=short * MIB
    )
    worker.say(ReportUsage(report))


def be(name: str, memory: int, priority: int = 0) -> StartAttempt:
    return replace(start(f"{name}.0.1", "n1", memory=memory * MIB), priority=priority)


def test_fact_5_a_replica_takes_the_least_of_what_be_holds_at_once() -> None:
    world, worker = world_with(be("old", 64), be("young", 64), be("dear", 64, priority=3))
    listing(worker, old=(60.0, 10), young=(1.0, 10), dear=(0.0, 10))
    worker.inbox.clear()
    world.apply(service(memory_bytes=100 * MIB))
    (stop,) = worker.told(StopAttempt)
    assert (stop.attempt_id, stop.grace_s, stop.evict) == ("young.0.1", 0.5, True)
    assert "n1 needs 36.0 MiB of its memory for services" in stop.reason
    assert world.view().ready == 1
    node = world.controller.books.nodes["n1"]
    # Until it has ended its memory is in the books, and nobody else is evicted for it.
    assert node.be_memory_left() == -36 * MIB
    world.advance(1.0)
    assert not worker.told(StopAttempt)
    end(worker, stop)
    (told,) = world.told_central(AttemptChanged)
    assert told.attempt.state is AttemptState.ENDED
    assert told.attempt.evicted == stop.reason
    assert node.be_memory_left() == 28 * MIB


def test_no_more_and_no_less_than_is_needed_for_several_replicas() -> None:
    world, worker = world_with(*(be(f"j{n}", 50) for n in range(5)))
    worker.inbox.clear()
    world.apply(service(replicas=2, memory_bytes=60 * MIB))
    stops = worker.told(StopAttempt)
    # 6 MiB were free: 114 of 120 are missing, three tasks of 50.
    assert len(stops) == 3
    # The stop comes before the replica that needs the memory.
    assert isinstance(worker.inbox[-1], NodeTargets)


def test_requests_take_memory_too() -> None:
    world, worker = world_with(be("a", 60), be("b", 60))
    world.apply(service(memory_bytes=64 * MIB, memory_per_request_bytes=50 * MIB, concurrency=3))
    assert not worker.told(StopAttempt)
    world.call()
    world.advance(0.01)
    assert not worker.told(StopAttempt), "64 + 50 + 120 fit into 256"
    world.call()
    world.advance(0.01)
    assert len(worker.told(StopAttempt)) == 1


def test_fact_5_be_never_evicts_lc_nor_takes_what_lc_has() -> None:
    world, worker = world_with()
    world.apply(service(memory_bytes=200 * MIB))
    world.central.clear()
    world.central_says(be("big", 64, priority=1000))
    (refused,) = world.told_central(AttemptRefused)
    assert "memory 64.0 MiB asked, 56.0 MiB free" in refused.reason
    assert not worker.told(StartAttempt)
    assert world.view().ready == 1


def test_a_machine_short_of_memory_evicts_by_what_the_kernel_says_they_hold() -> None:
    world, worker = world_with(be("full", 64), be("empty", 64))
    listing(worker, full=(9.0, 60), empty=(0.1, 1))
    assert not worker.told(StopAttempt)
    listing(worker, short=20, full=(9.0, 60), empty=(0.1, 1))
    (stop,) = worker.told(StopAttempt)
    assert stop.attempt_id == "full.0.1", "the other one holds next to nothing"
    assert "short of 20.0 MiB" in stop.reason
    # One eviction at a time: what it frees is seen in later reports.
    listing(worker, short=20, full=(9.0, 60), empty=(0.1, 1))
    assert not worker.told(StopAttempt)
    world.central.clear()
    world.central_says(be("next", 1))
    (refused,) = world.told_central(AttemptRefused)
    assert "short of memory" in refused.reason
    end(worker, stop)
    listing(worker, empty=(0.1, 1))
    assert not worker.told(StopAttempt)


def test_a_site_alone_evicts_all_the_same_and_central_hears_of_it_later() -> None:
    world, worker = world_with(be("a", 200))
    world.do(CentralDown(CENTRAL, "cut"))
    world.apply(service(memory_bytes=100 * MIB))
    (stop,) = worker.told(StopAttempt)
    end(worker, stop)
    world.central_up(901)
    (state,) = [m for m in world.central if hasattr(m, "complete_nodes")]
    (status,) = state.attempts
    assert status.evicted == stop.reason


def test_a_stop_that_was_lost_with_the_stream_is_said_again() -> None:
    world, worker = world_with(be("a", 200))
    worker.inbox.clear()
    world.apply(service(memory_bytes=100 * MIB), ready=False)
    assert len(worker.told(StopAttempt)) == 1
    worker.down()
    # The worker never heard of it; its attempt runs on, and is known to be going.
    worker.attempts = {
        name: replace(status, cpu_millis=100, memory_bytes=200 * MIB)
        for name, status in worker.attempts.items()
    }
    worker.up()
    (again,) = worker.told(StopAttempt)
    assert again.evict
