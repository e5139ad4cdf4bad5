"""The directory of checkpoints as a node's settings give it: what the supervisor is asked."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from tango.model.job import Checkpoint
from tango.model.settings import WorkerSettings
from tango.ports import CheckpointFailed

# The supervisor gives criu 20 s twice, and 30 s to die.
CHECK_S = 80.0
# Beside CRIU itself, for checking and syncing the images.
_IMAGES_S = 120.0
_KEY = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}")
_OFF = "not switched on: worker.checkpoint_dir is empty"


class Checkpoints:
    """After worker.checkpoint_dir; what it raises is CheckpointFailed."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._root = settings.checkpoint_dir
        self._max_bytes = settings.checkpoint_max_bytes
        self._limit_s = settings.checkpoint_limit_s

    def check(self) -> None:
        """Raise where checkpoints are not switched on, or the directory is not there."""
        if not self._root:
            raise CheckpointFailed(_OFF)
        if not Path(self._root).is_dir():
            raise CheckpointFailed(f"worker.checkpoint_dir {self._root!r} is no directory")

    def request(self) -> tuple[float, dict[str, Any]]:
        """How long to wait for a checkpoint, and its fields."""
        self.check()
        fields = {"root": self._root, "max_bytes": self._max_bytes, "limit_s": self._limit_s}
        return self._limit_s + _IMAGES_S, fields

    def source(self, checkpoint: Checkpoint) -> tuple[float, dict[str, Any]]:
        """How long to wait for a start from a checkpoint, and what the start says of it."""
        self.check()
        return self._limit_s + _IMAGES_S, {
            "root": self._root,
            "key": checkpoint.attempt_id,
            "digest": checkpoint.digest,
            "limit_s": self._limit_s,
        }

    def remove(self, key: str) -> None:
        """Nobody will restore it any more; fine if there is none."""
        path = Path(self._root, key)
        if self._root and _KEY.fullmatch(key) and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
