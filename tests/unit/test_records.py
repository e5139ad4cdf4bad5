"""The JSON codec of stored records: exact both ways, strict about what it reads."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from central_bench import spec
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.records import decode, encode
from tango.adapters.typed_json import RecordError
from tango.model.affinity import Requirement, Toleration
from tango.model.commands import PlacementRecord, ServiceRecord
from tango.model.job import JobRecord, JobState, TaskRecord
from tango.model.service import Expose, HealthCheck, QuotaMode, ServiceSpec

JOB = JobRecord(
    "j1",
    "s1",
    spec("name", 2, retries=3),
    JobState.RUNNING,
    (TaskRecord(JobState.RUNNING, 1, "j1.0.1", "e1", "n1", started_at=1.5), TaskRecord()),
    1_700_000_000.25,
)
SERVICE = ServiceRecord(
    ServiceSpec(
        "web",
        ("server", "--port", "{port}"),
        env=(("A", "1"), ("B", "é\ud800\0")),
        expose=Expose.NODE,
        health=HealthCheck(path="/up"),
        quota=QuotaMode.FOLLOW,
        requires=(Requirement("zone", "In", ("é", "x")),),
        prefers=((Requirement("ssd", "Exists"), 2.5),),
        tolerations=(Toleration("gpu", None, "NoSchedule"), Toleration()),
    ),
    generation=7,
)
PLACEMENT = PlacementRecord("web", 7, (("web-0", "n1"), ("web-1", "n2")))


@pytest.mark.parametrize("record", [JOB, SERVICE, PLACEMENT, PlacementRecord("w", 0, ())])
def test_round_trip(record: JobRecord | ServiceRecord | PlacementRecord) -> None:
    assert decode(encode(record)) == record


TASKS = st.builds(
    TaskRecord,
    state=st.sampled_from(JobState),
    attempt=st.integers(0, 2**70),
    attempt_id=st.text(),
    reason=st.text(),
    exit_code=st.none() | st.integers(),
    cpu_s=st.floats(allow_nan=False, allow_infinity=False),
)


@given(st.lists(TASKS, max_size=4), st.text())
@settings(max_examples=100, deadline=None)
def test_any_record_comes_back_as_it_was(tasks: list[TaskRecord], text: str) -> None:
    record = replace(JOB, tasks=tuple(tasks), reason=text, submission_id=text)
    assert decode(encode(record)) == record


def test_a_field_that_was_added_later_takes_its_default() -> None:
    tree = json.loads(encode(JOB))
    del tree["record"]["cancel_requested"], tree["record"]["tasks"][0]["failures"]
    assert decode(json.dumps(tree)) == JOB


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), {"type": "Nope", "record": {}}, "'Nope' is not a kind"),
        ((), {"type": ["JobRecord"], "record": {}}, "is not a kind"),
        ((), [1], "not a stored record"),
        ((), {"type": "JobRecord"}, "not a stored record"),
        (("record",), [], "JobRecord: [] is not a JobRecord"),
        (("record", "color"), "red", "JobRecord: unknown field 'color'"),
        (("record", "job_id"), 5, "JobRecord.job_id: 5 is not of type str"),
        (("record", "state"), "gone", "JobRecord.state: 'gone' is not a JobState"),
        (("record", "state"), [], "JobRecord.state: [] is not a JobState"),
        (("record", "version"), True, "JobRecord.version: True is not of type int"),
        (("record", "version"), 1.0, "JobRecord.version: 1.0 is not of type int"),
        (("record", "submitted_at"), "x", "JobRecord.submitted_at: 'x' is not of type float"),
        (("record", "submitted_at"), float("nan"), "is not of type float"),
        (("record", "tasks"), {}, "JobRecord.tasks: {} is not a list"),
        (("record", "tasks", 1, "exit_code"), "0", "JobRecord.tasks[1].exit_code: '0'"),
        (("record", "spec", "tasks", 0, "argv", 0), 1, "spec.tasks[0].argv[0]: 1 is not"),
        (("record", "spec", "tasks", 0, "env"), [["A"]], "env[0]: ['A'] is not a list of 2"),
    ],
)
def test_what_is_wrong_is_named(path: tuple[str | int, ...], value: object, message: str) -> None:
    tree = json.loads(encode(JOB))
    if not path:
        tree = value
    else:
        place = tree
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
    with pytest.raises(RecordError) as caught:
        decode(json.dumps(tree))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("step", "value", "message"),
    [
        ("operator", "Is", "spec.requires[0].operator: 'Is' is none of In, NotIn"),
        ("operator", 1, "spec.requires[0].operator: 1 is none of"),
        ("operator", "Exists", "spec.requires[0]: affinity.values: Exists takes no values"),
        ("values", [], "spec.requires[0]: affinity.values: In needs a value"),
    ],
)
def test_a_condition_that_is_none(step: str, value: object, message: str) -> None:
    tree = json.loads(encode(SERVICE))
    tree["record"]["spec"]["requires"][0][step] = value
    with pytest.raises(RecordError) as caught:
        decode(json.dumps(tree))
    assert message in str(caught.value)


def test_a_needed_field_that_is_missing() -> None:
    tree = json.loads(encode(JOB))
    del tree["record"]["spec"]["tasks"][1]["name"]
    with pytest.raises(RecordError, match=r"spec.tasks\[1\]: field 'name' is missing"):
        decode(json.dumps(tree))


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"type":"JobRecord","record":null}'])
def test_damaged_text(text: str) -> None:
    with pytest.raises(RecordError):
        decode(text)


@pytest.mark.parametrize(
    "record",
    [
        "text",
        JOB.spec,
        replace(JOB, reason=5),
        replace(JOB, submitted_at=float("inf")),
        replace(JOB, tasks=[TaskRecord()]),
        replace(JOB, tasks=(None,)),
        replace(JOB, state="running"),
        replace(PLACEMENT, nodes=(("a", "b", "c"),)),
    ],
)
def test_what_is_no_record_is_not_stored(record: object) -> None:
    with pytest.raises(RecordError):
        encode(record)  # type: ignore[arg-type]
