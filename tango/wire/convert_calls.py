"""Converts LC requests and their answers, pb2 <-> model: the hot path, a few microseconds each.

What comes from users (LcRequest) is checked here, because method, path and headers are written into
an HTTP/1.1 connection to a replica: nothing may smuggle a second request into it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import cast

from tango.model.errors import InvalidField
from tango.model.messages import ReplyPart
from tango.model.request import (
    CallReply,
    CallRequest,
    Code,
    Dispatch,
    Headers,
    Outcome,
    RequestDone,
)
from tango.v1 import edge_service_pb2 as edge
from tango.v1 import types_pb2 as pb
from tango.wire.convert_fields import inverse, text

MAX_REQUEST_ID = 128
MAX_HEADERS = 100
MAX_HEADER_CHARS = 32 * 1024
MAX_PATH_CHARS = 8 * 1024
MAX_TIMEOUT_MS = 3_600_000.0

_OUTCOME = {
    Outcome.COMPLETED: pb.OUTCOME_COMPLETED,
    Outcome.LATE: pb.OUTCOME_LATE,
    Outcome.REJECTED: pb.OUTCOME_REJECTED,
    Outcome.FAILED: pb.OUTCOME_FAILED,
}
_OUTCOME_BACK = inverse(_OUTCOME)
_CODE = {
    Code.OK: pb.REPLY_CODE_OK,
    Code.NOT_FOUND: pb.REPLY_CODE_NOT_FOUND,
    Code.INVALID: pb.REPLY_CODE_INVALID,
    Code.RESOURCE_EXHAUSTED: pb.REPLY_CODE_RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE: pb.REPLY_CODE_UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: pb.REPLY_CODE_DEADLINE_EXCEEDED,
    Code.CANCELLED: pb.REPLY_CODE_CANCELLED,
    Code.INTERNAL: pb.REPLY_CODE_INTERNAL,
}
_CODE_BACK = inverse(_CODE)

# RFC 9110: methods and field names are tokens; field values carry no CR, LF or NUL, and are sent
# as Latin-1. RFC 9112: a request target holds no whitespace.
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"})
_METHOD = re.compile(r"[A-Z]{1,16}").fullmatch
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_HEADER_VALUE = re.compile(r"[^\r\n\0\u0100-\U0010ffff]*").fullmatch


@lru_cache(maxsize=512)
def _is_header_name(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


def headers_to_pb(headers: Headers) -> list[pb.Header]:
    """In order; names may repeat."""
    # protobuf takes dicts for messages, at two thirds of the cost of making each Header here.
    return cast("list[pb.Header]", [{"name": name, "value": value} for name, value in headers])


def call_request_to_pb(request: CallRequest) -> pb.LcRequest:
    """`stream` does not travel: it is the choice between Call and CallStreamed. Nor do origin and
    priority, which only sites tell one another."""
    return pb.LcRequest(
        request_id=request.request_id,
        service=request.service,
        method=request.method,
        path=request.path,
        headers=headers_to_pb(request.headers) if request.headers else None,
        body=request.body,
        deadline_ms=request.deadline_s * 1000,
        timeout_ms=request.timeout_s * 1000,
    )


def call_request_from_pb(
    message: pb.LcRequest, *, stream: bool = False, where: str = "request"
) -> CallRequest:
    """A checked request: an empty method is GET, an empty path "/", an id may be empty.

    Raises InvalidField naming what is wrong, for example "request.headers[2].value".
    """
    request_id = message.request_id
    method = message.method or "GET"
    path = message.path or "/"
    deadline_ms = message.deadline_ms
    timeout_ms = message.timeout_ms
    if len(request_id) > MAX_REQUEST_ID or not (request_id.isascii() and request_id.isprintable()):
        raise InvalidField(
            f"{where}.request_id",
            f"{request_id[:40]!r}",
            f"at most {MAX_REQUEST_ID} printable ASCII characters",
        )
    if method not in _METHODS and not _METHOD(method):
        raise InvalidField(f"{where}.method", f"{method[:40]!r}", 'a method such as "GET"')
    if (
        path[0] != "/"
        or " " in path
        or len(path) > MAX_PATH_CHARS
        or not (path.isascii() and path.isprintable())
    ):
        raise InvalidField(
            f"{where}.path",
            f"{path[:80]!r}",
            f"begin it with '/', percent-encode it, at most {MAX_PATH_CHARS} characters",
        )
    if not 0 <= deadline_ms <= MAX_TIMEOUT_MS:
        raise InvalidField(f"{where}.deadline_ms", f"{deadline_ms:g}", "use 0 to 3600000")
    if not 0 <= timeout_ms <= MAX_TIMEOUT_MS:
        raise InvalidField(f"{where}.timeout_ms", f"{timeout_ms:g}", "use 0 to 3600000")
    headers = message.headers
    return CallRequest(
        request_id,
        message.service,
        method,
        path,
        _checked_headers(headers, where) if headers else (),
        message.body,
        deadline_ms / 1000,
        timeout_ms / 1000,
        stream,
    )


def _checked_headers(headers: object, where: str) -> Headers:
    pairs = _pairs(headers)
    if len(pairs) > MAX_HEADERS:
        raise InvalidField(f"{where}.headers", f"are {len(pairs)}", f"at most {MAX_HEADERS}")
    size = 0
    for index, (name, value) in enumerate(pairs):
        if not _is_header_name(name):
            raise InvalidField(
                f"{where}.headers[{index}].name", f"{name[:40]!r}", "letters, digits and '-'"
            )
        if not ((value.isascii() and value.isprintable()) or _HEADER_VALUE(value)):
            raise InvalidField(
                f"{where}.headers[{index}].value", "holds CR, LF, NUL or no Latin-1", "encode it"
            )
        size += len(name) + len(value)
    if size > MAX_HEADER_CHARS:
        raise InvalidField(f"{where}.headers", f"are {size} bytes", f"at most {MAX_HEADER_CHARS}")
    return pairs


def _pairs(headers: object) -> Headers:
    return tuple([(h.name, h.value) for h in headers])  # type: ignore[attr-defined]


def call_reply_to_pb(reply: CallReply) -> pb.LcReply:
    """Field by field."""
    return pb.LcReply(
        request_id=reply.request_id,
        outcome=_OUTCOME[reply.outcome],
        code=_CODE[reply.code],
        http_status=reply.http_status,
        headers=headers_to_pb(reply.headers) if reply.headers else None,
        body=reply.body,
        node=reply.node,
        replica=reply.replica,
        queue_ms=reply.queue_ms,
        network_ms=reply.network_ms,
        service_ms=reply.service_ms,
        total_ms=reply.total_ms,
        error=text(reply.error),
        may_have_run=reply.may_have_run,
        retry_after_ms=reply.retry_after_ms,
        site=reply.site,
    )


def call_reply_from_pb(message: pb.LcReply) -> CallReply:
    """An unspecified or unknown outcome is FAILED, such a code INTERNAL: every call ends."""
    headers = message.headers
    return CallReply(
        message.request_id,
        _OUTCOME_BACK.get(message.outcome, Outcome.FAILED),
        _CODE_BACK.get(message.code, Code.INTERNAL),
        message.http_status,
        _pairs(headers) if headers else (),
        message.body,
        message.node,
        message.replica,
        message.queue_ms,
        message.network_ms,
        message.service_ms,
        message.total_ms,
        message.error,
        message.may_have_run,
        message.retry_after_ms,
        message.site,
    )


def dispatch_to_pb(dispatch: Dispatch) -> edge.Dispatch:
    """Field by field."""
    return edge.Dispatch(
        request_id=dispatch.request_id,
        service=dispatch.service,
        method=dispatch.method,
        path=dispatch.path,
        headers=headers_to_pb(dispatch.headers) if dispatch.headers else None,
        body=dispatch.body,
        timeout_s=dispatch.timeout_s,
        stream=dispatch.stream,
    )


def dispatch_from_pb(message: edge.Dispatch) -> Dispatch:
    """Unchecked: the edge has checked it."""
    headers = message.headers
    return Dispatch(
        message.request_id,
        message.service,
        message.method,
        message.path,
        _pairs(headers) if headers else (),
        message.body,
        message.timeout_s,
        message.stream,
    )


def request_done_to_pb(done: RequestDone) -> edge.RequestDone:
    """Field by field."""
    return edge.RequestDone(
        request_id=done.request_id,
        code=_CODE[done.code],
        http_status=done.http_status,
        headers=headers_to_pb(done.headers) if done.headers else None,
        body=done.body,
        replica=done.replica,
        service_s=done.service_s,
        error=text(done.error),
        ran=done.ran,
    )


def request_done_from_pb(message: edge.RequestDone) -> RequestDone:
    """An unspecified or unknown code is INTERNAL."""
    headers = message.headers
    return RequestDone(
        message.request_id,
        _CODE_BACK.get(message.code, Code.INTERNAL),
        message.http_status,
        _pairs(headers) if headers else (),
        message.body,
        message.replica,
        message.service_s,
        message.error,
        message.ran,
    )


def reply_part_to_pb(part: ReplyPart) -> edge.ReplyPart:
    """Field by field."""
    return edge.ReplyPart(
        request_id=part.request_id,
        data=part.data,
        http_status=part.http_status,
        headers=headers_to_pb(part.headers) if part.headers else None,
    )


def reply_part_from_pb(message: edge.ReplyPart) -> ReplyPart:
    """Field by field."""
    headers = message.headers
    return ReplyPart(
        message.request_id,
        message.data,
        message.http_status,
        _pairs(headers) if headers else (),
    )
