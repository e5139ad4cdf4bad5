"""Reads a rotated log: its last bytes, then what is written later, across rotations."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

CHUNK_BYTES = 32 * 1024
POLL_S = 0.2


async def read_log(path: Path, tail_bytes: int, *, follow: bool) -> AsyncGenerator[bytes, None]:
    """The last `tail_bytes` (0: everything still there), then with follow whatever comes.

    Rotation renames the file and begins a new one; a follower finishes the old file first.
    Raises FileNotFoundError. Blocking reads are of at most 32 KiB from the page cache.
    """
    older = path.with_name(path.name + ".1")
    size = path.stat().st_size
    wanted = tail_bytes or size + CHUNK_BYTES * 1024
    if wanted > size and older.exists():
        async for chunk in _from(older, max(0, older.stat().st_size - (wanted - size))):
            yield chunk
    with path.open("rb") as first:
        first.seek(max(0, size - wanted))
        file = first
        try:
            while True:
                chunk = file.read(CHUNK_BYTES)
                if chunk:
                    yield chunk
                    continue
                if not follow:
                    return
                if _rotated(file.fileno(), path):
                    if file is not first:
                        file.close()
                    file = path.open("rb")
                    continue
                await asyncio.sleep(POLL_S)
        finally:
            if file is not first:
                file.close()


async def _from(path: Path, offset: int) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            await asyncio.sleep(0)


def _rotated(handle: int, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return now.st_ino != os.fstat(handle).st_ino
