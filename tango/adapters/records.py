"""JSON text of stored records: typed both ways, no pickle.

A record is a tree of frozen dataclasses, enums, tuples, strings, numbers and None, as the types in
tango.model say. The text is {"type": name, "record": {field: value}}; an enum is its value, a tuple
a list. Decoding is strict: an unknown field or type, or a value of another type than the field's,
is an error that names its path. A field that is missing takes its default where it has one, so
records written before the field was added stay readable.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import types
import typing
from collections.abc import Callable
from typing import Any

from tango.model.commands import Stored

Decoder = Callable[[Any, str], Any]
Encoder = Callable[[Any], Any]

_RECORDS: dict[str, Any] = {kind.__name__: kind for kind in typing.get_args(Stored)}


class RecordError(ValueError):
    """A value that is no record, or a text that does not read as one; the message says where."""


def encode(record: Stored) -> str:
    """The record as JSON text. Raises RecordError for what is no Stored or not of its types."""
    name = type(record).__name__
    if _RECORDS.get(name) is not type(record):
        raise RecordError(f"{name} is not a kind of record that can be stored")
    try:
        tree = {"type": name, "record": _encoder(_RECORDS[name])(record)}
        return json.dumps(tree, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{name} cannot be stored: {error}") from error


def decode(text: str) -> Stored:
    """The record that the text holds. Raises RecordError."""
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise RecordError(f"not JSON: {error}") from error
    if not isinstance(tree, dict) or tree.keys() != {"type", "record"}:
        raise RecordError("not a stored record")
    kind = _RECORDS.get(tree["type"]) if isinstance(tree["type"], str) else None
    if kind is None:
        raise RecordError(f"{tree['type']!r} is not a kind of record")
    record: Stored = _decoder(kind)(tree["record"], tree["type"])
    return record


# ---- types to functions, made once each


@functools.cache
def _encoder(kind: Any) -> Encoder:
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        parts = [(each.name, _encoder(hints[each.name])) for each in dataclasses.fields(kind)]

        def encode_fields(value: Any) -> dict[str, Any]:
            if type(value) is not kind:
                raise TypeError(f"{value!r} is not a {kind}")
            return {name: part(getattr(value, name)) for name, part in parts}

        return encode_fields
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _checked(kind, lambda value: value.value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item = _encoder(arguments[0])
            return _checked(tuple, lambda value: [item(each) for each in value])
        items = [_encoder(each) for each in arguments]
        return _checked(
            tuple,
            lambda value: [part(each) for part, each in zip(items, value, strict=True)],
        )
    if origin in (types.UnionType, typing.Union):
        inner = _encoder(_optional(arguments))
        return lambda value: None if value is None else inner(value)
    if kind is float:
        return _checked((float, int), lambda value: value)
    if kind in (str, int, bool):
        return _checked(kind, lambda value: value)
    raise TypeError(f"{kind} cannot be stored")


@functools.cache
def _decoder(kind: Any) -> Decoder:
    if dataclasses.is_dataclass(kind):
        return _dataclass_decoder(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enum_decoder(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _tuple_decoder(arguments)
    if origin in (types.UnionType, typing.Union):
        inner = _decoder(_optional(arguments))
        return lambda value, path: None if value is None else inner(value, path)
    if kind in (str, int, bool, float):
        return _plain_decoder(kind)
    raise TypeError(f"{kind} cannot be stored")


def _dataclass_decoder(kind: Any) -> Decoder:
    hints = typing.get_type_hints(kind)
    parts = {each.name: _decoder(hints[each.name]) for each in dataclasses.fields(kind)}
    needed = {
        each.name
        for each in dataclasses.fields(kind)
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }

    def decode_fields(value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise RecordError(f"{path}: {value!r} is not a {kind.__name__}")
        unknown = value.keys() - parts.keys()
        if unknown:
            raise RecordError(f"{path}: unknown field {min(unknown)!r}")
        missing = needed - value.keys()
        if missing:
            raise RecordError(f"{path}: field {min(missing)!r} is missing")
        fields = {name: parts[name](each, f"{path}.{name}") for name, each in value.items()}
        return kind(**fields)

    return decode_fields


def _enum_decoder(kind: type[enum.Enum]) -> Decoder:
    members = {member.value: member for member in kind}

    def decode_member(value: Any, path: str) -> enum.Enum:
        if type(value) is not str or value not in members:
            raise RecordError(f"{path}: {value!r} is not a {kind.__name__}")
        return members[value]

    return decode_member


def _tuple_decoder(arguments: tuple[Any, ...]) -> Decoder:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = _decoder(arguments[0])

        def decode_items(value: Any, path: str) -> tuple[Any, ...]:
            if type(value) is not list:
                raise RecordError(f"{path}: {value!r} is not a list")
            return tuple(item(each, f"{path}[{at}]") for at, each in enumerate(value))

        return decode_items
    items = [_decoder(each) for each in arguments]

    def decode_exactly(value: Any, path: str) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(items):
            raise RecordError(f"{path}: {value!r} is not a list of {len(items)}")
        return tuple(
            part(each, f"{path}[{at}]")
            for at, (part, each) in enumerate(zip(items, value, strict=True))
        )

    return decode_exactly


def _plain_decoder(kind: type) -> Decoder:
    def decode_plain(value: Any, path: str) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
            raise RecordError(f"{path}: {value!r} is not of type {kind.__name__}")
        return value

    return decode_plain


def _checked(kind: type | tuple[type, ...], inner: Encoder) -> Encoder:
    kinds = kind if isinstance(kind, tuple) else (kind,)

    def encode_checked(value: Any) -> Any:
        if type(value) not in kinds:
            raise TypeError(f"{value!r} is not of type {kinds[0].__name__}")
        return inner(value)

    return encode_checked


def _optional(arguments: tuple[Any, ...]) -> Any:
    """T of `T | None`, the only union that is stored."""
    rest = [each for each in arguments if each is not type(None)]
    if len(rest) != 1 or len(rest) == len(arguments):
        raise TypeError(f"{arguments} is no optional type")
    return rest[0]
