"""A request's path, query and body to the message that its RPC takes.

JSON is as protobuf maps it (protobuf.dev/programming-guides/json): names of fields in either
spelling, 64-bit integers as strings or numbers. What is not understood is refused, not left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tango.wire.rest.bindings import WHOLE, Binding
from tango.wire.rest.failures import invalid, shown
from tango.wire.rest.hints import hint, plain
from tango.wire.rest.misfits import misfit

IDEMPOTENCY_KEY = "Idempotency-Key"
_SUBMISSION = "submission_id"
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def request_of(
    binding: Binding,
    variables: Mapping[str, str],
    query: Iterable[tuple[str, str]],
    body: bytes,
) -> Message:
    """Raises Failure, INVALID_ARGUMENT, with the field that is wrong."""
    request: Message = message_factory.GetMessageClass(binding.rpc.input_type)()
    if binding.body == WHOLE:
        if body:
            _fill(request, _object(body), "", binding)
        for name, value in variables.items():
            if getattr(request, name) not in ("", value):
                raise invalid(name, "differs from the one in the path", "leave it out")
    elif binding.body:
        if not body:
            raise invalid(binding.body, "is missing", "send it as JSON, as the request's body")
        inner: Message = getattr(request, binding.body)
        inner.SetInParent()
        _fill(inner, _object(body), binding.body, binding)
    elif body:
        raise invalid("body", "is not looked at here", "send none")
    _fill(request, {**variables, **_queried(binding, query)}, "", binding)
    return request


def _fill(message: Message, values: dict[str, Any], prefix: str, binding: Binding) -> None:
    """Set the fields. prefix: where the message is in the request."""
    try:
        _set(message, values, prefix, binding)
    except SystemError:
        # protobuf 6.33 does not tell it: half a surrogate pair (RFC 8259, 8.2) where a name is due.
        problem = "has half a surrogate pair in a name, which is no character"
        raise invalid(prefix or "request", problem) from None


def _set(message: Message, values: dict[str, Any], prefix: str, binding: Binding) -> None:
    try:
        json_format.ParseDict(values, message)
    except (json_format.ParseError, ValueError, TypeError, AttributeError) as error:
        found = misfit(values, cast("Descriptor", message.DESCRIPTOR), prefix, _outside(binding))
        if found is None:
            raise invalid(prefix or "request", f"cannot be read: {shown(error)}") from None
        raise found from None


def _outside(binding: Binding) -> dict[str, str]:
    """What a body has no place for: the parameters, and the name that it has in the request."""
    found = {
        plain(field.name): f"it is a parameter: write ?{field.name}=... after the path"
        for field in binding.in_query
    }
    if binding.body not in ("", WHOLE):
        found[plain(binding.body)] = "the body itself is it: send what is in it"
    return found


def _inside(binding: Binding) -> dict[str, str]:
    """What the query has no place for: the fields of the body."""
    if not binding.body:
        return {}
    request: Descriptor = binding.rpc.input_type
    whole = binding.body == WHOLE
    inner = request if whole else request.fields_by_name[binding.body].message_type
    assert inner is not None, "as `bindings_of` has found"
    return {plain(field.name): "it belongs into the body" for field in inner.fields}


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_not_in_json
        )
    except UnicodeDecodeError:
        raise invalid("body", "is not UTF-8", "send JSON in UTF-8") from None
    except RecursionError:
        raise invalid("body", "is nested too deep") from None
    except ValueError as error:
        raise invalid("body", f"is no JSON: {shown(error)}") from None
    if not isinstance(found, dict):
        raise invalid("body", "is no JSON object", 'send {"name": "value", ...}')
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} is there twice")
    return found


def _not_in_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _queried(binding: Binding, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    fields = {field.name: field for field in binding.in_query}
    names = {field.json_name: field.name for field in fields.values()}
    found: dict[str, Any] = {}
    for key, text in query:
        name = names.get(key, key)
        field = fields.get(name)
        if field is None:
            fix = hint(key, binding.in_query, _inside(binding), "this call takes none")
            raise invalid(shown(key) or "query", "is no parameter here", fix)
        value = _scalar(field, text)
        if field.is_repeated:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise invalid(name, "is there twice", "leave one of them out")
        else:
            found[name] = value
    return found


def _scalar(field: FieldDescriptor, text: str) -> object:
    if field.type != FieldDescriptor.TYPE_BOOL:
        return text
    if text not in _BOOLEANS:
        raise invalid(field.name, f"{shown(text)!r} is neither true nor false", "write true")
    return _BOOLEANS[text]


def with_key(request: Message, key: str) -> None:
    """Take an Idempotency-Key for the id of a submission. Raises Failure where both differ.

    Other calls than a submission may be repeated anyway. The header's form is that of
    draft-ietf-httpapi-idempotency-key-header, a string in quotes; without them it is taken as well.
    """
    if _SUBMISSION not in request.DESCRIPTOR.fields_by_name:
        return
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        raise invalid(IDEMPOTENCY_KEY, "is empty", "draw a random one for each submission")
    if getattr(request, _SUBMISSION) not in ("", key):
        raise invalid(_SUBMISSION, f"differs from the {IDEMPOTENCY_KEY}", "leave one of them out")
    setattr(request, _SUBMISSION, key)
