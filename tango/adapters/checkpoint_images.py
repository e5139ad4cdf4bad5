"""The images of a checkpoint as they leave a node and come to one: in pieces, and compared.

The manifest is the supervisor's (tango.supervisor.images): names, sizes and digests of the images.
It travels first; the images follow as one row of bytes in its order, so that no name is on the wire
that its digest does not vouch for. That digest came by way of the central master.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tango.ports import CheckpointFailed

MANIFEST = "manifest.json"
VERSION = 1
MAX_MANIFEST_BYTES = 1 << 20
PIECE_BYTES = 256 << 10
MAX_IMAGES = 4096
_IMAGE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}\.img")
_SHA = re.compile(r"[0-9a-f]{64}")

Image = tuple[str, int, str]


def digest_of_manifest(path: Path) -> str:
    """Of the checkpoint in a directory; "" where there is none."""
    try:
        return _digest(_whole(path / MANIFEST))
    except (OSError, CheckpointFailed):
        return ""


def images_of(manifest: bytes, digest: str, max_bytes: int) -> tuple[Image, ...]:
    """(name, size, SHA-256) of each image. CheckpointFailed where it is not to be trusted."""
    if len(manifest) > MAX_MANIFEST_BYTES or _digest(manifest) != digest:
        raise CheckpointFailed(f"the manifest is not the one of digest {digest}")
    try:
        found = json.loads(manifest)
        version, total = found["version"], found["bytes"]
        images = tuple((name, size, sha) for name, size, sha in found["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointFailed("the manifest cannot be read") from None
    if version != VERSION:
        raise CheckpointFailed(f"the checkpoint is of version {version!r}, not {VERSION}")
    if len(images) > MAX_IMAGES:
        raise CheckpointFailed(f"the checkpoint has {len(images)} images; {MAX_IMAGES} may be")
    for name, size, sha in images:
        if not isinstance(name, str) or not _IMAGE.fullmatch(name):
            raise CheckpointFailed(f"{name!r:.140} is no name of an image")
        if type(size) is not int or size < 0:
            raise CheckpointFailed(f"image {name!r} has a size of {size!r:.40}")
        if not isinstance(sha, str) or not _SHA.fullmatch(sha):
            raise CheckpointFailed(f"image {name!r} has no digest")
    if len({name for name, _, _ in images}) < len(images):
        raise CheckpointFailed("the manifest names an image twice")
    summed = sum(size for _, size, _ in images)
    if summed != total:
        raise CheckpointFailed(f"the images have {summed} bytes; the manifest says {total!r:.40}")
    if summed > max_bytes:
        raise CheckpointFailed(f"the images have {summed} bytes; {max_bytes} are allowed here")
    return images


class Outgoing:
    """A checkpoint in a directory, to be sent. Each call reads; CheckpointFailed, OSError."""

    def __init__(self, path: Path, digest: str, max_bytes: int) -> None:
        self._path = path
        self.manifest = _whole(path / MANIFEST)
        self._images = images_of(self.manifest, digest, max_bytes)

    def pieces(self) -> Iterator[bytes]:
        """The bytes of all images; each piece is read when it is asked for."""
        for name, size, _ in self._images:
            fd = _open(self._path / name)
            try:
                left = size
                while left:
                    piece = os.read(fd, min(PIECE_BYTES, left))
                    if not piece:
                        raise CheckpointFailed(f"image {name!r} is shorter than it was")
                    left -= len(piece)
                    yield piece
            finally:
                os.close(fd)


class Incoming:
    """A checkpoint that is being brought over, into a directory of its own until it is whole.

    Files are of mode 0600, in a directory of mode 0700. OSError where the disk refuses.
    """

    def __init__(self, partial: Path, manifest: bytes, digest: str, max_bytes: int) -> None:
        self._images = iter(images_of(manifest, digest, max_bytes))
        self._partial = partial
        self._manifest = manifest
        partial.mkdir(mode=0o700)
        self._fd = -1
        self._left = 0
        self._wanted: Image = ("", 0, "")
        self._sha = hashlib.sha256()
        self.complete = False
        self._following()

    def take(self, data: bytes) -> None:
        """The next bytes. CheckpointFailed where an image is not what the manifest says."""
        rest = memoryview(data)
        while rest:
            if self.complete:
                raise CheckpointFailed("more bytes came than the manifest names")
            part = rest[: self._left]
            rest = rest[len(part) :]
            self._sha.update(part)
            self._left -= len(part)
            while part:
                part = part[os.write(self._fd, part) :]
            if not self._left:
                self._following()

    def finish(self, whole: Path) -> None:
        """All has come: it appears under its name, with the manifest."""
        if not self.complete:
            raise CheckpointFailed("it ended before all of the checkpoint had come")
        fd = _make(self._partial / MANIFEST)
        with os.fdopen(fd, "wb") as file:
            file.write(self._manifest)
        self._partial.rename(whole)

    def close(self) -> None:
        """Let go of the file; fine to do again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _following(self) -> None:
        """Close and compare what has come whole; open the next image that has bytes."""
        while not self._left:
            if self._fd >= 0:
                self.close()
                name, _, wanted = self._wanted
                if self._sha.hexdigest() != wanted:
                    raise CheckpointFailed(f"image {name!r} is not as it was written")
            following = next(self._images, None)
            if following is None:
                self.complete = True
                return
            self._wanted = following
            self._left = following[1]
            self._sha = hashlib.sha256()
            self._fd = _make(self._partial / following[0])


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _make(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CheckpointFailed(f"{str(path)!r} is no file")
    return fd


def _whole(path: Path) -> bytes:
    fd = _open(path)
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    if len(data) > MAX_MANIFEST_BYTES:
        raise CheckpointFailed(f"the manifest is longer than {MAX_MANIFEST_BYTES} bytes")
    return data
