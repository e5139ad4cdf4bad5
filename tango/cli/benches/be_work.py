"""Best-effort work that counts itself: `python -m tango.cli.benches.be_work FILE`.

Compresses blocks of Python's own library (zlib, level 6), for ever, and counts blocks done in the
first eight bytes of FILE, which a benchmark reads meanwhile. Standard library only.
"""

from __future__ import annotations

import mmap
import struct
import sys
import sysconfig
import zlib
from pathlib import Path

from tango.cli.samples.crunch import blocks

COUNT = struct.Struct("=Q")
READ_BYTES = 2**30
UNIT_BYTES = 16 * 1024


def count_in(path: Path) -> int:
    """Blocks done so far."""
    done: int = COUNT.unpack(path.read_bytes()[: COUNT.size])[0]
    return done


def main(path: Path) -> None:
    """Until it is ended."""
    top = Path(sysconfig.get_path("stdlib"))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), COUNT.size) as counter:
        done = 0
        while True:
            for block in blocks(top, READ_BYTES):
                for start in range(0, len(block), UNIT_BYTES):
                    zlib.compress(block[start : start + UNIT_BYTES], 6)
                    done += 1
                    counter[: COUNT.size] = COUNT.pack(done)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
