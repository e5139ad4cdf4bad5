"""A container engine's socket that answers what it is told to, well-formed or not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Self

from hostile_registry import Answer, answer


class EngineServer:
    """answer: to every question, as hostile_registry has them. asked: lines of requests."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answer: Answer = answer(200, [])
        self.asked: list[str] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    def has(self, *rows: dict[str, object]) -> None:
        """Its images from now on."""
        self.answer = answer(200, list(rows), Content_Type="application/json")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b"\r\n", 1)[0].decode())
            if isinstance(self.answer, bytes):
                await write(self.answer)
            else:
                await self.answer(write)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def image(*tags: str, digests: tuple[str, ...] = (), size: int = 1000) -> dict[str, object]:
    """A row as Docker and Podman have it, of which most is of no interest."""
    row = {
        "Id": "sha256:" + "f" * 64, "ParentId": "", "RepoTags": list(tags),
        "RepoDigests": list(digests), "Created": 1796050878, "Size": size, "SharedSize": 0,
        "Labels": None, "Containers": 0,
    }  # fmt: skip
    return json.loads(json.dumps(row))  # type: ignore[no-any-return]
