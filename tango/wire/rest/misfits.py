"""Which value of a JSON object is not what its message takes, and what would be.

protobuf's own parser says that something is wrong, but often not where, and in words of Python. It
stays the judge: values are given to it one by one, from the outside in, until the one is found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tango.wire.rest.failures import Failure, invalid, shown
from tango.wire.rest.hints import hint

_WANTED = {
    FieldDescriptor.CPPTYPE_INT32: "a 32-bit integer",
    FieldDescriptor.CPPTYPE_INT64: "a 64-bit integer",
    FieldDescriptor.CPPTYPE_UINT32: "an integer of 0 to 4294967295",
    FieldDescriptor.CPPTYPE_UINT64: "an integer of 0 to 18446744073709551615",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_MESSAGE: "an object",
}


def misfit(
    value: dict[str, Any],
    message: Descriptor,
    place: str,
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> Failure | None:
    """The first field that is wrong; None where each by itself is right.

    place: of the object. elsewhere: as `hint` takes it, for what is in the object itself.
    """
    known = {field.json_name: field for field in message.fields}
    for name, item in value.items():
        field = known.get(name) or message.fields_by_name.get(name)
        at = f"{place}.{shown(name)}" if place else shown(name)
        if field is None:
            return invalid(at, "is unknown", hint(name, message.fields, elsewhere))
        if not _fits({name: item}, message):
            return _in_field(name, item, field, message, at)
    return None


def _in_field(
    name: str, item: Any, field: FieldDescriptor, message: Descriptor, at: str
) -> Failure:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        if not isinstance(item, dict):
            return _wanted(item, "an object", at)
        value = inner.fields_by_name["value"]
        for key, one in item.items():
            if not _fits({name: {key: one}}, message):
                return _in_one(one, value, f"{at}[{shown(key)!r}]")
        return _wanted(item, "an object", at)
    if not field.is_repeated:
        return _in_one(item, field, at)
    if not isinstance(item, list):
        return _wanted(item, "a list", at)
    for index, one in enumerate(item):
        if not _fits({name: [one]}, message):
            return _in_one(one, field, f"{at}[{index}]")
    return _wanted(item, "a list", at)


def _in_one(item: Any, field: FieldDescriptor, at: str) -> Failure:
    if field.message_type is not None and isinstance(item, dict):
        found = misfit(item, field.message_type, at)
        if found is not None:
            return found
    if field.enum_type is not None:
        names = ", ".join(value.name for value in field.enum_type.values)
        return _wanted(item, f"one of {names}", at)
    word = "base64" if field.type == FieldDescriptor.TYPE_BYTES else "a string"
    return _wanted(item, _WANTED.get(field.cpp_type, word), at)


def _fits(value: dict[str, Any], message: Descriptor) -> bool:
    try:
        json_format.ParseDict(value, message_factory.GetMessageClass(message)())
    except (json_format.ParseError, ValueError, TypeError, AttributeError):
        return False
    return True


def _wanted(item: Any, what: str, at: str) -> Failure:
    return invalid(at, f"is {shown(json.dumps(item))}", f"write {what}")
