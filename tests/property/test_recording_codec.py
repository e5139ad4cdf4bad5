"""Every event and every start of a controller comes back from a recording as it was."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tango.adapters.recording_codec import EVENTS, RecordingCodec
from tango.adapters.typed_json import RecordError
from tango.model import (
    cgroup,
    cluster,
    commands,
    events,
    messages,
    peers,
    plan,
    request,
    round_trips,
    service,
)
from tango.model.affinity import EFFECTS, Requirement, Toleration
from tango.model.cgroup import CgroupFeatures
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.events import CallArrived, EdgeEvent, RouteSolved, Tick, WorkerEvent, WorkerUp
from tango.model.messages import WorkerHello, WorkerState
from tango.model.placement_profile import Profile, Use
from tango.model.plan import Route, TrafficPlan
from tango.model.request import CallRequest
from tango.model.round_trips import EdgeTrip, RoundTrip
from tango.model.starts import Start

KINDS = sorted(
    {(each, union) for union in EVENTS.values() for each in typing.get_args(union)}
    | {(each, Start) for each in typing.get_args(Start)},
    key=lambda pair: (pair[0].__name__, str(pair[1])),
)
# Not all of Unicode in each of so many fields: what a test of strings needs is in here.
TEXTS = st.text('aé\ud800\0"\\\n', max_size=4)
st.register_type_strategy(str, TEXTS)
st.register_type_strategy(bytes, st.binary(max_size=8))


def _by_fields(kind: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    fields = {one.name: st.from_type(hints[one.name]) for one in dataclasses.fields(kind)}
    return st.builds(kind, **fields)


# A record that was compiled has no signature for hypothesis to read.
MODELS = (cgroup, cluster, commands, events, messages, peers, plan, request, round_trips, service)
for record in (one for model in MODELS for one in vars(model).values()):
    compiled = isinstance(record, type) and not hasattr(vars(record).get("__init__"), "__code__")
    if compiled and dataclasses.is_dataclass(record):
        st.register_type_strategy(typing.cast("type", record), _by_fields)

# What their constructors refuse is never recorded.
USES = st.builds(
    Use,
    plugin=TEXTS,
    weight=st.floats(0, 100),
    filters=st.booleans(),
    parameters=st.lists(
        st.tuples(TEXTS, st.one_of(TEXTS, st.integers(), st.floats(), st.booleans())), max_size=3
    ).map(tuple),
)
st.register_type_strategy(
    Profile,
    st.builds(
        Profile,
        name=TEXTS,
        plugins=st.lists(USES, max_size=3, unique_by=lambda use: use.plugin).map(tuple),
    ),
)
st.register_type_strategy(
    CgroupFeatures,
    st.builds(CgroupFeatures, controllers=st.frozensets(st.sampled_from(["cpu", "memory"]))),
)
st.register_type_strategy(Requirement, st.builds(Requirement, TEXTS, st.just("Exists")))
st.register_type_strategy(
    Toleration,
    st.builds(Toleration, st.text("aé", min_size=1), st.none() | TEXTS, st.sampled_from(EFFECTS)),
)
# Their constructors check these.
TIMES = st.floats(0, 60)
st.register_type_strategy(EdgeTrip, st.builds(EdgeTrip, TEXTS, TIMES))
st.register_type_strategy(RoundTrip, st.builds(RoundTrip, TEXTS, TEXTS, TIMES, TIMES))


def masked(value: Any, hashes: dict[str, str]) -> Any:
    """What of a value a recording keeps, said once more and independently."""
    if isinstance(value, bytes):
        return bytes(len(value))
    if isinstance(value, tuple):
        return tuple(masked(each, hashes) for each in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    name, found = type(value).__name__, {}
    for field in dataclasses.fields(value):
        each = getattr(value, field.name)
        if name in ("CallRequest", "Dispatch") and field.name == "path":
            each = ""
        elif field.name == "headers":
            each = ()
        elif name in ("WorkerHello", "WorkerStart") and field.name == "key":
            each = hashes[each]
        else:
            each = masked(each, hashes)
        found[field.name] = each
    return type(value)(**found)


class Hashes(dict[str, str]):
    def __missing__(self, key: str) -> str:
        found = self[key] = RecordingCodec(b"salt")._hashed(key)
        return found


def there_and_back(union: Any, value: Any) -> Any:
    writer = RecordingCodec(b"salt")
    text = writer.text(union, value)
    reader = RecordingCodec()
    reader.read_by(json.loads(json.dumps(writer.fields(union))))
    found = reader.decoder(union)(json.loads(text), "")
    assert RecordingCodec(b"salt").text(union, value) == text
    return found


def shown(value: object) -> str:
    """As repr, with sets in order: equal ones may be written in another."""
    return re.sub(
        r"frozenset\(\{([^{}]*)\}\)",
        lambda found: f"frozenset({{{', '.join(sorted(found[1].split(', ')))}}})",
        repr(value),
    )


@pytest.mark.parametrize(("kind", "union"), KINDS, ids=lambda each: getattr(each, "__name__", ""))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_comes_back_as_it_was(kind: type, union: Any, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    # By repr: 1 is not 1.0 in a decision log, and no nan equals another.
    assert shown(there_and_back(union, value)) == shown(masked(value, Hashes()))


def test_what_no_decision_depends_on_is_not_in_it() -> None:
    secret = (("authorization", "Bearer secret"),)
    request = CallRequest("r1", "web", path="/secret?a=secret", headers=secret, body=b"secret")
    text = RecordingCodec().text(EdgeEvent, CallArrived(request))
    assert "secret" not in text
    found = there_and_back(EdgeEvent, CallArrived(request))
    assert found.request == dataclasses.replace(request, path="", headers=(), body=bytes(6))


def test_keys_are_told_apart_and_not_told() -> None:
    hello = WorkerHello("n1", "", 1, NodeCapacity(1, 1), Enforcement.NONE, "0")
    up = WorkerUp(1, hello, WorkerState((), (), ()))
    texts = {
        RecordingCodec(salt).text(
            EdgeEvent, dataclasses.replace(up, hello=dataclasses.replace(hello, key=key))
        )
        for salt, key in ((b"1", "the-key"), (b"1", "the-key"), (b"1", "other"), (b"2", "the-key"))
    }
    assert len(texts) == 3
    assert not any("the-key" in text for text in texts)


def test_a_field_that_was_added_since_takes_its_default() -> None:
    plan = TrafficPlan((Route("web", "n1", 2, score=0.5),))
    event = RouteSolved(4, plan, 0.25)
    writer = RecordingCodec()
    tree = json.loads(writer.text(EdgeEvent, event))
    fields = writer.fields(EdgeEvent)
    assert tree[2][0][0].pop() == ""
    assert fields["Route"].pop() == "origin"
    reader = RecordingCodec()
    reader.read_by(fields)
    assert reader.decoder(EdgeEvent)(tree, "") == event


def test_fields_in_another_order_are_found_by_name() -> None:
    reader = RecordingCodec()
    fields = RecordingCodec().fields(EdgeEvent)
    fields["SolveFailed"] = ["error", "solve_id"]
    reader.read_by(fields)
    found = reader.decoder(EdgeEvent)(["SolveFailed", "why", 7], "")
    assert (found.solve_id, found.error) == (7, "why")


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        (["Tock"], "a 'Tock' does not belong here"),
        (["UpstreamUp", 3], "a 'UpstreamUp' does not belong here"),
        (["Tick", 1], "Tick: not the 0 fields of a Tick"),
        (["Persisted"], "Persisted: not the 1 fields"),
        (["Persisted", "1"], "Persisted.persist_id: '1' is not of type int"),
        (["Persisted", True], "Persisted.persist_id: True is not of type int"),
        (["CallArrived", {"request_id": "r"}], "CallArrived.request: not the 11 fields"),
        (["WorkerSaid", 1, ["Hello"]], "WorkerSaid.message: a 'Hello' does not belong here"),
        (["WorkerSaid", 1, ["EdgeWelcome", "e", 1]], "a 'EdgeWelcome' does not belong here"),
        (["WorkerSaid", 1, "Hello"], "WorkerSaid.message: no list that begins with"),
        (["RouteSolved", 1, [[]], "fast", ""], "RouteSolved.cost_s: 'fast' is not a number"),
        (["FollowReported", 1, [1, 1, 1, [["r", 0, 0, 0, 0, "x"]], False]], r"replicas\[0\]"),
        (["LogPart"], "does not belong"),
        ([], "no list that begins with the name of a type"),
        ([["Tick"]], "no list that begins"),
        (None, "no list that begins"),
        (["__class__"], "does not belong"),
    ],
)
def test_refuses_what_is_of_other_types(tree: Any, problem: str) -> None:
    reader = RecordingCodec()
    reader.read_by(RecordingCodec().fields(EdgeEvent))
    with pytest.raises(RecordError, match=problem):
        reader.decoder(EdgeEvent)(tree, "")


@pytest.mark.parametrize("length", [-1, 2**40, "AAAA", 1.0, True])
def test_a_body_has_a_length_within_bounds(length: Any) -> None:
    event = CallArrived(CallRequest("r", "web"))
    tree = json.loads(RecordingCodec().text(EdgeEvent, event))
    tree[1][RecordingCodec().fields(CallRequest)["CallRequest"].index("body")] = length
    reader = RecordingCodec()
    reader.read_by(RecordingCodec().fields(EdgeEvent))
    with pytest.raises(RecordError, match=r"CallArrived.request.body: .* is not a length"):
        reader.decoder(EdgeEvent)(tree, "")


def test_refuses_to_write_what_is_no_event() -> None:
    codec = RecordingCodec()
    for value in (object(), None):
        with pytest.raises(RecordError, match="cannot be recorded"):
            codec.text(EdgeEvent, value)
    with pytest.raises(RecordError, match="WorkerUp cannot be recorded"):
        codec.text(WorkerEvent, WorkerUp(1, None, None))  # type: ignore[arg-type]
    assert codec.text(WorkerEvent, Tick()) == '["Tick"]'


@pytest.mark.parametrize("fields", [None, [], {"Tick": "no"}, {"Tick": [1]}, {"Tick": None}])
def test_a_table_of_fields_is_one(fields: Any) -> None:
    with pytest.raises(RecordError, match="no table"):
        RecordingCodec().read_by(fields)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["persist_id", "more"], "field 'more', which is not known here; replay it with"),
        ([], "has no field 'persist_id'"),
        (["persist_id", "persist_id"], "a field twice"),
    ],
)
def test_a_type_that_cannot_be_made_is_an_error_where_it_is_used(
    names: list[str], problem: str
) -> None:
    fields = RecordingCodec().fields(EdgeEvent)
    fields["Persisted"] = names
    del fields["CallCancelled"]
    reader = RecordingCodec()
    reader.read_by(fields)
    decode = reader.decoder(EdgeEvent)
    assert decode(["Tick"], "") == Tick()
    with pytest.raises(RecordError, match=problem):
        decode(["Persisted", *range(len(names))], "")
    with pytest.raises(RecordError, match="table of fields has no CallCancelled"):
        decode(["CallCancelled", "r"], "")
