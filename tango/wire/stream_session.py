"""One end of a session stream: numbering, reading, writing; the transport below is two callables.

gRPC gives `read` and `write` of protobuf envelopes; the in-memory transport (tests, simulator)
gives queues. Who is on the other end, and what the messages mean, is the daemon's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from tango.controllers.session import SessionGate, SessionNumbers, Verdict
from tango.wire.mailbox import Mailbox

In = TypeVar("In")
Out = TypeVar("Out")


# A write costs about as much as ten messages in it: on a busy stream those that come within this
# time travel together. One that comes alone, after a pause, is never kept waiting.
WRITE_GAP_S = 0.001
# How long the end of a stream may take to reach its reader after its writer.
REASON_S = 1.0


class SessionBroken(Exception):
    """The stream cannot go on: a gap in the numbers, a stale sender, nonsense, or the end of it."""


class BadEnvelope(SessionBroken):
    """An envelope whose message makes no sense (a state that is missing, a number out of range)."""

    def __init__(self, problem: str, incarnation: int, sequence: int) -> None:
        super().__init__(problem)
        self.incarnation = incarnation
        self.sequence = sequence


class UnknownMessage(BadEnvelope):
    """An envelope with no message that this version knows: empty, or of a newer version.

    Its numbers are sound: a receiver may count it and go on.
    """


class Transport(Protocol):
    """A bidirectional stream of envelopes."""

    async def read(self) -> object | None:
        """The next envelope, None at the end of the stream."""
        ...

    async def write(self, envelope: object) -> None:
        """Send; returns when the transport took it."""
        ...


class StreamSession(Generic[In, Out]):
    """Sends `Out`, receives `In`: one reader, one writer; `run` ends when either of them does.

    peer: the host on the other side, "" where that is not known.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        incarnation: int,
        encode: Callable[[Out, int, int], object],
        decode: Callable[[object], tuple[int, int, In]],
        mailbox: Mailbox,
        peer: str = "",
    ) -> None:
        self.peer = peer
        self._transport = transport
        self._numbers = SessionNumbers(incarnation)
        self._encode = encode
        self._decode = decode
        self._mailbox = mailbox
        self._gate = SessionGate()
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = self._writing = self._over = False
        self._last_reason = ""

    def send(self, message: Out) -> bool:
        """Queue a message; False (and the session ends) when the other side is too slow."""
        if self._closed.done():
            return False
        if self._mailbox.put(message):
            return True
        if not self._last_reason:
            self.close("the other side reads too slowly: its queue is full")
        return False

    @property
    def backlog(self) -> int:
        """Messages that wait to go out."""
        return len(self._mailbox)

    def close(self, reason: str) -> None:
        """End the session; the first reason stands."""
        if not self._closed.done():
            self._closed.set_result(reason)

    def finish(self, reason: str) -> None:
        """End the session once all that waits to go out has gone; nothing more is sent."""
        self._last_reason = reason
        self._mailbox.close()

    async def receive(self, timeout_s: float | None = None) -> In:
        """The next in-order message; duplicates are dropped. Raises SessionBroken."""
        if timeout_s is not None:
            async with asyncio.timeout(timeout_s):
                return await self.receive()
        while True:
            self._reading = True
            try:
                envelope = await self._transport.read()
            finally:
                self._reading = False
            if envelope is None:
                raise SessionBroken("the other side closed the stream")
            message: In | None = None
            try:
                incarnation, sequence, message = self._decode(envelope)
            except UnknownMessage as unknown:
                # A neighbouring version says more than we know: counted, and passed over.
                incarnation, sequence = unknown.incarnation, unknown.sequence
            verdict = self._gate.check(incarnation, sequence)
            if verdict is Verdict.ACCEPT:
                if message is not None:
                    return message
                continue
            if verdict is not Verdict.DUPLICATE:
                raise SessionBroken(f"{verdict.value}: message {incarnation}/{sequence}")

    async def run(self, on_message: Callable[[In], Awaitable[None] | None]) -> str:
        """Read and write until the stream ends, `close` is called, or the task is cancelled.

        Returns why it ended. Exceptions of on_message pass through: they are the daemon's bugs.
        """
        reader = asyncio.ensure_future(self._read(on_message))
        writer = asyncio.ensure_future(self._write())
        try:
            ends: set[asyncio.Future[Any]] = {reader, writer, self._closed}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if writer.done() and not reader.done() and not self._closed.done():
                # A write that failed says nothing of why; the read that fails with it does.
                await asyncio.wait(
                    ends - {writer}, timeout=REASON_S, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            self._over = True
            tasks = [
                task
                for task, in_transport in ((reader, self._reading), (writer, self._writing))
                if not _let_go(task, in_transport)
            ]
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._mailbox.close()
        reason = self._closed.result() if self._closed.done() else ""
        for result in results:
            if isinstance(result, asyncio.CancelledError) or result is None:
                continue
            if isinstance(result, BaseException) and not _is_transport_end(result):
                raise result
            reason = reason or str(result) or type(result).__name__
        self.close(reason or "the stream ended")
        return self._closed.result()

    async def _read(self, on_message: Callable[[In], Awaitable[None] | None]) -> None:
        while True:
            message = await self.receive()
            if self._over:
                return
            waiting = on_message(message)
            if waiting is not None:
                await waiting

    async def _write(self) -> None:
        clock = asyncio.get_running_loop().time
        last = -WRITE_GAP_S
        while (message := await self._mailbox.get(after=last + WRITE_GAP_S)) is not None:
            last = clock()
            incarnation, sequence = self._numbers.draw()
            envelope = self._encode(message, incarnation, sequence)  # type: ignore[arg-type]
            self._writing = True
            try:
                await self._transport.write(envelope)
            finally:
                self._writing = False
        if self._last_reason:
            self.close(self._last_reason)


# Reads and writes that end with their stream, by themselves.
_let_go_of: set[asyncio.Future[Any]] = set()


def _let_go(task: asyncio.Future[Any], in_transport: bool) -> bool:
    """Leave a task to itself that waits in the transport; whether it does.

    grpc.aio frees what belongs to a read or a write only where that is waited for: each one that is
    cancelled costs some KiB for ever. It ends with its stream, which ends with the session.
    """
    if task.done() or not in_transport:
        return False
    _let_go_of.add(task)
    task.add_done_callback(_gone)
    return True


def _gone(task: asyncio.Future[Any]) -> None:
    _let_go_of.discard(task)
    if not task.cancelled():
        task.exception()


def _is_transport_end(error: BaseException) -> bool:
    # grpc.aio ends a read or write on a dead stream with its own errors; what they have in common
    # is that they come from grpc, not from us.
    return isinstance(error, SessionBroken | OSError | EOFError | TimeoutError) or type(
        error
    ).__module__.startswith("grpc")
