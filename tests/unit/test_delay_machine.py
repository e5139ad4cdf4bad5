"""Events in, instructions out: failures of one and several nodes, broken bounds, bad input."""

from __future__ import annotations

import pytest
from test_edge_scheduler_acceptance import RTT_MS, edge, pod, where

from tango.algorithms.placement.delay_events import (
    Asked,
    DelayMachine,
    Ended,
    Failed,
    Remeasured,
    Returned,
)
from tango.algorithms.placement.delays import MatrixDelays
from tango.algorithms.placement.move_plan import Move, Reserve, Start, Stop
from tango.algorithms.placement.placeholders import NOTHING, Need
from tango.model.commands import Delete, Put
from tango.model.errors import AlreadyExists, InvalidField, NotFound
from tango.model.placements import BoundRecord, ReservationRecord

GIB = 2**30


def machine(**bounds: int) -> DelayMachine:
    """Pods of so many GiB, each within 25 ms of edge-1."""
    made = DelayMachine(edge())
    for name, gib in bounds.items():
        made.handle(Asked(pod(name, gib, "edge-1", 25)))
    return made


def gib(size: int) -> Need:
    return Need(0, size * GIB, 0)


def delays(rtt_ms: list[list[float]]) -> MatrixDelays:
    return MatrixDelays([[value / 1000 for value in row] for row in rtt_ms])


def test_a_pod_and_its_reservation_are_stored_as_one_before_it_is_started() -> None:
    made = DelayMachine(edge())
    done = made.handle(Asked(pod("a", 3, "edge-1", 25)))
    assert done.steps == (Start("a", "edge-1"), Reserve("edge-2", gib(3)))
    assert [type(write.value) for write in done.writes if isinstance(write, Put)] == [
        BoundRecord,
        ReservationRecord,
    ]
    assert done.said == (("a", "placed on edge-1, backup on edge-2"),)
    done = made.handle(Ended("a"))
    assert done.steps == (Stop("a", "edge-1"), Reserve("edge-2", NOTHING))
    assert done.writes == (Delete("bound", "a"), Delete("reservation", "edge-2"))


def test_a_failed_node_restarts_its_work_on_the_backup() -> None:
    made = machine(a=3)
    done = made.handle(Failed(("edge-1",)))
    assert Start("a", "edge-2") in done.steps
    assert done.said == (("a", "edge-1 failed: restarted on its backup edge-2, backup on edge-3"),)
    assert Reserve("edge-3", gib(3)) in done.steps


def test_nothing_is_to_be_done_on_a_node_that_failed() -> None:
    made = machine(a=3)
    done = made.handle(Failed(("edge-2",)))
    assert done.steps == (Reserve("edge-3", gib(3)),)
    assert done.said == (("a", "backup on edge-3"),)
    assert Delete("reservation", "edge-2") in done.writes


def test_several_nodes_that_fail_at_once_restart_what_the_placeholder_takes() -> None:
    made = machine(a=5, b=5)
    assert where(made.here) == {"a": ("edge-1", "edge-2"), "b": ("edge-3", "edge-2")}
    done = made.handle(Failed(("edge-1", "edge-3")))
    assert done.steps == (Reserve("edge-2", NOTHING), Start("a", "edge-2"))
    said = dict(done.said)
    assert said["a"].startswith("edge-1 failed: restarted on its backup edge-2, unprotected")
    assert said["b"] == "edge-3 failed, waits for a node"
    done = made.handle(Returned(("edge-3",)))
    assert done.steps[0] == Start("b", "edge-3")


def test_a_broken_bound_moves_the_pod_and_it_runs_at_both_ends_meanwhile() -> None:
    made = DelayMachine(edge())
    made.handle(Asked(pod("a", 3, "edge-2", 15)))
    near = [[0, 50, 50, 50], [50, 0, 40, 40], [50, 40, 0, 10], [50, 40, 10, 0]]
    done = made.handle(Remeasured(delays(near)))
    assert done.steps == (Move("a", "edge-1", "edge-3"),)
    said = "delays changed: moved from edge-1 to edge-3, backup on edge-2"
    assert done.said == (("a", said),)
    assert [write.key for write in done.writes] == ["a"]


def test_a_bound_that_cannot_be_kept_is_said_and_nothing_is_done() -> None:
    made = DelayMachine(edge())
    made.handle(Asked(pod("a", 3, "edge-2", 15)))
    made.handle(Asked(pod("full", 5, "edge-2", 0)))
    far = [[0, 50, 50, 50], [50, 0, 40, 40], [50, 40, 0, 40], [50, 40, 40, 0]]
    done = made.handle(Remeasured(delays(far)))
    assert done.steps == ()
    assert done.said == (("a", "backup on edge-2, outside its bound: no node within it has room"),)
    assert made.handle(Remeasured(delays(RTT_MS))).said == (("a", "backup on edge-2"),)  # type: ignore[arg-type]


def test_a_rejection_says_why_and_stores_nothing() -> None:
    made = machine(a=3)
    done = made.handle(Asked(pod("b", 9, "edge-1", 5)))
    assert done.reason == "none of 4 nodes will do: 3 beyond 5 ms of edge-1, 1 not enough memory"
    assert (done.writes, done.steps, done.said) == ((), (), ())


def test_bad_input_is_an_error_that_names_the_fix_and_changes_nothing() -> None:
    made = machine(a=3)
    before = where(made.here)
    with pytest.raises(InvalidField, match=r"no node or pod is named edge1; did you mean 'edge-1'"):
        made.handle(Asked(pod("b", 1, "edge1", 5)))
    with pytest.raises(InvalidField, match=r"pod.near: no node or pod is named nowhere; name a"):
        made.handle(Asked(pod("b", 1, "nowhere", 5)))
    with pytest.raises(InvalidField, match=r"pod.bound_s: -0.005 is out of range; use 0 to inf"):
        made.handle(Asked(pod("b", 1, "edge-1", -5)))
    with pytest.raises(AlreadyExists, match="a is there already"):
        made.handle(Asked(pod("a", 1)))
    with pytest.raises(AlreadyExists, match="edge-1 is there already"):
        made.handle(Asked(pod("edge-1", 1)))
    for event in (Ended("b"), Failed(("edge-1", "edge-9")), Returned(("edge-1", "edge-9"))):
        with pytest.raises(NotFound):
            made.handle(event)
    with pytest.raises(InvalidField, match="delays: are of 1 nodes, and there are 4"):
        made.handle(Remeasured(MatrixDelays([[0.0]])))
    assert where(made.here) == before
    assert made.here.room.open.all()
    assert made.handle(Failed(("edge-3",))).steps == ()
