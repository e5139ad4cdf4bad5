"""Paths of the REST face: what of google.api.http is understood, and that the rest is an error."""

from __future__ import annotations

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

from tango.v1 import central_service_pb2
from tango.wire.rest.bindings import bindings_of


def test_those_of_central() -> None:
    found = bindings_of(central_service_pb2.DESCRIPTOR.services_by_name["CentralService"])
    by_name = {binding.rpc.name: binding for binding in found}
    submit = by_name["SubmitJob"]
    assert (submit.verb, submit.path, submit.body) == ("POST", "/v1/jobs", "spec")
    assert [field.name for field in submit.in_query] == ["submission_id", "require_fit"]
    assert submit.method == "/tango.v1.CentralService/SubmitJob"
    cancel = by_name["CancelJob"]
    assert (cancel.variables, cancel.in_query, cancel.streams) == (("job_id",), (), False)
    log = by_name["GetJobLog"]
    assert (log.streams, log.raw, by_name["WatchJob"].raw) == (True, "data", "")
    assert "ConnectEdge" not in by_name
    assert len({(binding.verb, binding.path) for binding in found}) == len(found)


def binding_of(streaming: bool = False, **rule: object) -> object:
    """Of an RPC with this rule, whose request has name, number, inner and many."""
    file = descriptor_pb2.FileDescriptorProto(
        name="probe.proto",
        package="probe",
        syntax="proto3",
        dependency=[annotations_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="Request")
    kinds = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="name", number=1, type=kinds.TYPE_STRING, label=1)
    message.field.add(name="number", number=2, type=kinds.TYPE_UINT32, label=1)
    file.message_type.add(name="Inner")
    for name, number, label in (("inner", 3, 1), ("many", 4, 3)):
        message.field.add(
            name=name, number=number, type=kinds.TYPE_MESSAGE, type_name=".probe.Inner", label=label
        )
    if not rule.pop("with_inner", False):
        del message.field[2:]
    method = file.service.add(name="Probe").method.add(
        name="Do",
        input_type=".probe.Request",
        output_type=".probe.Request",
        client_streaming=streaming,
    )
    http = method.options.Extensions[annotations_pb2.http]
    for key, value in rule.items():
        if key == "additional":
            http.additional_bindings.add(get="/other")
        elif key == "custom":
            http.custom.kind, http.custom.path = "HEAD", "/x"
        else:
            setattr(http, key, value)
    pool = descriptor_pool.DescriptorPool()
    for known in (descriptor_pb2.DESCRIPTOR, *annotations_pb2.DESCRIPTOR.dependencies):
        copy = descriptor_pb2.FileDescriptorProto()
        known.CopyToProto(copy)
        pool.Add(copy)
    copy = descriptor_pb2.FileDescriptorProto()
    annotations_pb2.DESCRIPTOR.CopyToProto(copy)
    pool.Add(copy)
    pool.Add(file)
    (found,) = bindings_of(pool.FindServiceByName("probe.Probe"))
    return found


def test_a_rule_that_is_understood() -> None:
    assert binding_of(get="/v1/things/{name}")
    assert binding_of(post="/v1/things:clear", body="*", with_inner=True)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"put": "/v1/x", "body": "*"}, "neither get nor post"),
        ({"delete": "/v1/x"}, "neither get nor post"),
        ({"custom": True}, "neither get nor post"),
        ({"get": "v1/x"}, "plain path"),
        ({"get": "/v1/{name=things/*}"}, "plain path"),
        ({"get": "/v1/**"}, "plain path"),
        ({"get": "/v1/x", "additional": True}, "only a path"),
        ({"get": "/v1/x", "response_body": "name"}, "only a path"),
        ({"get": "/v1/x", "body": "*"}, "get has none"),
        ({"post": "/v1/x"}, "post has a body"),
        ({"post": "/v1/x", "body": "name"}, "no field with one message"),
        ({"post": "/v1/x", "body": "many", "with_inner": True}, "no field with one message"),
        ({"post": "/v1/x", "body": "nothing"}, "no field with one message"),
        ({"get": "/v1/{nothing}"}, "no field with a string"),
        ({"get": "/v1/{number}"}, "no field with a string"),
        ({"get": "/v1/x", "with_inner": True}, "which no query can hold"),
        ({"get": "/v1/x", "streaming": True}, "stream of requests"),
    ],
)
def test_a_rule_that_is_not_is_an_error(rule: dict[str, object], words: str) -> None:
    with pytest.raises(NotImplementedError, match=words) as caught:
        binding_of(**rule)  # type: ignore[arg-type]
    assert "probe.Probe.Do" in str(caught.value)
