"""Whatever a Goldpinger answers: trips within bounds, or BadReply, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.goldpinger import MAX_PROBLEMS, read_check_all
from tango.adapters.registry_errors import BadReply
from tango.algorithms.placement.measured_delays import delays_of
from tango.model.round_trips import MAX_RTT_S, MeasuredTrips

NAMES = st.sampled_from(["a", "b", "c"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)
TIMES = st.sampled_from(["2026-11-30T12:00:00.000Z", "0001-01-01T00:00:00.000Z", "", "9" * 400])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with some of these fields, each right or anything at all."""
    mixed = {name: right | ANY for name, right in fields.items()}
    return st.fixed_dictionaries({}, optional=mixed)


RESULT = some(
    **{
        "OK": st.booleans(),
        "PingTime": TIMES,
        "HostIP": NAMES,
        "error": st.text(max_size=300),
        "response-time-ms": st.integers(-5, 70_000) | st.integers() | st.floats(),
    }
)
CHECK = some(podResults=st.dictionaries(NAMES, RESULT | ANY, max_size=3))
RESPONSE = some(OK=st.booleans(), HostIP=NAMES, error=st.text(max_size=300), response=CHECK)
DOCUMENT = some(responses=st.dictionaries(NAMES, RESPONSE | ANY, max_size=3)) | ANY


def read(body: bytes) -> MeasuredTrips | None:
    try:
        return read_check_all(body, {"c": "a"}, 1_796_000_000.0)
    except BadReply:
        return None


@given(DOCUMENT)
@settings(max_examples=500, deadline=None)
def test_any_document(document: Any) -> None:
    found = read(json.dumps(document).encode())
    if found is not None:
        assert len(found.problems) <= MAX_PROBLEMS + 1
        assert all(0 <= trip.rtt_s <= MAX_RTT_S and trip.age_s >= 0 for trip in found.trips)
        assert all(text.isprintable() for text in found.problems)
        row = delays_of(["a", "b"], found.trips).delays.row(0)
        assert row[0] == 0
        assert row[1] >= 0


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(body: bytes) -> None:
    read(body)
