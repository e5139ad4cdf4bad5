"""One HTTP/1.1 client connection that carries one exchange after the other, without a task."""

from __future__ import annotations

import asyncio
import math
import select
import time
from collections.abc import Callable
from typing import cast

import httptools

from tango.adapters.answer_deadlines import AnswerDeadlines
from tango.adapters.http_answer import (
    Answer,
    ClosedBeforeAnswer,
    ReplicaError,
    closed,
    not_valid,
    too_large,
    too_late,
)
from tango.adapters.http_fields import MAX_HEAD_BYTES, end_to_end
from tango.adapters.http_request import HttpRequest
from tango.adapters.known_heads import NO_HEAD, learn, recognise
from tango.model.request import Code, Headers

# No server closes a connection for want of requests after so short a time.
BRIEFLY_S = 0.05


class _NotOpen(asyncio.Transport):
    """In the place of a transport before there is one and after it is lost."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


_NOT_OPEN = _NotOpen()
# In the place of a request where none is under way.
_NOTHING = HttpRequest("", "", b"", b"", 0)


class HttpConnection(asyncio.Protocol):
    """Parses with llhttp, but for answers whose head it knows.

    future: of the answer that is waited for, until `ends`; None and infinite where there is none.
    idle: where it puts itself when it can take the next request. on_closed: it is gone.
    """

    # What the one of many that is next holds is cold: slots are half the memory to fetch.
    __slots__ = (
        "_complete",
        "_deadlines",
        "_delimited",
        "_excess",
        "_fields",
        "_head_bytes",
        "_headers",
        "_idle",
        "_keep_alive",
        "_known",
        "_loop",
        "_on_closed",
        "_parser",
        "_parts",
        "_poll",
        "_request",
        "_since_body",
        "_size",
        "_started",
        "_status",
        "_timeout_s",
        "_transport",
        "_unwanted",
        "ends",
        "future",
        "idle_since",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: AnswerDeadlines,
        idle: list[HttpConnection],
        on_closed: Callable[[HttpConnection], None],
    ) -> None:
        # Asking for the running loop is a system call (os.getpid) in Python 3.11: 0.17 us.
        self._loop = loop
        self.future: asyncio.Future[Answer] | None = None
        self.ends = math.inf
        self.idle_since = 0.0
        self._deadlines = deadlines
        self._idle = idle
        self._on_closed = on_closed
        self._transport: asyncio.Transport = _NOT_OPEN
        self._poll = select.poll()
        self._request = _NOTHING
        self._timeout_s = 0.0
        self._known = NO_HEAD
        self._unwanted = False
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self._fields: list[tuple[str, str]] = []
        self._head_bytes = 0
        self._since_body = 0
        self._status = 0
        self._headers: Headers = ()
        self._delimited = False
        self._parts: list[bytes] = []
        self._size = 0
        self._started = False
        self._complete = False
        self._keep_alive = False
        self._excess = False

    def send(
        self, request: HttpRequest, timeout_s: float, now: float
    ) -> asyncio.Future[Answer] | None:
        """Write a request; its answer, or a ReplicaError within timeout_s of now (monotonic).

        None where the connection is closed already: nothing was sent.

        It asks the kernel, not only the event loop: a close that came in since that polled last
        would else look like a failure of the request, of which nobody knows whether it ran. Where
        it may be repeated, that does no harm; then a connection that was in use just now is not
        looked at, which saves 0.45 us. Not so one that was idle for longer: what came in meanwhile
        would be taken for the answer.
        """
        assert self.future is None
        transport = self._transport
        if transport.is_closing():
            return None
        if not (request.repeatable and now - self.idle_since < BRIEFLY_S) and self._poll.poll(0):
            return None
        future = self.future = self._loop.create_future()
        self._request = request
        self._timeout_s = timeout_s
        ends = self.ends = now + timeout_s
        if ends < self._deadlines.due:
            self._deadlines.arm(ends)
        transport.write(request.start)
        if request.rest:
            transport.write(request.rest)
        return future

    def fail(self, error: Exception) -> None:
        """End the exchange with an error, and the connection with it."""
        future = self.future
        if future is not None:
            self._end()
            if not future.done():
                future.set_exception(error)
        self.abort()

    def expire(self) -> None:
        """The answer's deadline has passed."""
        self.fail(too_late(self._timeout_s))

    def abort(self) -> None:
        """Close at once, or as soon as it opens; what was not sent is dropped."""
        self._unwanted = True
        self._transport.abort()

    def pause(self) -> None:
        """Read no more until resume(): the kernel's buffers then hold the replica back."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on; fine where it was not paused."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready."""
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if self._unwanted:
            self._transport.abort()
            return
        self.idle_since = time.monotonic()
        found = transport.get_extra_info("socket")
        self._poll.register(found.fileno(), select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer; on an idle connection they answer nothing, and it is closed."""
        future, request = self.future, self._request
        if future is None:
            self.abort()
            return
        if request.by_head and not self._started:
            # Most answers have the head of the one before: to take that off takes half of looking
            # for its end and for it among all that are known.
            known = self._known
            if len(data) == known.answer_bytes and known.body_bytes <= request.max_body_bytes:
                body = data.removeprefix(known.head)
                if len(body) == known.body_bytes:
                    # The parser sees none of it, nor is it reset. This is _end and _rest, written
                    # out: nearly every answer comes by here.
                    self.future = None
                    self._request = _NOTHING
                    self.ends = math.inf
                    now = self.idle_since = time.monotonic()
                    if not future.done():
                        future.set_result((known.status, known.headers, body, now))
                    # The loop reads nothing once the transport closes, and `send` looks again.
                    if self._transport.get_write_buffer_size():
                        self._transport.close()
                    else:
                        self._idle.append(self)
                    return
            other = recognise(data)
            if other is not None and other.body_bytes <= request.max_body_bytes:
                self._known = other
                self.data_received(data)
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        by_head = self._request.by_head and not self._started
        self._started = True
        self._since_body += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self.fail(cause if isinstance(cause, Exception) else error)
            return
        except httptools.HttpParserUpgrade:
            self.fail(not_valid("it switched protocols without being asked"))
            return
        except httptools.HttpParserError as error:
            if not self._complete:
                self.fail(not_valid(str(error)))
                return
            self._excess = True  # garbage after a whole answer
        if self._complete:
            if by_head and self._keep_alive and not self._excess:
                learn(data, self._status, self._headers, sum(len(part) for part in self._parts))
            self._finish()
        elif self._since_body > MAX_HEAD_BYTES:
            self.fail(
                not_valid(f"its head, or what stands between two parts, is above {MAX_HEAD_BYTES}")
            )

    def connection_lost(self, error: Exception | None) -> None:
        """The end of an answer without a length, or of one that is cut short."""
        self._transport = _NOT_OPEN
        if self.future is not None:
            if not self._started:
                self.fail(ClosedBeforeAnswer(closed("before it answered", error)))
            elif self._headers_complete and not self._delimited and error is None:
                self._finish()
            else:
                message = closed("in the middle of its answer", error)
                self.fail(ReplicaError(Code.UNAVAILABLE, message, ran=True))
        self._on_closed(self)

    # ---- httptools

    def on_message_begin(self) -> None:
        """A second answer to one request makes the connection worthless."""
        if self._complete:
            self._excess = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; those of a trailer section are not kept."""
        if self._status or self._complete:
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES:
            raise not_valid(f"its head is above {MAX_HEAD_BYTES} bytes")
        self._fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is whole; an interim one (1xx) is dropped."""
        if self._complete:
            return
        request = self._request
        status = self._parser.get_status_code()
        if status < 200:
            self._fields.clear()
            self._head_bytes = 0
            return
        length = self._read_framing()
        if length > request.max_body_bytes and request.on_part is None:
            raise too_large(request.max_body_bytes)
        self._status = status
        self._headers = end_to_end(self._fields)
        if request.to_head:
            # llhttp is not told that no body follows, so this message has no other end.
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._since_body = 0
        request = self._request
        if self._complete or self.future is None:
            self._excess = True
        elif request.on_part is not None:
            request.on_part(self._status, self._headers, data)
        else:
            self._size += len(data)
            if self._size > request.max_body_bytes:
                raise too_large(request.max_body_bytes)
            self._parts.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one."""
        if self._status and not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    # ----

    @property
    def _headers_complete(self) -> bool:
        return self._status != 0

    def _read_framing(self) -> int:
        """The length that the fields promise, else 0; notes whether they tell where it ends."""
        length = 0
        self._delimited = False
        for name, value in self._fields:
            lower = name.lower()
            if lower == "content-length":
                if not value.strip().isdigit():
                    raise not_valid(f"its Content-Length is {value[:40]!r}")
                self._delimited = True
                length = int(value)
            elif lower == "transfer-encoding":
                if value.strip().lower() != "chunked":
                    raise not_valid(f"its transfer coding {value[:40]!r} is not supported")
                self._delimited = True
        return length

    def _finish(self) -> None:
        future, request = self.future, self._request
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        answer = (self._status, self._headers, body, time.monotonic())
        self._end()
        if future is not None and not future.done():
            future.set_result(answer)
        if not self._keep_alive or self._excess:
            self._transport.close()
            return
        if request.to_head:
            self._parser = httptools.HttpResponseParser(self)
        self._reset()
        self.resume()
        self._rest()

    def _end(self) -> None:
        self.future = None
        self._request = _NOTHING
        self.ends = math.inf

    def _rest(self) -> None:
        """Wait for the next request; closed instead where none can follow."""
        transport = self._transport
        # What is left to be written belongs to a request that was answered before it was read.
        if transport.is_closing() or transport.get_write_buffer_size():
            transport.close()
        else:
            self.idle_since = time.monotonic()
            self._idle.append(self)
