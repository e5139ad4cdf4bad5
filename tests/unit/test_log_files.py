"""Reading a log on the node: its tail over rotated files, and following it to the end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from tango.adapters.log_files import read_log


async def whole(path: Path, tail_bytes: int) -> bytes:
    async with aclosing(read_log(path, tail_bytes, follow=False)) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "a.log.2").write_bytes(b"oldest\n")
    (tmp_path / "a.log.1").write_bytes(b"older\n")
    (tmp_path / "a.log").write_bytes(b"new\n")
    return tmp_path / "a.log"


@pytest.mark.parametrize(
    ("tail_bytes", "expected"),
    [
        (0, b"oldest\nolder\nnew\n"),
        (1000, b"oldest\nolder\nnew\n"),
        (2, b"w\n"),
        (4, b"new\n"),
        (6, b"r\nnew\n"),
        (10, b"older\nnew\n"),
        (12, b"t\nolder\nnew\n"),
    ],
)
async def test_the_tail_goes_back_over_all_rotated_files(
    log: Path, tail_bytes: int, expected: bytes
) -> None:
    assert await whole(log, tail_bytes) == expected


async def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await whole(tmp_path / "none.log", 0)


async def test_a_follower_reads_over_a_rotation_to_the_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n")
    over = False
    got = b""
    async with asyncio.timeout(10):
        async with aclosing(read_log(log, 0, follow=True, ended=lambda: over)) as chunks:
            async for chunk in chunks:
                got += chunk
                if got == b"one\n":
                    with log.open("ab") as file:
                        file.write(b"two\n")
                    log.rename(tmp_path / "a.log.1")
                    log.write_bytes(b"three\n")
                    over = True
    assert got == b"one\ntwo\nthree\n"


async def test_a_follower_of_what_has_ended_reads_it_and_is_done(log: Path) -> None:
    async with asyncio.timeout(10):
        async with aclosing(read_log(log, 0, follow=True, ended=lambda: True)) as chunks:
            got = b"".join([chunk async for chunk in chunks])
    assert got == b"oldest\nolder\nnew\n"
