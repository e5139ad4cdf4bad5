"""Reads a recording: strictly, line by line, with the file and line of what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tango.adapters.recording import FORMAT
from tango.adapters.recording_codec import EVENTS, RecordingCodec
from tango.adapters.typed_json import RecordError
from tango.model.errors import InvalidField
from tango.model.starts import Life, Start

FIELD = "recording"
# The first line holds all of a central master's jobs.
MAX_LINE_BYTES = 2**30
_BROKEN_OFF = "it breaks off: its daemon was killed, or runs on"


class RecordingReader:
    """One file. start, life, version: as its daemon began. Raises InvalidField with file and line.

    >>> with RecordingReader(path) as recording:
    ...     for line, now, event in recording: ...

    end: why there are no more events, "" until all were read. partial: whether the last line was
    cut short, as it is by a kill; it is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = ""
        self.partial = False
        self._line = 0
        self._codec = RecordingCodec()
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise InvalidField(FIELD, f"cannot be read: {error.strerror}", "", str(path)) from None
        try:
            self._read_head()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RecordingReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[tuple[int, float, Any]]:
        """(line, now, event), once."""
        decode = self._codec.decoder(EVENTS[type(self.start)])
        last = -math.inf
        while (tree := self._next()) is not None:
            if type(tree) is dict:
                self._read_end(tree)
                return
            if type(tree) is not list or len(tree) < 2:
                raise self._error("is no event: [now, type, fields...]")
            now = tree[0]
            if type(now) not in (float, int) or not math.isfinite(now):
                raise self._error(f"{now!r} is no time")
            if now < last:
                raise self._error(f"time goes back, from {last!r} to {now!r}")
            last = now
            try:
                event = decode(tree[1:], "")
            except RecordError as error:
                raise self._error(str(error).removeprefix(": ")) from None
            yield self._line, now, event
        self.end = _BROKEN_OFF

    def where(self, line: int) -> str:
        """FILE:LINE."""
        return f"{self.path}:{line}"

    # ---- lines

    def _next(self) -> Any:
        """What the next line says; None at the end, and for a last line that was cut short."""
        line = self._file.readline(MAX_LINE_BYTES)
        self._line += 1
        if not line:
            return None
        if not line.endswith(b"\n"):
            if len(line) == MAX_LINE_BYTES:
                raise self._error(f"is longer than {MAX_LINE_BYTES} bytes")
            self.partial = True
            return None
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._error(f"is not JSON: {error}") from None

    def _read_head(self) -> None:
        head = self._next()
        if type(head) is not dict or "recording" not in head:
            problem = "does not begin as a recording does"
            raise self._error(problem, "name a file that a daemon with [record] has written")
        if head["recording"] != FORMAT:
            problem = f"is of format {head['recording']!r}, this version reads {FORMAT}"
            raise self._error(problem, "replay it with the version that wrote it")
        try:
            self._codec.read_by(head["fields"])
            self.start: Start = self._codec.decoder(Start)(head["start"], "start")
            self.version = _of_type(head, "version", str)
            self.life = Life(
                _of_type(head, "daemon", str),
                _of_type(head, "incarnation", int),
                _of_type(head, "now", float, int),
                _of_type(head, "wall", float, int),
            )
        except KeyError as error:
            raise self._error(f"its first line has no {error}") from None
        except RecordError as error:
            raise self._error(str(error)) from None

    def _read_end(self, tree: dict[str, Any]) -> None:
        if tree.keys() != {"end"} or type(tree["end"]) is not str:
            raise self._error("is no event, and no end")
        if self._file.read(1):
            self._line += 1
            raise self._error("follows the end")
        self.end = tree["end"]

    def _error(self, problem: str, fix: str = "") -> InvalidField:
        return InvalidField(FIELD, problem, fix, self.where(self._line))


def _of_type(head: dict[str, Any], key: str, *kinds: type) -> Any:
    if type(head[key]) not in kinds:
        raise RecordError(f"{key}: {head[key]!r} is not of type {kinds[0].__name__}")
    return head[key]
