"""HTTP/1.1 request heads and header fields: what may pass through, what stays on one hop."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tango.model.errors import InvalidField
from tango.model.request import Headers

MAX_HEAD_BYTES = 64 * 1024

# RFC 9110, 7.6.1, and what only concerns a proxy (11.7) or a trailer section, which is not kept.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Set anew for the next hop; the whole body is sent at once, so nothing is to be expected first.
_SET_HERE = frozenset({"host", "content-length", "expect"})
_NOT_PASSED_ON = HOP_BY_HOP | _SET_HERE
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"/[!-~]*")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


def request_head(host: str, method: str, path: str, headers: Headers, body_bytes: int) -> bytes:
    """The head of a request: hop-by-hop fields left out, Host and Content-Length set.

    Raises InvalidField for what could end a line early or is no valid field (RFC 9110, 5.1, 5.5),
    and above 64 KiB.
    """
    if not _TOKEN.fullmatch(method) or method == "CONNECT":
        raise InvalidField("method", f"{method[:40]!r} is not a method", "write GET or POST")
    if not _TARGET.fullmatch(path):
        fix = "begin it with '/', percent-encode spaces and what is not ASCII"
        raise InvalidField("path", f"{path[:80]!r} is not a path", fix)
    lines = [f"{method} {path} HTTP/1.1\r\nhost: {host}"]
    named: frozenset[str] | None = None
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise InvalidField("headers", f"{name[:40]!r} is not a field name", "remove it")
        if not _VALUE.fullmatch(value):
            problem = f"the value of {name} holds a line break, a control or no Latin-1 character"
            raise InvalidField("headers", problem, "remove or encode it")
        lower = name.lower()
        if lower in _NOT_PASSED_ON:
            continue
        if named is None:
            named = _named_by_connection(headers)
        if lower not in named:
            lines.append(f"{name}: {value.strip()}")
    if body_bytes or method in _WITH_BODY:
        lines.append(f"content-length: {body_bytes}")
    lines.append("\r\n")
    head = "\r\n".join(lines).encode("latin-1")
    if len(head) > MAX_HEAD_BYTES:
        raise InvalidField("headers", f"take {len(head)} bytes", f"at most {MAX_HEAD_BYTES}")
    return head


def end_to_end(fields: Iterable[tuple[str, str]]) -> Headers:
    """A reply's fields without the hop-by-hop ones; order and doubled fields are kept."""
    fields = tuple(fields)
    named = _named_by_connection(fields)
    return tuple(
        field
        for field in fields
        if (lower := field[0].lower()) not in HOP_BY_HOP and lower not in named
    )


def _named_by_connection(fields: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Lower-case names of the fields that Connection declares to be for this hop only."""
    names: list[str] = []
    for name, value in fields:
        if name.lower() == "connection":
            names += (option.strip().lower() for option in value.split(","))
    return frozenset(names)
