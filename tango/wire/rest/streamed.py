"""The answer of a call with many messages: one JSON a line, or the bytes of a log as they are."""

from __future__ import annotations

import asyncio

from aiohttp import web
from google.protobuf.message import Message

from tango.wire.rest.bodies import as_json, in_thread
from tango.wire.rest.failures import Failure

# For one message to find room: a caller that reads no more is let go.
WRITE_TIMEOUT_S = 30.0
LINES = "application/x-ndjson"
BYTES = "application/octet-stream"


class StreamedAnswer:
    """Begins with the first message; until then the call can still fail with a status of its own.

    raw: the field of bytes that is sent as it is, unless the caller asks for lines of JSON.
    """

    def __init__(self, request: web.Request, raw: str) -> None:
        self._request = request
        self._raw = "" if LINES in request.headers.get("Accept", "") else raw
        self._response: web.StreamResponse | None = None

    async def write(self, message: Message) -> None:
        """One message; waits while the connection is full. Raises ConnectionError."""
        if self._raw:
            data: bytes = getattr(message, self._raw)
        else:
            data = await in_thread(as_json, message)
        await self._write(data)

    async def fail(self, failure: Failure) -> web.StreamResponse:
        """The call ended otherwise. Raises the failure where nothing has been sent yet.

        Else the last line holds it; raw bytes have no place for it, and break off instead.
        """
        if self._response is None:
            raise failure
        if self._raw:
            self._break_off()
        else:
            await self._write(failure.body())
        return self._response

    async def end(self) -> web.StreamResponse:
        """No more messages."""
        return await self._begun()

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                response = await self._begun()
                await response.write(data)
        except TimeoutError:
            self._break_off()
            raise ConnectionAbortedError("the reader takes nothing") from None

    def _break_off(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _begun(self) -> web.StreamResponse:
        if self._response is None:
            self._response = web.StreamResponse()
            self._response.content_type = BYTES if self._raw else LINES
            await self._response.prepare(self._request)
        return self._response
