"""The edge's last word, kept on the node: a restarted worker goes by it until the edge is back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tango.daemons.lifecycle import log_event
from tango.model.messages import NodeTargets
from tango.wire.kept_targets import targets_from_bytes, targets_to_bytes

FILE = "targets"


class KeptTargets:
    """One file of mode 0600, for services' environments may hold secrets.

    It is replaced as a whole but not synced: after a power cut it may be missing or unreadable, and
    then the worker waits for the edge, as it does on its first start.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / FILE

    def load(self) -> NodeTargets | None:
        """What was kept last, None for nothing."""
        try:
            found = targets_from_bytes(self._path.read_bytes())
        except OSError:
            return None
        if found is None:
            log_event("warning", "kept targets unreadable", path=str(self._path))
        return found

    def keep(self, targets: NodeTargets) -> None:
        """Replace what was kept; where that fails nothing is kept, rather than what is not true."""
        partial = self._path.with_suffix(".new")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(partial, flags, 0o600), "wb") as file:
                file.write(targets_to_bytes(targets))
            partial.replace(self._path)
        except OSError as error:
            log_event("error", "targets not kept", path=str(self._path), error=str(error))
            for path in (partial, self._path):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
