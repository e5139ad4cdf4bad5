"""Frozen dataclasses as JSON trees and back, by their type hints: no pickle, no eval.

A value is a tree of frozen dataclasses, enums, literals, tuples, strings, numbers and None, as the
types in tango.model say; an enum is its value, a tuple a list, a dataclass an object of its fields.
Only types that hints lead to are ever made. Decoding is strict: an unknown field, or a value of
another type than the field's, is an error that names its path. A field that is missing takes its
default where it has one, so what was written before the field was added stays readable.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Callable
from typing import Any

from tango.model.errors import InvalidField

Decoder = Callable[[Any, str], Any]
Encoder = Callable[[Any], Any]


class RecordError(ValueError):
    """A value that is not of its types, or a text that does not read as one; says where."""


class TypedJson:
    """Functions for each type, made once each."""

    def __init__(self) -> None:
        self._encoders: dict[Any, Encoder] = {}
        self._decoders: dict[Any, Decoder] = {}

    def encoder(self, kind: Any) -> Encoder:
        """From values of this type to what JSON knows. Raises TypeError for values of others."""
        if kind not in self._encoders:
            self._encoders[kind] = self._make_encoder(kind)
        return self._encoders[kind]

    def decoder(self, kind: Any) -> Decoder:
        """The way back: decode(tree, path). Raises RecordError with the path."""
        if kind not in self._decoders:
            self._decoders[kind] = self._make_decoder(kind)
        return self._decoders[kind]

    # ---- encoding

    def _make_encoder(self, kind: Any) -> Encoder:
        if dataclasses.is_dataclass(kind):
            return self._dataclass_encoder(kind)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return _checked(kind, lambda value: value.value)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is tuple:
            return self._tuple_encoder(arguments)
        if origin in (types.UnionType, typing.Union):
            return self._union_encoder(arguments)
        if origin is typing.Literal:
            return _checked(str, lambda value: value)
        if kind is float:
            return _checked((float, int), lambda value: value)
        if kind in (str, int, bool):
            return _checked(kind, lambda value: value)
        raise TypeError(f"{kind} cannot be stored")

    def _dataclass_encoder(self, kind: Any) -> Encoder:
        hints = typing.get_type_hints(kind)
        parts = [(one.name, self.encoder(hints[one.name])) for one in dataclasses.fields(kind)]

        def encode_fields(value: Any) -> dict[str, Any]:
            if type(value) is not kind:
                raise TypeError(f"{value!r} is not a {kind}")
            return {name: part(getattr(value, name)) for name, part in parts}

        return encode_fields

    def _tuple_encoder(self, arguments: tuple[Any, ...]) -> Encoder:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item = self.encoder(arguments[0])
            return _checked(tuple, lambda value: [item(each) for each in value])
        items = [self.encoder(each) for each in arguments]
        return _checked(
            tuple,
            lambda value: [part(each) for part, each in zip(items, value, strict=True)],
        )

    def _union_encoder(self, arguments: tuple[Any, ...]) -> Encoder:
        inner = self.encoder(_optional(arguments))
        return lambda value: None if value is None else inner(value)

    # ---- decoding

    def _make_decoder(self, kind: Any) -> Decoder:
        if dataclasses.is_dataclass(kind):
            return self._dataclass_decoder(kind)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return _enum_decoder(kind)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is tuple:
            return self._tuple_decoder(arguments)
        if origin in (types.UnionType, typing.Union):
            return self._union_decoder(arguments)
        if origin is typing.Literal:
            return _literal_decoder(arguments)
        if kind in (str, int, bool, float):
            return self._plain_decoder(kind)
        raise TypeError(f"{kind} cannot be stored")

    def _dataclass_decoder(self, kind: Any) -> Decoder:
        hints = typing.get_type_hints(kind)
        parts = {one.name: self.decoder(hints[one.name]) for one in dataclasses.fields(kind)}
        needed = needed_fields(kind)

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
            try:
                return kind(**fields)
            except InvalidField as error:
                raise RecordError(f"{path}: {error}") from None

        return decode_fields

    def _tuple_decoder(self, arguments: tuple[Any, ...]) -> Decoder:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item = self.decoder(arguments[0])

            def decode_items(value: Any, path: str) -> tuple[Any, ...]:
                if type(value) is not list:
                    raise RecordError(f"{path}: {value!r} is not a list")
                return tuple(item(each, f"{path}[{at}]") for at, each in enumerate(value))

            return decode_items
        items = [self.decoder(each) for each in arguments]

        def decode_exactly(value: Any, path: str) -> tuple[Any, ...]:
            if type(value) is not list or len(value) != len(items):
                raise RecordError(f"{path}: {value!r} is not a list of {len(items)}")
            return tuple(
                part(each, f"{path}[{at}]")
                for at, (part, each) in enumerate(zip(items, value, strict=True))
            )

        return decode_exactly

    def _union_decoder(self, arguments: tuple[Any, ...]) -> Decoder:
        inner = self.decoder(_optional(arguments))
        return lambda value, path: None if value is None else inner(value, path)

    def _plain_decoder(self, kind: type) -> Decoder:
        def decode_plain(value: Any, path: str) -> Any:
            if kind is float and type(value) is int:
                return float(value)
            if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
                raise RecordError(f"{path}: {value!r} is not of type {kind.__name__}")
            return value

        return decode_plain


def needed_fields(kind: Any) -> set[str]:
    """Names of a dataclass's fields that have no default."""
    return {
        each.name
        for each in dataclasses.fields(kind)
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }


def _literal_decoder(words: tuple[Any, ...]) -> Decoder:
    def decode_word(value: Any, path: str) -> str:
        if type(value) is not str or value not in words:
            raise RecordError(f"{path}: {value!r} is none of {', '.join(words)}")
        return value

    return decode_word


def _enum_decoder(kind: type[enum.Enum]) -> Decoder:
    members = {member.value: member for member in kind}

    def decode_member(value: Any, path: str) -> enum.Enum:
        if type(value) is not str or value not in members:
            raise RecordError(f"{path}: {value!r} is not a {kind.__name__}")
        return members[value]

    return decode_member


def _checked(kind: type | tuple[type, ...], inner: Encoder) -> Encoder:
    kinds = kind if isinstance(kind, tuple) else (kind,)

    def encode_checked(value: Any) -> Any:
        if type(value) not in kinds:
            raise TypeError(f"{value!r} is not of type {kinds[0].__name__}")
        return inner(value)

    return encode_checked


def _optional(arguments: tuple[Any, ...]) -> Any:
    """T of `T | None`, the only union that has no tag."""
    rest = [each for each in arguments if each is not type(None)]
    if len(rest) != 1 or len(rest) == len(arguments):
        raise TypeError(f"{arguments} is no optional type")
    return rest[0]
