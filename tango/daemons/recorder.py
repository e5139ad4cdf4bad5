"""Hands a shell's events to the recording of its daemon."""

from __future__ import annotations

from typing import Any

from tango import __version__
from tango.adapters.recording import RecordingWriter
from tango.daemons.lifecycle import log_event
from tango.daemons.shell import Shell
from tango.model.settings import RecordSettings
from tango.model.starts import Life, Start


class Recorder:
    """One daemon's recording, from before its first event. Raises InvalidField("record.dir")."""

    def __init__(
        self, settings: RecordSettings, shell: Shell[Any, Any], life: Life, start: Start
    ) -> None:
        self._shell = shell
        self._events: list[tuple[float, object]] = []
        self._writer = RecordingWriter(settings, life, start, __version__)
        shell.recorded = self._events.append
        log_event("info", "recording", file=str(self._writer.path))

    def hand_over(self) -> None:
        """What has happened since the last time."""
        if self._events:
            self._writer.add(self._events)
            self._events.clear()
        if self._writer.ended and self._shell.recorded is not None:
            self._shell.recorded = None
            path, why = str(self._writer.path), self._writer.ended
            log_event("warning", "recording ended", file=path, reason=why)

    def close(self) -> None:
        """Blocks until it is written, for a few seconds at most."""
        self._shell.recorded = None
        self._writer.close()
