"""The queue of gangs against a plain sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.controllers.central import queue
from tango.controllers.central.queue import GangQueue
from tango.model.plan import Gang

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 30), st.integers(-2, 2), st.integers(0, 50)),
        st.tuples(st.just("drop"), st.integers(0, 30), st.just(0), st.just(0)),
    ),
    max_size=120,
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_CHUNK", 2)


@given(STEPS, st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_it_behaves_like_a_sorted_list(steps: list[tuple[str, int, int, int]], at: int) -> None:
    found, expected = GangQueue(), {}
    for what, number, priority, arrival in steps:
        job_id = f"j{number}"
        if what == "put":
            gang = Gang(job_id, priority, ())
            key = found.put(arrival, gang)
            assert key == (-priority, arrival, job_id)
            expected[job_id] = (key, gang)
        else:
            found.drop(job_id)
            expected.pop(job_id, None)
        assert len(found) == len(expected)
    ordered = sorted(expected.values(), key=lambda entry: entry[0])
    assert list(found.after(None)) == ordered
    assert found.last() == (ordered[-1][0] if ordered else None)
    for job_id, (_, gang) in expected.items():
        assert found.get(job_id) is gang
        assert job_id in found
    for key in [entry[0] for entry in ordered][at : at + 1]:
        assert list(found.after(key)) == [entry for entry in ordered if entry[0] > key]
        before = (key[0], key[1], "")
        assert list(found.after(before)) == [entry for entry in ordered if entry[0] > before]


def test_an_absent_job_has_no_gang() -> None:
    assert GangQueue().get("j") is None
    assert "j" not in GangQueue()
    assert GangQueue().last() is None
