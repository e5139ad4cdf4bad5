"""Timers against a plain dict, on random histories: the earliest is right after every step."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tango.controllers.worker.timers import Timer, Timers

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("set", "clear", "pass")),
        st.sampled_from(("drain", "health", "start")),
        st.sampled_from(("a", "b")),
        st.integers(0, 12),
    ),
    max_size=200,
)


@given(STEPS)
def test_what_is_due_comes_by_time_and_name_and_the_earliest_is_always_known(
    steps: list[tuple[str, str, str, int]],
) -> None:
    timers = Timers()
    plain: dict[Timer, float] = {}
    now = 0.0
    for what, kind, name, number in steps:
        if what == "set":
            timers.set(kind, name, now + number)
            plain[kind, name] = now + number
        elif what == "clear":
            timers.clear(kind, name)
            plain.pop((kind, name), None)
        else:
            now += number / 4
            due = sorted((at, timer) for timer, at in plain.items() if at <= now)
            popped = []
            while (timer := timers.pop_due(now)) is not None:
                timers.validate()
                popped.append(timer)
            assert popped == [timer for _, timer in due]
            for timer in popped:
                del plain[timer]
        timers.validate()
        assert timers.next_at == min(plain.values(), default=math.inf)
        assert timers.is_set(kind, name) == ((kind, name) in plain)


def test_replaced_entries_do_not_pile_up() -> None:
    timers = Timers()
    timers.set("health", "a", 1.0)
    for at in range(2, 10_000):
        timers.set("drain", "a", float(at))
        timers.clear("drain", "a")
        timers.set("health", "a", 1.0 + 1 / at)
    timers.validate()
    assert len(timers._heap) < 1000
