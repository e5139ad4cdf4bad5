"""What grpcurl users send: defaults for what they left out, errors in the terms of the protos."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tango.model.affinity import Requirement, Taint, Toleration
from tango.model.errors import InvalidField
from tango.model.job import JobSpec, JobState, TaskSpec
from tango.model.request import CallReply, CallRequest, Code, Dispatch, Outcome, RequestDone
from tango.model.service import ServiceSpec
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as edge
from tango.v1 import types_pb2 as pb
from tango.wire import convert_calls as calls
from tango.wire.convert_affinity import taint_from_pb
from tango.wire.convert_fields import text
from tango.wire.convert_jobs import attempt_status_from_pb, job_state_from_pb
from tango.wire.convert_nodes import enforcement_from_pb
from tango.wire.convert_requests import applied_service_from_pb, submitted_job_from_pb
from tango.wire.convert_specs import service_spec_from_pb, service_spec_to_pb


def test_a_minimal_service_takes_the_models_defaults() -> None:
    request = edge.ApplyServiceRequest(spec=pb.ServiceSpec(name="hello", argv=["/bin/hello"]))
    assert applied_service_from_pb(request) == ServiceSpec("hello", ("/bin/hello",))


def test_an_explicit_zero_stays_zero_where_it_means_something() -> None:
    spec = service_spec_from_pb(
        pb.ServiceSpec(name="a", argv=["a"], replicas=0, max_queue=0, stop_grace_s=0)
    )
    assert (spec.replicas, spec.max_queue, spec.stop_grace_s) == (0, 0, 0.0)


def test_a_minimal_job_takes_the_models_defaults() -> None:
    request = central.SubmitJobRequest(
        spec=pb.JobSpec(name="job", tasks=[pb.TaskSpec(name="t", argv=["true"])])
    )
    assert submitted_job_from_pb(request) == JobSpec("job", (TaskSpec("t", ("true",)),))
    request.spec.backoff_s = 0
    assert submitted_job_from_pb(request).backoff_s == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda spec: spec.Clear(), "spec.name"),
        (lambda spec: spec.tasks[1].ClearField("argv"), "spec.tasks[1].argv"),
        (lambda spec: spec.tasks[0].env.update({"A=B": ""}), "spec.tasks[0].env.A=B"),
        (lambda spec: setattr(spec.tasks[0], "cpu_millis", 2**31), "spec.tasks[0].cpu_millis"),
        (lambda spec: setattr(spec.tasks[1], "memory_bytes", 5), "spec.tasks[1].memory_bytes"),
        (lambda spec: setattr(spec, "backoff_s", float("nan")), "spec.backoff_s"),
        (lambda spec: setattr(spec.tasks[1], "name", "a"), "spec.tasks[1].name"),
        (lambda spec: spec.tasks[1].requires.add(key="a"), "spec.tasks[1].requires[0].values"),
        (
            lambda spec: spec.tasks[0].requires.add(key="a b", values=["c"]),
            "spec.tasks[0].requires[0].key",
        ),
        (
            lambda spec: spec.tasks[0].prefers.add(key="a", operator=99),
            "spec.tasks[0].prefers[0].operator",
        ),
        (
            lambda spec: spec.tasks[0].prefers.add(key="a", operator=3, weight=-1),
            "spec.tasks[0].prefers[0].weight",
        ),
        (
            lambda spec: spec.tasks[0].tolerations.add(value="a"),
            "spec.tasks[0].tolerations[0].key",
        ),
        (
            lambda spec: spec.tasks[0].tolerations.add(key="a", effect=99),
            "spec.tasks[0].tolerations[0].effect",
        ),
    ],
)
def test_a_bad_job_names_the_field_as_the_proto_has_it(
    change: Callable[[pb.JobSpec], object], field: str
) -> None:
    tasks = [pb.TaskSpec(name=name, argv=["true"]) for name in "ab"]
    request = central.SubmitJobRequest(spec=pb.JobSpec(name="job", tasks=tasks))
    change(request.spec)
    with pytest.raises(InvalidField) as raised:
        submitted_job_from_pb(request)
    assert raised.value.field == field


def test_terms_take_what_is_left_out_from_their_defaults() -> None:
    task = pb.TaskSpec(name="t", argv=["true"])
    task.requires.add(key="zone", values=["west"])
    task.prefers.add(key="ssd", operator=pb.LABEL_OPERATOR_EXISTS)
    task.tolerations.add(key="gpu")
    job = pb.JobSpec(name="job", tasks=[task])
    (found,) = submitted_job_from_pb(central.SubmitJobRequest(spec=job)).tasks
    assert found.requires == (Requirement("zone", "In", ("west",)),)
    assert found.prefers == ((Requirement("ssd", "Exists"), 1.0),)
    assert found.tolerations == (Toleration("gpu"),)
    # Of a version that knows more effects: what keeps all away is the safe reading.
    assert taint_from_pb(pb.Taint(key="a", effect=99)) == Taint("a")


def test_missing_specs_and_unknown_enums_are_named() -> None:
    with pytest.raises(InvalidField, match=r"^spec: is missing"):
        submitted_job_from_pb(central.SubmitJobRequest())
    with pytest.raises(InvalidField, match=r"^spec: is missing"):
        applied_service_from_pb(edge.ApplyServiceRequest())
    with pytest.raises(InvalidField, match=r"^submission_id: "):
        submitted_job_from_pb(central.SubmitJobRequest(spec=pb.JobSpec(), submission_id="é"))
    with pytest.raises(InvalidField, match=r"^spec.expose: 77 is unknown"):
        applied_service_from_pb(
            edge.ApplyServiceRequest(spec=pb.ServiceSpec(name="a", argv=["a"], expose=77))  # type: ignore[arg-type]
        )
    with pytest.raises(InvalidField, match=r"^states\[0\]: is not set; use one of JOB_STATE_PEND"):
        job_state_from_pb(0, "states[0]")
    with pytest.raises(InvalidField, match=r"^attempt.state: "):
        attempt_status_from_pb(pb.AttemptStatus(attempt_id="a"))
    assert job_state_from_pb(pb.JOB_STATE_RUNNING, "x") is JobState.RUNNING
    assert enforcement_from_pb(9).value == "none"


@pytest.mark.parametrize(
    "spec",
    [
        ServiceSpec("a", ("a",), memory_bytes=-1),
        ServiceSpec("a", ("a",), replicas=2**40),
        ServiceSpec("a", ("a\udcff",)),
    ],
)
def test_what_does_not_fit_the_wire_is_an_invalid_field(spec: ServiceSpec) -> None:
    with pytest.raises(InvalidField, match=r"^spec: cannot be sent"):
        service_spec_to_pb(spec)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.LcRequest(path="/a HTTP/1.1\r\nX: y\r\n\r\nGET /b"), "request.path"),
        (pb.LcRequest(path="no-slash"), "request.path"),
        (pb.LcRequest(path="/ü"), "request.path"),
        (pb.LcRequest(path="/" + "a" * 9000), "request.path"),
        (pb.LcRequest(method="GET / HTTP/1.1\r\n"), "request.method"),
        (pb.LcRequest(method="get"), "request.method"),
        (pb.LcRequest(request_id="a\nb"), "request.request_id"),
        (pb.LcRequest(request_id="a" * 129), "request.request_id"),
        (pb.LcRequest(deadline_ms=-1), "request.deadline_ms"),
        (pb.LcRequest(timeout_ms=float("nan")), "request.timeout_ms"),
        (pb.LcRequest(timeout_ms=1e9), "request.timeout_ms"),
        (pb.LcRequest(headers=[pb.Header(name="a b")]), "request.headers[0].name"),
        (pb.LcRequest(headers=[pb.Header(name="")]), "request.headers[0].name"),
        (
            pb.LcRequest(headers=[pb.Header(name="a"), pb.Header(name="b", value="x\r\ny: z")]),
            "request.headers[1].value",
        ),
        (pb.LcRequest(headers=[pb.Header(name="a", value="€")]), "request.headers[0].value"),
        (pb.LcRequest(headers=[pb.Header(name="a")] * 101), "request.headers"),
        (pb.LcRequest(headers=[pb.Header(name="a", value="b" * 40_000)]), "request.headers"),
    ],
)
def test_nothing_is_smuggled_into_a_replicas_connection(message: pb.LcRequest, field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        calls.call_request_from_pb(message)
    assert raised.value.field == field


def test_an_empty_call_is_a_get_of_the_root() -> None:
    assert calls.call_request_from_pb(pb.LcRequest(service="a")) == CallRequest("", "a")


def test_every_call_ends_also_with_codes_of_a_newer_version() -> None:
    reply = calls.call_reply_from_pb(pb.LcReply(outcome=50, code=60))  # type: ignore[arg-type]
    assert (reply.outcome, reply.code) == (Outcome.FAILED, Code.INTERNAL)
    assert calls.request_done_from_pb(edge.RequestDone()).code is Code.INTERNAL


def test_texts_that_are_no_utf8_do_not_break_a_session() -> None:
    assert text("caf\udce9 é") == "caf? é"
    done = RequestDone("r", Code.INTERNAL, error="no file \udcff")
    assert calls.request_done_from_pb(calls.request_done_to_pb(done)).error == "no file ?"


def test_the_hot_path_takes_microseconds() -> None:
    """Target: below 10 us each on a quiet core; the bound here is for a machine that is not."""
    headers = (("content-type", "application/json"), ("x-trace", "1"))
    cases = [
        (
            CallRequest("edge-1", "hello", "POST", "/work", headers, b"x" * 200, 0.1, 5.0),
            calls.call_request_to_pb,
            calls.call_request_from_pb,
        ),
        (
            CallReply("edge-1", Outcome.COMPLETED, Code.OK, 200, headers, b"x" * 500, "node", "r"),
            calls.call_reply_to_pb,
            calls.call_reply_from_pb,
        ),
        (
            Dispatch("edge-1", "hello", "POST", "/work", headers, b"x" * 200, 5.0, False),
            calls.dispatch_to_pb,
            calls.dispatch_from_pb,
        ),
        (
            RequestDone("edge-1", Code.OK, 200, headers, b"x" * 500, "r", 0.003),
            calls.request_done_to_pb,
            calls.request_done_from_pb,
        ),
    ]
    for value, to_pb, from_pb in cases:
        best = 1.0
        for _ in range(15):
            begun = time.perf_counter()
            for _ in range(100):
                from_pb(to_pb(value))  # type: ignore[operator]
            best = min(best, (time.perf_counter() - begun) / 100)
        assert best < 60e-6
