"""Heads of HTTP answers that were parsed before: services send the same few again and again.

But for a Date, which stands for a second, most heads of a service are the same to the byte, and a
head says where its answer ends. So each is parsed once, by llhttp, and found by its bytes after
that. Not for answers to HEAD, whose end the head does not tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.request import Headers

_END = b"\r\n\r\n"
# Only small ones, and not many: some are never seen again.
_MAX_HEADS = 256
_MAX_BYTES = 1024


@dataclass(frozen=True, slots=True)
class KnownHead:
    """An answer is this head and its body where it is `answer_bytes` long and begins with `head`.

    So who got it for an answer may try it for the next one, without a look at the others.
    """

    head: bytes
    answer_bytes: int
    body_bytes: int
    status: int
    headers: Headers


# No answer is as long as this.
NO_HEAD = KnownHead(b"", -1, 0, 0, ())

_heads: dict[bytes, KnownHead] = {}


def recognise(data: bytes) -> KnownHead | None:
    """The head of an answer that is whole and whose head is known, else None."""
    known = _heads.get(data[: data.find(_END) + len(_END)])
    return known if known is not None and len(data) == known.answer_bytes else None


def learn(data: bytes, status: int, headers: Headers, body_bytes: int) -> None:
    """Keep the head of an answer that was parsed, is whole, and leaves the connection open.

    It is kept only where the answer is that head and the body, and nothing else: not if it is
    chunked, or if an interim answer came before it.
    """
    found = data.find(_END)
    end = found + len(_END)
    if found < 0 or len(data) != end + body_bytes or end > _MAX_BYTES:
        return
    if len(_heads) >= _MAX_HEADS:
        _heads.clear()
    head = data[:end]
    _heads[head] = KnownHead(head, len(data), body_bytes, status, headers)
