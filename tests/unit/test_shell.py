"""The shell: no nesting, no early Tick, and a controller's bug ends the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tango.adapters.clocks import ManualClock
from tango.daemons.shell import Shell
from tango.model.events import Tick


class Recorder:
    """Asks for a Tick when told; its commands are the events themselves."""

    def __init__(self) -> None:
        self.wake_at: float | None = None
        self.seen: list[tuple[object, float]] = []
        self.depth = 0

    def handle(self, event: object, now: float) -> Sequence[object]:
        assert self.depth == 0, "handlers must not nest"
        self.depth += 1
        self.seen.append((event, now))
        if event == "bug":
            raise ValueError("a bug")
        if isinstance(event, float):
            self.wake_at = event
        elif isinstance(event, Tick):
            self.wake_at = None
        self.depth -= 1
        return [event]


async def test_an_event_from_a_command_waits_its_turn() -> None:
    controller = Recorder()
    order: list[object] = []

    def perform(command: object) -> None:
        order.append(command)
        if command == "first":
            shell.post("second")
            order.append("first is done")

    shell: Shell[object, object] = Shell(controller, perform, ManualClock())
    shell.post("first")
    assert order == ["first", "first is done", "second"]
    shell.close()


async def test_ticks_come_at_the_time_that_was_asked_for() -> None:
    clock = ManualClock(100.0)
    controller = Recorder()
    shell: Shell[object, object] = Shell(controller, lambda _: None, clock)
    shell.post(105.0)
    shell.post(102.0)  # earlier than what is armed
    clock.advance(1.9)
    assert not any(isinstance(event, Tick) for event, _ in controller.seen)
    clock.advance(0.2)
    assert (Tick(), 102.0) in controller.seen
    clock.advance(10)
    assert sum(isinstance(event, Tick) for event, _ in controller.seen) == 1
    shell.close()


async def test_a_bug_in_the_controller_is_told_to_the_daemon() -> None:
    shell: Shell[object, object] = Shell(Recorder(), lambda _: None, ManualClock())
    with pytest.raises(ValueError, match="a bug"):
        shell.post("bug")
    with pytest.raises(ValueError, match="a bug"):
        await shell.failed


async def test_closed_shells_do_not_tick() -> None:
    clock = ManualClock()
    controller = Recorder()
    shell: Shell[object, object] = Shell(controller, lambda _: None, clock)
    shell.post(1.0)
    shell.close()
    clock.advance(5)
    assert len(controller.seen) == 1
    with pytest.raises(asyncio.CancelledError):
        await shell.failed
