"""The worker's side of the supervisor's socket: requests, events, reconnects; and its start.

The protocol is written down in tango/supervisor/protocol.py, which is never imported here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, cast

from tango.adapters.supervisor_start import PROTOCOL_VERSION, ensure_supervisor
from tango.ports import RuntimeLost

__all__ = ["Json", "SupervisorClient", "SupervisorRefused", "ensure_supervisor"]

Json = dict[str, Any]

MAX_REQUEST_BYTES = 1 << 20
_MAX_LINE_BYTES = 4 << 20
_ANSWER_S = 15.0
# Tries after a lost connection, each after a pause: long enough for a supervisor that is restarted.
_PAUSES_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 2.0)
# After so many in vain it is started by us, where that is for us to do: soon, since the exit codes
# of what ends meanwhile are lost.
_REVIVE_AFTER = 1
_SENDS = 3
# A request that only asks for a sign of life. In two halves: of a time that this process itself
# did not run, at most one counts against the supervisor.
ALIVE_EVERY_S = 2.0
ALIVE_WITHIN_S = 5.0


class SupervisorRefused(Exception):
    """The supervisor said no. code: see its protocol; reply: all that it said."""

    def __init__(self, reply: Json) -> None:
        super().__init__(str(reply.get("error", "no reason given")))
        self.code = str(reply.get("code", ""))
        self.reply = reply


class NotRevived(Exception):
    """What `revive` raises where it could not start a supervisor; it is asked again later."""


class _ConnectionLost(Exception):
    """The connection ended, or never came about; a new one may help."""


class SupervisorClient:
    """One connection at a time, made again when it is lost.

    on_event: called with each event. on_connected: called after each connect with all records,
    listed once events come, so that no end is missed. on_lost: called when the connection ends,
    with the reason. revive: starts a supervisor where none answers; a new one may die too, so it
    is asked before every later try.
    Every operation of the protocol can be repeated, so a request whose answer was lost with the
    connection is sent again on the next one.
    """

    def __init__(
        self,
        socket_path: Path | str,
        *,
        on_event: Callable[[Json], None],
        on_connected: Callable[[list[Json]], None],
        on_lost: Callable[[str], None],
        revive: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._path = str(socket_path)
        self._on_event = on_event
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._revive = revive
        self._lines: _Lines | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self.hello: Json = {}

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether requests can be sent without connecting first."""
        return self._is_open()

    def _is_open(self) -> bool:
        return self._lines is not None and self._lines.open

    async def connect(self) -> None:
        """Make sure that there is a connection. RuntimeLost after about 5 s of trying."""
        if self._is_open():
            return
        async with self._connecting:
            problem: Exception | None = None
            for tries, pause_s in enumerate(_PAUSES_S):
                if self._closed:
                    raise RuntimeLost("the connection to the supervisor is closed")
                if self._is_open():
                    return
                await asyncio.sleep(pause_s)
                try:
                    if tries >= _REVIVE_AFTER and self._revive is not None:
                        await self._revive()
                    await self._open()
                except (OSError, _ConnectionLost, NotRevived) as error:
                    problem = error
                else:
                    return
        raise RuntimeLost(f"the supervisor at {self._path} cannot be reached: {problem}")

    async def call(self, op: str, timeout_s: float = _ANSWER_S, **fields: object) -> Json:
        """The reply to a request. Raises SupervisorRefused, or RuntimeLost."""
        for _ in range(_SENDS):
            await self.connect()
            assert self._lines is not None
            with contextlib.suppress(_ConnectionLost):
                return await self._lines.request(op, timeout_s, fields)
        raise RuntimeLost(f"the supervisor closed the connection {_SENDS} times at {op!r}")

    async def watch_life(
        self, on_silent: Callable[[str], None], on_heard: Callable[[], None]
    ) -> None:
        """Ask for a sign of life every ALIVE_EVERY_S, for ever; cancel it.

        on_silent: called with the reason when none came in ALIVE_WITHIN_S. Nothing is closed and
        nothing killed: it may be slow or stopped (SIGSTOP), and what waits for its answers goes on
        to wait. on_heard: called when the answer comes after all, not when the connection ends.
        """
        while True:
            await asyncio.sleep(ALIVE_EVERY_S)
            lines = self._lines
            if lines is None or not lines.open:
                continue  # somebody connects again, and has said so
            asked = asyncio.ensure_future(lines.alive())
            try:
                for _ in range(2):
                    await asyncio.wait((asked,), timeout=ALIVE_WITHIN_S / 2)
                if not asked.done():
                    lines.silent = True
                    on_silent(f"it has not answered for {ALIVE_WITHIN_S:g} s, but may yet")
                if await asked and lines.silent:
                    lines.silent = False
                    on_heard()
            finally:
                asked.cancel()

    async def records(self) -> list[Json]:
        """Every record that the supervisor holds."""
        return await _all_records(self.call)

    async def close(self) -> None:
        """Let go; the supervisor and what it runs stay."""
        self._closed = True
        if self._lines is not None:
            self._lines.close("the client was closed")
            await asyncio.sleep(0)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_ANSWER_S):
            _, lines = await loop.create_unix_connection(
                lambda: _Lines(self._on_event, self._gone), self._path
            )
        try:
            self.hello = await lines.request("hello", _ANSWER_S, {})
            if self.hello.get("version") != PROTOCOL_VERSION:
                found = self.hello.get("version")
                raise RuntimeLost(f"the supervisor speaks version {found}, not {PROTOCOL_VERSION}")
            # In this order no end is missed.
            await lines.request("subscribe", _ANSWER_S, {})

            async def call(op: str, **fields: object) -> Json:
                return await lines.request(op, _ANSWER_S, fields)

            records = await _all_records(call)
        except BaseException:
            lines.close("it was not set up")
            raise
        self._lines = lines
        self._on_connected(records)

    def _gone(self, lines: _Lines) -> None:
        if lines is self._lines and not self._closed:
            self._on_lost(lines.reason)


