"""Whatever comes as path, query and body: a message that says it, or the field that is wrong."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from tango.v1 import central_service_pb2
from tango.wire.rest.bindings import Binding, bindings_of
from tango.wire.rest.bodies import as_json
from tango.wire.rest.failures import Failure
from tango.wire.rest.requests import request_of, with_key

BINDINGS = bindings_of(central_service_pb2.DESCRIPTOR.services_by_name["CentralService"])
BY_NAME = {binding.rpc.name: binding for binding in BINDINGS}
SUBMIT = BY_NAME["SubmitJob"]
FIELDS = ("name", "tasks", "argv", "env", "cpuMillis", "cpu_millis", "memoryBytes", "retries",
          "backoffS", "priority", "deadlineS", "stopGraceS", "spec", "nme", "[x]",
          "@type", "")  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["1", "-1", "1e3", "NaN", "Infinity", "\ud800", "\0", str(2**64)]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=3)), inner, max_size=4),
    ),
    max_leaves=12,
)
# Whole jobs, nearly right: so that what is wrong is deep inside.
TASKS = st.fixed_dictionaries(
    {},
    optional={
        "name": LEAVES | st.just("main"),
        "argv": st.lists(st.just("/bin/true") | LEAVES, max_size=3) | LEAVES,
        "env": st.dictionaries(st.text(max_size=2), st.text(max_size=2) | LEAVES, max_size=2),
        "cpuMillis": st.integers(0, 9) | LEAVES,
        "memoryBytes": st.integers(0, 2**40).map(str) | LEAVES,
        "stopGraceS": st.floats(0, 9) | LEAVES,
    },
)
JOBS = st.fixed_dictionaries(
    {}, optional={"name": LEAVES, "tasks": st.lists(TASKS | LEAVES, max_size=3), "retries": LEAVES}
)


def made(
    binding: Binding, variables: dict[str, str], query: list[tuple[str, str]], body: bytes
) -> Message | Failure:
    """Anything but a message or a Failure that names a field fails the test."""
    try:
        return request_of(binding, variables, query, body)
    except Failure as failure:
        refused = failure
    assert refused.status == 400
    assert refused.violation is not None
    assert refused.violation.field
    told = json.loads(refused.body())
    assert told["error"]["message"] == refused.message
    assert len(refused.body()) < 4000
    return refused


@example({"tasks": ["\ud800"]})
@example({"\ud800": 1})
@given(st.one_of(JOBS, VALUES))
def test_any_json(value: Any) -> None:
    data = json.dumps(value).encode("utf-8", "surrogatepass")
    found = made(SUBMIT, {}, [], data)
    if isinstance(found, Failure) or not isinstance(value, dict):
        assert isinstance(found, Failure)
        return
    # What was taken is what protobuf's own reader makes of it, and comes back as it went.
    message = json_format.ParseDict(value, type(found.spec)())  # type: ignore[attr-defined]
    assert found.spec == message or "nan" in str(message)  # type: ignore[attr-defined]
    again = json_format.Parse(as_json(message), type(message)())
    assert again == message or "nan" in str(message)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_bytes(data: bytes) -> None:
    made(SUBMIT, {}, [], data)
    made(BY_NAME["CancelJob"], {"job_id": "x"}, [], data)


NAMES = st.sampled_from(
    ["states", "limit", "job_id", "jobId", "task", "tailBytes", "tail_bytes", "follow", "edge",
     "subjects", "submission_id", "spec", "x", ""],
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["1", "0", "-1", "true", "false", "JOB_STATE_PENDING", "SUBJECT_JOB", "99999999999"]
    ),
)


@given(
    st.sampled_from(BINDINGS),
    st.lists(st.tuples(NAMES, TEXTS), max_size=4),
    st.text(min_size=1, max_size=8),
)
def test_any_query(binding: Binding, query: list[tuple[str, str]], name: str) -> None:
    variables = dict.fromkeys(binding.variables, name)
    body = b"{}" if binding.body else b""
    found = made(binding, variables, query, body)
    if isinstance(found, Failure):
        return
    for field in binding.variables:
        assert getattr(found, field) == name
    for key, text in query:
        field = {f.json_name: f.name for f in binding.in_query}.get(key, key)
        value = getattr(found, field)
        if isinstance(value, bool):
            assert value is (text in ("true", "1"))
        elif isinstance(value, str):
            assert value == text


@given(st.text(max_size=12), st.text(max_size=6))
def test_any_key(key: str, given_id: str) -> None:
    request = request_of(SUBMIT, {}, [("submission_id", given_id)], b"{}")
    refused = None
    try:
        with_key(request, key)
    except Failure as failure:
        refused = failure
    if refused is not None:
        assert refused.status == 400
    else:
        assert request.submission_id in (key, key[1:-1])  # type: ignore[attr-defined]
        assert request.submission_id  # type: ignore[attr-defined]
