"""HTTP/1.1 requests out of bytes and replies into bytes (RFC 9112), bounded and without I/O.

Strict where leniency lets requests be smuggled: bare line feeds, folded headers, blanks before the
colon, differing lengths and request bodies in chunks are refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
MAX_QUERY_FIELDS = 32

# http.client has this table too, but to import it takes as long as all the rest of the program.
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class HttpError(Exception):
    """The request is refused with `status`. From the reader: the connection is lost with it."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem


@dataclass(slots=True)
class Request:
    """One whole request. headers: names in lower case, repeated ones joined by ", "."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    keep_alive: bool
    chunks_allowed: bool
    body: bytes = b""


@dataclass(slots=True)
class Reply:
    """What to answer: `body`, or, where `chunks` is set, its parts one by one as they come."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    chunks: AsyncGenerator[bytes, None] | None = None


class RequestReader:
    """Cuts a connection's bytes into requests; any cutting of the bytes gives the same ones."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._head: Request | None = None
        self._body_bytes = 0
        self._continue = False

    @property
    def buffered(self) -> int:
        """Bytes received that belong to no request given out yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """More bytes of the connection, in order."""
        self._buffer += data

    def next(self) -> Request | None:
        """The next whole request, None until it is there.

        Raises HttpError for bytes that are no acceptable request; nothing can follow it.
        """
        if self._head is None and not self._read_head():
            return None
        if self._head is None or len(self._buffer) < self._body_bytes:
            return None
        request, self._head = self._head, None
        request.body = bytes(self._buffer[: self._body_bytes])
        del self._buffer[: self._body_bytes]
        self._continue = False
        return request

    def take_continue(self) -> bool:
        """True once where the client waits for "100 Continue" before it sends the body."""
        wanted, self._continue = self._continue and self._head is not None, False
        return wanted

    def _read_head(self) -> bool:
        while self._buffer[:2] == b"\r\n":  # RFC 9112 2.2: empty lines before a request
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", self._searched)
        if end > MAX_HEAD_BYTES or (end < 0 and len(self._buffer) > MAX_HEAD_BYTES):
            raise HttpError(431, f"the request's head is larger than {MAX_HEAD_BYTES} bytes")
        if end < 0:
            if b"\n\n" in self._buffer:
                raise HttpError(400, "lines must end in CR LF")
            self._searched = max(0, len(self._buffer) - 3)
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        self._searched = 0
        method, target, version = _request_line(lines[0])
        headers = _headers(lines[1:])
        self._body_bytes = self._length(headers)
        self._head = _head(method, target, version, headers)
        self._continue = version == 1 and headers.get("expect", "").lower() == "100-continue"
        return True

    def _length(self, headers: dict[str, str]) -> int:
        if "transfer-encoding" in headers:
            if "content-length" in headers:
                raise HttpError(400, "both Content-Length and Transfer-Encoding")
            raise HttpError(501, "request bodies need a Content-Length here")
        text = headers.get("content-length", "0")
        if not (text.isascii() and text.isdigit()):
            raise HttpError(400, f"Content-Length is {text[:40]!r}")
        # Compared by length of the text first: int() of a huge one is slow.
        if len(text) > 15 or int(text) > self._max_body_bytes:
            raise HttpError(413, f"the body is larger than {self._max_body_bytes} bytes")
        return int(text)


def _request_line(line: str) -> tuple[str, str, int]:
    parts = line.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not parts[1].isprintable():
        raise HttpError(400, f"not a request line: {line[:60]!r}")
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        known = version.startswith("HTTP/")
        raise HttpError(505 if known else 400, f"not HTTP/1.1: {version[:20]!r}")
    return method, target, int(version[-1])


def _headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise HttpError(431, f"more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise HttpError(400, f"not a header: {line[:60]!r}")
        name, value = name.lower(), value.strip(" \t")
        if name not in headers:
            headers[name] = value
        elif name == "host" or (name == "content-length" and headers[name] != value):
            raise HttpError(400, f"{name} is there twice")
        elif name != "content-length":
            headers[name] += f", {value}"
    return headers


def _head(method: str, target: str, version: int, headers: dict[str, str]) -> Request:
    if version == 1 and "host" not in headers:
        raise HttpError(400, "HTTP/1.1 needs a Host header")
    try:
        url = urlsplit(target if not target.startswith("//") else f"/.{target}")
        query = dict(parse_qsl(url.query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
    except ValueError as error:
        raise HttpError(400, f"not a target: {target[:60]!r} ({error})") from None
    if not target.startswith("/") and url.scheme not in ("http", "https"):
        raise HttpError(400, f"not a target: {target[:60]!r}")
    wishes = {wish.strip().lower() for wish in headers.get("connection", "").split(",")}
    keep_alive = "close" not in wishes and (version == 1 or "keep-alive" in wishes)
    return Request(method, url.path or "/", query, headers, keep_alive, version == 1)


def reply_head(reply: Reply, *, keep_alive: bool, chunked: bool) -> bytes:
    """The reply's head; its body's length is in it unless it comes in chunks."""
    lines = [
        f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}",
        f"Date: {_date(int(time.time()))}",
    ]
    if reply.status not in (204, 304):
        lines.append(f"Content-Type: {reply.content_type}")
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        elif reply.chunks is None:
            lines.append(f"Content-Length: {len(reply.body)}")
    lines.extend(f"{name}: {value}" for name, value in reply.headers.items())
    lines.append(f"Connection: {'keep-alive' if keep_alive else 'close'}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _date(now_s: int) -> str:
    """RFC 9110 5.6.7; strftime would follow the locale."""
    t = time.gmtime(now_s)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
        f" {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )
