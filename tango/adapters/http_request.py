"""A request as it is sent to a replica; plain ones are put together once and kept."""

from __future__ import annotations

from tango.adapters.http_answer import OnPart, ReplicaError
from tango.adapters.http_fields import request_head
from tango.model.errors import InvalidField
from tango.model.request import Code, Headers

SAFE_METHODS = frozenset({"GET", "HEAD"})
# Of plain requests that are kept; above it all are let go and it starts again.
MAX_KEPT = 1024
MAX_KEPT_PATH = 256
# Above this the body is written on its own: copying it behind the head would cost more.
_JOIN_BYTES = 16 * 1024


class HttpRequest:
    """What one exchange sends, and how its answer is to be read. Not changed, so it may be shared.

    start, rest: its bytes; a small body follows its head at once, and there is no rest then.
    on_part takes an answer's body in parts; max_body_bytes does not count then.
    repeatable: it may be sent again although the replica may have served it (RFC 9110, 9.2.1).
    by_head: an answer's head tells where the answer ends, and it is wanted in one piece.
    """

    __slots__ = (
        "by_head",
        "max_body_bytes",
        "method",
        "on_part",
        "path",
        "repeatable",
        "rest",
        "start",
        "to_head",
    )

    def __init__(
        self,
        method: str,
        path: str,
        head: bytes,
        body: bytes,
        max_body_bytes: int,
        on_part: OnPart | None = None,
    ) -> None:
        self.method = method
        self.path = path
        joined = len(body) <= _JOIN_BYTES
        self.start = head + body if joined else head
        self.rest = b"" if joined else body
        self.max_body_bytes = max_body_bytes
        self.on_part = on_part
        self.to_head = method == "HEAD"
        self.repeatable = method in SAFE_METHODS
        self.by_head = on_part is None and not self.to_head


class HttpRequests:
    """Makes requests to replicas on one host.

    max_body_bytes: of a request, and of an answer unless its request says otherwise.
    kept: plain ones by (port, method, path).
    """

    def __init__(self, host: str, max_body_bytes: int) -> None:
        self._host = host
        self._max_body_bytes = max_body_bytes
        self.kept: dict[tuple[int, str, str], HttpRequest] = {}

    def plain(self, port: int, method: str, path: str) -> HttpRequest:
        """One without fields and body: the same ones are asked again and again."""
        found = self.kept.get((port, method, path))
        if found is None:
            found = self.make(port, method, path, (), b"")
            if len(path) <= MAX_KEPT_PATH:
                if len(self.kept) >= MAX_KEPT:
                    self.kept.clear()
                self.kept[port, method, path] = found
        return found

    def make(
        self,
        port: int,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        max_body_bytes: int | None = None,
        on_part: OnPart | None = None,
    ) -> HttpRequest:
        """Any one. Raises ReplicaError for what cannot be sent."""
        limit = self._max_body_bytes
        if len(body) > limit:
            message = f"body: {len(body)} bytes are too many; at most {limit}"
            raise ReplicaError(Code.INVALID, message, ran=False)
        try:
            head = request_head(f"{self._host}:{port}", method, path, headers, len(body))
        except InvalidField as error:
            raise ReplicaError(Code.INVALID, str(error), ran=False) from error
        most = limit if max_body_bytes is None else max_body_bytes
        return HttpRequest(method, path, head, body, most, on_part)
