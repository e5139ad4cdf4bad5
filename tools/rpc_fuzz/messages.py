"""Valid messages made from their descriptors, and what can be done to them; all from one seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

# A small vocabulary: names meet those of other messages, and what is stored stays bounded.
NAMES = ("fuzz-1", "fuzz-2", "fuzz-3", "", "no such name", "é", "a" * 300, "../../etc/passwd")
TEXTS = (
    "/bin/true", "GET", "POST", "/", "/x?y=z", "127.0.0.1:9", "none", "follow", "0.1", "\x00",
    "A" * 3000, "%s%n", "'; drop table job; --", "\N{SNOWMAN}" * 40, "\r\nX: y", "-1",
)  # fmt: skip
INTEGERS = (0, 1, 2, 3, 5, 100, 1000, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1)
REALS = (0.0, 0.001, 0.5, 1.0, 5.0, 1e9, 1e300, -1.0, math.inf, -math.inf, math.nan, 5e-324)
MOST_DEPTH = 5
_INTEGER_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def valid_message(kind: Descriptor, rng: random.Random, depth: int = 0) -> Any:
    """A message of that type that every parser takes, with sense in it here and there."""
    message = message_factory.GetMessageClass(kind)()
    for field in kind.fields:
        if depth >= MOST_DEPTH and field.message_type is not None:
            continue
        if field.containing_oneof is not None:
            # The one that is set last wins; so that all have a chance, most are left out.
            if rng.random() < 1 / max(1, len(field.containing_oneof.fields)):
                _fill(message, field, rng, depth)
        elif rng.random() < 0.7:
            _fill(message, field, rng, depth)
    return message


def tweak(message: Any, rng: random.Random) -> None:
    """Change one field somewhere in it: cleared, or of another value of its type."""
    while True:
        inner = [
            part
            for field, value in message.ListFields()
            if field.message_type is not None and not field.message_type.GetOptions().map_entry
            for part in (value if field.is_repeated else (value,))
        ]
        if not inner or rng.random() < 0.3:
            break
        message = rng.choice(inner)
    if message.DESCRIPTOR.fields:
        field = rng.choice(message.DESCRIPTOR.fields)
        message.ClearField(field.name)
        if rng.random() < 0.8:
            _fill(message, field, rng, 2)


def session_stream(kind: Descriptor, start: list[Any], rng: random.Random) -> list[bytes]:
    """Envelopes of a session, numbered: its two first, then anything, now and then out of order."""
    oneof = kind.oneofs_by_name["message"].fields
    envelopes = start if rng.random() < 0.7 else []
    incarnation = start[0].incarnation
    for field in rng.choices(oneof, k=rng.randrange(1, 7)):
        envelope = message_factory.GetMessageClass(kind)()
        part = getattr(envelope, field.name)
        part.CopyFrom(valid_message(field.message_type, rng, 1))
        part.SetInParent()
        envelope.incarnation = incarnation
        envelope.sequence = len(envelopes) + 1
        envelopes.append(envelope)
    if rng.random() < 0.2:
        tweak(rng.choice(envelopes), rng)
    if rng.random() < 0.1:
        rng.shuffle(envelopes)
    return [envelope.SerializeToString() for envelope in envelopes]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The bytes, changed in one to three ways; about one in ten stays as it is."""
    if rng.random() < 0.1:
        return data
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        rng.choice(_MUTATIONS)(changed, rng)
        del changed[2**17 :]
    return bytes(changed)


def _fill(message: Any, field: FieldDescriptor, rng: random.Random, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entries = getattr(message, field.name)
        value = field.message_type.fields_by_name["value"]
        for _ in range(rng.randrange(3)):
            if value.message_type is None:
                entries[_scalar(field.message_type.fields_by_name["key"], rng)] = _scalar(
                    value, rng
                )
        return
    if field.is_repeated:
        items = getattr(message, field.name)
        for _ in range(rng.choice((0, 1, 1, 2, 3, 40) if depth < 2 else (0, 1, 2))):
            if field.message_type is not None:
                items.append(valid_message(field.message_type, rng, depth + 1))
            else:
                items.append(_scalar(field, rng))
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(valid_message(field.message_type, rng, depth + 1))
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _scalar(field, rng))


def _scalar(field: FieldDescriptor, rng: random.Random) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.choice((0, 1, 10, 1000, 20_000)))
        if field.name == "argv":
            # What is taken is run: nothing but this.
            return "/bin/true"
        named = field.name in ("name", "node", "edge", "service") or field.name.endswith("_id")
        return rng.choice(NAMES[:3]) if named and rng.random() < 0.7 else rng.choice(TEXTS + NAMES)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values] + [77, -1, 2**31 - 1])
    if kind in _INTEGER_BITS:
        low, high = _INTEGER_BITS[kind]
        value = rng.choice(INTEGERS) if rng.random() < 0.9 else rng.randrange(low, high + 1)
        return max(low, min(high, -value if low and rng.random() < 0.1 else value))
    return rng.choice(REALS[:5]) if rng.random() < 0.7 else rng.choice(REALS)


# ---- mutations, each in place


def _flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randrange(1, 9) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _drop(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.randrange(1, 20)]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    part = bytes(data[start : start + rng.randrange(1, 200)])
    data[start:start] = part * rng.choice((1, 2, 50))


def _random_bytes(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    data[start : start + rng.randrange(20)] = rng.randbytes(rng.choice((1, 4, 30, 2000)))


def _huge_varint(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    data[start : start + rng.randrange(3)] = b"\xff" * rng.choice((4, 9, 10, 11, 200)) + b"\x01"


def _wrong_type(data: bytearray, rng: random.Random) -> None:
    if data:
        at = rng.randrange(len(data))
        data[at] = (data[at] & 0xF8) | rng.randrange(8)


def _huge_length(data: bytearray, rng: random.Random) -> None:
    tag = rng.randrange(1, 16) << 3 | 2
    data += bytes([tag]) + rng.choice((b"\xff\xff\xff\xff\x07", b"\xff\xff\xff\xff\x0f", b"\x7f"))


def _deep(data: bytearray, rng: random.Random) -> None:
    tag = rng.randrange(1, 16) << 3 | 2
    inner = b""
    for _ in range(rng.choice((50, 150, 1000))):
        length = len(inner)
        size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7 & 127])
        inner = bytes([tag]) + size + inner
        if len(inner) > 16_000:
            break
    data += inner


def _groups(data: bytearray, rng: random.Random) -> None:
    data += bytes([rng.randrange(1, 16) << 3 | 3]) * rng.choice((1, 101, 5000))


def _not_utf8(data: bytearray, rng: random.Random) -> None:
    data += bytes([rng.randrange(1, 16) << 3 | 2, 3]) + b"\xff\xfe\xed"


def _nothing_left(data: bytearray, rng: random.Random) -> None:
    del data[:]


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bits, _flip_bits, _flip_bits, _cut, _drop, _repeat, _random_bytes, _huge_varint,
    _wrong_type, _wrong_type, _huge_length, _deep, _groups, _not_utf8, _nothing_left,
)  # fmt: skip
