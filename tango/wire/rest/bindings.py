"""Which RPC is where: HTTP methods and paths, as google.api.http in the protos has them.

Of that option (google/api/http.proto) only what our protos use is taken: one method and path, its
variables whole segments, a body that is one field or all of the request. Anything else is an error
at the start, so that no path is served in another way than it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

# A segment may hold a variable, and a verb after a colon: "/v1/jobs/{job_id}:cancel".
_TEMPLATE = re.compile(r"(?:/(?:[a-z0-9_.-]+|\{[a-z_]+\}))+(?::[a-z]+)?")
_VARIABLE = re.compile(r"\{([a-z_]+)\}")
WHOLE = "*"


@dataclass(frozen=True, slots=True)
class Binding:
    """One call of the REST face.

    verb: "GET" or "POST". path: with variables, "/v1/jobs/{job_id}". body: the field of the request
    that the body is, WHOLE for all of it, "" for no body.
    """

    rpc: MethodDescriptor
    verb: str
    path: str
    body: str

    @property
    def method(self) -> str:
        """As gRPC and the table of roles name it."""
        return f"/{self.rpc.containing_service.full_name}/{self.rpc.name}"

    @property
    def variables(self) -> tuple[str, ...]:
        """Fields of the request that are in the path."""
        return tuple(_VARIABLE.findall(self.path))

    @property
    def streams(self) -> bool:
        """Whether the answer is more than one message."""
        return bool(self.rpc.server_streaming)

    @property
    def raw(self) -> str:
        """The field of bytes that is all of an answer, "" where it is more: then it is no JSON."""
        fields = list(self.rpc.output_type.fields)
        only = len(fields) == 1 and fields[0].type == FieldDescriptor.TYPE_BYTES
        return str(fields[0].name) if only and self.streams else ""

    @property
    def in_query(self) -> tuple[FieldDescriptor, ...]:
        """Fields of the request that are neither in the path nor in the body."""
        if self.body == WHOLE:
            return ()
        request: Descriptor = self.rpc.input_type
        taken = {*self.variables, self.body}
        return tuple(field for field in request.fields if field.name not in taken)


def bindings_of(service: ServiceDescriptor) -> tuple[Binding, ...]:
    """Every RPC of it that has a path, in the order of the proto file."""
    return tuple(_bindings(service))


def _bindings(service: ServiceDescriptor) -> Iterator[Binding]:
    for rpc in service.methods:
        options = rpc.GetOptions()
        if not options.HasExtension(annotations_pb2.http):
            continue
        rule: http_pb2.HttpRule = options.Extensions[annotations_pb2.http]
        verb = (rule.WhichOneof("pattern") or "").upper()
        path = rule.get or rule.post
        binding = Binding(rpc, verb, path, rule.body)
        if problem := _problem(binding, rule):
            raise NotImplementedError(f"google.api.http of {rpc.full_name}: {problem}")
        yield binding


def _problem(binding: Binding, rule: http_pb2.HttpRule) -> str:
    if binding.verb not in {"GET", "POST"} or not _TEMPLATE.fullmatch(binding.path):
        return f"{binding.verb} {binding.path!r} is neither get nor post of a plain path"
    if rule.additional_bindings or rule.response_body or rule.selector:
        return "only a path and a body"
    if binding.rpc.client_streaming:
        return "a stream of requests has no body to come in"
    if bool(binding.body) is not (binding.verb == "POST"):
        return "post has a body, get has none"
    fields = binding.rpc.input_type.fields_by_name
    if binding.body and binding.body != WHOLE:
        field = fields.get(binding.body)
        if field is None or field.message_type is None or field.is_repeated:
            return f"{binding.body!r} is no field with one message"
    for name in binding.variables:
        if name not in fields or fields[name].type != FieldDescriptor.TYPE_STRING:
            return f"{name!r} is no field with a string"
    for field in binding.in_query:
        if field.message_type is not None:
            return f"{field.name!r} is a message, which no query can hold"
    return ""
