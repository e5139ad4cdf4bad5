"""The OpenAPI document and the page: valid, whole, of the protos, and true to what is served."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message_factory import GetMessageClass
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_probe import JOB, faced

import tango
from tango.model.access import RPCS, Role
from tango.v1 import central_service_pb2, types_pb2
from tango.wire.rest.bindings import Binding, bindings_of
from tango.wire.rest.bodies import as_json
from tango.wire.rest.comments import FILE, comments
from tango.wire.rest.examples import BODIES, body_to_try
from tango.wire.rest.openapi import Document
from tango.wire.rest.page import POLICY, page_of
from tango.wire.rest.requests import request_of

SERVICE = central_service_pb2.DESCRIPTOR.services_by_name["CentralService"]
BINDINGS = bindings_of(SERVICE)
PROTOS = Path(__file__).parents[3] / "protos" / "tango" / "v1"


@pytest.fixture(scope="module", params=[False, True], ids=["token", "certificates"])
def document(request: pytest.FixtureRequest) -> Document:
    return Document(BINDINGS, secure=request.param)


def schema_of(document: Document, name: str) -> Draft202012Validator:
    root = {**document.root, "$ref": f"#/components/schemas/{name}"}
    return Draft202012Validator(root)


def test_it_is_valid_openapi(document: Document) -> None:
    OpenAPIV31SpecValidator(document.root).validate()
    assert document.root["openapi"] == "3.1.0"
    assert document.root["info"]["version"] == tango.__version__
    for schema in document.root["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_it_has_every_call_and_no_other(document: Document) -> None:
    found = {
        (call["operationId"], verb.upper(), path)
        for path, calls in document.root["paths"].items()
        for verb, call in calls.items()
    }
    assert found == {(each.rpc.name, each.verb, each.path) for each in BINDINGS}
    assert {each.rpc.name for each in BINDINGS} == {
        method.name
        for method in SERVICE.methods
        if Role.USER in RPCS[f"/{SERVICE.full_name}/{method.name}"]
    }


def test_it_says_how_callers_are_known(document: Document) -> None:
    (scheme,) = document.root["components"]["securitySchemes"].values()
    assert scheme["type"] == ("mutualTLS" if document.secure else "http")
    assert document.root["security"] == [{"certificate" if document.secure else "token": []}]


def test_every_parameter_is_a_field_of_the_request(document: Document) -> None:
    for binding in BINDINGS:
        call = document.root["paths"][binding.path][binding.verb.lower()]
        named = {one["name"] for one in call["parameters"] if one["in"] != "header"}
        fields = {field.name for field in binding.rpc.input_type.fields}
        if binding.body == "*":
            # What is not in the path is in the body.
            assert named == set(binding.variables), binding.rpc.name
            continue
        assert named | {binding.body} - {""} == fields, binding.rpc.name


def test_the_comments_are_those_of_the_protos(document: Document) -> None:
    told = comments()
    assert told["tango.v1.JobRecord.cancel_requested"] == (
        "Its owner has cancelled it; its tasks may still be stopping."
    )
    assert told["tango.v1.CentralService.ListEdges"].startswith("All sites that have dialled")
    schemas = document.root["components"]["schemas"]
    cancel = schemas["JobRecord"]["properties"]["cancelRequested"]
    assert cancel["description"] == told["tango.v1.JobRecord.cancel_requested"]
    for binding in BINDINGS:
        call = document.root["paths"][binding.path][binding.verb.lower()]
        assert call["summary"] == told[binding.rpc.full_name], "every call says what it does"


def test_what_the_build_kept_is_what_the_protos_say() -> None:
    """Both are made at once; a tree with protos newer than its build must be built again."""
    kept = descriptor_pb2.FileDescriptorSet.FromString(
        resources.files("tango.v1").joinpath(FILE).read_bytes()
    )
    assert {Path(file.name).name for file in kept.file} == {
        path.name for path in PROTOS.glob("*.proto")
    }
    for module in (central_service_pb2, types_pb2):
        (file,) = [each for each in kept.file if each.name == module.DESCRIPTOR.name]
        without = descriptor_pb2.FileDescriptorProto()
        without.CopyFrom(file)
        without.ClearField("source_code_info")
        served = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(served)
        assert [m.name for m in without.message_type] == [m.name for m in served.message_type]
        for mine, theirs in zip(without.message_type, served.message_type, strict=True):
            assert [f.name for f in mine.field] == [f.name for f in theirs.field]
    told = comments()
    for path in PROTOS.glob("*.proto"):
        for comment, name in re.findall(
            r"^// (.*(?:\n// .*)*)\nmessage (\w+)", path.read_text(), re.MULTILINE
        ):
            assert told[f"tango.v1.{name}"] == " ".join(comment.replace("\n//", "").split())


@pytest.mark.parametrize(
    "binding", [each for each in BINDINGS if each.body], ids=lambda b: b.rpc.name
)
def test_the_examples_are_requests(document: Document, binding: Binding) -> None:
    variables = dict.fromkeys(binding.variables, "x")
    body = json.dumps(body_to_try(binding)).encode()
    request = request_of(binding, variables, (), body)
    assert request.IsInitialized()
    call = document.root["paths"][binding.path][binding.verb.lower()]
    content = call["requestBody"]["content"]["application/json"]
    assert content["example"] == body_to_try(binding)
    Draft202012Validator({**document.root, **content["schema"]}).validate(content["example"])
    assert set(BODIES) <= {each.rpc.name for each in BINDINGS}


@pytest.mark.parametrize("binding", BINDINGS, ids=lambda binding: binding.rpc.name)
def test_answers_are_as_described(document: Document, binding: Binding) -> None:
    """A message with every field set, as JSON, against the schema of its type."""
    message: Any = GetMessageClass(binding.rpc.output_type)()
    filled(message, 4)
    schema_of(document, binding.rpc.output_type.name).validate(json.loads(as_json(message)))
    Empty = GetMessageClass(binding.rpc.output_type)
    schema_of(document, binding.rpc.output_type.name).validate(json.loads(as_json(Empty())))


def filled(message: Any, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            getattr(message, field.name)["key"] = "value"
        elif inner is not None:
            if depth:
                value = getattr(message, field.name)
                filled(value.add() if field.is_repeated else value, depth - 1)
        else:
            one: Any = {"string": "x", "bytes": b"x"}.get(
                {9: "string", 12: "bytes"}.get(field.type, ""), 1
            )
            if field.type == 8:
                one = True
            if field.is_repeated:
                getattr(message, field.name).append(one)
            else:
                setattr(message, field.name, one)


async def test_errors_are_as_described(document: Document) -> None:
    check = schema_of(document, "Error")
    async with faced() as face:
        for verb, path, body, token in (
            ("GET", "/v1/jobs", None, "no-token"),
            ("GET", "/nothing", None, "t"),
            ("DELETE", "/v1/jobs", None, "t"),
            ("POST", "/v1/jobs", {"nme": 1}, None),
        ):
            given = {"token": token} if token else {}
            answer = await face.call(verb, path, body, **given)
            check.validate(answer.json)
            assert answer.error["code"] == answer.status


async def test_what_is_served_is_this_document() -> None:
    async with faced() as face:
        answer = await face.call("GET", "/openapi.json", token=None)
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.json == Document(BINDINGS, secure=False).root
        job = await face.call("POST", "/v1/jobs", JOB)
        schema_of(Document(BINDINGS, secure=False), "SubmitJobResponse").validate(job.json)


class Reader(HTMLParser):
    """Tags and attributes of a page, and that what was opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_lists_all_and_fetches_nothing(document: Document) -> None:
    reader = Reader()
    reader.feed(page_of(document).decode())
    assert reader.open == []
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "link", "img", "iframe", "form", "object", "embed", "base"}
    attributes = [(name, value) for _, given in reader.tags for name, value in given.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("src", "style")]
    ids = {value for name, value in attributes if name == "id"}
    assert len(ids) == len([value for name, value in attributes if name == "id"])
    for name, value in attributes:
        if name == "href":
            assert value is not None
            assert value == "/openapi.json" or value[1:] in ids, value
    for binding in BINDINGS:
        assert f"{binding.verb} {binding.path}" in reader.text
    for name in document.root["components"]["schemas"]:
        assert f"type-{name}" in ids
    assert ("Bearer $TOKEN" in reader.text) is not document.secure
    assert ("--cert cert.pem" in reader.text) is document.secure


async def test_the_page_runs_no_script_whatever_gets_into_it() -> None:
    async with faced() as face:
        answer = await face.call("GET", "/", token=None)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == POLICY
        assert POLICY.startswith("default-src 'none'; style-src 'sha256-")


def test_what_a_comment_says_is_text(document: Document) -> None:
    evil = Document(BINDINGS, secure=document.secure)
    evil.__dict__["told"] = {
        f"tango.v1.{name}": "<script>alert(1)</script>'\"&"
        for name in ("JobSpec", "CentralService.GetJob", "ListJobsRequest.limit", "JobRecord.state")
    }
    page = page_of(evil).decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
