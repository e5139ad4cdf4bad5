"""Writes a recording: what a daemon's controller began with, and each event with its `now`.

JSON lines. The first says whose it is, under which version and with which start; then one event a
line, [now, type, fields...]; the last, where there is one, says why there are no more. One file is
one life of one daemon. A gap would make all that follows worthless, so where the disk refuses, the
file is full, or events come faster than they can be written, the recording ends, and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from tango.adapters.line_file import WRITE_BYTES, LineThread, let_go
from tango.adapters.recording_codec import EVENTS, RecordingCodec
from tango.adapters.typed_json import RecordError
from tango.model.errors import InvalidField
from tango.model.settings import RecordSettings
from tango.model.starts import Life, Start

# Of what is written here. A reader refuses a higher one.
FORMAT = 1
# Events that wait at most: a second or so of a busy edge, with the bodies that they carry.
MAX_WAITING = 20_000
# Kept free for the last line.
END_BYTES = 512


class RecordingWriter:
    """Writes `dir`/NAME-INCARNATION.jsonl, mode 0600; of older ones of this daemon few are kept.

    ended: why nothing more is taken, "" while it is. version: of the program.

    Raises InvalidField("record.dir") where the file cannot be made.
    """

    def __init__(self, settings: RecordSettings, life: Life, start: Start, version: str) -> None:
        self.ended = ""
        self._said_end = False
        self._max_bytes = settings.max_bytes - END_BYTES
        self._codec = RecordingCodec(secrets.token_bytes(16))
        self._event_type = EVENTS[type(start)]
        name = life.daemon.replace(" ", "-")
        self.path = Path(settings.dir) / f"{name}-{life.incarnation}.jsonl"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self.path, flags, 0o600)
        except OSError as error:
            problem = f"{self.path} cannot be made: {error.strerror}"
            raise InvalidField("record.dir", problem, "name a directory of this daemon") from error
        _forget_old(self.path.parent, name, settings.files)
        self._thread: LineThread[tuple[float, object]] = LineThread(
            "recording", self._drain, self._close
        )
        self._size = 0
        self._write([self._head(life, start, version)])

    def add(self, events: Sequence[tuple[float, object]]) -> None:
        """Have these (now, event) written, in order."""
        waiting = self._thread.waiting
        if len(waiting) + len(events) > MAX_WAITING:
            self._end(f"{len(waiting) + len(events)} events wait: they come too fast to be written")
        if not self.ended:
            waiting.extend(events)
        self._thread.wake()

    def close(self) -> None:
        """Write what waits, for a few seconds at most, and end."""
        self._thread.close()

    def _head(self, life: Life, start: Start, version: str) -> bytes:
        begun = self._codec.text(Start, start)
        head = {
            "recording": FORMAT,
            "version": version,
            "daemon": life.daemon,
            "incarnation": life.incarnation,
            "now": life.now,
            "wall": life.wall,
            "fields": self._codec.fields(Start, self._event_type),
        }
        # The start is text already.
        return f'{json.dumps(head, separators=(",", ":"))[:-1]},"start":{begun}}}\n'.encode()

    # ---- the thread

    def _drain(self) -> None:
        waiting = self._thread.waiting
        batch: list[bytes] = []
        size = count = 0
        while waiting and not self.ended:
            now, event = waiting.popleft()
            try:
                text = self._codec.text(self._event_type, event)
            except RecordError as error:
                self._write(batch)
                batch = []
                self._end(str(error))
                break
            batch.append(f"[{now!r},{text[1:]}\n".encode())
            size += len(batch[-1])
            count += 1
            if size >= WRITE_BYTES:
                self._write(batch)
                batch, size = [], 0
            let_go(count)
        self._write(batch)
        if self.ended:
            waiting.clear()
            self._say_end()

    def _write(self, lines: list[bytes]) -> None:
        block = b""
        for data in lines:
            if self._size + len(block) + len(data) > self._max_bytes:
                self._append(block)
                self._end("it is as long as record.max allows")
                return
            block += data
        self._append(block)

    def _append(self, block: bytes) -> None:
        if self._said_end or not block:
            return
        try:
            rest = block
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._end(f"cannot be written: {error.strerror}")
            # Whole lines only: the last one goes behind them.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
        else:
            self._size += len(block)

    def _end(self, why: str) -> None:
        if not self.ended:
            self.ended = why

    def _say_end(self) -> None:
        if self._said_end:
            return
        self._said_end = True
        line = json.dumps({"end": self.ended or "the daemon stopped"})
        with contextlib.suppress(OSError):
            os.write(self._file, line.encode() + b"\n")

    def _close(self) -> None:
        self._say_end()
        os.close(self._file)


def _forget_old(folder: Path, name: str, keep: int) -> None:
    """Remove all but the latest `keep` recordings of a daemon."""
    form = re.compile(re.escape(name) + r"-(\d+)\.jsonl")
    found: list[tuple[int, Path]] = []
    for path in folder.iterdir():
        match = form.fullmatch(path.name)
        if match is not None:
            found.append((int(match[1]), path))
    for _, path in sorted(found, reverse=True)[keep:]:
        with contextlib.suppress(OSError):
            path.unlink()
