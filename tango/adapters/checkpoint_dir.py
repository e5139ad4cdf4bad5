"""Where a node has checkpoints, after its settings: what the supervisor is asked, what is removed.

    worker.checkpoint_dir/KEY             a directory that other nodes may see too
    STATE/checkpoints/out/KEY             written here, where there is no such directory
    STATE/checkpoints/in/KEY              brought over, whole and compared with its digest
    STATE/checkpoints/partial/KEY         on its way

KEY is the attempt that left the state. What is brought over is removed by the supervisor as soon as
the task runs, and by us where it never will; what is written here, on central's word. What nobody
asks for is swept: it may be left by a worker that was killed, or by a word that was lost.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from tango.adapters.checkpoint_images import digest_of_manifest
from tango.model.job import Checkpoint
from tango.model.settings import WorkerSettings
from tango.ports import CheckpointFailed

# The supervisor gives criu 20 s twice, and 30 s to die.
CHECK_S = 80.0
# Beside CRIU itself, for checking and syncing the images.
_IMAGES_S = 120.0
# Checkpoints written here, of tasks whose way back was never needed, nor taken from them.
KEEP_WRITTEN_S = 86_400.0
_KEY = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}")
_OFF = "not switched on: neither worker.checkpoint_dir nor worker.checkpoint_transfer is"
_LEAST_FREE = 64 << 20


class Checkpoints:
    """Directories of checkpoints; what it raises is CheckpointFailed."""

    def __init__(self, settings: WorkerSettings) -> None:
        own = Path(settings.server.state_dir).absolute() / "checkpoints"
        self._shared = settings.checkpoint_dir
        self._own = own if settings.checkpoint_transfer else None
        self._max_bytes = settings.checkpoint_max_bytes
        self._limit_s = settings.checkpoint_limit_s

    def prepare(self) -> None:
        """Make the node's own directories, without what an earlier life had only in part."""
        if self._own is None:
            return
        for path in (self._own, *(self._own / name for name in ("out", "in", "partial"))):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
        for path in sorted((self._own / "partial").glob("*")):
            _remove(path)
        self.sweep()

    def sweep(self) -> None:
        """Remove what nobody can be waiting for any more."""
        if self._own is None:
            return
        # A start from it follows at once, and ends by its limit.
        for name, keep_s in (("in", self._limit_s + _IMAGES_S), ("out", KEEP_WRITTEN_S)):
            for path in sorted((self._own / name).glob("*")):
                # It may be gone by now: the supervisor removes what it has restored.
                with contextlib.suppress(OSError):
                    if time.time() - path.lstat().st_mtime > keep_s:
                        _remove(path)

    def check(self, supervisor_uid: int | None = None) -> None:
        """Raise where checkpoints are not switched on, or the directory is not there."""
        if not self._shared and self._own is None:
            raise CheckpointFailed(_OFF)
        if self._shared and not Path(self._shared).is_dir():
            raise CheckpointFailed(f"worker.checkpoint_dir {self._shared!r} is no directory")
        uid = os.geteuid()
        if self._own is not None and supervisor_uid not in (None, uid):
            raise CheckpointFailed(
                f"worker.checkpoint_transfer takes a worker and a supervisor of one user; they are "
                f"uid {uid} and uid {supervisor_uid}"
            )

    def request(self) -> tuple[float, dict[str, Any]]:
        """How long to wait for a checkpoint, and its fields."""
        self.check()
        fields = {"root": self._written, "max_bytes": self._max_bytes, "limit_s": self._limit_s}
        return self._limit_s + _IMAGES_S, fields

    def source(self, checkpoint: Checkpoint) -> tuple[float, dict[str, Any]]:
        """How long to wait for a start from a checkpoint, and what the start says of it."""
        self.check()
        return self._limit_s + _IMAGES_S, {
            "root": self.find(checkpoint) or self._written,
            "key": checkpoint.attempt_id,
            "digest": checkpoint.digest,
            "limit_s": self._limit_s,
        }

    def find(self, checkpoint: Checkpoint) -> str:
        """The directory that has this very checkpoint, "" where none has."""
        if not _KEY.fullmatch(checkpoint.attempt_id):
            return ""
        for root in self._roots():
            if digest_of_manifest(root / checkpoint.attempt_id) == checkpoint.digest:
                return str(root)
        return ""

    def keep(self, checkpoint: Checkpoint) -> bool:
        """Whether it is here; if so it is not swept for as long as a start takes."""
        root = self.find(checkpoint)
        if root and self._own is not None and Path(root) == self._own / "in":
            with contextlib.suppress(OSError):
                os.utime(Path(root, checkpoint.attempt_id))
        return bool(root)

    def room(self, checkpoint: Checkpoint) -> tuple[Path, Path]:
        """Where to bring it to, and where it is to be when it is whole."""
        if self._own is None:
            raise CheckpointFailed("it is not on this node, and worker.checkpoint_transfer is off")
        key, size = checkpoint.attempt_id, checkpoint.size_bytes
        if not _KEY.fullmatch(key):
            raise CheckpointFailed(f"{key!r} is no attempt")
        if size > self._max_bytes:
            raise CheckpointFailed(
                f"it has {size} bytes, more than this node's worker.checkpoint_max, "
                f"{self._max_bytes}"
            )
        free = shutil.disk_usage(self._own).free
        if free < size + _LEAST_FREE:
            raise CheckpointFailed(f"it has {size} bytes; {free} are free in {str(self._own)!r}")
        partial, whole = self._own / "partial" / key, self._own / "in" / key
        _remove(partial)
        _remove(whole)
        return partial, whole

    def discard(self, checkpoint: Checkpoint) -> None:
        """What was brought over is of no use; what was written here stays."""
        if self._own is not None and _KEY.fullmatch(checkpoint.attempt_id):
            for name in ("partial", "in"):
                _remove(self._own / name / checkpoint.attempt_id)

    def remove(self, key: str) -> None:
        """Nobody will restore it any more; fine if there is none."""
        if _KEY.fullmatch(key):
            for root in self._roots():
                _remove(root / key)

    @property
    def _written(self) -> str:
        return self._shared or f"{self._own}/out"

    def _roots(self) -> list[Path]:
        found = [Path(self._shared)] if self._shared else []
        return found if self._own is None else [*found, self._own / "out", self._own / "in"]


def _remove(path: Path) -> None:
    if not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
