"""A small HTTP server that answers what it is told to, well-formed or not."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

Write = Callable[[bytes], Awaitable[None]]
# Bytes to send before the connection is closed, or what is to be done with the connection.
Answer = bytes | Callable[[Write], Awaitable[None]]


def answer(status: int, body: object = b"", **headers: str) -> bytes:
    """A whole answer; a body that is no bytes is sent as JSON. Underscores in names are dashes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Length": str(len(data)), "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data


async def silence(_: Write) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def trickle(write: Write) -> None:
    """A byte now and then, so that no single read takes long."""
    await write(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await write(b" ")
        await asyncio.sleep(0.02)


async def flood(write: Write) -> None:
    """A body without an end."""
    await write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await write(b"10000\r\n" + b"a" * 65536 + b"\r\n")


@dataclass(frozen=True)
class Seen:
    method: str
    target: str
    headers: dict[str, str]


class HostileRegistry:
    """answers: by path without query, one after the other, the last one for ever."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.answers: defaultdict[str, list[Answer]] = defaultdict(lambda: [answer(404)])
        self.seen: list[Seen] = []
        self.sent = 0
        self.host = ""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def paths(self) -> list[str]:
        return [f"{one.method} {one.target}" for one in self.seen]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

        async def write(data: bytes) -> None:
            self.sent += len(data)
            writer.write(data)
            await writer.drain()

        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.strip().split("\r\n")
            method, target, _ = line.split(" ")
            pairs = (one.split(": ", 1) for one in fields)
            self.seen.append(Seen(method, target, {name.lower(): value for name, value in pairs}))
            answers = self.answers[target.partition("?")[0]]
            chosen = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(chosen, bytes):
                head_only = method == "HEAD"
                await write(chosen.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head_only else chosen)
            else:
                await chosen(write)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # gone, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()
