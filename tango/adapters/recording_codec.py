"""Events and starts of controllers as compact JSON for a recording, and back.

A dataclass is the list of its fields' values; which fields, a table at the head of the file says by
name, so that a file stays readable when fields are added. Where hints leave a choice, the list
begins with the name of the type; only those that the hint names are ever made.

What no decision depends on does not go into a file that people may pass on: of bodies the length is
written, headers and paths of requests are left out, and a node's key is written as a salted hash,
which is all that comparing two of them takes.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import types
import typing
from operator import attrgetter
from typing import Any

from tango.adapters.typed_json import Decoder, Encoder, RecordError, TypedJson, needed_fields
from tango.model.errors import InvalidField
from tango.model.events import CentralEvent, EdgeEvent, WorkerEvent
from tango.model.messages import ReplyPart, WorkerHello
from tango.model.request import CallReply, CallRequest, Dispatch, RequestDone
from tango.model.starts import CentralStart, EdgeStart, WorkerStart

# What a recording of each kind of daemon holds.
EVENTS: dict[type, Any] = {
    CentralStart: CentralEvent,
    EdgeStart: EdgeEvent,
    WorkerStart: WorkerEvent,
}
# The upper bound of max_body: a length above it would only fill the reader's memory.
MAX_BYTES = 64 * 2**20

_LEFT_OUT: dict[tuple[type, str], Any] = {
    (CallRequest, "path"): "",
    (CallRequest, "headers"): (),
    (CallReply, "headers"): (),
    (Dispatch, "path"): "",
    (Dispatch, "headers"): (),
    (RequestDone, "headers"): (),
    (ReplyPart, "headers"): (),
}
_KEYS = {(WorkerHello, "key"), (WorkerStart, "key")}
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
Fields = dict[str, list[str]]


class RecordingCodec(TypedJson):
    """salt: for the hashes of keys, drawn for each file and not in it."""

    def __init__(self, salt: bytes = b"") -> None:
        super().__init__()
        self._salt = salt
        self._fields: Fields = {}

    def text(self, kind: Any, value: object) -> str:
        """The value of that type as JSON. Raises RecordError."""
        try:
            tree = self.encoder(kind)(value)
            try:
                return _dump(tree)
            except ValueError:
                # An infinity, which JSON does not have.
                return _dump(_finite(tree))
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            name = type(value).__name__
            raise RecordError(f"{name} cannot be recorded: {error}") from error

    def fields(self, *kinds: Any) -> Fields:
        """The table for the head of a file: fields of each dataclass in values of these types."""
        for kind in kinds:
            self.encoder(kind)
        return dict(self._fields)

    def read_by(self, fields: object) -> None:
        """Decode by the table of a file from here on. Raises RecordError for no table."""
        if type(fields) is not dict or not all(
            type(names) is list and all(type(name) is str for name in names)
            for names in fields.values()
        ):
            raise RecordError("fields: no table of types and the names of their fields")
        self._fields = fields

    # ---- encoding: what json.dumps writes as it is needs no function of its own

    def _make_encoder(self, kind: Any) -> Encoder:
        if _is_plain(kind):
            return _same
        if kind is bytes:
            return len
        if typing.get_origin(kind) is frozenset:
            return sorted
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return attrgetter("value")
        return super()._make_encoder(kind)

    def _dataclass_encoder(self, kind: Any) -> Encoder:
        hints = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        self._fields[kind.__name__] = names
        special = []
        for at, name in enumerate(names):
            part = self._field_encoder(kind, name, hints[name])
            if part is not _same:
                special.append((at, part))
        if not names:
            return lambda _: []
        if len(names) == 1:
            (name,) = names
            part = special[0][1] if special else _same
            return lambda value: [part(getattr(value, name))]
        values = attrgetter(*names)
        if not special:
            return lambda value: list(values(value))

        def encode_fields(value: Any) -> list[Any]:
            row = list(values(value))
            for at, part in special:
                row[at] = part(row[at])
            return row

        return encode_fields

    def _field_encoder(self, kind: Any, name: str, hint: Any) -> Encoder:
        if (kind, name) in _LEFT_OUT:
            left = _LEFT_OUT[kind, name]
            return lambda _: left
        if (kind, name) in _KEYS:
            return self._hashed
        return self.encoder(hint)

    def _hashed(self, key: str) -> str:
        return hashlib.sha256(self._salt + key.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _tuple_encoder(self, arguments: tuple[Any, ...]) -> Encoder:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item = self.encoder(arguments[0])
            return lambda value: [item(each) for each in value]
        return super()._tuple_encoder(arguments)

    def _union_encoder(self, arguments: tuple[Any, ...]) -> Encoder:
        choices = _choices(arguments)
        if len(choices) == 1:
            return super()._union_encoder(arguments)
        parts = {kind: (kind.__name__, self.encoder(kind), _is_plain(kind)) for kind in choices}

        def encode_choice(value: Any) -> list[Any]:
            name, part, plain = parts[type(value)]
            return [name, part(value)] if plain else [name, *part(value)]

        return encode_choice

    # ---- decoding

    def _make_decoder(self, kind: Any) -> Decoder:
        if kind is bytes:
            return _zeros
        if typing.get_origin(kind) is frozenset:
            inner = self._tuple_decoder((*typing.get_args(kind), Ellipsis))
            return lambda value, path: frozenset(inner(value, path))
        return super()._make_decoder(kind)

    def _dataclass_decoder(self, kind: Any) -> Decoder:
        hints = typing.get_type_hints(kind)
        own = [field.name for field in dataclasses.fields(kind)]
        names = self._fields.get(kind.__name__)
        if names is None:
            return _refuse(f"the file's table of fields has no {kind.__name__}")
        unknown = [name for name in names if name not in own]
        if unknown or len(set(names)) < len(names):
            what = f"field {unknown[0]!r}, which is not known here" if unknown else "a field twice"
            return _refuse(f"{kind.__name__} has {what}; replay it with the version that wrote it")
        missing = needed_fields(kind) - set(names)
        if missing:
            return _refuse(f"{kind.__name__} has no field {min(missing)!r}")
        parts = [(name, self.decoder(hints[name])) for name in names]
        in_order = names == own[: len(names)]

        def decode_fields(value: Any, path: str) -> Any:
            if type(value) is not list or len(value) != len(parts):
                raise RecordError(f"{path}: not the {len(parts)} fields of a {kind.__name__}")
            found = [
                part(each, f"{path}.{name}")
                for (name, part), each in zip(parts, value, strict=True)
            ]
            try:
                return kind(*found) if in_order else kind(**dict(zip(names, found, strict=True)))
            except InvalidField as error:
                raise RecordError(f"{path}: {error}") from None

        return decode_fields

    def _union_decoder(self, arguments: tuple[Any, ...]) -> Decoder:
        choices = _choices(arguments)
        if len(choices) == 1:
            return super()._union_decoder(arguments)
        parts = {kind.__name__: (self.decoder(kind), _is_plain(kind)) for kind in choices}

        def decode_choice(value: Any, path: str) -> Any:
            if type(value) is not list or not value or type(value[0]) is not str:
                raise RecordError(f"{path}: no list that begins with the name of a type")
            if value[0] not in parts:
                raise RecordError(f"{path}: a {value[0][:80]!r} does not belong here")
            part, plain = parts[value[0]]
            place = value[0] if path == "" else f"{path}.{value[0]}"
            if not plain:
                return part(value[1:], place)
            if len(value) != 2:
                raise RecordError(f"{place}: not one value")
            return part(value[1], place)

        return decode_choice

    def _plain_decoder(self, kind: type) -> Decoder:
        if kind is float:
            return _number
        return super()._plain_decoder(kind)


def _same(value: Any) -> Any:
    return value


def _is_plain(kind: Any) -> bool:
    if kind in (str, int, bool, float, type(None), Ellipsis):
        return True
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return True
    if typing.get_origin(kind) in (types.UnionType, typing.Union) and len(_choices(arguments)) > 1:
        return False  # of several, the name of the one is kept
    if typing.get_origin(kind) in (tuple, types.UnionType, typing.Union):
        return all(_is_plain(each) for each in arguments)
    return False


def _choices(arguments: tuple[Any, ...]) -> list[Any]:
    return [kind for kind in arguments if kind is not type(None)]


def _number(value: Any, path: str) -> float:
    """An int stays one: in a decision log 1 and 1.0 are not the same."""
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if type(value) not in (float, int) or not math.isfinite(value):
        raise RecordError(f"{path}: {value!r} is not a number")
    return typing.cast("float", value)


def _zeros(value: Any, path: str) -> bytes:
    if type(value) is not int or not 0 <= value <= MAX_BYTES:
        raise RecordError(f"{path}: {value!r} is not a length of 0 to {MAX_BYTES} bytes")
    return bytes(value)


def _refuse(problem: str) -> Decoder:
    """For a type that this file cannot have: an error only where it has one."""

    def refuse(value: Any, path: str) -> Any:
        del value
        raise RecordError(f"{path}: {problem}")

    return refuse


def _finite(tree: Any) -> Any:
    if isinstance(tree, float) and not math.isfinite(tree):
        return "nan" if math.isnan(tree) else "inf" if tree > 0 else "-inf"
    if isinstance(tree, list | tuple):
        return [_finite(each) for each in tree]
    return tree


_dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
