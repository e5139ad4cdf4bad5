"""The simulator's engine against a plain search for the next call, on random histories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tango.sim.engine import Alarm, Engine

# What is done at each step, and a time of few, so that many calls are due at once.
STEPS = st.lists(
    st.tuples(st.sampled_from(("plan", "cancel", "run", "run through")), st.integers(0, 9)),
    max_size=100,
)


class Plain:
    """Calls by time, and those of one time in the order in which they were planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self.planned: list[tuple[float, int]] = []

    def at(self, at: float, number: int) -> None:
        self.planned.append((max(at, self.now), number))

    def next_of(self, until: float, *, through: bool) -> int | None:
        due = [each for each in self.planned if each[0] < until or (through and each[0] == until)]
        if not due:
            return None
        found = min(due, key=lambda each: each[0])
        self.planned.remove(found)
        self.now = found[0]
        return found[1]


@given(STEPS)
def test_calls_come_by_time_and_those_of_one_time_as_they_were_planned(
    steps: list[tuple[str, int]],
) -> None:
    engine, plain = Engine(), Plain()
    made: list[int] = []
    wanted: list[int] = []

    def call(number: int) -> None:
        made.append(number)
        assert engine.now == plain_now[len(made) - 1]
        # Every third brings about another: at once, later, or in the past.
        if number % 3 == 0:
            engine.at(engine.now + number % 5 - 1, call, number + 1001)

    plain_now: list[float] = []
    for count, (what, when) in enumerate(steps):
        if what == "plan":
            engine.at(when, call, count)
            plain.at(when, count)
        elif what == "cancel" and plain.planned:
            _, number = plain.planned.pop(when % len(plain.planned))
            engine.cancel(call, number)
        elif what.startswith("run"):
            until, through = max(engine.now, float(when)), what == "run through"
            while (came := plain.next_of(until, through=through)) is not None:
                wanted.append(came)
                plain_now.append(plain.now)
                if came % 3 == 0:
                    plain.at(plain.now + came % 5 - 1, came + 1001)
            plain.now = until
            before = len(made)
            assert engine.run(until, through=through) == len(wanted) - before
            assert made == wanted
        times = [at for at, _ in plain.planned]
        assert engine.next_at == min(times, default=float("inf"))
        assert engine.now == plain.now


def test_what_is_not_planned_cannot_be_cancelled() -> None:
    engine = Engine()
    engine.at(1.0, print, "a")
    with pytest.raises(ValueError):
        engine.cancel(print, "b")
    engine.cancel(print, "a")
    assert engine.run(2.0) == 0


@given(st.lists(st.tuples(st.sampled_from(("wait", "run")), st.integers(0, 9)), max_size=100))
def test_an_alarm_comes_when_the_first_is_due_and_plans_no_time_twice(
    steps: list[tuple[str, int]],
) -> None:
    engine = Engine()
    waits: list[float] = []

    def ring() -> None:
        waits[:] = [at for at in waits if at > engine.now]
        alarm.by(min(waits, default=float("inf")))

    alarm = Alarm(engine, ring)
    for what, when in steps:
        if what == "wait":
            waits.append(max(engine.now, when))
            alarm.by(when)
        else:
            engine.run(max(engine.now, when))
            # Nothing that was due is left over.
            assert all(at > engine.now for at in waits)
        assert alarm.next_at == engine.next_at <= min(waits, default=float("inf"))
        assert len(set(engine.planned)) == len(engine.planned)


def test_an_alarm_leaves_nothing_behind_for_what_came_between() -> None:
    engine = Engine()
    served: list[float] = []
    next_s = 0.001

    def ring() -> None:
        served.append(engine.now)
        # Something long ends after 100 s, and beside it something short every millisecond.
        alarm.by(100.0)
        alarm.by(engine.now + next_s)

    alarm = Alarm(engine, ring)
    alarm.by(0.0)
    engine.run(1.0)
    assert len(served) == pytest.approx(1000, abs=2)
    assert engine.planned == pytest.approx([1.001, 100.0], abs=0.002)