async def _all_records(call: Callable[..., Awaitable[Json]]) -> list[Json]:
    found: list[Json] = []
    after: str | None = None
    while True:
        page = await call("list", after=after)
        found += page["records"]
        after = page["next"]
        if after is None:
            return found


class _Lines(asyncio.Protocol):
    """A connection of JSON lines: replies find their request by id, events go to on_event."""

    def __init__(self, on_event: Callable[[Json], None], on_lost: Callable[[_Lines], None]) -> None:
        self.open = False
        self.silent = False  # it gives no sign of life: no request runs out of time meanwhile
        self._on_event = on_event
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._last_id = 0
        self.reason = "the supervisor closed the connection"

    async def request(self, op: str, timeout_s: float, fields: Json) -> Json:
        """Send and wait. _ConnectionLost, SupervisorRefused, or RuntimeLost where it hangs."""
        reply = await self._ask(op, timeout_s, fields)
        if reply.get("ok") is not True:
            raise SupervisorRefused(reply)
        return reply

    async def alive(self) -> bool:
        """True once any answer comes, False where the connection ends first."""
        try:
            await self._ask("hello", None, {})
        except _ConnectionLost:
            return False
        return True

    async def _ask(self, op: str, timeout_s: float | None, fields: Json) -> Json:
        if self._transport is None or not self.open:
            raise _ConnectionLost(self.reason)
        self._last_id += 1
        number = self._last_id
        line = json.dumps({"id": number, "op": op, **fields}, separators=(",", ":")).encode()
        if len(line) >= MAX_REQUEST_BYTES:
            refusal = f"the request has {len(line)} bytes; at most {MAX_REQUEST_BYTES}"
            raise SupervisorRefused({"code": "TOO_LONG", "error": refusal})
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._transport.write(line + b"\n")
        try:
            done, _ = await asyncio.wait((future,), timeout=timeout_s)
            while not done and self.silent:
                done, _ = await asyncio.wait((future,), timeout=timeout_s)
            if done:
                return future.result()
        finally:
            self._waiting.pop(number, None)
            future.cancel()
        self.close("it did not answer")
        raise RuntimeLost(f"the supervisor did not answer {op!r} in {timeout_s:g} s")

    def close(self, reason: str) -> None:
        """End the connection; what waits for a reply gets _ConnectionLost."""
        if self.open:
            self.reason = reason
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.rfind(b"\n") + 1
        if not end:
            if len(self._buffer) > _MAX_LINE_BYTES:
                self.close(f"the supervisor sent a line above {_MAX_LINE_BYTES} bytes")
            return
        whole = bytes(self._buffer[:end])
        del self._buffer[:end]
        for line in whole.splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                self.close(f"the supervisor sent no JSON object: {line[:80]!r}")
                return
            self._take(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def _take(self, message: Json) -> None:
        if "event" in message:
            self._on_event(message)
            return
        number = message.get("id")
        future = self._waiting.get(number) if isinstance(number, int) else None
        if future is not None and not future.done():
            future.set_result(message)
        elif number is None:  # said as it closes, to one connection too many for instance
            self.close(str(message.get("error", self.reason)))

    def _end(self) -> None:
        if not self.open:
            return
        self.open = False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_ConnectionLost(self.reason))
        self._on_lost(self)
