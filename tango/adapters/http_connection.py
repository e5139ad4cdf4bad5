"""One HTTP/1.1 client connection that carries one exchange after the other, without a task."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

from tango.adapters.http_fields import MAX_HEAD_BYTES, end_to_end
from tango.adapters.known_heads import learn, recognise
from tango.model.request import Code, Headers

# Above this the body is written on its own: copying it behind the head would cost more.
_JOIN_BYTES = 16 * 1024
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class ReplicaError(Exception):
    """No whole answer came from a replica.

    ran: the replica may have seen the request; False makes a second try safe.
    """

    def __init__(self, code: Code, message: str, *, ran: bool) -> None:
        super().__init__(message)
        self.code = code
        self.ran = ran


class ClosedBeforeAnswer(ReplicaError):
    """The replica closed the connection before it sent one byte of an answer."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAVAILABLE, message, ran=True)


class HttpReply(NamedTuple):
    """A replica's answer; body is empty where its parts went to an on_part callback."""

    status: int
    headers: Headers
    body: bytes


OnPart = Callable[[int, Headers, bytes], None]


class Exchange:
    """A request on its way. future: the HttpReply to come, once it is sent.

    on_part takes an answer's body in parts; max_body_bytes does not count then. timeout: of the
    connection that is being opened. timer: of the answer.
    """

    __slots__ = (
        "aborted",
        "body",
        "connection",
        "future",
        "head",
        "max_body_bytes",
        "method",
        "on_part",
        "timeout",
        "timeout_s",
        "timer",
    )

    def __init__(
        self,
        method: str,
        head: bytes,
        body: bytes,
        timeout_s: float,
        max_body_bytes: int,
        on_part: OnPart | None,
    ) -> None:
        self.method = method
        self.head = head
        self.body = body
        self.timeout_s = timeout_s
        self.max_body_bytes = max_body_bytes
        self.on_part = on_part
        self.future: asyncio.Future[HttpReply] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.connection: HttpConnection | None = None
        self.timeout: asyncio.Timeout | None = None
        self.aborted = False

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again although the replica may have served it."""
        return self.method in _SAFE_METHODS


class HttpConnection(asyncio.Protocol):
    """Parses with llhttp. on_idle: it can take the next exchange. on_closed: it is gone."""

    def __init__(
        self,
        port: int,
        on_idle: Callable[[HttpConnection], None],
        on_closed: Callable[[HttpConnection], None],
    ) -> None:
        self.port = port
        self.idle_since = 0.0
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._poll: select.poll | None = None
        self._exchange: Exchange | None = None
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

    @property
    def usable(self) -> bool:
        """Whether the next exchange can be sent; asks the kernel, not only the event loop.

        A close that came in since the loop last polled would else look like a failure of the
        request, of which nobody knows whether it ran.
        """
        if self._transport is None or self._transport.is_closing() or self._poll is None:
            return False
        return not self._poll.poll(0)

    def send(self, exchange: Exchange, left_s: float) -> asyncio.Future[HttpReply]:
        """Write the request; the future ends with the reply or a ReplicaError, in left_s seconds.

        Raises ReplicaError at once, with ran False, where the connection is closed already.
        """
        assert self._exchange is None
        if self._transport is None or self._transport.is_closing():
            message = _reason("before the request was sent", None)
            raise ReplicaError(Code.UNAVAILABLE, message, ran=False)
        loop = asyncio.get_running_loop()
        exchange.future = loop.create_future()
        exchange.connection = self
        self._exchange = exchange
        exchange.timer = loop.call_later(left_s, self._expire, exchange)
        if len(exchange.body) <= _JOIN_BYTES:
            self._transport.write(exchange.head + exchange.body)
        else:
            self._transport.write(exchange.head)
            self._transport.write(exchange.body)
        return exchange.future

    def fail(self, error: Exception) -> None:
        """End the exchange with an error, and the connection with it."""
        exchange = self._exchange
        if exchange is not None:
            self._end(exchange)
            if exchange.future is not None and not exchange.future.done():
                exchange.future.set_exception(error)
        self.abort()

    def abort(self) -> None:
        """Close at once, or as soon as it opens; what was not sent is dropped."""
        self._unwanted = True
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more until resume(): the kernel's buffers then hold the replica back."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on; fine where it was not paused."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready."""
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if self._unwanted:
            self._transport.abort()
            return
        found = transport.get_extra_info("socket")
        self._poll = select.poll()
        self._poll.register(found.fileno(), select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer; on an idle connection they answer nothing, and it is closed."""
        exchange = self._exchange
        if exchange is None:
            self.abort()
            return
        whole = not self._started and exchange.on_part is None and exchange.method != "HEAD"
        if whole:
            known = recognise(data)
            if known is not None and len(known[2]) <= exchange.max_body_bytes:
                self._take_known(exchange, HttpReply(*known))
                return
        self._started = True
        self._since_body += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self.fail(cause if isinstance(cause, Exception) else error)
            return
        except httptools.HttpParserUpgrade:
            self.fail(_bad("it switched protocols without being asked"))
            return
        except httptools.HttpParserError as error:
            if not self._complete:
                self.fail(_bad(str(error)))
                return
            self._excess = True  # garbage after a whole answer
        if self._complete:
            if whole and self._keep_alive and not self._excess:
                learn(data, self._status, self._headers, sum(len(part) for part in self._parts))
            self._finish()
        elif self._since_body > MAX_HEAD_BYTES:
            self.fail(
                _bad(f"its head, or what stands between two parts, is above {MAX_HEAD_BYTES}")
            )

    def connection_lost(self, error: Exception | None) -> None:
        """The end of an answer without a length, or of one that is cut short."""
        self._poll = None
        exchange = self._exchange
        if exchange is not None:
            if not self._started:
                self.fail(ClosedBeforeAnswer(_reason("before it answered", error)))
            elif self._headers_complete and not self._delimited and error is None:
                self._finish()
            else:
                message = _reason("in the middle of its answer", error)
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
            raise _bad(f"its head is above {MAX_HEAD_BYTES} bytes")
        self._fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is whole; an interim one (1xx) is dropped."""
        if self._complete:
            return
        exchange = self._exchange
        assert exchange is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._fields.clear()
            self._head_bytes = 0
            return
        length = self._read_framing()
        if length > exchange.max_body_bytes and exchange.on_part is None:
            raise _too_large(exchange.max_body_bytes)
        self._status = status
        self._headers = end_to_end(self._fields)
        if exchange.method == "HEAD":
            # llhttp is not told that no body follows, so this message has no other end.
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._since_body = 0
        exchange = self._exchange
        if self._complete or exchange is None:
            self._excess = True
        elif exchange.on_part is not None:
            exchange.on_part(self._status, self._headers, data)
        else:
            self._size += len(data)
            if self._size > exchange.max_body_bytes:
                raise _too_large(exchange.max_body_bytes)
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

    def _take_known(self, exchange: Exchange, reply: HttpReply) -> None:
        """A whole answer with a head that is known: the parser saw none of it, nor is it reset."""
        transport = self._transport
        assert transport is not None
        self._end(exchange)
        future = exchange.future
        if future is not None and not future.done():
            future.set_result(reply)
        if transport.is_closing() or transport.get_write_buffer_size():
            transport.close()
        else:
            self._on_idle(self)

    def _read_framing(self) -> int:
        """The length that the fields promise, else 0; notes whether they tell where it ends."""
        length = 0
        self._delimited = False
        for name, value in self._fields:
            lower = name.lower()
            if lower == "content-length":
                if not value.strip().isdigit():
                    raise _bad(f"its Content-Length is {value[:40]!r}")
                self._delimited = True
                length = int(value)
            elif lower == "transfer-encoding":
                if value.strip().lower() != "chunked":
                    raise _bad(f"its transfer coding {value[:40]!r} is not supported")
                self._delimited = True
        return length

    def _finish(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        reply = HttpReply(self._status, self._headers, body)
        transport = self._transport
        assert transport is not None
        keep = (
            self._keep_alive
            and not self._excess
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )
        self._end(exchange)
        if exchange.future is not None and not exchange.future.done():
            exchange.future.set_result(reply)
        if not keep:
            transport.close()
            return
        if exchange.method == "HEAD":
            self._parser = httptools.HttpResponseParser(self)
        self._reset()
        self.resume()
        self._on_idle(self)

    def _end(self, exchange: Exchange) -> None:
        self._exchange = None
        exchange.connection = None
        if exchange.timer is not None:
            exchange.timer.cancel()
            exchange.timer = None

    def _expire(self, exchange: Exchange) -> None:
        message = f"no whole answer within {exchange.timeout_s * 1000:.0f} ms"
        self.fail(ReplicaError(Code.DEADLINE_EXCEEDED, message, ran=True))


def _bad(problem: str) -> ReplicaError:
    return ReplicaError(Code.INTERNAL, f"the answer is not valid HTTP/1.1: {problem}", ran=True)


def _too_large(limit: int) -> ReplicaError:
    return ReplicaError(Code.INTERNAL, f"the answer's body is above {limit} bytes", ran=True)


def _reason(when: str, error: Exception | None) -> str:
    how = "reset" if isinstance(error, ConnectionResetError | BrokenPipeError) else "closed"
    return f"the replica {how} the connection {when}"
