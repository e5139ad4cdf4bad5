"""The OpenAPI 3.1 document of the REST face, made of the protos: paths, fields, comments.

https://spec.openapis.org/oas/v3.1.1. Schemas describe protobuf's JSON mapping: 64-bit integers are
strings, bytes are base64, enums are names.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

import tango
from tango.wire.rest.bindings import WHOLE, Binding
from tango.wire.rest.bodies import JSON
from tango.wire.rest.comments import comments
from tango.wire.rest.examples import body_to_try
from tango.wire.rest.failures import BAD_REQUEST
from tango.wire.rest.requests import IDEMPOTENCY_KEY
from tango.wire.rest.streamed import BYTES, LINES

Json = dict[str, Any]

ERROR = "Error"
_NUMBERS: dict[int, Json] = {
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SINT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
    FieldDescriptor.TYPE_SINT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_BEARER = (
    "The content of the daemon's token_file, which only its owner can read. Without TLS every call "
    "carries it."
)
_CERTIFICATE = "A certificate of a user, issued by the cluster's authority (docs/security.md)."


class Document:
    """Of these calls. secure: certificates are asked for, not the token."""

    def __init__(self, bindings: tuple[Binding, ...], *, secure: bool) -> None:
        self.bindings = bindings
        self.secure = secure

    @functools.cached_property
    def told(self) -> dict[str, str]:
        """Comments of the protos by full name."""
        return dict(comments())

    @functools.cached_property
    def content(self) -> bytes:
        """The document as it is served."""
        return json.dumps(self.root, indent=1, ensure_ascii=False).encode() + b"\n"

    @functools.cached_property
    def root(self) -> Json:
        """The document."""
        schemas: dict[str, Json] = {ERROR: _error()}
        paths: dict[str, Json] = {}
        for binding in self.bindings:
            paths.setdefault(binding.path, {})[binding.verb.lower()] = self._call(binding, schemas)
        scheme: Json = {"token": {"type": "http", "scheme": "bearer", "description": _BEARER}}
        if self.secure:
            scheme = {"certificate": {"type": "mutualTLS", "description": _CERTIFICATE}}
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Tango central master",
                "version": tango.__version__,
                "description": "Best-effort jobs over all sites: the calls of gRPC's "
                "CentralService as JSON over HTTP/1.1.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": [{name: [] for name in scheme}],
            "paths": paths,
            "components": {
                "schemas": dict(sorted(schemas.items())),
                "securitySchemes": scheme,
            },
        }

    def _call(self, binding: Binding, schemas: dict[str, Json]) -> Json:
        rpc = binding.rpc
        call: Json = {
            "operationId": rpc.name,
            "tags": [rpc.containing_service.name],
            "summary": self.told.get(rpc.full_name, rpc.name),
            "parameters": self._parameters(binding, schemas),
        }
        if binding.body:
            tried = {"schema": self._body(binding, schemas), "example": body_to_try(binding)}
            call["requestBody"] = {"required": binding.body != WHOLE, "content": {JSON: tried}}
        answer = self._message(rpc.output_type, schemas)
        content: Json = {LINES if binding.streams else JSON: {"schema": answer}}
        described = "One message a line." if binding.streams else "Done."
        if binding.raw:
            content = {BYTES: {}, **content}
            described = "The bytes as they are; with Accept: " + LINES + " one message a line."
        failed = {
            "description": "It did not work, and why.",
            "content": {JSON: {"schema": _reference(ERROR)}},
        }
        call["responses"] = {
            "200": {"description": described, "content": content},
            "default": failed,
        }
        return call

    def _body(self, binding: Binding, schemas: dict[str, Json]) -> Json:
        request = binding.rpc.input_type
        if binding.body == WHOLE:
            # What is in the path need not be in the body; often nothing else is left.
            properties = {
                field.json_name: self._field(field, schemas)
                for field in request.fields
                if field.name not in binding.variables
            }
            return {"type": "object", "properties": properties}
        return self._one(request.fields_by_name[binding.body], schemas)

    def _parameters(self, binding: Binding, schemas: dict[str, Json]) -> list[Json]:
        request = binding.rpc.input_type
        found = [
            self._parameter(request.fields_by_name[name], schemas)
            | {"name": name, "in": "path", "required": True}
            for name in binding.variables
        ]
        found.extend(
            self._parameter(field, schemas) | {"name": field.name, "in": "query"}
            for field in binding.in_query
        )
        if any(field.name == "submission_id" for field in binding.in_query):
            found.append(
                {
                    "name": IDEMPOTENCY_KEY,
                    "in": "header",
                    "description": "Another way to give submission_id.",
                    "schema": {"type": "string"},
                }
            )
        return found

    def _parameter(self, field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
        schema = self._field(field, schemas)
        description = schema.pop("description", "")
        found: Json = {"schema": schema}
        return found | ({"description": description} if description else {})

    def _message(self, message: Descriptor, schemas: dict[str, Json]) -> Json:
        name = _name(message)
        if name not in schemas:
            # Before its fields: a message may hold itself.
            schema = schemas[name] = {"type": "object"}
            if text := self.told.get(message.full_name):
                schema["description"] = text
            schema["properties"] = {
                field.json_name: self._field(field, schemas) for field in message.fields
            }
        return _reference(name)

    def _field(self, field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            value = self._one(inner.fields_by_name["value"], schemas)
            schema: Json = {"type": "object", "additionalProperties": value}
        elif field.is_repeated:
            schema = {"type": "array", "items": self._one(field, schemas)}
        else:
            schema = self._one(field, schemas)
        if text := self.told.get(field.full_name):
            schema["description"] = text
        return schema

    def _one(self, field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
        if field.message_type is not None:
            return self._message(field.message_type, schemas)
        if field.enum_type is not None:
            return self._enum(field.enum_type, schemas)
        return dict(_NUMBERS[field.type])

    def _enum(self, enum: EnumDescriptor, schemas: dict[str, Json]) -> Json:
        name = _name(enum)
        if name not in schemas:
            schemas[name] = {"type": "string", "enum": [value.name for value in enum.values]}
            if text := self.told.get(enum.full_name):
                schemas[name]["description"] = text
        return _reference(name)


def _name(described: Descriptor | EnumDescriptor) -> str:
    return str(described.full_name).removeprefix(f"{described.file.package}.")


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _error() -> Json:
    violation = {
        "type": "object",
        "properties": {
            "field": {"type": "string", "description": "As spec.tasks[0].argv."},
            "description": {"type": "string"},
        },
    }
    detail = {
        "type": "object",
        "properties": {
            "@type": {"type": "string", "const": BAD_REQUEST},
            "fieldViolations": {"type": "array", "items": violation},
        },
    }
    error = {
        "type": "object",
        "required": ["code", "status", "message"],
        "properties": {
            "code": {"type": "integer", "description": "The status of HTTP."},
            "status": {"type": "string", "description": "The code of gRPC, as NOT_FOUND."},
            "message": {"type": "string", "description": "What is wrong, and what to do."},
            "details": {"type": "array", "items": detail},
        },
    }
    return {
        "type": "object",
        "description": "As google.rpc.Status, in the form of Google's APIs (google.aip.dev/193).",
        "required": ["error"],
        "properties": {"error": error},
    }
