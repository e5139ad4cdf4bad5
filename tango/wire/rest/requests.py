"""A request's path, query and body to the message that its RPC takes.

JSON is as protobuf maps it (protobuf.dev/programming-guides/json): names of fields in either
spelling, 64-bit integers as strings or numbers. What is not understood is refused, not left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tango.wire.rest.bindings import WHOLE, Binding
from tango.wire.rest.failures import Failure, invalid

# Where json_format says at what place of the message it was: `at "JobSpec.tasks[0].argv".`
_AT = re.compile(r' at "?(?P<path>[A-Za-z0-9_.\[\]]+?)"?\.?(?:\n|$)')
_UNKNOWN = re.compile(r'has no field named "(?P<name>.*)" at "(?P<path>[^"]+)"\.\n', re.DOTALL)
_LOAD = re.compile(r"Failed to load JSON: (?P<why>.*?)\.?$", re.DOTALL)
# json_format puts one such in front for each level above the field.
_ABOVE = re.compile(r"^(?:Failed to parse \w+ field: )+")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
MAX_SHOWN = 200
IDEMPOTENCY_KEY = "Idempotency-Key"
_SUBMISSION = "submission_id"


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
            _parse(body, request, "")
        for name, value in variables.items():
            if getattr(request, name) not in ("", value):
                raise invalid(name, "differs from the one in the path", "leave it out")
    elif binding.body:
        if not body:
            raise invalid(binding.body, "is missing", "send it as JSON, as the request's body")
        inner: Message = getattr(request, binding.body)
        inner.SetInParent()
        _parse(body, inner, binding.body)
    elif body:
        raise invalid("body", "is not looked at here", "send none")
    _fill(request, {**variables, **_queried(binding, query)})
    return request


def _parse(body: bytes, message: Message, prefix: str) -> None:
    try:
        json_format.Parse(body.decode("utf-8"), message)
    except UnicodeDecodeError:
        raise invalid("body", "is not UTF-8", "send JSON in UTF-8") from None
    except json_format.ParseError as error:
        raise _told(str(error), message.DESCRIPTOR.name, prefix) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise invalid(prefix or "body", f"cannot be read: {_short(str(error))}") from None


def _fill(request: Message, values: dict[str, object]) -> None:
    try:
        json_format.ParseDict(values, request)
    except json_format.ParseError as error:
        raise _told(str(error), request.DESCRIPTOR.name, "") from None
    except (ValueError, TypeError) as error:
        raise invalid("query", f"cannot be read: {_short(str(error))}") from None


def _queried(binding: Binding, query: Iterable[tuple[str, str]]) -> dict[str, object]:
    fields = {field.name: field for field in binding.in_query}
    names = {field.json_name: field.name for field in fields.values()}
    found: dict[str, Any] = {}
    for key, text in query:
        name = names.get(key, key)
        field = fields.get(name)
        if field is None:
            raise invalid(key[:MAX_SHOWN], "is no parameter here", _offer(fields))
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
        raise invalid(field.name, f"{_short(text)!r} is neither true nor false", "write true")
    return _BOOLEANS[text]


def _offer(names: Iterable[str]) -> str:
    known = ", ".join(names)
    return f"known: {known}" if known else "this call takes none"


def _told(text: str, root: str, prefix: str) -> Failure:
    """What json_format says, with the field in terms of the request."""
    if load := _LOAD.match(text):
        return invalid("body", f"is no JSON: {_short(load['why'])}")
    if unknown := _UNKNOWN.search(text):
        name = _short(unknown["name"])
        known = re.findall(r"'(\w+)'", text[unknown.end() :])
        return invalid(_place(unknown["path"], root, prefix, name), "is unknown", _offer(known))
    at = _AT.search(text)
    problem = _ABOVE.sub("", text[: at.start()] if at else text)
    # json_format's own words on what it could not make of a value hold the value, however long.
    return invalid(
        _place(at["path"], root, prefix) if at else prefix or "body",
        f"cannot be read: {_short(problem)}",
    )


def _place(path: str, root: str, prefix: str, name: str = "") -> str:
    inside = path.removeprefix(root).lstrip(".")
    return ".".join(part for part in (prefix, inside, name) if part)


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " ..."


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
