"""Reads files whose mode matters: secrets that others cannot read, trust that they cannot set."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tango.model.errors import InvalidField


def read_secret(path: str | Path, field: str, what: str, max_bytes: int) -> bytes:
    """The content, at most max_bytes + 1 of it, of a file that only its owner can read.

    what: "the token's file". Raises InvalidField: missing, not a plain file, open to others, owned
    by somebody else.
    """
    return _read(str(path), field, what, max_bytes, forbidden=0o077, mend="600")


def read_trusted(path: str | Path, field: str, what: str, max_bytes: int) -> bytes:
    """As read_secret, of a file that others may read but not write."""
    return _read(str(path), field, what, max_bytes, forbidden=0o022, mend="go-w")


def _read(name: str, field: str, what: str, max_bytes: int, *, forbidden: int, mend: str) -> bytes:
    try:
        # Without NONBLOCK, opening a FIFO would wait for a writer.
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidField(field, f"cannot read {name}: {reason}", f"name {what}") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidField(field, f"{name} is not a plain file", f"name {what}")
        if status.st_mode & forbidden:
            mode = stat.S_IMODE(status.st_mode)
            verb = "read or written" if forbidden & 0o044 else "written"
            problem = f"{name} can be {verb} by others (mode {mode:04o})"
            raise InvalidField(field, problem, f"chmod {mend} {name}")
        if status.st_uid not in (0, os.geteuid()):
            problem = f"{name} belongs to uid {status.st_uid}"
            raise InvalidField(field, problem, "own it yourself")
        return os.read(handle, max_bytes + 1)
    finally:
        os.close(handle)
