"""Lines of a text file of any size, plain or gzip, one at a time and none beyond a limit."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO

from tango.model.errors import InvalidField
from tango.workload.trace_rows import RowError

MAX_LINE_BYTES = 64 * 1024


class TraceLines:
    """The lines of `path` that are not blank, as text without their end.

    A name that ends in .gz is unpacked while reading (several members in a row, as `cat` makes of
    several .gz files, are one file). line: number of the latest line, 1-based.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 0
        try:
            raw: IO[bytes] = path.open("rb")
        except OSError as error:
            raise _unreadable(path, error) from error
        self._raw = raw
        self._file: IO[bytes] | gzip.GzipFile = raw
        if path.suffix == ".gz":
            self._file = gzip.GzipFile(fileobj=raw)

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._raw.closed

    def close(self) -> None:
        """Close the file; nothing can be read after that."""
        self._file.close()
        self._raw.close()  # GzipFile leaves the file it was given open

    def next_line(self) -> str | None:
        """The next line; None at the end of the file.

        Raises RowError for a line that is too long or not UTF-8, and can go on after it;
        InvalidField where the file cannot be read on.
        """
        while True:
            raw = self._readline()
            if raw is None:
                return None
            if self.line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of Windows' editors
            try:
                text = raw.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 text (byte 0x{raw[error.start]:02x} at {error.start + 1})"
                raise RowError(self.line, "", problem, "save it as UTF-8") from None
            if text.strip():
                return text

    def _readline(self) -> bytes | None:
        self.line += 1
        try:
            raw = self._file.readline(MAX_LINE_BYTES + 1)
            if len(raw) > MAX_LINE_BYTES:
                while raw and not raw.endswith(b"\n"):
                    raw = self._file.readline(MAX_LINE_BYTES)
                raise RowError(self.line, "", f"the line is longer than {MAX_LINE_BYTES} bytes")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            # No line after it can be had, so this is of the file, not of one row to be skipped.
            place, fix = f"{self.path}:{self.line}", "fetch the file again"
            raise InvalidField("row", f"the gzip data is broken: {error}", fix, place) from None
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return raw or None


def _unreadable(path: Path, error: OSError) -> InvalidField:
    problem = f"cannot be read: {error.strerror}"
    return InvalidField("trace", problem, "give a file that is there and readable", str(path))
