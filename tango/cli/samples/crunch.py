"""A batch job on real files: `python -m tango.cli.samples.crunch --mode compress --mebibytes 64`.

Hashes or compresses files below a directory (default: Python's own library), over and over until
so much is read, and prints one line of JSON with the result's digest: equal input, equal digest.
"""

from __future__ import annotations

import argparse
import bz2
import hashlib
import json
import lzma
import os
import sys
import sysconfig
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

_BLOCK_BYTES = 256 * 1024
_MEBIBYTE = 1024 * 1024
# Not source text: caches differ from run to run, and other people's packages may be huge.
_SKIPPED = {"__pycache__", "site-packages", "dist-packages"}


class Compressor(Protocol):
    """What zlib, bz2 and lzma have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Take `data`; what is ready of the output."""
        ...

    def flush(self) -> bytes:
        """The rest of the output."""
        ...


class Failure(Exception):
    """The job cannot be done; the message says why."""


def files_below(top: Path) -> Iterator[Path]:
    """Ordinary files below `top` in a fixed order; links are not followed."""
    for folder, names, files in os.walk(top):
        names[:] = sorted(name for name in names if name not in _SKIPPED)
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def blocks(top: Path, total: int) -> Iterator[bytes]:
    """`total` bytes of the files below `top`, from the start again as often as it takes.

    Unreadable files are left out. Raises Failure where there is nothing to read at all.
    """
    left = total
    while left > 0:
        before = left
        for path in files_below(top):
            try:
                with path.open("rb") as file:
                    while left > 0 and (block := file.read(min(_BLOCK_BYTES, left))):
                        left -= len(block)
                        yield block
            except OSError as error:
                print(f"left out {path}: {error.strerror}", file=sys.stderr)
            if left == 0:
                return
        if left == before:
            raise Failure(f"{top}: no readable file with anything in it")


def compressor(algorithm: str) -> Compressor:
    """A fresh compressor: "zlib", "bz2" or "lzma"."""
    if algorithm == "bz2":
        return bz2.BZ2Compressor()
    if algorithm == "lzma":
        return lzma.LZMACompressor(preset=1)
    return zlib.compressobj(6)


def crunch(top: Path, total: int, mode: str, algorithm: str) -> dict[str, object]:
    """Do the job and tell the result; progress goes to standard error, about ten lines of it.

    Raises Failure.
    """
    digest = hashlib.sha256()
    squeeze = compressor(algorithm) if mode == "compress" else None
    read = written = 0
    next_tell = step = max(1, total // 10)
    for block in blocks(top, total):
        output = squeeze.compress(block) if squeeze else block
        digest.update(output)
        read += len(block)
        written += len(output)
        if read >= next_tell:
            print(f"{read / _MEBIBYTE:.1f} of {total / _MEBIBYTE:.1f} MiB", file=sys.stderr)
            next_tell = (read // step + 1) * step
    if squeeze:
        output = squeeze.flush()
        digest.update(output)
        written += len(output)
    return {
        "mode": mode,
        "algorithm": algorithm if squeeze else "sha256",
        "input_bytes": read,
        "output_bytes": written if squeeze else digest.digest_size,
        "sha256": digest.hexdigest(),
        "cpu_s": round(time.process_time(), 3),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the job; --exit-code after it is done, 1 where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m tango.cli.samples.crunch",
        description="Hash or compress real files.",
    )
    add = parser.add_argument
    add("--mode", choices=("hash", "compress"), default="compress")
    add("--algorithm", choices=("zlib", "bz2", "lzma"), default="zlib", help="of --mode compress")
    add("--mebibytes", type=float, default=16.0, help="amount to read (default: %(default)s)")
    add("--directory", type=Path, default=None, help="default: Python's standard library")
    add("--exit-code", type=int, default=0, help="exit status after the work (for tests)")
    args = parser.parse_args(argv)
    if not 0 < args.mebibytes <= 1_000_000:
        parser.error(f"--mebibytes: {args.mebibytes:g} is not from above 0 to 1000000")
    if not 0 <= args.exit_code <= 255:
        parser.error(f"--exit-code: {args.exit_code} is not from 0 to 255")
    top = args.directory or Path(sysconfig.get_path("stdlib"))
    total = max(1, round(args.mebibytes * _MEBIBYTE))
    try:
        result = crunch(top, total, args.mode, args.algorithm)
    except Failure as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result), flush=True)
    status: int = args.exit_code
    return status


if __name__ == "__main__":
    sys.exit(main())
