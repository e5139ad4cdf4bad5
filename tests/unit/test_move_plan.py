"""The order of moves: capacity at every step, downtime only where nothing else is left."""

from __future__ import annotations

from tango.algorithms.placement.move_plan import (
    Move,
    Reserve,
    Reserved,
    Shift,
    Start,
    Stop,
    move_plan,
)
from tango.algorithms.placement.placeholders import NOTHING, Need


def gib(size: int) -> Need:
    return Need(0, size, 0)


def test_what_frees_room_goes_before_what_waits_for_it() -> None:
    shifts = [Shift("a", gib(4), "x", "y"), Shift("b", gib(4), "y", "z")]
    steps = move_plan({"x": gib(0), "y": gib(0), "z": gib(4)}, shifts, {})
    assert steps == (Move("b", "y", "z"), Move("a", "x", "y"))


def test_two_that_want_each_others_place_go_by_way_of_a_third() -> None:
    shifts = [Shift("a", gib(4), "x", "y"), Shift("b", gib(4), "y", "x")]
    free = {"x": gib(0), "y": gib(0), "z": gib(4)}
    steps = move_plan(free, shifts, {}, detours=lambda _: ["x", "y", "z"])
    assert steps == (Move("a", "x", "z"), Move("b", "y", "x"), Move("a", "z", "y"))


def test_without_a_third_one_of_them_is_stopped_first() -> None:
    shifts = [Shift("a", gib(4), "x", "y"), Shift("b", gib(3), "y", "x")]
    steps = move_plan({"x": gib(0), "y": gib(1)}, shifts, {})
    assert steps == (Stop("b", "y", to_return=True), Move("a", "x", "y"), Start("b", "x"))


def test_reserved_room_is_given_up_only_where_a_move_waits_for_it() -> None:
    shifts = [Shift("a", gib(4), "x", "y"), Shift("b", gib(1), "x", "z")]
    reserved = {
        "y": Reserved(gib(6), NOTHING),
        "z": Reserved(gib(3), gib(1)),
        "x": Reserved(NOTHING, gib(5)),
    }
    steps = move_plan({"x": gib(0), "y": gib(0), "z": gib(1)}, shifts, reserved)
    assert steps == (
        Move("b", "x", "z"),
        Reserve("y", NOTHING),
        Move("a", "x", "y"),
        Reserve("z", gib(1)),
        Reserve("x", gib(5)),
    )


def test_no_more_reserved_room_is_given_up_than_goes_in_the_end() -> None:
    reserved = {"y": Reserved(gib(6), gib(2))}
    steps = move_plan({"x": gib(0), "y": gib(0)}, [Shift("a", gib(4), "x", "y")], reserved)
    assert steps == (Reserve("y", gib(2)), Move("a", "x", "y"))


def test_a_port_is_room_too() -> None:
    port = frozenset({("port", 80)})
    shifts = [Shift("a", gib(1), "x", "y", port), Shift("b", gib(1), "y", "z", port)]
    free = {"x": gib(9), "y": gib(9), "z": gib(9)}
    assert move_plan(free, shifts, {}) == (Move("b", "y", "z"), Move("a", "x", "y"))


def test_starts_and_stops_are_steps_as_well() -> None:
    shifts = [
        Shift("a", gib(4), "", "x"),
        Shift("b", gib(4), "x", ""),
        Shift("c", gib(1), "y", "y"),
    ]
    assert move_plan({"x": gib(0), "y": gib(0)}, shifts, {}) == (Stop("b", "x"), Start("a", "x"))
