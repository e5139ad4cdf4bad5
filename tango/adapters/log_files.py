"""Reads a rotated log: its last bytes, then what is written later, across rotations."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

CHUNK_BYTES = 32 * 1024
POLL_S = 0.2


async def read_log(
    path: Path, tail_bytes: int, *, follow: bool, ended: Callable[[], bool] = lambda: False
) -> AsyncGenerator[bytes, None]:
    """The last `tail_bytes` (0: everything still there), then with follow whatever comes.

    A follower is done once `ended` says that nobody writes any more and all of it was read.
    Rotation renames the file and begins a new one; a follower finishes the old file first.
    Raises FileNotFoundError. Blocking reads are of at most 32 KiB from the page cache.
    """
    size = _size(path)
    for older, skip in _older(path, size, tail_bytes):
        async for chunk in _from(older, skip):
            yield chunk
    with path.open("rb") as first:
        first.seek(max(0, size - tail_bytes) if tail_bytes else 0)
        file = first
        try:
            while True:
                # Asked before the read: what was written until then is read.
                done = not follow or ended()
                chunk = file.read(CHUNK_BYTES)
                if chunk:
                    yield chunk
                elif follow and _rotated(file.fileno(), path):
                    if file is not first:
                        file.close()
                    file = path.open("rb")
                elif done:
                    return
                else:
                    await asyncio.sleep(POLL_S)
        finally:
            if file is not first:
                file.close()


def _size(path: Path) -> int:
    return path.stat().st_size


def _older(path: Path, size: int, tail_bytes: int) -> list[tuple[Path, int]]:
    """Rotated files that belong to the tail, oldest first, and how much to skip of each."""
    found: list[tuple[Path, int]] = []
    while not tail_bytes or size < tail_bytes:
        older = path.with_name(f"{path.name}.{len(found) + 1}")
        if not older.exists():
            break
        has = _size(older)
        found.append((older, max(0, has - (tail_bytes - size)) if tail_bytes else 0))
        size += has
    return found[::-1]


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
