"""Moving a heap into huge pages, on the real kernel and in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tango.adapters.huge_pages import _area

GROWN = """
from tango.adapters.huge_pages import use_huge_pages
kept = [bytes(200) + str(i).encode() for i in range(200_000)]
moved = use_huge_pages()
rollup = open("/proc/self/smaps_rollup").read()
huge_kib = int(rollup.partition("AnonHugePages:")[2].split()[0])
assert all(text == bytes(200) + str(i).encode() for i, text in enumerate(kept))
print(moved, huge_kib * 1024)
"""


def test_a_grown_heap_is_moved_and_holds_what_it_held() -> None:
    if not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("this kernel has no huge pages")
    run = subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, check=True)
    moved, huge = map(int, run.stdout.split())
    if not moved:
        pytest.skip("this kernel moves none (before Linux 6.1), or has no huge page free")
    # The texts take 48 MB, in areas of which some are too small.
    assert moved >= 8 << 20
    assert huge == moved


@pytest.mark.parametrize(
    ("line", "area"),
    [
        ("5581d000-5583e000 rw-p 00000000 00:00 0          [heap]\n", (0x5581D000, 0x5583E000)),
        ("7f00-7fff rw-p 00000000 00:00 0 \n", (0x7F00, 0x7FFF)),
        ("7f00-7fff ---p 00000000 00:00 0 \n", (0, 0)),
        ("7f00-7fff rw-s 00000000 00:01 9          /dev/zero (deleted)\n", (0, 0)),
        ("7f00-7fff rw-p 0001c000 08:01 42         /usr/lib/a library.so\n", (0, 0)),
        ("7f00-7fff rw-p 00000000 00:00 0          [stack]\n", (0, 0)),
    ],
)
def test_only_its_own_heap_is_moved(line: str, area: tuple[int, int]) -> None:
    assert _area(line) == area
